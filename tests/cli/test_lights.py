"""`edge-ad lights`: lights from a chrome sphere, compared, checked and written."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.cli import main
from edge_ad.frames.photometric import read_lights
from edge_ad.frames.photometric.lights import directions_of
from tests.cli.calling import failing
from tests.frames.photometric.made import angles, chrome, part, photograph, ring, write_stack

LIGHTS = np.vstack([ring(5, 50), ring(3, 75)])


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sphere(tmp_path: Path) -> Path:
    pictures, mask = chrome(LIGHTS)
    folder = write_stack(tmp_path / "sphere", pictures)
    cv2.imwrite(str(folder / "mask.png"), mask.astype(np.uint8) * 255)
    return folder


def test_a_sphere(sphere: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plane = np.zeros((48, 64, 3))
    plane[..., 2] = 1
    write_stack(tmp_path / "plane", photograph(plane, np.full((48, 64), 0.7), LIGHTS))
    write_stack(tmp_path / "part", photograph(*part(), LIGHTS))
    Path("true.txt").write_text("\n".join(" ".join(map(str, light)) for light in LIGHTS))
    more = ["--plane", "plane", "--against", "true.txt", "--check", "part", "--out", "l.json"]
    assert main(["lights", str(sphere), *more]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["found"].startswith("8 lights, ")
    assert float(rows["against"].split()[0]) < 1
    assert rows["check"].startswith("part: residual robust 0.0")
    assert "fields" in rows
    found = read_lights("l.json")
    assert angles(directions_of(found), LIGHTS).max() < 1
    assert found.field_size == (16, 16)
    picture = cv2.imread("l.png")
    assert picture is not None
    assert picture.shape[0] == 400


def test_lights_that_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    Path("true.txt").write_text("\n".join(" ".join(map(str, light)) for light in ring(4)))
    assert main(["lights", "true.txt"]) == 0
    assert "4 lights: shadows" in capsys.readouterr().out
    np.testing.assert_allclose(directions_of(read_lights("lights.json")), ring(4), atol=1e-6)
    assert Path("lights.png").is_file()


def test_old_lights_beside_the_sphere_are_replaced(sphere: Path) -> None:
    for old in ("garbage", "1 0 1\n0 1 1\n-1 0 1\n"):  # broken, or of another number of lights
        Path("lights.json").write_text(old)
        assert main(["lights", str(sphere), "--check", str(sphere)]) == 0
        assert read_lights("lights.json").count == len(LIGHTS)


def test_the_picture_never_replaces_the_mask(sphere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (sphere / "mask.png").read_bytes()
    failing(["lights", sphere, "--out", sphere / "mask.json"], capsys, "--picture would replace a file of the set")
    assert (sphere / "mask.png").read_bytes() == before
    assert not (sphere / "mask.json").exists()


def test_old_lights_stay_after_an_error(sphere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("lights.json").write_text("old")
    Path("few.txt").write_text("1 0 1\n0 1 1\n-1 0 1\n")
    failing(["lights", sphere, "--against", "few.txt"], capsys, "the lights are not the same")
    failing(["lights", sphere, "--picture", "x" * 255 + ".png"], capsys, "cannot be written")
    assert Path("lights.json").read_text() == "old"


def test_outputs_that_are_no_file(sphere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out in (".", "/", sphere):
        failing(["lights", sphere, "--out", out], capsys, "--out is a folder")
    failing(["lights", sphere, "--out", os.devnull], capsys, "no place for a picture")
    assert main(["lights", str(sphere), "--out", os.devnull, "--picture", "p.png"]) == 0
    assert Path("p.png").is_file()


def test_errors(sphere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = sphere / "00.png"
    failing(["lights", "gone"], capsys, "gone")
    failing(["lights", sphere, "--out", picture], capsys, "--out would replace a picture")
    failing(["lights", sphere, "--mask", picture], capsys, "mask")
    failing(["lights", sphere, "--against", "gone.txt"], capsys, "gone.txt")
    (sphere / "mask.png").unlink()
    failing(["lights", sphere], capsys, "has no mask of the sphere")
    (sphere / "03.png").unlink()
    cv2.imwrite(str(sphere / "03.png"), np.zeros((20, 20), np.uint8))
    cv2.imwrite(str(sphere / "mask.png"), np.full((120, 160), 255, np.uint8))
    failing(["lights", sphere], capsys, "picture 4 of the stack of the sphere is not like the first")
