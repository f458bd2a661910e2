"""Pictures of frames, for people."""

from __future__ import annotations

import numpy as np

from edge_ad.frames.picture import to_picture, to_u8


def test_16_bit_and_grey_images_are_shown_as_u8_colour() -> None:
    np.testing.assert_array_equal(to_picture(np.full((2, 2), 2048, np.uint16), 4095), np.full((2, 2, 3), 128))
    assert to_picture(np.zeros((2, 3), np.uint8), 65535).shape == (2, 3, 3)


def test_brighter_than_the_white_level_is_white() -> None:
    assert to_u8(np.array([[0, 1000, 4095, 60000]], np.uint16), 4095).tolist() == [[0, 62, 255, 255]]


def test_a_picture_is_an_array_of_its_own_in_bgr() -> None:
    frame = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    for rgb in (False, True):
        picture = to_picture(frame, 65535, rgb=rgb)
        np.testing.assert_array_equal(picture, frame[:, :, ::-1] if rgb else frame)
        assert not np.shares_memory(picture, frame)
        assert picture.flags.c_contiguous
