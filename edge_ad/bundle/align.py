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
    names = ("align/reference", "align/mask", "align/picture")
    reference, mask, picture = (bundle.array(name) for name in names)
    shapes = (spec.size, spec.size, (*spec.picture, 3))
    for name, found, shape in zip(names, (reference, mask, picture), shapes, strict=True):
        if found.dtype != np.uint8 or found.shape != shape or not found.any():
            raise BundleCorruptError(
                f"{name} of {bundle.path} does not fit the manifest",
                expected=f"{shape} uint8 with pixels above 0",
                got=f"{found.shape} {found.dtype}" + ("" if found.any() else ", all 0"),
                remedy="Export it again.",
            )
    return Aligner(spec, reference, mask, picture, bundle.manifest.frame.white_level, pool)
