"""`edge-ad roi`: draws a region of interest, changes it, and says what may be wrong with it."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.evaluation.metrics_row import roi_of
from tests.cli.calling import failing
from tests.paths import ROOT
from tests.tiny import SIZE, good_frame

SIDE = (96, 120)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A category: a dark square, somewhat moved, before a light ground; one of two defects lies off it."""
    root = tmp_path / "square"
    for part in ("train/good", "test/good", "test/spot", "ground_truth/spot"):
        (root / part).mkdir(parents=True)
    for i in range(6):
        frame = np.full((*SIDE, 3), 200, np.uint8)
        frame[30 + i : 70 + i, 40:80] = (60, 90, 70)
        for part in ("train/good", "test/good"):
            cv2.imwrite(str(root / part / f"{i}.png"), frame)
    for i, (y, x) in enumerate([(50, 60), (5, 5)]):
        mask = np.zeros(SIDE, np.uint8)
        mask[y : y + 4, x : x + 4] = 255
        cv2.imwrite(str(root / "test/spot" / f"{i}.png"), frame)
        cv2.imwrite(str(root / "ground_truth/spot" / f"{i}_mask.png"), mask)
    return root


def told(*arguments: object, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main(["roi", *map(str, arguments)]) == 0
    rows = (line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    return {row[0]: row[1] if len(row) > 1 else "" for row in rows}


def written(path: str) -> np.ndarray:
    image = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    assert image is not None
    assert set(np.unique(image)) <= {0, 255}
    found: np.ndarray = image > 0
    return found


# -------------------------------------------------------------------------------------------------------- bundles


def test_the_region_of_a_bundle(golden_roi: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = told(golden_roi, "--out", "mask.png", capsys=capsys)
    with Bundle.open(golden_roi) as bundle:
        kept = roi_of(bundle)((SIZE, SIZE))
        assert facts["region"] == bundle.manifest.roi.source  # type: ignore[union-attr]
    np.testing.assert_array_equal(written("mask.png"), kept)
    assert facts["share"].startswith(f"{100 * kept.mean():.1f}% of the frame")  # type: ignore[union-attr]
    assert cv2.imread(facts["picture"]).shape == (SIZE, SIZE, 3)
    assert facts["picture"] == "format-1-roi.roi.png"


def test_a_bundle_without_a_region(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite("on.png", np.repeat(good_frame(1), 2, axis=0))
    facts = told(golden, "--on", "on.png", "--remove", "0,0,10,64", capsys=capsys)
    assert facts["region"] == "the whole frame"
    assert facts["frame"] == f"{2 * SIZE} x {SIZE}"
    assert facts["share"] == f"{100 * (1 - 10 / (2 * SIZE)):.1f}% of the frame, box 10,0,{2 * SIZE},{SIZE}"


# -------------------------------------------------------------------------------------------------------- folders


def test_the_region_that_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = told(folder, "--out", "mask.png", capsys=capsys)
    mask = written("mask.png")
    assert mask[30:75, 40:80].all()
    assert not mask[:20].any()
    assert "from 6 good images" in facts["region"]
    assert facts["holes"] == "none: the region is closed"
    assert facts["parts"] == "1"
    assert facts["border"] == "not touched"
    assert facts["defects"] == "50.00% of their pixels lie outside; most in spot/1.png, 100.0%"
    again = told(folder, "--roi", "mask.png", "--out", "again.png", capsys=capsys)
    assert again["share"] == facts["share"]
    np.testing.assert_array_equal(written("again.png"), mask)


def test_the_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(folder, "--roi", "20,30,80,90", "--picture", "p.png", capsys=capsys)
    drawn, frame = cv2.imread("p.png"), cv2.imread(str(folder / "train/good/0.png"))
    np.testing.assert_array_equal(drawn[40:60, 50:70], frame[40:60, 50:70])  # kept
    assert (drawn[:10].astype(int).sum(axis=2) < frame[:10].astype(int).sum(axis=2)).all()  # dropped
    assert tuple(drawn[20, 60]) == (0, 220, 0)  # outline


def brushed(path: Path, y: int, x: int, shape: tuple[int, int], corner: tuple[float, float] | None = None) -> Path:
    """A file of labelme whose brush has drawn a full rectangle."""
    coded = base64.b64encode(cv2.imencode(".png", np.ones(shape, np.uint8))[1].tobytes()).decode()
    bottom, right = corner or (y + shape[0] - 1, x + shape[1] - 1)
    stroke = {"label": "part", "points": [[x, y], [right, bottom]], "shape_type": "mask", "mask": coded}
    path.write_text(json.dumps({"shapes": [stroke], "imageHeight": SIDE[0], "imageWidth": SIDE[1]}))
    return path


def test_it_is_changed_by_boxes_polygons_and_a_brush(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.json").write_text(json.dumps([[0, 0], [0, 9], [9, 9], [9, 0]]))
    stroke = brushed(tmp_path / "brush.json", 80, 100, (10, 15))
    arguments = ["--roi", "30,40,70,80", "--add", "p.json", "--add", stroke, "--remove", "45,55,55,65"]
    facts = told(folder, *arguments, "--out", "m.png", capsys=capsys)
    expected = np.zeros(SIDE, np.bool_)
    expected[30:70, 40:80] = expected[:10, :10] = expected[80:90, 100:115] = True
    expected[45:55, 55:65] = False
    np.testing.assert_array_equal(written("m.png"), expected)
    assert facts["holes"] == "1"
    assert facts["parts"] == "3"
    assert facts["border"] == "touched at the top by 10 pixels, touched at the left by 10 pixels"


def test_specks_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = told(folder, "--roi", "30,40,70,80", "--add", "1,1,3,3", capsys=capsys)
    assert facts["parts"] == "2, 1 smaller than a patch of 4 x 4 pixels"


def test_a_mask_into_the_standard_output_stays_clean(folder: Path) -> None:
    command = [sys.executable, "-m", "edge_ad.cli", "roi", str(folder), "--roi", "30,40,70,80", "--out", "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    assert (cv2.imdecode(np.frombuffer(done.stdout, np.uint8), 0) > 0).sum() == 1600
    assert done.stdout.endswith(b"IEND\xaeB`\x82")
    assert b"share" in done.stderr


# ------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("stroke", "says"),
    [
        ({"corner": (85, 105)}, "no picture of its corners"),
        ({"y": 90}, "no picture of its corners"),
        ({"y": -3}, "no picture of its corners"),
        ({"corner": (float("nan"), 114)}, "no picture of its corners"),
        ({"corner": (1e300, 114)}, "no picture of its corners"),
    ],
)
def test_brushes_that_do_not_fit(
    folder: Path, tmp_path: Path, stroke: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = brushed(tmp_path / "b.json", **{"y": 80, "x": 100, "shape": (10, 15), **stroke})
    failing(["roi", folder, "--roi", path], capsys, rf"cannot read the polygon .*b\.json.*{says}")


@pytest.mark.parametrize("mask", ["", "no base64", base64.b64encode(b"no PNG").decode(), 7, None])
def test_a_brush_that_is_no_picture(
    folder: Path, tmp_path: Path, mask: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = brushed(tmp_path / "b.json", 80, 100, (10, 15))
    content = json.loads(path.read_text())
    content["shapes"][0]["mask"] = mask
    path.write_text(json.dumps(content))
    failing(["roi", folder, "--roi", path], capsys, r"cannot read the polygon .*b\.json")


def test_arguments_that_are_refused(
    folder: Path, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite("small.png", np.full((20, 20), 255, np.uint8))
    failing(["roi", golden, "--roi", "0,0,9,9"], capsys, "--roi is for a folder")
    failing(["roi", folder, "--roi", "small.png"], capsys, r"another size than the frames.*\(96, 120\).*\(20, 20\)")
    failing(["roi", folder, "--on", "small.png"], capsys, "--on has another size than the good images")
    failing(["roi", folder, "--roi", "5,5,5,9"], capsys, "empty or outside the frame")
    failing(
        ["roi", folder, "--remove", "0,0,96,120"],
        capsys,
        rf"nothing is left of the region of {folder}; .*--remove takes out: 0,0,96,120. Take out less",
    )
    failing(["roi", folder, "--add", "gone.png"], capsys, r"gone\.png")
    failing(["roi", tmp_path / "gone"], capsys, "gone")
    failing(["roi", tmp_path / "small.png"], capsys, r"small\.png")
    assert not list(tmp_path.glob("*.roi.png"))


def test_no_output_replaces_an_input(folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite("mask.png", np.full(SIDE, 255, np.uint8))
    image = folder / "train/good/0.png"
    before = image.read_bytes(), bundle.read_bytes(), Path("mask.png").read_bytes()
    failing(["roi", folder, "--picture", image], capsys, "--picture would replace a good image")
    failing(["roi", folder, "--roi", "mask.png", "--out", "mask.png"], capsys, "--out would replace a shape")
    failing(["roi", folder, "--out", folder / "ground_truth/spot/0_mask.png"], capsys, "would replace a mask")
    failing(["roi", bundle, "--picture", bundle], capsys, "--picture would replace the bundle")
    failing(["roi", folder, "--out", "a.png", "--picture", "a.png"], capsys, "are one file")
    failing(["roi", folder, "--out", folder], capsys, "--out is a folder")
    assert before == (image.read_bytes(), bundle.read_bytes(), Path("mask.png").read_bytes())


def test_images_of_several_sizes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(folder / "train/good/9.png"), np.full((50, 50), 200, np.uint8))
    failing(["roi", folder], capsys, re.escape("a region of interest needs images of one size"))
