"""`python -m export.synth`: what it writes, what it refuses, and what is left after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.data.labelled import check_masks, load_labelled
from edge_ad.frames.check import read_frame
from export.synth.command import RECORD, main
from export.synth.defect import KINDS
from tests.export.synth.test_defect import change, part_on_white, surface
from tests.processes import child


@pytest.fixture
def good(tmp_path: Path) -> Path:
    folder = tmp_path / "good"
    folder.mkdir()
    for n, side in enumerate((96, 112, 96)):
        cv2.imwrite(str(folder / f"part {n}.png"), part_on_white(side))
    return folder


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_what_is_written_is_a_labelled_set(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "synthetic"
    arguments = [str(good), "--out", str(out), "--sizes", "0.1", "--contrasts", "0.1,0.3", "--count", "2", "--sheet"]
    assert main(arguments) == 0
    assert f"{4 * len(KINDS)} synthetic defects of 10 kinds on 3 good images" in capsys.readouterr().out
    found = load_labelled(str(out))
    assert found.layout == "MVTec AD"
    assert found.kinds == {f"synthetic_{kind}" for kind in KINDS}
    assert found.notes == ()
    assert (len(found.images), sum(image.defect is None for image in found.images)) == (4 * len(KINDS) + 3, 3)
    check_masks(found.images)
    record = json.loads((out / RECORD).read_text(encoding="utf-8"))
    assert record["synthetic"] is True
    assert len(record["defects"]) == 4 * len(KINDS)
    for row in record["defects"]:
        before, after = read_frame(good / row["image"]), read_frame(out / row["file"])
        assert ((read_frame(out / row["mask"]) == 255) == (change(before, after) > 0)).all()
        assert "synthetic" in row["file"]
    for kind in KINDS:
        assert read_frame(out / "sheets" / f"synthetic_{kind}.png").ndim == 3
    assert all((out / "test/good" / path.name).read_bytes() == path.read_bytes() for path in good.iterdir())


def test_same_seed_same_files(good: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        arguments = ["--sizes", "0.1", "--contrasts", "0.2", "--seed", seed]
        assert main([str(good), "--out", str(tmp_path / name), *arguments]) == 0
    first, again, other = (contents(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() - other.keys() <= {name for name in first if name.startswith("test/good/")}
    assert all(first[name] != other[name] for name in first if "synthetic" in name and "good" not in name)


def test_grey_and_16_bit_images(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "grey.png"), surface((64, 80)))
    cv2.imwrite(str(images / "deep.png"), surface((64, 64), np.uint16))
    assert main([str(images), "--out", str(tmp_path / "out"), "--kinds", "spot,dent", "--sizes", "0.2", "--sheet"]) == 0
    rows = json.loads((tmp_path / "out" / RECORD).read_text(encoding="utf-8"))["defects"]
    assert {row["image"] for row in rows} == {"grey.png", "deep.png"}
    for row in rows:
        image = read_frame(tmp_path / "out" / row["file"])
        assert (image.ndim, image.dtype) == (2, np.uint16 if row["image"] == "deep.png" else np.uint8)


def test_the_region_is_kept(good: Path, tmp_path: Path) -> None:
    arguments = ["--sizes", "0.3", "--contrasts", "0.4", "--roi", "40,40,60,70"]
    assert main([str(good), "--out", str(tmp_path / "out"), *arguments]) == 0
    for row in json.loads((tmp_path / "out" / RECORD).read_text(encoding="utf-8"))["defects"]:
        y0, x0, y1, x1 = row["box"]
        assert y0 >= 40
        assert x0 >= 40
        assert y1 <= 60
        assert x1 <= 70


def test_what_cannot_be_seen_is_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    cv2.imwrite(str(images / "black.png"), np.zeros((64, 64, 3), np.uint8))
    arguments = ["--kinds", "missing,spot", "--sizes", "0.2", "--contrasts", "0.3"]
    assert main([str(images), "--out", str(out), *arguments]) == 0
    said = capsys.readouterr().out
    assert "1 synthetic defects" in said
    assert "left out: black.png: a synthetic defect of the kind missing cannot be seen" in said
    rows = json.loads((out / RECORD).read_text(encoding="utf-8"))["defects"]
    assert ["left_out" in row for row in rows] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kinds", "scrach"], "Did you mean scratch"),
        (["--kinds", ""], "--kinds"),
        (["--kinds", "dent,dent"], "--kinds"),
        (["--sizes", "0.1,2"], "--sizes"),
        (["--contrasts", "0"], "--contrasts"),
        (["--count", "0"], "--count"),
        (["--seed", "-1"], "--seed"),
        (["--roi", "0,0,500,500"], "box of --roi"),
        (["--roi", "none.png"], "none.png"),
    ],
)
def test_options_out_of_range(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([str(good), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--sizes", "small"], ["--kind", "dent", "--outt", "x"], []])
def test_what_argparse_refuses(good: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(good), *arguments])


def test_folders_without_good_images(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, category = tmp_path / "empty", tmp_path / "category"
    empty.mkdir()
    (category / "test").mkdir(parents=True)
    good.rename(category / "test/good")
    for given, message in (
        (empty, "there are no images"),
        (category, f"Give the folder of the good images: {category / 'test/good'}"),
        (tmp_path / "nowhere", "nothing there"),
        (category / "test/good/part 0.png", "a file"),
    ):
        assert main([str(given), "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err


def test_a_broken_image_is_named(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (good / "part 1.png").write_bytes((good / "part 1.png").read_bytes()[:200])
    assert main([str(good), "--out", str(tmp_path / "out")]) == 2
    assert "part 1.png is truncated" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("full", "file", "free"):
        out = tmp_path / name
        if name == "file":
            out.write_text("mine")
        else:
            out.mkdir()
        if name == "full":
            (out / "mine.txt").write_text("mine")
        before = contents(tmp_path)
        code = main([str(good), "--out", str(out), "--kinds", "dent", "--sizes", "0.1"])
        assert code == (0 if name == "free" else 2)
        if code:
            assert "nothing is overwritten" in capsys.readouterr().err
            assert contents(tmp_path) == before


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_leaves_nothing(good: Path, tmp_path: Path) -> None:
    out = tmp_path / "above" / "out"
    command = [sys.executable, "-m", "export.synth", str(good), "--out", str(out), "--count", "1000"]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not list(tmp_path.glob("above/.out.*/test/synthetic_*/*.png")):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; nothing was written" in said
    assert not (tmp_path / "above").exists()
