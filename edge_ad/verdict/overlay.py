"""Heat: draws an anomaly map in colours, alone or over a picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
START, FULL = 0.6, 1.6  # heat begins and is full at these multiples of the pixel threshold, in every frame


def heat_of(amap: NDArray[np.float32], low: float, high: float, gamma: float = 1.0) -> NDArray[np.float32]:
    """(H, W) float32 in 0..1 of an anomaly map: 0 up to `low`, 1 from `high` on, between them a power of the share.

    Args:
        low, high: in the map's units; usually `START` and `FULL` times the pixel threshold.
    """
    heat = np.clip((amap - low) / max(high - low, 1e-12), 0, 1)
    return np.asarray(heat if gamma == 1 else heat**gamma, np.float32)


def colors_of(heat: NDArray[np.float32]) -> Picture:
    """(H, W, 3) u8 BGR of heat in 0..1: blue is cold, red is hot."""
    return cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_TURBO)


def heat_layer(heat: NDArray[np.float32]) -> Picture:
    """(H, W, 4) u8 BGRA: heat in colours, transparent where there is none, to be laid over a picture."""
    alpha = (255 * np.minimum(2 * heat, 1) + 0.5).astype(np.uint8)
    return np.dstack([colors_of(heat), alpha])


def with_heat(
    picture: Picture, heat: NDArray[np.float32], least: float = 0.0, most: float = 0.5, *, by_value: bool = True
) -> Picture:
    """(H, W, 3) u8 BGR: heat over a picture.

    Args:
        least, most: opacity where there is no heat, and where heat is one half or more.
        by_value: False draws every pixel with the opacity `most`.
    """
    strength = np.minimum(2 * heat, 1) if by_value else np.ones_like(heat)
    alpha = (least + (most - least) * strength)[:, :, None]
    blended: Picture = (picture * (1 - alpha) + colors_of(heat) * alpha + 0.5).astype(np.uint8)
    return blended
