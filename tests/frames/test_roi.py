"""The opened region: rows, counts and grids."""

from __future__ import annotations

import numpy as np

from edge_ad.frames.roi import RoiMasks


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
