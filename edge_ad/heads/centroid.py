"""Centroid: the angle between the frame's embedding and the mean embedding of the good images. It gives no map.

The embedding e is the mean of the patch vectors of the region of interest, divided by its length; the centroid c is the
mean of the good images' embeddings, divided by its length (the mean direction of Mardia and Jupp, "Directional
Statistics", 2000, section 2.2). The score is 1 - e . c, the cosine distance: 0 for the same direction, 2 for the
opposite one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import BundleCorruptError
from edge_ad.heads.base import Opening, Scored, embed
from edge_ad.registry import Method, Option
from edge_ad.spec import HeadSpec


@dataclass(frozen=True)
class CentroidSpec(HeadSpec):
    """Cosine distance of the frame's embedding from the mean of the good images."""


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
    def open(cls, opening: Opening) -> Centroid:
        """The head of a bundle.

        Raises:
            BundleCorruptError: a member does not fit the manifest.
        """
        centroid = opening.array("centroid", (opening.backbone.dim,))
        if not abs(float(np.linalg.norm(centroid)) - 1) < 1e-3:
            raise BundleCorruptError(
                "centroid does not have length 1", expected="1", got=float(np.linalg.norm(centroid))
            )
        return cls(centroid, opening.rows)

    def __call__(self, patches: NDArray[np.float32], *, exact: bool = False) -> Scored:
        """The score of (P, D) patches, without distances; NaN where the embedding has no direction."""
        embedding = embed(patches, self._rows)
        length = float(np.linalg.norm(embedding))
        if not (np.isfinite(length) and length > 0):
            return Scored(np.zeros(0, np.float32), float("nan"))
        # |e - c|^2 / 2 equals 1 - e . c, and rounds less
        apart = embedding / length - self._centroid
        return Scored(np.zeros(0, np.float32), float(apart @ apart) / 2)


METHOD = Method(
    title="Centroid",
    spec=CentroidSpec,
    open=Centroid.open,
    score="cosine distance of the mean patch from that of the good images",
    members={"centroid": "float32 (D): of length 1"},
    options=(
        Option("--normal-embed", "also write the centroid to this file", kind=Path, metavar="FILE.json", output=True),
    ),
    has_map=False,
    usual={"percentile": 99.7},  # its users take 99.5 to 99.8
)
