"""The masks of the region of interest that a bundle holds."""

from __future__ import annotations

import numpy as np

from edge_ad.bundle.file import Bundle
from edge_ad.errors import BundleCorruptError
from edge_ad.frames.roi import RoiMasks


def open_roi(bundle: Bundle) -> RoiMasks:
    """The masks of a bundle of one operating point.

    Raises:
        BundleCorruptError: they do not fit the manifest.
    """
    backbone = bundle.manifest.backbone
    if bundle.manifest.roi is None:
        return RoiMasks(backbone.grid)
    mask, patch_mask = bundle.array("roi/mask"), bundle.array("roi/patch_mask")
    for name, found, size in (("roi/mask", mask, backbone.tensor_size), ("roi/patch_mask", patch_mask, backbone.grid)):
        if found.dtype != np.uint8 or found.shape != size or not found.any():
            raise BundleCorruptError(
                f"{name} of {bundle.path} does not fit the crop",
                expected=f"{size} uint8 with pixels inside",
                got=f"{found.shape} {found.dtype}" + ("" if found.any() else ", empty"),
                remedy="Export it again.",
            )
    return RoiMasks(backbone.grid, mask, patch_mask.astype(np.bool_))
