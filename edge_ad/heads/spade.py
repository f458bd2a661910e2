"""SPADE: Cohen and Hoshen, "Sub-Image Anomaly Detection with Deep Pyramid Correspondences" (2020).

The image score is the mean distance of the frame's embedding, the mean of its patch vectors, from its K nearest
among those of the good images (Eq. 2 of the paper, there of squared distances). The map compares each patch with those
of the K good images nearest to the frame, wherever they stand in them: its distance to the nearest (Eq. 3 with kappa
= 1). Units of both: Euclidean distance, of embeddings and of patch vectors: they are not of one size.

Of the good images a gallery keeps its patches, the others their embedding; the K images of the map are of the gallery.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle import Bundle
from edge_ad.errors import BundleCorruptError
from edge_ad.heads.base import Scored, bounded, embed, read_array
from edge_ad.spec import SpadeSpec


class Spade:
    """The head; see the module.

    Args:
        embeddings: (n, D) float32 of all good images.
        members: (G,) int32, which of them make the gallery.
        gallery: their patches of the region of interest, a part of R rows for each; may be memory-mapped.
        neighbors: K; where there are fewer images, all of them.
        rows: (R,) int32 patches of the region of interest; None where R = P.
        pool: threads.
    """

    has_map, search = True, "exact"

    def __init__(
        self,
        embeddings: NDArray[np.float32],
        members: NDArray[np.int32],
        gallery: native.Coreset,
        neighbors: int,
        rows: NDArray[np.int32] | None,
        pool: native.Pool,
    ) -> None:
        self._embeddings, self._members = embeddings.astype(np.float64), members
        self._gallery, self._neighbors = gallery, neighbors
        self._rows, self._pool = rows, pool

    @classmethod
    def open(cls, bundle: Bundle, head: SpadeSpec, rows: NDArray[np.int32] | None, pool: native.Pool) -> Spade:
        """The head of a bundle.

        Raises:
            BundleCorruptError: a member does not fit the manifest.
        """
        backbone = bundle.manifest.backbone
        patches = backbone.grid[0] * backbone.grid[1] if rows is None else len(rows)
        embeddings = read_array(bundle, "spade/embeddings", (head.images, backbone.dim))
        members = read_array(bundle, "spade/members", (head.gallery,), "int32")
        if not (members.min() >= 0 and members.max() < head.images):
            raise BundleCorruptError(
                "spade/members names images that there are not",
                expected=f"0..{head.images - 1}",
                got=f"{members.min()}..{members.max()}",
            )
        images = read_array(bundle, "spade/gallery", (head.gallery, patches, backbone.dim))
        gallery = bounded(bundle, images.reshape(-1, backbone.dim), head.projection, pool, part_rows=patches)
        return cls(embeddings, members, gallery, head.neighbors, rows, pool)

    def __call__(self, patches: NDArray[np.float32], *, exact: bool = False) -> Scored:
        """Distances to the gallery's patches, and the score, of (P, D) patches."""
        apart = np.linalg.norm(self._embeddings - embed(patches, self._rows), axis=1)
        score = float(np.sort(apart)[: self._neighbors].mean())
        nearest = np.argsort(apart[self._members], kind="stable")[: self._neighbors]
        parts = np.sort(nearest).astype(np.int32)
        return Scored(native.exact_search(self._gallery, patches, self._pool, self._rows, parts)[0], score)
