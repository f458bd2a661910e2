"""Masks of a tiny frame, for `inspect(frame, roi=mask)`."""

from __future__ import annotations

import numpy as np

from edge_ad import Runtime
from edge_ad.frames.roi import patch_mask, tensor_mask
from tests.tiny import SIZE

WHOLE = np.ones((SIZE, SIZE), np.bool_)


def half(right: bool = False) -> np.ndarray:
    mask = WHOLE.copy()
    mask[:, : SIZE // 2] = not right
    mask[:, SIZE // 2 :] = right
    return mask


def cells_of(runtime: Runtime, mask: np.ndarray) -> np.ndarray:
    """(h, w) bool: the patches that count, by the rule of the export."""
    backbone = runtime.manifest.backbone
    return patch_mask(
        tensor_mask(mask, backbone.crop, backbone.input_size, backbone.resize), backbone.grid, backbone.covered
    )
