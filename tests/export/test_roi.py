"""The region of interest: how it is given, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.errors import EdgeADError, SpecError
from edge_ad.frames.crop import resize
from edge_ad.frames.roi import patch_mask
from edge_ad.spec import RESIZES
from export.roi import ALIGN_PX, DrawnRoi, read_roi, roi_crop, roi_mask

SIZE = (60, 80)


def boxed(size: tuple[int, int], box: tuple[int, int, int, int]) -> DrawnRoi:
    mask = np.zeros(size, np.bool_)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return DrawnRoi("box", mask)


def test_a_box() -> None:
    region = read_roi("10,20,30,45", SIZE)
    assert region.box == (10, 20, 30, 45)
    assert region.mask.sum() == 20 * 25
    assert region.source == "box 10,20,30,45"
    assert read_roi(" 0, 0, 60, 80 ", SIZE).mask.all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("color", [False, True])
def test_a_mask(tmp_path: Path, dtype: type, color: bool) -> None:
    white = np.iinfo(dtype).max
    image = np.zeros(SIZE, dtype)
    image[5:50, 7:70] = white
    image[20, 20] = white // 4  # dark grey drops
    image[21, 20] = white - white // 4  # light grey keeps
    path = tmp_path / "roi.png"
    cv2.imwrite(str(path), np.stack([image] * 3, axis=2) if color else image)
    region = read_roi(str(path), SIZE)
    assert region.box == (5, 7, 50, 70)
    assert not region.mask[20, 20]
    assert region.mask[21, 20]
    assert region.source == "mask roi.png"


@pytest.mark.parametrize("form", ["list", "object", "several"])
def test_a_polygon(tmp_path: Path, form: str) -> None:
    points = [[10, 20], [10, 60], [40, 60], [40, 20]]
    other = [[50, 1], [50, 5], [55, 5]]
    value = {"list": points, "object": {"points": points}, "several": [points, other]}[form]
    path = tmp_path / "roi.json"
    path.write_text(json.dumps(value))
    region = read_roi(str(path), SIZE)
    expected = np.zeros(SIZE, np.bool_)
    expected[10:41, 20:61] = True
    if form == "several":
        assert region.mask[51, 4]
        expected[50:56, 1:6] = region.mask[50:56, 1:6]
    np.testing.assert_array_equal(region.mask, expected)


def test_a_polygon_may_reach_out_of_the_frame(tmp_path: Path) -> None:
    path = tmp_path / "roi.json"
    path.write_text(json.dumps([[-10, -10], [-10, 1000], [30.4, 1000], [30.4, -10]]))
    assert read_roi(str(path), SIZE).box == (0, 0, 31, 80)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "3",
        '"abc"',
        "[[1, 2]]",
        "[[1, 2], [3, 4]]",
        "[[1, 2, 3], [3, 4, 5], [5, 6, 7]]",
        "[[1, 2], [3, 4], [5]]",
        '[["a", "b"], ["c", "d"], ["e", "f"]]',
        "[[1, 2], [3, NaN], [5, 6]]",
        "[[1, 2], [3, 1e300], [5, 6]]",
        f"[[1, 2], [3, {10**400}], [5, 6]]",  # no float64
        '{"points": null}',
        '{"points": {}}',
        "[[[1, 2], [3, 4], [5, 6]], [[1, 2]]]",
        "[[[1, 2], [3, 4], [5, 6]], 7]",
        "[" * 10_000,
    ],
)
def test_what_is_no_polygon(tmp_path: Path, text: str) -> None:
    path = tmp_path / "roi.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"roi\.json") as caught:
        read_roi(str(path), SIZE)
    assert len(str(caught.value)) < 500


def test_a_polygon_outside_the_frame_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "roi.json"
    path.write_text("[[100, 100], [100, 120], [120, 120]]")
    with pytest.raises(SpecError, match="empty"):
        read_roi(str(path), SIZE)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "roi.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError):
        read_roi(str(path), SIZE)


@pytest.mark.parametrize(
    "text",
    ["", "1,2,3,4,5", "1 2 3 4", "1.5,2,3,4", "10,10,5,20", "0,0,61,80", "5,5,5,5", "0,0,5," + "9" * 300, "x" * 300],
)
def test_what_is_no_box(text: str) -> None:
    with pytest.raises(EdgeADError):
        read_roi(text, SIZE)


def test_the_crop_has_a_halo_and_is_aligned() -> None:
    region = boxed((256, 256), (100, 40, 150, 90))
    assert roi_crop(region, (256, 256), 16) == (80, 16, 176, 112)
    assert roi_crop(region, (256, 256), 0) == (96, 32, 160, 96)
    assert roi_crop(region, (256, 256), 1000) == (0, 0, 256, 256)
    assert roi_crop(boxed((512, 512), (200, 80, 300, 180)), (256, 256), 16) == (80, 16, 176, 112)


@st.composite
def regions(draw: st.DrawFn) -> tuple[DrawnRoi, tuple[int, int], int]:
    size = (draw(st.integers(16, 200)), draw(st.integers(16, 200)))
    input_size = (draw(st.integers(16, 160)), draw(st.integers(16, 160)))
    if draw(st.booleans()):
        y0, x0 = draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1))
        region = boxed(size, (y0, x0, draw(st.integers(y0 + 1, size[0])), draw(st.integers(x0 + 1, size[1]))))
    else:
        mask = np.zeros(size, np.uint8)
        center = (draw(st.integers(0, size[1] - 1)), draw(st.integers(0, size[0] - 1)))
        cv2.circle(mask, center, draw(st.integers(2, 100)), 1, -1)
        region = DrawnRoi("mask", mask.astype(np.bool_))
    return region, input_size, draw(st.integers(0, 40))


@pytest.mark.parametrize("by", RESIZES)
@settings(max_examples=200)
@given(regions(), st.integers(0, 2**32 - 1))
def test_nothing_outside_reaches_a_kept_pixel(by: str, found: tuple[DrawnRoi, tuple[int, int], int], seed: int) -> None:
    """Whatever the frame is outside the region, the tensor is the same wherever the mask is white."""
    region, input_size, halo = found
    crop = roi_crop(region, input_size, halo)
    assert 0 <= crop[0] < crop[2] <= input_size[0]
    assert 0 <= crop[1] < crop[3] <= input_size[1]
    assert all(side % ALIGN_PX == 0 or side in input_size for side in crop)
    try:
        mask = roi_mask(region, crop, input_size, by)
    except SpecError as error:
        assert "too thin" in str(error)  # noqa: PT017
        return
    assert mask.shape == (crop[2] - crop[0], crop[3] - crop[1])
    assert set(np.unique(mask)) <= {0, 255}
    size = region.mask.shape
    scale = [size[i] / input_size[i] for i in (0, 1)]
    y0, x0, y1, x1 = (round(side * scale[i % 2]) for i, side in enumerate(crop))
    frame = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    for value in (0, 255):
        other = np.where(region.mask, frame, np.uint8(value))
        a, b = (
            resize(image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)], mask.shape, by=by) for image in (frame, other)
        )
        np.testing.assert_array_equal(a[mask == 255], b[mask == 255])


@pytest.mark.parametrize("by", RESIZES)
def test_the_whole_frame_is_kept_whole(by: str) -> None:
    region = boxed((100, 120), (0, 0, 100, 120))
    assert (roi_mask(region, (0, 0, 64, 64), (64, 64), by) == 255).all()


def test_too_thin() -> None:
    with pytest.raises(SpecError, match="too thin"):
        roi_mask(boxed((512, 512), (100, 100, 102, 400)), (0, 0, 64, 64), (64, 64), "area")


def test_a_patch_is_kept_when_any_of_its_pixels_is() -> None:
    mask = np.zeros((32, 48), np.uint8)
    mask[7:9, 20] = 255  # in two cells of 8 x 8
    kept = patch_mask(mask, (4, 6), mask.shape)
    assert kept.sum() == 2
    assert kept[0, 2]
    assert kept[1, 2]
    assert patch_mask(np.full((30, 50), 255, np.uint8), (4, 7), (30, 50)).all()
    mask[:] = 0
    mask[31, 47] = 255
    assert patch_mask(mask, (4, 6), mask.shape)[3, 5]
