"""A Runtime whose frames are stacks: one verdict, with every engine, without torch, and never one on a bad stack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_ad import Runtime
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.errors import FrameError
from edge_ad.frames.capture import open_frame, picture_of
from edge_ad.frames.photometric import normals
from edge_ad.serving.timing import sample_frames
from tests.cli.calling import lines
from tests.frames.photometric.made import write_stack
from tests.paths import DATA, ROOT
from tests.stacks import LIGHTS, stack

BUNDLE = DATA / "format-4.bundle"


@pytest.fixture
def captures(tmp_path: Path) -> Path:
    folder = tmp_path / "captures"
    for i, dent in enumerate((False, True, False)):
        write_stack(folder / f"part {i}", list(stack(3000 + i, dent=dent)))
    return folder


def test_arrays_sequences_and_folders_are_one(captures: Path, engine: str) -> None:
    runtime = Runtime(BUNDLE, engine=engine, self_check=True)
    pictures = stack(3001, dent=True)
    folder = captures / "part 1"
    files = sorted(folder.iterdir())
    verdicts = [
        runtime.inspect(given) for given in (pictures, list(pictures), folder, files, [pictures[0], *files[1:]])
    ]
    assert len({verdict.score for verdict in verdicts}) == 1
    assert verdicts[0].is_anomalous
    assert not runtime.inspect(stack(3000)).is_anomalous
    assert verdicts[0].anomaly_map.shape == (64, 64)
    assert list(verdicts[0].timings) == ["read", "normals", "crop", "engine", "head", "total"]
    assert verdicts[0].latency_ms < verdicts[0].timings["total"]
    assert verdicts[0].overlay(folder).shape == verdicts[0].overlay(pictures).shape == (64, 64, 3)
    many = list(runtime.inspect_many([pictures, folder]))
    assert [verdict.score for verdict in many] == [verdicts[0].score] * 2
    colour = np.repeat(pictures[..., None], 3, axis=3)
    assert runtime.inspect(colour).score == pytest.approx(verdicts[0].score, rel=1e-3)
    larger = stack(3001, dent=True, size=96)
    assert runtime.inspect(larger).anomaly_map.shape == (96, 96)


def test_a_mask_of_the_frame() -> None:
    runtime = Runtime(BUNDLE)
    mask = np.zeros((64, 64), np.bool_)
    mask[:20, :20] = True
    assert not runtime.inspect(stack(3001), roi=mask).anomaly_map[40:].any()


def test_the_tensor_is_not_rounded() -> None:
    runtime = Runtime(BUNDLE)
    spec, pictures = runtime.manifest.frame, stack(3000)
    frame, is_bgr = open_frame(pictures, spec)
    assert is_bgr
    assert frame.dtype == np.float32
    found = normals(pictures, LIGHTS).normals
    np.testing.assert_allclose(frame, 127.5 * (found[..., ::-1] + 1), atol=1e-4)
    assert np.abs(frame - np.rint(frame)).mean() > 0.1
    np.testing.assert_array_equal(picture_of(pictures, spec), np.rint(frame).astype(np.uint8))


def moved(pictures: Any) -> Any:
    changed = pictures.copy()
    changed[3:] = np.roll(changed[3:], (9, 9), axis=(1, 2))
    return changed


def dark(pictures: Any) -> Any:
    changed = pictures.copy()
    changed[4] = 1
    return changed


def twice(pictures: Any) -> Any:
    changed = pictures.copy()
    changed[4] = changed[1]
    return changed


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda p: p[:5], "incomplete; expected 6 pictures"),
        (lambda p: p[0], "incomplete|too many"),
        (lambda p: np.concatenate([p, p[:1]]), "too many pictures"),
        (lambda p: p[..., :10], "size that cannot be inspected"),
        (lambda p: [*p[:5], p[5][:32]], "picture 6 of the stack is not like the first"),
        (lambda p: p.astype(np.uint16), "wrong dtype"),
        (lambda p: np.ma.masked_equal(p, p[0, 0, 0]), "masked"),
        (moved, "do not fit together"),
        (dark, "picture 5 of the stack is dark"),
        (twice, "pictures 2 and 5 of the stack are the same"),
        (lambda p: np.zeros_like(p), "dark"),
        (lambda p: p[[1, 0, 3, 2, 5, 4]], "do not fit together"),
        (lambda p: 5, "no stack of pictures"),
        (lambda p: DATA / "good-0.png", "is no stack"),
        (lambda p: DATA / "nothing", "is no stack"),
    ],
)
def test_no_verdict_on_a_bad_stack(change: Any, text: str) -> None:
    with pytest.raises(FrameError, match=text):
        Runtime(BUNDLE).inspect(change(stack(3000)))


def test_frames_to_measure_with() -> None:
    with Bundle.open(BUNDLE) as bundle:
        frames = sample_frames(bundle)
    assert {frame.shape for frame in frames} == {(6, 64, 64)}


def test_inspect(captures: Path, tmp_path: Path, engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "overlay"
    assert main(["inspect", str(BUNDLE), str(captures), "--engine", engine, "--overlay", str(out)]) == 1
    assert [(name, verdict) for name, _, verdict in lines(capsys.readouterr().out)] == [
        ("part 0", 0),
        ("part 1", 1),
        ("part 2", 0),
    ]
    assert cv2.imread(str(out / "part 1.png")).shape == (64, 64, 3)
    assert main(["inspect", str(BUNDLE), str(captures / "part 0"), "--engine", engine]) == 0
    assert lines(capsys.readouterr().out)[0][0] == "part 0"
    (captures / "part 0" / "03.png").unlink()
    for given, text in ((captures, "part 0 is incomplete"), (captures / "part 1" / "00.png", "is no stack")):
        assert main(["inspect", str(BUNDLE), str(given)]) == 2
        assert text in capsys.readouterr().err
    assert main(["check", str(BUNDLE)]) == 0
    assert main(["info", str(BUNDLE)]) == 0
    assert "a picture under each of 6 lights" in capsys.readouterr().out


def test_nothing_of_it_needs_torch(captures: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None; from edge_ad import Runtime; "
        f"print(Runtime({str(BUNDLE)!r}).inspect({str(captures / 'part 1')!r}).is_anomalous)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.strip() == "True", done.stderr
