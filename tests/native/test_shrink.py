"""Area averages by whole factors: equal to OpenCV's and to the twin's, to the bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad import native
from edge_ad.errors import NativeError
from edge_ad.frames.crop import resize
from edge_ad.native import _core, reference

FACTORS = st.integers(1, 16)


def noise(seed: int, height: int, width: int, channels: int, least: int = 0, most: int = 255) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(least, most + 1, shape).astype(np.uint8)


def opencvs(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


@settings(max_examples=300)
@given(
    FACTORS,
    FACTORS,
    st.integers(1, 9),
    st.integers(1, 70),
    st.sampled_from([1, 3]),
    st.sampled_from([(0, 255), (0, 1), (254, 255), (127, 128)]),
    st.integers(0, 2**32 - 1),
)
def test_equals_opencv(
    factor_y: int, factor_x: int, height: int, width: int, channels: int, between: tuple[int, int], seed: int
) -> None:
    image = noise(seed, height * factor_y, width * factor_x, channels, *between)
    expected = opencvs(image, (height, width))
    np.testing.assert_array_equal(reference.shrink(image, (height, width)), expected)
    before = native.isa()
    for name in native.supported_isas():
        _core.use_isa(name)
        np.testing.assert_array_equal(native.shrink(image, (height, width)), expected, name)
    _core.use_isa(before)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("height", [257, 272])
def test_the_same_by_several_threads(each_isa: str, pool: native.Pool, height: int, channels: int) -> None:
    frame = noise(3, 4 * height, 1300, channels)  # more than 1 MiB: smaller ones are left to one thread
    for image in (frame[:, 50:1250], np.ascontiguousarray(frame[:, :1200])):
        wanted = reference.shrink(image, (height, 300))
        np.testing.assert_array_equal(native.shrink(image, (height, 300), pool), wanted)
        np.testing.assert_array_equal(native.shrink(image, (height, 300), native.Pool(5)), wanted)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factors", [(1, 2), (2, 1), (2, 2), (3, 3), (4, 4), (4, 5), (5, 6), (8, 8), (16, 16)])
def test_sizes_about_the_lanes(each_isa: str, factors: tuple[int, int], channels: int) -> None:
    for width in (1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65):
        image = noise(width, 2 * factors[0], width * factors[1], channels)
        np.testing.assert_array_equal(native.shrink(image, (2, width)), reference.shrink(image, (2, width)))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_every_sum_is_rounded_as_opencv_does(each_isa: str, factor: int) -> None:
    sums = np.arange(255 * factor * factor + 1)
    image = np.zeros((factor, len(sums), factor), np.uint8)
    left = sums
    for y in range(factor):
        for x in range(factor):
            image[y, :, x] = np.minimum(left, 255)
            left = left - image[y, :, x]
    image = image.reshape(factor, -1)
    np.testing.assert_array_equal(native.shrink(image, (1, len(sums))), opencvs(image, (1, len(sums))))


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_may_lie_anywhere(each_isa: str, channels: int) -> None:
    frame = noise(1, 60, 97, channels)
    for view in (frame[5:53, 1:65], frame[5:53, 2:66][::-1], frame[::2][:24, 33:97]):
        size = (view.shape[0] // 4, 16)
        before = view.copy()
        np.testing.assert_array_equal(native.shrink(view, size), reference.shrink(before, size))
    same = np.broadcast_to(frame[:1], (40, *frame.shape[1:]))[:, :96]  # the one row again and again, read-only
    np.testing.assert_array_equal(native.shrink(same, (10, 32)), reference.shrink(same, (10, 32)))


def test_the_result_is_a_new_array() -> None:
    image = noise(2, 8, 8, 3)
    kept = image.copy()
    for size in ((8, 8), (2, 4)):
        out = native.shrink(image, size)
        assert out.flags.owndata
        assert out.flags.c_contiguous
        out[...] = 0
        np.testing.assert_array_equal(image, kept)


def test_many_threads_at_once() -> None:
    images = [noise(seed, 64 * factor, 48 * factor, 3) for seed, factor in enumerate((2, 3, 4, 8))]
    wanted = [reference.shrink(image, (64, 48)) for image in images]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda i: native.shrink(images[i % 4], (64, 48)), range(400)))
    for i, out in enumerate(found):
        np.testing.assert_array_equal(out, wanted[i % 4])


GOOD = noise(3, 32, 48, 3)


@pytest.mark.parametrize(
    ("image", "size"),
    [
        (GOOD.astype(np.uint16), (8, 12)),
        (GOOD.astype(np.int8), (8, 12)),
        (GOOD[:, :, :2], (8, 12)),
        (GOOD[:, :, :1], (8, 12)),
        (np.zeros((32, 48, 4), np.uint8), (8, 12)),
        (GOOD[:, ::2], (8, 12)),
        (GOOD[:, :, ::-1], (8, 12)),
        (GOOD[:, :, 0], (8, 12)),
        (np.asfortranarray(GOOD), (8, 12)),
        (GOOD[0, :, 0].copy(), (8, 12)),
        (GOOD[None], (8, 12)),
        (GOOD[:0], (8, 12)),
        (GOOD, (64, 48)),
        (GOOD, (7, 12)),
        (GOOD, (8, 13)),
        (GOOD, (1, 12)),
        (GOOD, (8, 2)),
    ],
)
def test_what_cannot_be_shrunk(image: np.ndarray, size: tuple[int, int]) -> None:
    if image.ndim in (2, 3):
        assert not native.can_shrink(image, size)
    with pytest.raises(NativeError, match="cannot be shrunk"):
        native.shrink(image, size)
    with pytest.raises((NativeError, TypeError)):  # the extension looks again at what could leave its memory
        _core.shrink(image, np.empty((*size, *image.shape[2:]), np.uint8))


@pytest.mark.parametrize("size", [(0, 12), (-8, 12), (8.0, 12), (True, 12), (8,), (8, 12, 3)])
def test_what_is_no_size(size: tuple[int, ...]) -> None:
    with pytest.raises(NativeError):
        native.shrink(GOOD, size)  # type: ignore[arg-type]


def test_what_is_no_array() -> None:
    with pytest.raises(NativeError, match="list"):
        native.shrink(GOOD.tolist(), (8, 12))


def test_the_extension_refuses_a_result_of_another_rank() -> None:
    for shape in ((8, 12), (8, 12, 1), (8, 12, 3, 1)):
        with pytest.raises((NativeError, TypeError)):
            _core.shrink(GOOD, np.empty(shape, np.uint8))


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 4]), st.sampled_from([np.uint8, np.uint16]))
def test_resize_is_opencvs_whoever_does_it(height: int, width: int, channels: int, dtype: type) -> None:
    frame = noise(height, 50, 90, channels).astype(dtype)
    crop = frame[1:49, 3:87]
    np.testing.assert_array_equal(resize(crop, (min(height, 47), width)), opencvs(crop, (min(height, 47), width)))
