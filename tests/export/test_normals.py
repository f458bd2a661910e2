"""`python -m export.normals`: normal maps of sets."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from export.normals import main
from tests.frames.photometric.made import angles, part, photograph, ring, write_stack

TRUE, ALBEDO = part(bumps=0.05)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        write_stack(tmp_path / "sets" / name, photograph(TRUE, ALBEDO, ring(6)), [f"{name}.{i}.png" for i in range(6)])
    (tmp_path / "sets" / "lights.txt").write_text("\n".join(" ".join(map(str, light)) for light in ring(6)))
    return tmp_path / "sets"


def test_every_set_of_a_folder(sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(sets), "--out", str(tmp_path / "out")]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]] == [["one", "6"], ["two", "6"]]
    for name in ("one", "two"):
        found = np.load(tmp_path / "out" / f"N_{name}.npy")
        assert found.dtype == np.float32
        assert np.abs(found).max() <= 1
        assert angles(found, TRUE).mean() < 1
        assert cv2.imread(str(tmp_path / "out" / f"N_{name}.png")).shape == (48, 64, 3)


def test_errors(sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ambient = str(sets / "one" / "one.0.png")
    for arguments, text in (
        ([str(sets), "--out", str(tmp_path), "--ambient", ambient], "--ambient is for one set"),
        ([str(tmp_path / "gone"), "--out", str(tmp_path)], "gone"),
        ([str(sets), "--out", ambient], "cannot write"),
    ):
        assert main(arguments) == 2
        assert text in capsys.readouterr().err
    (sets / "lights.txt").unlink()
    assert main([str(sets), "--out", str(tmp_path / "out")]) == 2
    assert "the lights of one are not known" in capsys.readouterr().err


def test_the_truth_of_diligent(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scipy", reason="scipy reads the true normals")
    folder = shared / "data" / "photometric_stereo" / "diligent"
    assert main([str(folder), "--out", str(tmp_path), "--truth", "--method", "least_squares"]) == 0
    assert "20.9" in capsys.readouterr().out
