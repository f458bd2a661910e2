"""Files that give a region of interest as other tools write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_ad.errors import SpecError
from export.roi import read_roi

SIZE = (60, 80)
TRIANGLE = [[10, 20], [10, 50], [40, 20]]  # (y, x)


def labelme(path: Path, *shapes: dict[str, Any], size: tuple[int | None, int | None] = SIZE) -> str:
    content = {
        "version": "5.4.1",
        "shapes": shapes,
        "imageHeight": size[0],
        "imageWidth": size[1],
        "imagePath": "a.png",
    }
    path.write_text(json.dumps(content))
    return str(path)


def shape(kind: str, *points: tuple[float, float]) -> dict[str, Any]:
    return {"label": "part", "points": points, "shape_type": kind, "group_id": None, "flags": {}}


# --------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("value", [1, 3, 255])
def test_a_mask_of_0_and_another_value(tmp_path: Path, value: int) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[5:50, 7:70] = value
    cv2.imwrite(str(tmp_path / "roi.png"), mask)
    assert read_roi(str(tmp_path / "roi.png"), SIZE).box == (5, 7, 50, 70)


def test_a_mask_without_suffix(tmp_path: Path) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[5:50, 7:70] = 255
    (tmp_path / "roi").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    assert read_roi(str(tmp_path / "roi"), SIZE).box == (5, 7, 50, 70)


def test_an_ambiguous_mask_is_refused(tmp_path: Path) -> None:
    mask = np.ones(SIZE, np.uint8)
    mask[5:50, 7:70] = 2
    cv2.imwrite(str(tmp_path / "roi.png"), mask)
    with pytest.raises(SpecError, match=r"--roi: it is unclear what the mask .*roi\.png marks"):
        read_roi(str(tmp_path / "roi.png"), SIZE)


# ---------------------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_passed_over(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "roi.json").write_text(json.dumps(TRIANGLE), encoding=encoding)
    assert read_roi(str(tmp_path / "roi.json"), SIZE).box == (10, 20, 41, 51)


@pytest.mark.parametrize("kind", ["polygon", None])
def test_a_polygon_of_labelme_has_x_first(tmp_path: Path, kind: str) -> None:
    text = labelme(tmp_path / "roi.json", shape(kind, *((x, y) for y, x in TRIANGLE)))
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(TRIANGLE))
    np.testing.assert_array_equal(read_roi(text, SIZE).mask, read_roi(str(plain), SIZE).mask)


@pytest.mark.parametrize("corners", [((20, 10), (50, 40)), ((50, 10), (20, 40))])
def test_a_rectangle_of_labelme(tmp_path: Path, corners: tuple[tuple[float, float], ...]) -> None:
    region = read_roi(labelme(tmp_path / "roi.json", shape("rectangle", *corners)), SIZE)
    assert region.box == (10, 20, 41, 51)
    assert region.mask[10:41, 20:51].all()


def test_a_circle_of_labelme(tmp_path: Path) -> None:
    region = read_roi(labelme(tmp_path / "roi.json", shape("circle", (40, 30), (40, 45))), SIZE)
    assert region.box == (15, 25, 46, 56)
    assert region.mask.sum() == pytest.approx(np.pi * 15.5**2, rel=0.03)  # its rim is inside


def test_all_shapes_are_kept(tmp_path: Path) -> None:
    shapes = [shape("rectangle", (1, 2), (9, 8)), shape("rectangle", (60, 40), (70, 50))]
    region = read_roi(labelme(tmp_path / "roi.json", *shapes), SIZE)
    assert region.box == (2, 1, 51, 71)
    assert not region.mask[20, 30]


def test_a_file_that_does_not_tell_its_size(tmp_path: Path) -> None:
    text = labelme(tmp_path / "roi.json", shape("rectangle", (1, 2), (9, 8)), size=(None, None))
    assert read_roi(text, SIZE).box == (2, 1, 9, 10)


def test_an_image_of_another_size(tmp_path: Path) -> None:
    text = labelme(tmp_path / "roi.json", shape("rectangle", (1, 2), (9, 8)), size=(600, 800))
    with pytest.raises(SpecError, match=r"another size than the frames; expected \(60, 80\); got \(600, 800\)"):
        read_roi(text, SIZE)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        (
            [shape("linestrip", (1, 2), (9, 8), (3, 4))],
            "holds a linestrip; expected polygons, rectangles, circles and masks",
        ),
        ([shape("rectangle", (1, 2))], "a rectangle of 1 points"),
        ([shape("circle", (1, 2), (3, 4), (5, 6))], "a circle of 3 points"),
        ([shape("polygon", (1, 2), (3, 4))], "is not a polygon"),
        ([shape("circle", (1, 2), (3, float("nan")))], "is not a polygon"),
        ([], "is not a polygon"),
        ([7], "cannot read the polygon"),
        ([{"label": "part"}], "cannot read the polygon"),
    ],
)
def test_shapes_that_give_no_region(tmp_path: Path, shapes: list[Any], says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        read_roi(labelme(tmp_path / "roi.json", *shapes), SIZE)
    assert "roi.json" in str(caught.value)
