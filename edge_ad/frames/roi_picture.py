"""Draws a region of interest into a picture: what is kept, what is dropped, and the crop that the engine gets."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.spec import Box

_OUTLINE, _CROP, _DROPPED = (0, 220, 0), (0, 200, 255), (60, 20, 160)  # BGR
_KEPT = 0.35  # of a dropped pixel's own colour


def roi_picture(picture: NDArray[np.uint8], mask: NDArray[np.bool_], crop: Box | None = None) -> NDArray[np.uint8]:
    """(H, W, 3) u8 BGR, a new array: what the region drops is dark and red, its outline green, the crop yellow.

    Args:
        picture: (H, W, 3) u8 BGR.
        mask: (H, W) bool, True inside the region.
        crop: box of the crop in pixels of the picture; None draws none.
    """
    drawn = picture.copy()
    drawn[~mask] = (_KEPT * picture[~mask] + (1 - _KEPT) * np.array(_DROPPED)).astype(np.uint8)
    width = max(1, max(mask.shape) // 250)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outlines, -1, _OUTLINE, width)
    if crop is not None:
        y0, x0, y1, x1 = crop
        cv2.rectangle(drawn, (x0, y0), (x1 - 1, y1 - 1), _CROP, width)
    return drawn
