"""From the patch grid to the pixels of the tensor: bilinear upsampling, then a Gaussian.

Source: Roth et al., "Towards Total Recall in Industrial Anomaly Detection" (2022), section 3.3, with a Gaussian of
`SIGMA_PX`. Its code repeats the pixel at the border, as SciPy does. anomalib's PaDiM does the same with a border that
is mirrored without that pixel, and takes the peak for the score; a method that names a sigma of its own means this.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.spec import Size

SIGMA_PX = 4.0  # at the scale of the tensor
_REACH = 4.0  # sigmas to the end of the kernel, in both


def spread(
    distances: NDArray[np.float32],
    patch_mask: NDArray[np.bool_] | None,
    size: Size,
    sigma_px: float | None = None,
) -> NDArray[np.float32]:
    """The (H, W) float32 map of (h, w) patch distances, in their unit.

    With a mask it is a normalised convolution: patches outside weigh nothing, so that they do not dim the border of the
    region.

    Args:
        distances: (h, w) float32; where `patch_mask` is False the value is not used.
        patch_mask: (h, w) bool, True for patches inside the region; None for all.
        size: (H, W) that the patches cover, pixels of the tensor.
        sigma_px: of the method's own Gaussian; None for `SIGMA_PX` and the border that goes with it.
    """
    if patch_mask is None:
        return _smooth(distances, size, sigma_px)
    found = _smooth(np.where(patch_mask, distances, np.float32(0)), size, sigma_px)
    found /= np.maximum(_smooth(patch_mask.astype(np.float32), size, sigma_px), np.float32(1e-6))
    return found


def _smooth(patches: NDArray[np.float32], size: Size, sigma_px: float | None) -> NDArray[np.float32]:
    upsampled = cv2.resize(patches, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    border = cv2.BORDER_REFLECT if sigma_px is None else cv2.BORDER_REFLECT_101
    sigma_px = SIGMA_PX if sigma_px is None else sigma_px
    side = 2 * int(_REACH * sigma_px + 0.5) + 1
    return cv2.GaussianBlur(upsampled, (side, side), sigma_px, borderType=border)
