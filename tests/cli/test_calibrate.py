"""`edge-ad calibrate`: what it prints, what a newcomer may get wrong, and what it never overwrites."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad import Runtime
from edge_ad.cli import calibrate as command
from edge_ad.cli import main
from edge_ad.spec import CalibrationSpec
from tests.calibrating import calibrated, calibration, failing, scores_of
from tests.edited import edited
from tests.paths import SCRIPT
from tests.processes import child
from tests.tiny import bad_frame, good_frame, picture

# ------------------------------------------------------------------------------------------------- what is printed


def test_old_and_new_are_printed(bundle: Path, category: Path, capsys: pytest.CaptureFixture[str]) -> None:
    low = edited(bundle, bundle.with_name("low.bundle"), calibration={"threshold": 1e-3, "interval": (1e-3, 2e-3)})
    new = calibrated(low, "--data", category)
    captured = capsys.readouterr()
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in captured.out.splitlines() if "  " in line)
    found = calibration(new)
    assert rows["scores"].startswith("part (MVTec AD), test images: 6 good images, 6 defects, by ")
    assert rows["rule"] == "percentile 99.5 -> percentile 99.5"
    after = f"{found.threshold:.4g} (95% {found.interval[0]:.4g}..{found.interval[1]:.4g})"
    assert rows["threshold"] == f"0.001 (95% 0.001..0.002) -> {after}"
    assert rows["rejected"].startswith("6/6 (95% 61.0%..100.0%) -> 0/6 (95% 0.0%..39.0%)")  # Wilson, by hand
    missed = sum(score < found.threshold for score in scores_of(Runtime(low), category / "test/scratch"))
    assert rows["missed"].startswith("0/6 (95% 0.0%..39.0%) -> ")
    assert f"-> {missed}/6 " in rows["missed"]
    assert rows["promise"].startswith(
        "the threshold is above all 6 held-out good images: of new good parts like these, "
    )
    assert "expect 14% rejected, at most 39% (95% confidence); 199 good images" in rows["promise"]
    assert captured.out.splitlines()[-1] == (f"bundle: {new} ({Runtime(new).bundle_id}, from {Runtime(low).bundle_id})")
    assert "reading: 12 images" in captured.err
    assert "scoring f32: 12 images" in captured.err


def test_labelled_rules_say_what_their_figures_are_of(
    bundle: Path, category: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrated(bundle, "--data", category, "--threshold-rule", "youden")
    said = capsys.readouterr().out
    assert "count the images that chose the threshold" in said
    assert "no pixel is labelled" in said


@pytest.mark.parametrize(("shift", "says"), [(-0.5, "lower than"), (0.5, "higher than"), (0.0, None)])
def test_goods_that_score_otherwise_are_noted(shift: float, says: str | None) -> None:
    before = np.linspace(1, 2, 30)
    note = command._drift(tuple(before), tuple(before[::2] + shift))
    assert (note is None) if says is None else (note is not None and says in note)
    assert command._drift((), (1.0, 2.0)) is None
    assert command._drift((1.0,) * 9, (1.0,) * 9) is None


@pytest.fixture
def with_odd(category: Path, tmp_path: Path) -> Path:
    """The category with 20 good test images, and one more that is a defect."""
    copy = Path(shutil.copytree(category, tmp_path / "odd" / "part"))
    for i in range(20):
        picture(copy / f"test/good/more{i}.png", good_frame(5000 + i))
    picture(copy / "test/good/wrong.png", bad_frame(5100))
    return copy


def test_odd_good_images_are_named_and_left_out_on_request(
    bundle: Path, with_odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = calibration(calibrated(bundle, "--data", with_odd, out=tmp_path / "kept.bundle"))
    said = capsys.readouterr().out
    assert re.search(r"note: odd: 1 of 27 good image scores far above .*: wrong\.png \(.*--drop-outliers", said)
    assert (len(kept.good_scores), kept.left_out) == (27, 0)
    odd = max(kept.good_scores)
    found = calibration(calibrated(bundle, "--data", with_odd, "--drop-outliers", out=tmp_path / "dropped.bundle"))
    said = capsys.readouterr().out
    assert re.search(r"note: left out: 1 of 27 good image scores far above .*: wrong\.png \(", said)
    assert found.good_scores == tuple(score for score in kept.good_scores if score != odd)
    assert len(found.good_peaks) == 26
    assert found.left_out == 1
    assert found.source is not None
    assert found.source.goods == 26
    assert found.threshold < odd < kept.threshold
    # a digest of the images that count
    (with_odd / "test/good/wrong.png").unlink()
    without = calibration(calibrated(bundle, "--data", with_odd, out=tmp_path / "without.bundle"))
    assert without.source is not None
    assert without.source.images_sha256 == found.source.images_sha256
    assert (without.threshold, without.interval) == (found.threshold, found.interval)


def test_odd_scores_of_the_bundle_have_no_names(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores, peaks = [*np.linspace(1, 2, 30), 9.0], [*np.linspace(2, 3, 30), 7.0]
    kept = {"good_scores": tuple(scores), "good_peaks": tuple(peaks), "left_out": 2}
    own = edited(bundle, bundle.with_name("own.bundle"), calibration=kept)
    found = calibration(calibrated(own, "--drop-outliers"))
    assert "note: left out: 1 of 31 good image scores far above the tail of the others: 9;" in capsys.readouterr().out
    assert (found.good_scores, found.good_peaks) == (tuple(scores[:-1]), tuple(peaks[:-1]))
    assert found.left_out == 3
    assert main(["info", str(bundle.with_name("new.bundle"))]) == 0
    assert "3 odd ones left out" in capsys.readouterr().out


def test_a_false_reject_rate_is_asked_for(
    bundle: Path, category: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = calibration(calibrated(bundle, "--data", category, "--false-reject", "0.02"))
    assert (found.rule, found.value) == ("tail", 0.02)
    assert "; 49 good images are needed to promise 2%; a threshold from 6 scores is hardly" in capsys.readouterr().out
    many = edited(bundle, tmp_path / "many.bundle", calibration={"good_scores": tuple(np.linspace(1, 2, 600))})
    found = calibration(calibrated(many, "--false-reject", "0.02", out=tmp_path / "m.bundle"))
    assert (found.rule, found.value) == ("false-reject", 0.02)
    assert sum(score >= found.threshold for score in found.good_scores) == 12
    failing([bundle, "--false-reject", "0.02", "--threshold-rule", "sigma"], capsys, "chooses the rule .* itself")
    failing([bundle, "--false-reject", "0.02", "--threshold-value", "1"], capsys, "chooses the rule .* itself")
    failing([bundle, "--false-reject", "2"], capsys, "--false-reject is no rate")


# ------------------------------------------------------------------------------------------------- which images


def test_what_a_newcomer_gives(part: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    failing([bundle, "--data", tmp_path / "empty"], capsys, "there are no images in")
    failing([bundle, "--data", tmp_path / "prat"], capsys, r"no category.*Did you mean .*part\?")
    failing([bundle, "--data", tmp_path], capsys, "is not a category but holds categories")
    failing([bundle, "--data", part / "test/good/000.png"], capsys, "is a file; expected a folder of images")
    failing([tmp_path / "typo.bundle", "--data", part], capsys, "there is no bundle at")
    failing([part / "test/good/000.png", "--data", part], capsys, "no bundle")
    failing([bundle, "--data", part, "--threshold-value", "101"], capsys, "percentile is out of range")
    failing([bundle, "--data", part, "--threshold-value", "nan"], capsys, "percentile is out of range")
    failing([bundle, "--data", part, "--threshold-rule", "f1", "--threshold-value", "1"], capsys, "no parameter")
    failing([bundle, "--data", part / "test/good", "--threshold-rule", "f1"], capsys, "needs labelled defects.*none in")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "part", "part.bundle"]


# ------------------------------------------------------------------------------------------------- the target


def test_the_default_target_is_beside_the_bundle(
    bundle: Path, category: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bundle.read_bytes()
    assert main(["calibrate", str(bundle), "--data", str(category)]) == 0
    target = tmp_path / "part.calibrated.bundle"
    first = target.read_bytes()
    failing([bundle, "--data", category], capsys, "exists already.*--force")
    assert target.read_bytes() == first
    assert main(["calibrate", str(bundle), "--data", str(category), "--threshold-rule", "sigma", "--force"]) == 0
    assert target.read_bytes() != first
    assert bundle.read_bytes() == before
    bare = Path(shutil.copy(bundle, tmp_path / "bare"))
    assert main(["calibrate", str(bare), "--data", str(category)]) == 0
    assert (tmp_path / "bare.calibrated.bundle").is_file()


@pytest.mark.parametrize("link", ["itself", "symlink", "hard link"])
def test_the_bundle_itself_is_never_overwritten(
    bundle: Path, category: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], link: str
) -> None:
    before, out = bundle.read_bytes(), bundle if link == "itself" else tmp_path / "link.bundle"
    if link == "symlink":
        out.symlink_to(bundle)
    elif link == "hard link":
        os.link(bundle, out)
    failing([bundle, "--data", category, "--out", out, "--force"], capsys, "is the bundle that is calibrated")
    assert bundle.read_bytes() == before


def test_a_target_that_cannot_be_is_refused_before_the_work(
    bundle: Path, category: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_images", lambda *_: pytest.fail("work was done"))
    failing([bundle, "--data", category, "--out", tmp_path / "no/x.bundle"], capsys, "writable folder")
    failing([bundle, "--data", category, "--out", tmp_path], capsys, "--out is a folder")


def test_a_target_that_appears_meanwhile_is_kept(
    bundle: Path, category: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = tmp_path / "out.bundle", command.calibrate

    def slow(*arguments: object) -> CalibrationSpec:
        out.write_text("of another process")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "calibrate", slow)
    failing([bundle, "--data", category, "--out", out], capsys, "exists already")
    assert out.read_text() == "of another process"


def test_interrupted_while_it_writes(
    bundle: Path, category: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.bundle"
    out.write_text("the old one")

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    assert main(["calibrate", str(bundle), "--data", str(category), "--out", str(out), "--force"]) == 130
    assert out.read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.bundle", "part.bundle"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle(bundle: Path, tmp_path: Path, sent: signal.Signals) -> None:
    """The target is the old one, and nothing lies beside it."""
    folder, out = tmp_path / "goods", tmp_path / "out.bundle"
    folder.mkdir()
    frame = good_frame(0)
    for i in range(1500):
        frame[0, 0] = (i % 256, i // 256, 0)
        cv2.imwrite(str(folder / f"{i}.bmp"), frame)
    out.write_text("the old one")
    log = tmp_path / "log.txt"
    command = [SCRIPT, "calibrate", bundle, "--data", folder, "--out", out, "--force"]
    with log.open("w") as stream, child(command, stdout=stream, stderr=stream) as process:
        while "scoring f32: 1500 images\n" not in log.read_text():
            assert process.poll() is None, log.read_text()
            time.sleep(0.005)
        process.send_signal(sent)
        assert process.wait(timeout=60) == (130 if sent == signal.SIGINT else -sent)
    assert "Traceback" not in log.read_text()
    if sent == signal.SIGINT:
        assert log.read_text().splitlines()[-1] == "interrupted"
    assert out.read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["goods", "log.txt", "out.bundle", "part.bundle"]
