"""Two pictures side by side: then, and now."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.monitor.statistics import thumbnail
from edge_ad.spec import Pixels

MOST = 480  # pixels of the longer side of each
_GAP, _HEAD = 8, 22  # pixels
_BLACK = (0, 0, 0)


def side_by_side(then: NDArray[np.uint8], now: Pixels, white_level: int) -> NDArray[np.uint8]:
    """(h, w, 3) u8 BGR: both in one scale of levels, so that a darker one is seen to be darker.

    Args:
        then: (h, w, 3) u8 BGR.
        now: a frame, (H, W) or (H, W, 3) BGR, u8 or u16.
        white_level: of a u16 frame.
    """
    pictures = [then, thumbnail(now, white_level, MOST)]
    height = max(picture.shape[0] for picture in pictures)
    sized = [_tall(picture, height) for picture in pictures]
    width = sum(picture.shape[1] for picture in sized) + _GAP
    canvas = np.full((height + _HEAD, width, 3), 255, np.uint8)
    x = 0
    for word, picture in zip(("then", "now"), sized, strict=True):
        canvas[_HEAD:, x : x + picture.shape[1]] = picture
        cv2.putText(canvas, word, (x + 2, _HEAD - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _BLACK, 1, cv2.LINE_AA)
        x += picture.shape[1] + _GAP
    return canvas


def _tall(picture: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    if picture.shape[0] == height:
        return picture
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
