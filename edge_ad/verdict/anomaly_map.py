"""Anomaly map: patch distances, upsampled and smoothed (`edge_ad.frames.spread`), in the pixels of the frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.frames.spread import spread
from edge_ad.spec import Box, Size


def anomaly_map(
    distances: NDArray[np.float32],
    patch_mask: NDArray[np.bool_] | None,
    pixel_mask: NDArray[np.uint8] | None,
    tensor_size: Size,
    box: Box,
    frame_size: Size,
    covered: Size | None = None,
    sigma_px: float | None = None,
) -> NDArray[np.float32]:
    """The (H, W) float32 anomaly map of a frame, in the unit of the distances; 0 outside the region of interest.

    Args:
        distances: (h, w) float32 patch distances; where `patch_mask` is False the value is not used.
        patch_mask: (h, w) bool, True for patches inside the region; None for all.
        pixel_mask: (H, W) u8 of the tensor's size, 0 outside the region; None without ROI.
        tensor_size: (H, W) of the tensor.
        box: where the tensor lies in the frame, frame pixels.
        frame_size: (H, W) of the frame.
        covered: (H, W) that the patches cover, in pixels of the tensor, if that is more than the tensor.
        sigma_px: of the method's own Gaussian (`edge_ad.heads.base.Scored.sigma_px`).
    """
    tensor_map = spread(distances, patch_mask, covered or tensor_size, sigma_px)[: tensor_size[0], : tensor_size[1]]
    y0, x0, y1, x1 = box
    crop_map = cv2.resize(tensor_map, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    if pixel_mask is not None:  # in frame pixels, as interpolation would carry the border outwards
        crop_map[cv2.resize(pixel_mask, (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST) == 0] = 0
    if crop_map.shape == frame_size:
        return crop_map
    full = np.zeros(frame_size, np.float32)
    full[y0:y1, x0:x1] = crop_map
    return full


def map_peak(
    distances: NDArray[np.float32],
    patch_mask: NDArray[np.bool_] | None,
    pixel_mask: NDArray[np.uint8] | None,
    tensor_size: Size,
    covered: Size | None = None,
    sigma_px: float | None = None,
) -> float:
    """The largest value of a map at the scale of the tensor. The pixel threshold is chosen from such peaks.

    A map in frame pixels is interpolated from this one, so its values are not larger. The one exception: the border of
    the region may be rounded in another way.

    The arguments are those of `anomaly_map`.
    """
    whole = (0, 0, *tensor_size)
    return float(
        anomaly_map(distances, patch_mask, pixel_mask, tensor_size, whole, tensor_size, covered, sigma_px).max()
    )
