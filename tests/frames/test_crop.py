"""From a frame to the engine's tensor."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad import native
from edge_ad.frames.crop import Crop, resize, scale_box
from edge_ad.frames.picture import to_u8
from edge_ad.spec import FrameSpec, RoiSpec
from tests.bundle_maker import example_manifest

WHOLE = replace(example_manifest().backbone, input_size=(48, 64), crop=(0, 0, 48, 64))
PART = replace(WHOLE, crop=(16, 16, 32, 48))


def noise(*shape: int, dtype: type = np.uint8, top: int = 256) -> np.ndarray:
    return np.random.default_rng(3).integers(0, top, shape).astype(dtype)


def plain(frame: FrameSpec | None = None, backbone: object = WHOLE) -> Crop:
    return Crop(frame or FrameSpec(None), backbone, None, None)  # type: ignore[arg-type]


def test_a_frame_of_the_input_size_is_passed_on() -> None:
    frame = noise(48, 64, 3)
    tensor = plain()(frame)
    assert (tensor.shape, tensor.dtype) == ((1, 48, 64, 3), np.uint8)
    np.testing.assert_array_equal(tensor[0], frame)
    assert not np.shares_memory(tensor, frame)
    assert tensor.flags.c_contiguous


def test_shrinking_takes_area_averages() -> None:
    frame = noise(96, 128, 3)
    tensor = plain()(frame)[0]
    blocks = frame.reshape(48, 2, 64, 2, 3).astype(np.float64).mean(axis=(1, 3))
    assert np.abs(tensor - blocks).max() <= 0.5
    stripes = np.zeros((96, 128), np.uint8)
    stripes[::2] = 255  # aliasing would give 0 or 255
    assert set(np.unique(plain()(stripes))) <= {127, 128}


def test_growing_is_bilinear() -> None:
    ramp = np.tile(np.arange(32, dtype=np.uint8) * 8, (24, 1))
    tensor = plain()(ramp)[0, :, :, 0].astype(int)
    assert (np.diff(tensor[0]) >= 0).all()
    assert np.abs(np.diff(tensor[0])).max() <= 5  # steps of 8 spread over two pixels


def test_the_crop_of_a_larger_frame() -> None:
    frame = noise(96, 128, 3)
    tensor = plain(backbone=PART)(frame)
    np.testing.assert_array_equal(tensor[0], resize(frame[32:64, 32:96], (16, 32)))
    assert plain(backbone=PART).box((96, 128)) == (32, 32, 64, 96)


def test_rgb_and_grey() -> None:
    frame = noise(48, 64, 3)
    rgb = plain(FrameSpec(None, "rgb"))
    np.testing.assert_array_equal(rgb(frame)[0], frame[:, :, ::-1])
    np.testing.assert_array_equal(rgb(frame, from_file=True)[0], frame)
    grey = frame[:, :, 1].copy()
    for crop in (plain(), rgb):
        np.testing.assert_array_equal(crop(grey)[0], np.stack([grey] * 3, axis=2))


@pytest.mark.parametrize("white", [255, 1023, 4095, 65535])
def test_u16_is_scaled_by_the_white_level(white: int) -> None:
    crop = plain(FrameSpec(None, bit_depth=16, white_level=white))
    frame = noise(48, 64, 3, dtype=np.uint16, top=65536)
    expected = np.clip(np.rint(frame * (255 / white)), 0, 255)
    assert np.abs(crop(frame)[0] - expected).max() <= 1
    ramp = np.full((48, 64), white, np.uint16)
    assert (crop(ramp) == 255).all()
    np.testing.assert_allclose(crop(ramp // 2), 127.5, atol=1)


def test_u16_is_resized_before_it_loses_bits() -> None:
    crop = plain(FrameSpec(None, bit_depth=16, white_level=65535))
    frame = np.zeros((96, 128), np.uint16)
    frame[::2] = 2 * 200  # averages to 200 of 65535: 0.78 of 255, though each row alone gives 0 or 1.6
    assert (crop(frame) == 1).all()


def test_what_is_outside_the_region_is_filled() -> None:
    mask = np.zeros((16, 32), np.uint8)
    mask[4:12, 8:24] = 255
    roi = RoiSpec("box", (0, 0, 1, 1), 0, (10, 20, 30))
    crop = Crop(FrameSpec(None), PART, roi, mask)
    frame = noise(48, 64, 3)
    tensor = crop(frame)[0]
    np.testing.assert_array_equal(tensor[mask == 255], frame[16:32, 16:48][mask == 255])
    assert (tensor[mask == 0] == (10, 20, 30)).all()
    rgb = Crop(FrameSpec(None, "rgb"), PART, roi, mask)
    assert (rgb(frame)[0][mask == 0] == (10, 20, 30)).all()  # the fill is BGR, as the tensor is
    grey = crop(frame[:, :, 0].copy())[0]
    assert (grey[mask == 0] == (10, 20, 30)).all()


@given(
    st.integers(16, 300),
    st.integers(16, 300),
    st.integers(0, 47),
    st.integers(0, 63),
    st.integers(1, 48),
    st.integers(1, 64),
)
def test_scaled_boxes_are_inside_and_not_empty(h: int, w: int, y: int, x: int, dy: int, dx: int) -> None:
    y0, x0, y1, x1 = scale_box((y, x, min(48, y + dy), min(64, x + dx)), (48, 64), (h, w))
    assert 0 <= y0 < y1 <= h
    assert 0 <= x0 < x1 <= w


def test_scale_box_is_the_identity_at_the_same_size() -> None:
    assert scale_box((3, 5, 40, 60), (48, 64), (48, 64)) == (3, 5, 40, 60)
    assert scale_box((0, 0, 48, 64), (48, 64), (97, 31)) == (0, 0, 97, 31)


@pytest.mark.parametrize("size", [(48, 64), (24, 32), (96, 128), (24, 128)])
def test_resize_gives_an_array_of_its_own(size: tuple[int, int]) -> None:
    image = noise(48, 64, 3)
    out = resize(image, size)
    assert out.shape[:2] == size
    assert not np.shares_memory(out, image)


def test_resize_is_opencvs() -> None:
    image = noise(50, 70, 3)
    np.testing.assert_array_equal(resize(image, (20, 30)), cv2.resize(image, (30, 20), interpolation=cv2.INTER_AREA))
    np.testing.assert_array_equal(resize(image, (90, 30)), cv2.resize(image, (30, 90), interpolation=cv2.INTER_LINEAR))


@pytest.mark.parametrize("by", ["bilinear", "bicubic"])
def test_the_filter_of_the_backbone_resizes_the_crop(by: str) -> None:
    frame = noise(100, 150, 3)
    backbone = replace(PART, resize=by)
    y0, x0, y1, x1 = plain(backbone=backbone).box((100, 150))
    tensor = plain(backbone=backbone)(frame)
    np.testing.assert_array_equal(tensor[0], native.resample(frame[y0:y1, x0:x1], (16, 32), by))
    assert (tensor != plain(backbone=PART)(frame)).any()
    grey, rgb = frame[:, :, 1].copy(), plain(FrameSpec(None, "rgb"), backbone)
    np.testing.assert_array_equal(rgb(frame)[0], tensor[0][:, :, ::-1])
    expected = native.resample(grey[y0:y1, x0:x1], (16, 32), by)
    np.testing.assert_array_equal(rgb(grey)[0], np.stack([expected] * 3, axis=2))


@pytest.mark.parametrize("by", ["bilinear", "bicubic"])
def test_u16_is_filtered_before_it_loses_bits(by: str) -> None:
    frame = noise(96, 128, dtype=np.uint16, top=300)  # of a white level of 4095: no u8 frame keeps that apart
    crop = plain(FrameSpec(None, bit_depth=16, white_level=4095), replace(WHOLE, resize=by))
    whole = native.resample(frame, (48, 64), by)
    assert whole.dtype == np.uint16
    np.testing.assert_array_equal(crop(frame)[0, :, :, 0], to_u8(whole, 4095))


@pytest.mark.parametrize("by", ["bilinear", "bicubic"])
def test_views_are_resized_like_their_copies(by: str) -> None:
    crop, frame = plain(backbone=replace(WHOLE, resize=by)), noise(96, 128, 3)
    for view in (frame[:, :, ::-1], frame[:, ::-1], frame[::-1], np.asfortranarray(frame), frame[:, :, 1]):
        np.testing.assert_array_equal(crop(view), crop(view.copy(order="C")))
    same = noise(48, 64, 3)
    np.testing.assert_array_equal(crop(same)[0], same)
