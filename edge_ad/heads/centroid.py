"""Centroid: how far the whole frame's embedding turns away from that of the good ones. No map.

The embedding e is the mean of the patch vectors of the region of interest, divided by its length; the centroid c is the
mean of the goods' embeddings, divided by its length (the mean direction of Mardia and Jupp, "Directional Statistics",
2000, section 2.2). The score is 1 - e . c, the cosine distance: 0 for the same direction, 2 for the opposite one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle import Bundle
from edge_ad.errors import BundleCorruptError
from edge_ad.heads.base import Scored, embed, read_array


class Centroid:
    """The head; see the module.

    Args:
        centroid: (D,) of length 1.
        rows: (R,) int32 patches of the region of interest; None for all.
    """

    has_map, search = False, "exact"

    def __init__(self, centroid: NDArray[np.float32], rows: NDArray[np.int32] | None) -> None:
        direction = centroid.astype(np.float64)
        self._centroid, self._rows = direction / np.linalg.norm(direction), rows

    @classmethod
    def open(cls, bundle: Bundle, rows: NDArray[np.int32] | None) -> Centroid:
        """The head of a bundle.

        Raises:
            BundleCorruptError: a member does not fit the manifest.
        """
        centroid = read_array(bundle, "centroid", (bundle.manifest.backbone.dim,))
        if not abs(float(np.linalg.norm(centroid)) - 1) < 1e-3:
            raise BundleCorruptError("centroid has not the length 1", expected="1", got=float(np.linalg.norm(centroid)))
        return cls(centroid, rows)

    def __call__(self, patches: NDArray[np.float32], *, exact: bool = False) -> Scored:
        """The score of (P, D) patches, without distances; NaN where the embedding has no direction."""
        embedding = embed(patches, self._rows)
        length = float(np.linalg.norm(embedding))
        if not (np.isfinite(length) and length > 0):
            return Scored(np.zeros(0, np.float32), float("nan"))
        # |e - c|^2 / 2 is 1 - e . c, without the rounding of a difference from 1
        apart = embedding / length - self._centroid
        return Scored(np.zeros(0, np.float32), float(apart @ apart) / 2)
