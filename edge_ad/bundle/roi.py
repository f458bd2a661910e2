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
    if mask.shape != backbone.tensor_size or patch_mask.shape != backbone.grid or not patch_mask.any():
        raise BundleCorruptError(
            "the masks of the region of interest do not fit the crop",
            expected=f"{backbone.tensor_size} and {backbone.grid}, not empty",
            got=f"{mask.shape} and {patch_mask.shape}",
        )
    return RoiMasks(backbone.grid, mask, patch_mask.astype(np.bool_))
