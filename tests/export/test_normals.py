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
        ([str(sets), "--out", ambient], "--out is no folder"),
        ([str(sets), "--out", str(tmp_path), "--threads", "0"], "threads"),
    ):
        assert main(arguments) == 2
        assert text in capsys.readouterr().err
    (sets / "lights.txt").unlink()
    assert main([str(sets), "--out", str(tmp_path / "out")]) == 2
    assert "the lights of one are not known" in capsys.readouterr().err


def test_lights_that_are_given_replace_those_of_the_set(
    sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sets / "lights.txt").rename(tmp_path / "true.txt")
    (sets / "lights.json").write_text("of a former time")
    given = [str(sets), "--out", str(tmp_path / "out"), "--lights"]
    assert main([*given, str(tmp_path / "true.txt")]) == 0
    (tmp_path / "four.txt").write_text("\n".join(" ".join(map(str, light)) for light in ring(4)))
    assert main([*given, str(tmp_path / "four.txt")]) == 2
    assert "one does not fit the lights; expected 4 pictures, as lights; got 6" in capsys.readouterr().err


def test_the_folder_here_has_a_name(sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sets / "one")
    assert main([".", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "N_one.npy").is_file()


def test_a_map_never_replaces_what_is_read(sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    around = tmp_path / "N_one.png"
    cv2.imwrite(str(around), np.zeros((48, 64), np.uint8))
    before = around.read_bytes()
    assert main([str(sets / "one"), "--out", str(tmp_path), "--ambient", str(around)]) == 2
    assert "--out would replace a file that this command reads" in capsys.readouterr().err
    assert around.read_bytes() == before


def test_the_truth_of_diligent(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("scipy", reason="scipy reads the true normals")
    folder = shared / "data" / "photometric_stereo" / "diligent"
    assert main([str(folder), "--out", str(tmp_path), "--truth", "--method", "least_squares"]) == 0
    assert "20.9" in capsys.readouterr().out
