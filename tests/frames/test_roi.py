"""The opened region: rows, counts and grids; what a frame holds outside it changes nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_ad import Runtime
from edge_ad.frames.roi import RoiMasks, bounding_box, filled, patch_mask
from tests.tiny import bad_frame, good_frame


def test_without_a_region_all_is_inside() -> None:
    masks = RoiMasks((2, 3))
    assert masks.rows is None
    assert masks.count == 6
    assert masks.members == {}
    np.testing.assert_array_equal(masks.to_grid(np.arange(6, dtype=np.float32)), [[0, 1, 2], [3, 4, 5]])


def test_with_a_region_distances_stand_where_their_patches_are() -> None:
    patches = np.array([[False, True, False], [True, False, True]])
    masks = RoiMasks((2, 3), np.full((8, 12), 255, np.uint8), patches)
    assert masks.rows is not None
    assert masks.rows.tolist() == [1, 3, 5]
    assert masks.rows.dtype == np.int32
    assert masks.count == 3
    np.testing.assert_array_equal(masks.to_grid(np.array([7, 8, 9], np.float32)), [[0, 7, 0], [8, 0, 9]])
    assert masks.members["roi/patch_mask"].tolist() == [[0, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize(
    ("size", "covered"), [((40, 60), (40, 60)), ((37, 59), (40, 60)), ((3, 4), (3, 4)), ((1, 1), (2, 9))]
)
def test_a_patch_is_inside_if_any_pixel_of_its_cell_is(size: tuple[int, int], covered: tuple[int, int]) -> None:
    """Also where there are more patches than pixels, or the grid goes on beyond them."""
    mask, grid = np.zeros(size, np.uint8), (5, 6)
    mask[np.random.default_rng(0).random(size) < 0.02] = 255
    mask[0, -1] = 255
    expected = np.zeros(grid, np.bool_)
    for y, x in zip(*np.nonzero(mask), strict=True):
        expected[y * grid[0] // covered[0], x * grid[1] // covered[1]] = True
    np.testing.assert_array_equal(patch_mask(mask, grid, covered), expected)


def test_the_box_and_the_holes_of_a_mask() -> None:
    mask = np.zeros((12, 9), np.bool_)
    mask[:7, 2:8] = True
    solid = mask.copy()
    mask[2:5, 4] = mask[0, 5] = False  # a hole, and a bay at the border
    solid[0, 5] = False
    assert bounding_box(mask) == (0, 2, 7, 8)
    np.testing.assert_array_equal(filled(mask), solid)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1))
def test_pixels_outside_the_region_change_nothing(roi: Runtime, seed: int) -> None:
    y0, x0, y1, x1 = roi.manifest.roi.box  # type: ignore[union-attr]
    frame = bad_frame(12)
    other = np.random.default_rng(seed).integers(0, 256, frame.shape, np.uint8)
    other[y0:y1, x0:x1] = frame[y0:y1, x0:x1]
    a, b = roi.inspect(frame), roi.inspect(other)
    assert a.score == b.score
    np.testing.assert_array_equal(a.anomaly_map, b.anomaly_map)
    assert a.regions == b.regions


@pytest.mark.parametrize("scale", [1, 2, 3, 5])
def test_the_map_is_zero_outside_the_region(roi: Runtime, scale: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (64 * scale, 64 * scale, 3), np.uint8)
    y0, x0, y1, x1 = (scale * side for side in roi.manifest.roi.box)  # type: ignore[union-attr]
    verdict = roi.inspect(frame)
    inside = np.zeros(frame.shape[:2], np.bool_)
    inside[y0:y1, x0:x1] = True
    assert verdict.anomaly_map[inside].max() > 0
    assert verdict.anomaly_map[~inside].max() == 0
    assert not verdict.mask[~inside].any()


def test_the_region_makes_the_tensor_smaller(roi: Runtime, runtime: Runtime) -> None:
    assert roi.manifest.backbone.tensor_size == (32, 32) < runtime.manifest.backbone.tensor_size
    assert len(roi.probe(good_frame(0)).distances) < math.prod(roi.manifest.backbone.grid)
