"""The reference that a bundle aligns frames with."""

from __future__ import annotations

import numpy as np

from edge_ad import native
from edge_ad.bundle.file import Bundle
from edge_ad.errors import BundleCorruptError
from edge_ad.frames.align import Aligner


def open_aligner(bundle: Bundle, pool: native.Pool | None = None) -> Aligner | None:
    """What finds the part in frames; None where a bundle takes every frame as it is.

    Raises:
        BundleCorruptError: its members do not fit the manifest, or show nothing.
    """
    spec = bundle.manifest.align
    if spec is None:
        return None
    reference, mask = bundle.array("align/reference"), bundle.array("align/mask")
    for name, found in (("align/reference", reference), ("align/mask", mask)):
        if found.dtype != np.uint8 or found.shape != spec.size or not found.any():
            raise BundleCorruptError(
                f"{name} of {bundle.path} does not fit the manifest",
                expected=f"{spec.size} uint8 with pixels above 0",
                got=f"{found.shape} {found.dtype}" + ("" if found.any() else ", all 0"),
                remedy="Export it again.",
            )
    return Aligner(spec, reference, mask, bundle.manifest.frame.white_level, pool)
