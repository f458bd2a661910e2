"""`edge-ad teach`: a new bundle of a few good images, and a bundle that learns more."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="teaching needs onnx")

from edge_ad import Runtime
from edge_ad.cli import main
from export.held_out import cross_fit
from tests.cli.calling import failing
from tests.paths import ROOT
from tests.processes import child, slowed
from tests.tiny import bad_frame, good_frame, picture


def photos(folder: Path, count: int, start: int = 3000, size: int = 64) -> Path:
    for i in range(count):
        picture(folder / f"{i:02d}.png", good_frame(start + i, size))
    return folder


def taught(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, str]:
    """The summary of a command that succeeds."""
    assert main(["teach", *map(str, arguments)]) == 0
    return dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines() if not line.startswith(" "))


# ---------------------------------------------------------------------------------------------------- a new bundle


def test_a_new_bundle_of_a_few_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a folder and single files, by a name alone; nothing else is written."""
    folder, single = photos(tmp_path / "photos", 4), picture(tmp_path / "one" / "a.png", good_frame(3100))
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    said = taught(capsys, "cable", folder, single, "--threads", 1)
    assert [path.name for path in place.iterdir()] == ["cable.bundle"]
    assert said["images"].startswith("5 good")
    assert "a threshold from 5 scores is hardly more than a guess" in said["promise"]
    runtime = Runtime(place / "cable.bundle", threads=1, self_check=True)
    assert runtime.manifest.name == "cable"
    assert len(runtime.manifest.calibration.good_scores) == 5
    scores = [[runtime.inspect(make(5000 + i)).score for i in range(4)] for make in (good_frame, bad_frame)]
    assert max(scores[0]) < min(scores[1])


