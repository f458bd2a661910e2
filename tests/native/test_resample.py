"""Resampling with antialiasing: equal to the twin's to the bit, and to Pillow's within one grey level."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad import native
from edge_ad.errors import NativeError
from edge_ad.native import _core, reference

SIDES = st.integers(1, 90)
FILTERS = st.sampled_from(native.FILTERS)
PILLOWS = st.sampled_from(["bilinear", "bicubic"])
GOOD = np.random.default_rng(3).integers(0, 256, (32, 48, 3)).astype(np.uint8)


def noise(
    seed: int, height: int, width: int, channels: int, dtype: type = np.uint8, extreme: bool = False
) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    top = int(np.iinfo(dtype).max)
    pixels = np.random.default_rng(seed).integers(0, top + 1, shape)
    return (np.where(pixels > top // 2, top, 0) if extreme else pixels).astype(dtype)


def pillows(image: np.ndarray, size: tuple[int, int], by: str) -> np.ndarray:
    """Rows first, then columns, by Pillow: since version 13 it takes columns first where that is less work.

    The order matters only where the bicubic filter leaves 0 .. 255 between the passes.
    """
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    way = {"bilinear": pillow.Resampling.BILINEAR, "bicubic": pillow.Resampling.BICUBIC}[by]
    picture = pillow.fromarray(image).resize((size[1], image.shape[0]), way)
    return np.asarray(picture.resize((size[1], size[0]), way))


@settings(max_examples=200)
@given(
    SIDES, SIDES, SIDES, SIDES, st.sampled_from([1, 3]), FILTERS, st.sampled_from([np.uint8, np.uint16]), st.booleans()
)
def test_equals_the_twin(
    height: int, width: int, to_height: int, to_width: int, channels: int, by: str, dtype: type, extreme: bool
) -> None:
    image = noise(height + 91 * width, height, width, channels, dtype, extreme)
    expected = reference.resample(image, (to_height, to_width), by)
    before = native.isa()
    for name in native.supported_isas():
        _core.use_isa(name)
        np.testing.assert_array_equal(native.resample(image, (to_height, to_width), by), expected, name)
    _core.use_isa(before)


@settings(max_examples=400)
@given(st.integers(1, 300), st.integers(1, 300), SIDES, SIDES, st.sampled_from([1, 3]), PILLOWS, st.booleans())
def test_is_pillows_within_one_grey_level(
    height: int, width: int, to_height: int, to_width: int, channels: int, by: str, extreme: bool
) -> None:
    image = noise(height + 301 * width, height, width, channels, extreme=extreme)
    size = (to_height, to_width)
    difference = native.resample(image, size, by).astype(int) - pillows(image, size, by)
    assert np.abs(difference).max() <= 1


@given(SIDES, SIDES, st.integers(0, 200), st.integers(0, 200), st.sampled_from([1, 3]), st.booleans())
def test_a_box_is_opencvs_area_within_one_grey_level(
    to_height: int, to_width: int, more_y: int, more_x: int, channels: int, extreme: bool
) -> None:
    """Where it shrinks: it grows by no area."""
    image = noise(more_y + 201 * more_x, to_height + more_y, to_width + more_x, channels, extreme=extreme)
    wanted = cv2.resize(image, (to_width, to_height), interpolation=cv2.INTER_AREA)
    assert np.abs(native.resample(image, (to_height, to_width), "box").astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("by", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((1024, 1024), (256, 256)),
        ((1000, 700), (256, 179)),
        ((480, 640), (384, 512)),
        ((100, 60), (250, 150)),
        ((33, 21), (1, 1)),
        ((1, 1), (20, 30)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_is_pillows_in_one_call(old: tuple[int, int], new: tuple[int, int], by: str, channels: int) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    image = noise(5, *old, channels) // 2 + 64  # no filter leaves 0 .. 255, so the order of the passes is nothing
    way = {"bilinear": pillow.Resampling.BILINEAR, "bicubic": pillow.Resampling.BICUBIC}[by]
    expected = np.asarray(pillow.fromarray(image).resize(new[::-1], way))
    assert np.abs(native.resample(image, new, by).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("by", native.FILTERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_sizes_about_the_lanes(each_isa: str, channels: int, by: str) -> None:
    for width in (1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65):
        for to in (1, 3, 4, 5, 15, 16, 17, 33):
            image = noise(width, 9, width, channels)
            wanted = reference.resample(image, (5, to), by)
            np.testing.assert_array_equal(native.resample(image, (5, to), by), wanted)


@pytest.mark.parametrize("by", native.FILTERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_by_several_threads(each_isa: str, pool: native.Pool, channels: int, by: str) -> None:
    frame = noise(3, 517, 610, channels)  # more than 256 KiB: smaller ones are left to one thread
    for image in (frame[:, 5:605], np.ascontiguousarray(frame)):
        for size in ((130, 149), (600, 700)):
            alone = native.resample(image, size, by)
            np.testing.assert_array_equal(native.resample(image, size, by, pool), alone)
            np.testing.assert_array_equal(native.resample(image, size, by, native.Pool(5)), alone)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_rows_may_lie_anywhere(each_isa: str, channels: int, dtype: type) -> None:
    frame = noise(1, 60, 97, channels, dtype)
    for view in (frame[5:53, 1:65], frame[5:53, 2:66][::-1], frame[::2][:24, 33:97]):
        wanted = reference.resample(view.copy(), (17, 21), "bicubic")
        np.testing.assert_array_equal(native.resample(view, (17, 21), "bicubic"), wanted)
    same = np.broadcast_to(frame[:1], (40, *frame.shape[1:]))[:, :96]  # the one row again and again, read-only
    wanted = reference.resample(same.copy(), (10, 31), "bilinear")
    np.testing.assert_array_equal(native.resample(same, (10, 31), "bilinear"), wanted)


@pytest.mark.parametrize("by", native.FILTERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_even_stays_even(by: str, dtype: type) -> None:
    top = int(np.iinfo(dtype).max)
    for value in (0, 1, top // 2, top - 1, top):
        image = np.full((1500, 37, 3), value, dtype)
        for size in ((3, 5), (64, 64), (1500, 37), (1501, 90)):
            assert (native.resample(image, size, by) == value).all()


@pytest.mark.parametrize("by", native.FILTERS)
def test_fine_stripes_do_not_alias(by: str) -> None:
    stripes = np.zeros((256, 256), np.uint8)
    stripes[::2] = 255
    inside = native.resample(stripes, (60, 60), by)[2:-2]
    assert 110 <= inside.min() <= inside.max() <= 145


def test_the_result_is_a_new_array() -> None:
    kept = GOOD.copy()
    for size in ((32, 48), (7, 100)):
        out = native.resample(GOOD, size, "bicubic")
        assert out.flags.owndata
        assert out.flags.c_contiguous
        out[...] = 0
        np.testing.assert_array_equal(GOOD, kept)
    np.testing.assert_array_equal(native.resample(GOOD, (32, 48), "bicubic"), GOOD)


def test_many_threads_at_once(pool: native.Pool) -> None:
    images = [noise(seed, 300 + 50 * seed, 310, 3) for seed in range(4)]
    wanted = [native.resample(image, (64, 48), "bicubic") for image in images]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda i: native.resample(images[i % 4], (64, 48), "bicubic", pool), range(200)))
    for i, out in enumerate(found):
        np.testing.assert_array_equal(out, wanted[i % 4])


@pytest.mark.parametrize(
    "image",
    [
        GOOD.astype(np.int8),
        GOOD.astype(np.float32),
        GOOD[:, :, :2],
        GOOD[:, :, :1],
        np.zeros((32, 48, 4), np.uint8),
        GOOD[:, ::2],
        GOOD[:, :, ::-1],
        GOOD[:, :, 0],
        np.asfortranarray(GOOD),
        GOOD[0, :, 0].copy(),
        GOOD[None],
        GOOD[:0],
        GOOD[:, :0],
    ],
)
def test_what_cannot_be_resampled(image: np.ndarray) -> None:
    assert not native.can_resample(image)
    with pytest.raises(NativeError, match="cannot be resampled"):
        native.resample(image, (8, 12), "bilinear")
    with pytest.raises((NativeError, TypeError)):  # the extension looks again at what could leave its memory
        _core.resample(image, np.empty((8, 12, *image.shape[2:]), image.dtype), 0)


@pytest.mark.parametrize("size", [(0, 12), (-8, 12), (8.0, 12), (True, 12), (8,), (8, 12, 3), (2**24 + 1, 2)])
def test_what_is_no_size(size: tuple[int, ...]) -> None:
    with pytest.raises(NativeError):
        native.resample(GOOD, size, "bilinear")  # type: ignore[arg-type]


def test_what_is_no_image_and_no_filter() -> None:
    with pytest.raises(NativeError, match="list"):
        native.resample(GOOD.tolist(), (8, 12), "bilinear")  # type: ignore[arg-type]
    with pytest.raises(NativeError, match="bilinear or bicubic or box"):
        native.resample(GOOD, (8, 12), "area")


def test_the_extension_refuses_a_result_of_another_kind() -> None:
    for out in (np.empty((8, 12), np.uint8), np.empty((8, 12, 1), np.uint8), np.empty((8, 12, 3), np.uint16)):
        with pytest.raises((NativeError, TypeError)):
            _core.resample(GOOD, out, 0)
    with pytest.raises(NativeError, match="no such filter"):
        _core.resample(GOOD, np.empty((8, 12, 3), np.uint8), 3)
