"""Converts a camera's pixels to 8-bit BGR, for people and networks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.spec import Frame


def to_u8(pixels: Frame, white_level: int) -> NDArray[np.uint8]:
    """u8 pixels: u16 ones are divided by the white level, brighter values are white; u8 ones stay, uncopied. A float32
    normal map has the range of u8 ones and is rounded."""
    if pixels.dtype == np.uint8:
        return pixels.view(np.uint8)
    if pixels.dtype == np.float32:
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return cv2.convertScaleAbs(pixels, alpha=255.0 / white_level)


def to_picture(pixels: Frame, white_level: int, *, rgb: bool = False) -> NDArray[np.uint8]:
    """(H, W, 3) u8 BGR, a new array, of a checked frame or an image that was read.

    Args:
        white_level: white level of u16 pixels.
        rgb: the colours are in RGB order, not BGR.
    """
    picture = to_u8(pixels, white_level)
    if picture.ndim == 2:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    return np.array(picture[:, :, ::-1] if rgb else picture, order="C")