def test_no_torch_and_no_hnswlib_are_needed(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'torchvision', 'hnswlib', 'nncf', 'scipy'))); "
        "from edge_ad.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    out = tmp_path / "part.bundle"
    command = [sys.executable, "-c", code, "teach", "part", str(photos(tmp_path / "photos", 3)), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert re.search("^search +exact only.*hnswlib", done.stdout, re.MULTILINE)
    index = Runtime(out).manifest.index
    assert index is not None
    assert index.graph is None
    more = [*command[:4], str(out), str(photos(tmp_path / "more", 2, 3200))]
    done = subprocess.run(more, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_a_camera_folder_is_taken_with_all_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    camera = photos(tmp_path / "camera" / "monday", 2).parent
    photos(camera / "tuesday", 2, 3300)
    said = taught(capsys, "part", "--source", camera, "--out", tmp_path / "part.bundle")
    assert said["images"].startswith("4 good")


def test_the_good_images_of_a_category(category: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its test images and masks are not learned."""
    said = taught(capsys, "part", category, "--out", tmp_path / "part.bundle")
    assert said["images"].startswith("3 good")


# ---------------------------------------------------------------------------------------------------- learning more


def test_a_bundle_learns_more(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one of an older format. What it says of itself stays; the given one is not touched."""
    given = Path(shutil.copy(golden, tmp_path / "used.bundle"))
    before, old = given.read_bytes(), Runtime(given, threads=1).manifest
    said = taught(capsys, given, photos(tmp_path / "new", 5))
    assert given.read_bytes() == before
    out = tmp_path / "used.taught.bundle"
    new = Runtime(out, threads=1, self_check=True).manifest
    for part in ("name", "created", "frame", "roi", "backbone", "head"):
        assert getattr(new, part) == getattr(old, part)
    assert old.index is not None
    assert new.index is not None
    assert new.index.size > old.index.size
    assert new.calibration.rule == old.calibration.rule
    assert new.calibration.good_scores[: len(old.calibration.good_scores)] == old.calibration.good_scores
    assert len(new.calibration.good_scores) == len(old.calibration.good_scores) + 5
    assert [(lesson.bundle, lesson.images) for lesson in new.taught] == [(Runtime(given).bundle_id, 5)]
    assert said["threshold"].startswith(f"set anew, {old.calibration.threshold:.4g} -> {new.calibration.threshold:.4g}")
    assert re.search("of new good parts like these, expect .* rejected", said["promise"])
    assert main(["info", str(out)]) == 0
    assert re.search("^taught +5 good images", capsys.readouterr().out, re.MULTILINE)


def test_what_it_knows_already_is_left_out(
    tmp_path: Path, tiny: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images that it learned from would score too low when they are held out."""
    out = tmp_path / "a.bundle"
    said = taught(capsys, tiny_bundle, tiny / "part", photos(tmp_path / "new", 2), "--out", out)
    assert said["images"] == "2 new good images"
    says = "has learned from all of these images before"
    failing(["teach", tiny_bundle, tiny / "part", "--out", tmp_path / "b.bundle"], capsys, says)
    failing(["teach", out, tmp_path / "new", "--out", tmp_path / "b.bundle"], capsys, says)


def test_a_new_image_with_a_defect_is_named(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = photos(tmp_path / "new", 4)
    frame = good_frame(3500)
    frame[16:48, 16:48] = np.random.default_rng(0).integers(0, 256, (32, 32, 3))
    picture(folder / "odd.png", frame)
    said = taught(capsys, golden, folder, "--out", tmp_path / "a.bundle")
    assert "odd.png" in said["odd"]


# ---------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cable"], "there are no images to learn from.*--source"),
        (["cable", "{empty}"], "there are no good images in .*an empty folder"),
        (["cable", "{tmp}/nothing"], "there is no .*nothing"),
        (["cable", "--source", "{empty}"], "there are no images below"),
        (["cable", "{one}"], "too few good images.*2 or more.*got 1"),
        (["cable", "{text}"], "text.png cannot be decoded"),
        (["missing.bundle", "{photos}"], "there is no bundle at missing.bundle.*without .bundle"),
        ([".", "{photos}"], "a new bundle needs a name"),
        (["{golden}", "{text}", "--out", "{tmp}/x.bundle"], "text.png cannot be decoded"),
        (["{golden}", "{large}", "--out", "{tmp}/x.bundle"], "another size than the frames.*64 x 64.*80 x 80"),
        (["{golden}", "{photos}", "--out", "{golden}"], "--out would replace the bundle"),
        (["{golden}", "{photos}", "--out", "{photos}/00.png"], "--out would replace an image"),
        (["cable", "{photos}", "--out", "{photos}/00.png", "--force"], "--out would replace a training image"),
        (["{golden}", "{photos}", "--out", "{tmp}/old.bundle"], "exists already.*--force"),
        (["{tmp}/old", "{photos}"], "old.bundle exists already.*give .*old.bundle in place of"),
        (["{tmp}/old.bundle", "{photos}"], "old.bundle: this is no bundle"),
    ],
)
def test_refused(
    golden: Path,
    tmp_path: Path,
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "old.bundle").write_bytes(b"the old one")
    names = {"tmp": tmp_path, "empty": tmp_path / "empty", "text": tmp_path / "text.png"}
    names |= {"golden": shutil.copy(golden, tmp_path / "golden.bundle"), "photos": photos(tmp_path / "photos", 3)}
    names |= {"one": photos(tmp_path / "one", 1) / "00.png", "large": photos(tmp_path / "large", 2, size=80)}
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.chdir(tmp_path / "empty")
    failing(["teach", *(argument.format(**names) for argument in arguments)], capsys, says)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_force_replaces_an_old_output(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "old.bundle"
    out.write_bytes(b"the old one")
    taught(capsys, golden, photos(tmp_path / "photos", 2), "--out", out, "--force")
    Runtime(out, self_check=True)


@pytest.mark.parametrize("again", [False, True])
def test_another_command_has_written_the_target_meanwhile(
    golden: Path, tmp_path: Path, again: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, stage = tmp_path / "out.bundle", "export.teach.again.cross_fit" if again else "export.make_point.cross_fit"

    def meanwhile(*arguments: object) -> object:
        out.write_bytes(b"of another command")
        return cross_fit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, meanwhile)
    images = photos(tmp_path / "photos", 2)
    failing(["teach", golden if again else "cable", images, "--out", out], capsys, "out.bundle exists already")
    assert out.read_bytes() == b"of another command"


def test_a_full_disk_is_told_of_the_file_that_was_asked_for(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    out, images = tmp_path / "out.bundle", photos(tmp_path / "photos", 2)
    failing(["teach", golden, images, "--out", out], capsys, re.escape(f"error: {out} cannot be written; got No space"))
    assert list(tmp_path.iterdir()) == [images]


def test_names_that_are_too_long(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    failing(
        ["teach", tmp_path / long, photos(tmp_path / "photos", 2)], capsys, r"--out .*x\.bundle cannot be written; got"
    )
    failing(["teach", golden, long], capsys, f"there is no {long}")


@pytest.mark.parametrize("missing", ["onnx", "an engine"])
def test_missing_packages_name_the_extra(
    missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "onnx":
        from importlib.util import find_spec

        monkeypatch.setattr("export.teach.command.find_spec", lambda name: None if name == "onnx" else find_spec(name))
    else:
        monkeypatch.setattr("export.teach.command.installed_engines", tuple)
    says = rf"teaching needs .*{missing}.*pip install 'edge-ad\[teach\]'"
    failing(["teach", "cable", photos(tmp_path / "photos", 2)], capsys, says)


@pytest.mark.parametrize("again", [False, True])
def test_a_standard_output_that_is_a_file(golden: Path, tmp_path: Path, again: bool) -> None:
    """The shell has made the file, so it is there; the bundle goes into it, and the summary elsewhere."""
    out, images = tmp_path / "out.bundle", photos(tmp_path / "photos", 2)
    with out.open("wb") as file:
        command = [sys.executable, "-m", "edge_ad.cli", "teach", golden if again else "cable", images]
        done = subprocess.run(
            [*map(str, command), "--out", "/dev/stdout"], stdout=file, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert "threshold" in done.stderr
    Runtime(out, self_check=True)


@pytest.mark.parametrize("stage", ["export.teach.again.cross_fit", "export.finish.write_bundle"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle(golden: Path, tmp_path: Path, stage: str, how: signal.Signals) -> None:
    """The old files stay as they were."""
    out = Path(shutil.copy(golden, tmp_path / "out.bundle"))
    given, old = shutil.copy(golden, tmp_path / "given.bundle"), out.read_bytes()
    images = photos(tmp_path / "photos", 2)
    command = [*slowed(stage, "edge_ad.cli"), "teach", given, images, "--out", out, "--force"]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "NOW\n"
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
    assert out.read_bytes() == old
    assert given.read_bytes() == old
    left = {path.name for path in tmp_path.iterdir()} - {"out.bundle", "given.bundle", "photos"}
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert errors.splitlines()[-1].startswith("interrupted")
        assert left == set()
    else:
        assert all(name.startswith(".out.bundle.") and name.endswith(".tmp") for name in left)
