"""Patch distances to the map of a frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_ad import Runtime
from edge_ad.frames.spread import SIGMA_PX
from edge_ad.verdict.anomaly_map import anomaly_map
from tests.tiny import bad_frame

GRID, TENSOR = (8, 10), (64, 80)


WHOLE = (0, 0, *TENSOR)


def upsampled(distances: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear with half-pixel centres, edges held: written out."""
    for axis in (0, 1):
        count = distances.shape[axis]
        at = (np.arange(size[axis]) + 0.5) * count / size[axis] - 0.5
        low = np.clip(np.floor(at).astype(int), 0, count - 1)
        high = np.clip(low + 1, 0, count - 1)
        weight = np.clip(at - low, 0, 1).reshape([-1, 1] if axis == 0 else [1, -1])
        distances = np.take(distances, low, axis) * (1 - weight) + np.take(distances, high, axis) * weight
    return distances


def blurred(plane: np.ndarray) -> np.ndarray:
    """Gaussian of 4 sigma, mirrored with the border repeated: written out."""
    radius = round(4 * SIGMA_PX)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / SIGMA_PX) ** 2)
    weights /= weights.sum()
    padded = np.pad(plane, radius, mode="symmetric")
    rows = np.apply_along_axis(lambda line: np.convolve(line, weights, "valid"), 0, padded)
    return np.apply_along_axis(lambda line: np.convolve(line, weights, "valid"), 1, rows)


def random_grid(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 3, GRID).astype(np.float32)


def test_against_a_plain_reference() -> None:
    distances = random_grid()
    found = anomaly_map(distances, None, None, TENSOR, WHOLE, TENSOR)
    assert (found.shape, found.dtype) == (TENSOR, np.float32)
    np.testing.assert_allclose(found, blurred(upsampled(distances.astype(np.float64), TENSOR)), rtol=1e-3, atol=1e-4)


def test_a_constant_stays_constant() -> None:
    found = anomaly_map(np.full(GRID, 2.5, np.float32), None, None, TENSOR, WHOLE, TENSOR)
    np.testing.assert_allclose(found, 2.5, rtol=1e-5)


def test_a_peak_stands_where_its_patch_is() -> None:
    distances = np.zeros(GRID, np.float32)
    distances[2, 7] = 1
    found = anomaly_map(distances, None, None, TENSOR, (0, 0, 640, 800), (640, 800))
    y, x = np.unravel_index(found.argmax(), found.shape)
    assert abs(y - 10 * (2 + 0.5) * 8) <= 10
    assert abs(x - 10 * (7 + 0.5) * 8) <= 10


def test_a_crop_is_put_where_it_lies() -> None:
    distances = np.ones(GRID, np.float32)
    found = anomaly_map(distances, None, None, TENSOR, (20, 30, 84, 110), (200, 300))
    assert found.shape == (200, 300)
    inside = np.zeros(found.shape, bool)
    inside[20:84, 30:110] = True
    np.testing.assert_allclose(found[inside], 1, rtol=1e-5)
    assert not found[~inside].any()


def test_masked_patches_do_not_dim_the_border_of_the_region() -> None:
    patch_mask = np.zeros(GRID, np.bool_)
    patch_mask[2:6, 3:8] = True
    pixel_mask = np.zeros(TENSOR, np.uint8)
    pixel_mask[16:48, 24:64] = 255
    distances = np.where(patch_mask, np.float32(2), np.float32(np.nan))  # not used, whatever it is
    found = anomaly_map(distances, patch_mask, pixel_mask, TENSOR, WHOLE, TENSOR)
    np.testing.assert_allclose(found[pixel_mask == 255], 2, rtol=1e-4)
    assert not found[pixel_mask == 0].any()


@pytest.mark.parametrize("scale", [1, 2, 3, 7])
def test_nothing_leaks_out_of_the_mask_at_any_scale(scale: int) -> None:
    patch_mask = np.zeros(GRID, np.bool_)
    patch_mask[2:6, 3:8] = True
    pixel_mask = np.zeros(TENSOR, np.uint8)
    pixel_mask[17:45, 25:61] = 255
    size = (scale * TENSOR[0], scale * TENSOR[1])
    found = anomaly_map(random_grid() + 1, patch_mask, pixel_mask, TENSOR, (0, 0, *size), size)
    inside = np.kron(pixel_mask, np.ones((scale, scale), np.uint8)) == 255
    assert not found[~inside].any()
    assert (found[inside] > 0).all()


@settings(max_examples=50)
@given(hnp.arrays(np.float32, GRID, elements=st.floats(0, 1e4, width=32)))
def test_it_never_leaves_the_range_of_the_distances(distances: np.ndarray) -> None:
    found = anomaly_map(distances, None, None, TENSOR, (0, 0, 100, 50), (100, 50))
    slack = 1e-4 * float(distances.max()) + 1e-6
    assert found.min() >= distances.min() - slack
    assert found.max() <= distances.max() + slack


def test_the_input_is_left_alone() -> None:
    distances, patch_mask = random_grid(), np.ones(GRID, np.bool_)
    pixel_mask = np.full(TENSOR, 255, np.uint8)
    kept = distances.copy()
    anomaly_map(distances, patch_mask, pixel_mask, TENSOR, WHOLE, TENSOR)[:] = -1
    np.testing.assert_array_equal(distances, kept)
    assert patch_mask.all()
    assert (pixel_mask == 255).all()


@pytest.mark.parametrize("size", [(64, 64), (100, 80), (33, 47), (16, 16), (16, 900), (480, 640)])
def test_the_map_comes_in_the_pixels_of_the_frame(runtime: Runtime, roi: Runtime, size: tuple[int, int]) -> None:
    frame = cv2.resize(bad_frame(10), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    for each in (runtime, roi):
        verdict = each.inspect(frame)
        assert verdict.anomaly_map.shape == verdict.mask.shape == size
        assert np.isfinite(verdict.anomaly_map).all()
        assert verdict.overlay(frame).shape == (*size, 3)
        for region in verdict.regions:
            assert 0 <= region.box[0] < region.box[2] <= size[0]
            assert 0 <= region.box[1] < region.box[3] <= size[1]


def test_a_very_long_frame(runtime: Runtime) -> None:
    verdict = runtime.inspect(np.broadcast_to(np.uint8(128), (16, 100_000)))
    assert verdict.anomaly_map.shape == (16, 100_000)


def test_a_larger_frame_of_the_same_part_gives_about_the_same(runtime: Runtime) -> None:
    small, large = bad_frame(11, 64), cv2.resize(bad_frame(11, 64), (256, 256), interpolation=cv2.INTER_NEAREST)
    a, b = runtime.inspect(small), runtime.inspect(large)
    assert b.score == pytest.approx(a.score, rel=1e-5)  # area averages of equal pixels are those pixels
    y, x = np.unravel_index(b.anomaly_map.argmax(), b.anomaly_map.shape)
    y_small, x_small = np.unravel_index(a.anomaly_map.argmax(), a.anomaly_map.shape)
    assert abs(y / 4 - y_small) <= 1.5
    assert abs(x / 4 - x_small) <= 1.5
