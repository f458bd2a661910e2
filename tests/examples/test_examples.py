"""The programs in examples/, each run as a user runs it."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from edge_ad import Runtime
from tests.paths import ROOT
from tests.tiny import SIZE, bad_frame, good_frame


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with three good images and, as the third, a bad one."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i, frame in enumerate([good_frame(0), good_frame(1), bad_frame(2), good_frame(3)]):
        cv2.imwrite(str(folder / f"{i:03d}.png"), frame)
    return folder


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)


def expected(bundle: Path, images: Path) -> tuple[list[object], list[bool]]:
    """The scores, to the digits that are printed, and the verdicts."""
    runtime = Runtime(bundle)
    verdicts = [runtime.inspect(path) for path in sorted(images.iterdir())]
    return [pytest.approx(each.score, rel=1e-3) for each in verdicts], [each.is_anomalous for each in verdicts]


def test_camera_loop(golden: Path, images: Path) -> None:
    """A sequence of images stands for the camera: OpenCV opens both by one call."""
    done = run("camera_loop.py", golden, images / "%03d.png")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    scores, anomalous = expected(golden, images)
    assert [float(line.split()[2]) for line in lines] == scores
    assert [line.split()[1] == "ANOMALOUS" for line in lines] == anomalous
    assert anomalous[2]
    assert "frames=4" in done.stderr
    assert "cannot open" in run("camera_loop.py", golden, images / "nothing.avi").stderr


def test_batch_folder(golden: Path, images: Path) -> None:
    done = run("batch_folder.py", golden, images)
    assert done.returncode == 1, done.stderr
    rows = list(csv.DictReader(done.stdout.splitlines()))
    found = [float(row["score"]) for row in rows], [row["anomalous"] == "1" for row in rows]
    assert found == expected(golden, images)
    (images / "broken.png").write_bytes(b"no image")
    done = run("batch_folder.py", golden, images)
    assert done.returncode == 2
    assert "broken.png" in list(csv.DictReader(done.stdout.splitlines()))[-1]["error"]


def test_batch_folder_says_2_to_what_it_cannot_do(golden: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments in ((), (tmp_path / "no.bundle", images), (golden, tmp_path / "empty")):
        done = run("batch_folder.py", *arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_multiprocessing_pool(golden: Path, images: Path) -> None:
    paths = sorted(images.iterdir())
    done = run("multiprocessing_pool.py", golden, 2, *paths)
    assert done.returncode == 0, done.stderr
    found = [line.rsplit(" ", 2) for line in done.stdout.splitlines()]
    assert [name for name, _, _ in found] == [str(path) for path in paths]
    scores, anomalous = expected(golden, images)
    assert [float(score) for _, score, _ in found] == scores
    assert [word == "1" for _, _, word in found] == anomalous


def test_fleet_inspector(golden: Path, images: Path) -> None:
    """Ray Data takes an `Inspector`, and gives the scores of a Runtime."""
    pytest.importorskip("ray", reason="Ray Data needs ray (the extra ray)")
    pytest.importorskip("pandas", reason="Ray Data needs pandas (the extra ray)")
    (images / "broken.png").write_bytes(b"no image")
    done = run("fleet_inspector.py", golden, images)
    assert done.returncode == 2, done.stderr
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith("/"))
    assert "is not an image" in lines.pop(str(images / "broken.png"))
    runtime = Runtime(golden)
    verdicts = {path: runtime.inspect(path) for path in lines}
    assert lines == {path: f"{v.score:.5g} {int(v.is_anomalous)}" for path, v in verdicts.items()}
    assert len(lines) == 4


def test_own_onnx_backbone(tiny: Path, images: Path, tmp_path: Path) -> None:
    pytest.importorskip("hnswlib", reason="the export needs hnswlib")
    category = tmp_path / "part"
    shutil.copytree(tiny / "part", category)
    network, out = tiny / "backbone.onnx", tmp_path / "own.bundle"
    done = run("own_onnx_backbone.py", category, network, "fine,coarse", SIZE, out, images / "002.png")
    assert done.returncode == 1, done.stderr
    assert Runtime(out).manifest.backbone.layers == ("fine", "coarse")
    done = run("own_onnx_backbone.py", category, network, "fine,nothing", SIZE, out, images / "002.png")
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_each_is_short_and_tested(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert len(text.splitlines()) <= 50
    assert f'"{path.name}"' in Path(__file__).read_text(encoding="utf-8")
