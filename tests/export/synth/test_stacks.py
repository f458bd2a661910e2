"""`python -m export.synth --heights`."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from edge_ad.data.layouts import load_category
from edge_ad.frames.capture import pictures_in
from edge_ad.frames.photometric.lights import lights_to_json, make_lights, read_lights
from edge_ad.system.entry import ERROR, OK
from export.synth.command import main
from tests.frames.photometric.made import part, photograph, ring, write_stack

LIGHTS = ring(6)
ASKED = ["--kinds", "dent,scratch", "--depths", "0.5,2", "--sheet"]


@pytest.fixture
def stacks(tmp_path):
    folder = tmp_path / "good"
    for number in range(2):
        true, albedo = part((56, 64), seed=number)
        write_stack(folder / f"{number:03}", photograph(true, albedo, LIGHTS, noise=0.003, seed=number))
    (folder / "lights.json").write_bytes(lights_to_json(make_lights(LIGHTS)))
    return folder


def test_what_is_written(stacks, tmp_path, capsys):
    out = tmp_path / "made"
    assert main(["--heights", str(stacks), "--out", str(out), *ASKED]) == OK
    assert "4 synthetic defects in height" in capsys.readouterr().out
    record = json.loads((out / "synthetic.json").read_text())
    assert [(row["kind"], row["depth_px"]) for row in record["defects"]] == [
        ("dent", 0.5),
        ("dent", 2.0),
        ("scratch", 0.5),
        ("scratch", 2.0),
    ]
    for row in record["defects"]:
        mask = cv2.imread(str(out / row["mask"]), cv2.IMREAD_GRAYSCALE) > 0
        name = row["file"].rsplit("/", 1)[1]
        marked = np.load(out / f"normals/M_{name}.npy")
        found = np.load(out / f"normals/A_{name}.npy")
        good = np.load(out / f"normals/N_{row['stack']}.npy")
        assert np.array_equal(mask, marked)
        assert mask.any()
        assert found.shape == (56, 64, 3)
        assert found.dtype == np.float32
        moved = np.linalg.norm(found - good, axis=2)
        assert moved[mask].mean() > 5 * moved[~mask].mean()
        assert len(pictures_in(out / row["file"])) == 6
        assert (out / f"normals/A_{name}.png").exists()
        assert (out / f"normals/M_{name}.png").exists()
    for old, new in zip(pictures_in(stacks / "000"), pictures_in(out / "test/good/000"), strict=True):
        assert np.array_equal(cv2.imread(old, -1), cv2.imread(new, -1))
    assert read_lights(out / "normals/L_000.json").count == 6
    assert (out / "sheets/synthetic_dent.png").exists()


def test_it_is_a_category_of_stacks(stacks, tmp_path):
    out = tmp_path / "part"
    main(["--heights", str(stacks), "--out", str(out), *ASKED])
    (out / "train").mkdir()
    (out / "train/good").symlink_to(out / "test/good")
    tests = load_category(out, stacks=True).test
    assert len(tests) == 6
    assert sum(image.mask is not None for image in tests) == 4


def test_the_same_seed_gives_the_same_bytes(stacks, tmp_path):
    one, other, third = (tmp_path / name for name in "abc")
    for out, seed in ((one, "1"), (other, "1"), (third, "2")):
        assert main([str(stacks), "--heights", "--out", str(out), "--seed", seed, "--kinds", "pit"]) == OK
    first = one / "test/synthetic_pit/synthetic_pit_0000/0000.png"
    paths = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    assert all((one / path).read_bytes() == (other / path).read_bytes() for path in paths)
    assert first.read_bytes() != (third / first.relative_to(one)).read_bytes()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--kinds", "stain"], "no kind of relief"),
        (["--depths", "0"], "--depths"),
        (["--depths", "1,1"], "names one twice"),
        (["--count", "0"], "--count"),
        (["--white-level", "70000"], "--white-level is out of range"),
        (["--lights", "missing.json"], "missing.json"),
    ],
)
def test_what_is_refused_writes_nothing(asked, said, stacks, tmp_path, capsys):
    out = tmp_path / "made"
    assert main(["--heights", str(stacks), "--out", str(out), *asked]) == ERROR
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_lights_must_be_known_and_folders_free(stacks, tmp_path, capsys):
    (stacks / "lights.json").unlink()
    assert main(["--heights", str(stacks), "--out", str(tmp_path / "made")]) == ERROR
    assert "lights of 000 are not known" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
    assert main(["--heights", str(stacks), "--out", str(stacks)]) == ERROR
    assert "nothing is overwritten" in capsys.readouterr().err
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert main(["--heights", str(stacks), "--out", str(tmp_path / "link")]) == ERROR
    assert "got a link" in capsys.readouterr().err


def test_the_stack_of_the_working_folder(stacks, tmp_path, monkeypatch):
    """The lights that are given are used, whatever lies beside it."""
    monkeypatch.chdir(stacks / "001")
    (stacks / "lights.json").rename(tmp_path / "lights.json")
    (stacks / "lights.json").write_text("old")
    asked = ["--lights", str(tmp_path / "lights.json"), "--kinds", "pit", "--depths", "1"]
    assert main(["--heights", ".", "--out", str(tmp_path / "made"), *asked]) == OK
    assert [folder.name for folder in (tmp_path / "made/test/good").iterdir()] == ["001"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda picture: picture[:40], "picture 4 of the stack is not like the first one"),
        (lambda picture: picture * 0, "picture 4 of the stack is dark"),
    ],
)
def test_a_stack_that_no_station_would_take_is_named(change, said, stacks, tmp_path, capsys):
    file = str(stacks / "001/03.png")
    cv2.imwrite(file, change(cv2.imread(file, -1)))
    assert main(["--heights", str(stacks), "--out", str(tmp_path / "made"), *ASKED]) == ERROR
    assert f"error: {stacks / '001'}: {said}" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_a_surface_that_is_black(stacks, tmp_path, capsys):
    write_stack(stacks / "000", [np.zeros((56, 64), np.uint8)] * 6)
    assert main(["--heights", str(stacks), "--out", str(tmp_path / "made"), *ASKED]) == ERROR
    assert f"{stacks / '000'}: the stack shows no surface" in capsys.readouterr().err


def test_light_of_the_hall_is_subtracted_and_kept(stacks, tmp_path, capsys):
    """A stack with ambient.png has the normals that it has without that light, and the picture goes with it."""
    hall = np.tile(np.linspace(0, 40, 64).astype(np.uint8), (56, 1))
    lit = tmp_path / "lit"
    for stack in ("000", "001"):
        dark = [cv2.imread(path, -1) for path in pictures_in(stacks / stack)]
        write_stack(lit / stack, [np.minimum(picture.astype(int) + hall, 255).astype(np.uint8) for picture in dark])
        cv2.imwrite(str(lit / stack / "Ambient.png"), hall)
    asked = ["--lights", str(stacks / "lights.json"), *ASKED]
    for given, out in ((stacks, "plain"), (lit, "made")):
        assert main(["--heights", str(given), "--out", str(tmp_path / out), *asked]) == OK
    for name in ("N_000", "N_001", "A_synthetic_dent_0001"):
        with_light, without = (np.load(tmp_path / out / f"normals/{name}.npy") for out in ("made", "plain"))
        assert np.abs(with_light - without).mean() < 0.01
    for folder in ("test/good/000", "test/synthetic_dent/synthetic_dent_0001"):
        files = pictures_in(tmp_path / "made" / folder)
        assert len(files) == 7
        assert np.array_equal(cv2.imread(files[-1], -1), hall)
    (lit / "000/ambient.bmp").write_bytes(b"another")
    assert main(["--heights", str(lit), "--out", str(tmp_path / "third"), *asked]) == ERROR
    assert "several pictures without the lights" in capsys.readouterr().err
