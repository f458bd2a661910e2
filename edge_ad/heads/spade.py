"""SPADE: Cohen and Hoshen, "Sub-Image Anomaly Detection with Deep Pyramid Correspondences" (2020).

An embedding is the mean of the patch vectors of an image. The image score is the mean distance of the frame's embedding
to the K nearest embeddings of good images (Eq. 2 of the paper, which squares the distances). The map compares each
patch with all patches of the K good images nearest to the frame, and gives the distance to the nearest (Eq. 3 with
kappa = 1). Both are Euclidean distances, one of embeddings and one of patch vectors, so their sizes differ.

The bundle keeps an embedding of every good image, and the patches of some, the gallery. The K images of the map are
taken from the gallery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.errors import BundleCorruptError
from edge_ad.heads.base import PROJECTION_MEMBERS, Opening, Scored, bounded, embed
from edge_ad.registry import Method, Option
from edge_ad.spec import HeadSpec, ProjectionSpec, require
from edge_ad.spec.base import Range
from edge_ad.spec.methods import NEIGHBORS


@dataclass(frozen=True)
class SpadeSpec(HeadSpec):
    """SPADE: distances to the nearest images, and to the nearest patches of those.

    Attributes:
        images: good images whose embeddings are kept.
        gallery: images whose patches are kept.
        neighbors: K, for both.
        projection: for the search in the patches; None if brute force is as fast, and in older bundles.
    """

    images: Annotated[int, Range(1, 10**6)]
    gallery: Annotated[int, Range(1, 10**6)]
    neighbors: Annotated[int, NEIGHBORS]
    projection: ProjectionSpec | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.gallery <= self.images, "head.gallery is out of range", expected="1..images", got=self.gallery)


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
    def open(cls, opening: Opening) -> Spade:
        """The head of a bundle.

        Raises:
            BundleCorruptError: a member does not fit the manifest.
        """
        head, dim, patches = opening.spec(SpadeSpec), opening.backbone.dim, opening.patch_count
        embeddings = opening.array("spade/embeddings", (head.images, dim))
        members = opening.array("spade/members", (head.gallery,), "int32")
        if not (members.min() >= 0 and members.max() < head.images):
            raise BundleCorruptError(
                "spade/members names images that do not exist",
                expected=f"0..{head.images - 1}",
                got=f"{members.min()}..{members.max()}",
            )
        images = opening.array("spade/gallery", (head.gallery, patches, dim))
        gallery = bounded(opening, images.reshape(-1, dim), head.projection, part_rows=patches)
        return cls(embeddings, members, gallery, head.neighbors, opening.rows, opening.pool)

    def __call__(self, patches: NDArray[np.float32], *, exact: bool = False) -> Scored:
        """Distances to the gallery's patches, and the score, of (P, D) patches."""
        apart = np.linalg.norm(self._embeddings - embed(patches, self._rows), axis=1)
        score = float(np.sort(apart)[: self._neighbors].mean())
        nearest = np.argsort(apart[self._members], kind="stable")[: self._neighbors]
        parts = np.sort(nearest).astype(np.int32)
        return Scored(native.exact_search(self._gallery, patches, self._pool, self._rows, parts)[0], score)


METHOD = Method(
    title="SPADE",
    spec=SpadeSpec,
    open=Spade.open,
    score="mean distance of the mean patch to that of the K nearest good images, Euclidean",
    members={
        "spade/embeddings": "float32 (n, D): mean patch of each good image",
        "spade/members": "int32 (G): which of those images make the gallery",
        "spade/gallery": "float32 (G, R, D): their patches",
        **PROJECTION_MEMBERS,
    },
    options=(
        Option("--neighbors", "nearest images, by default 50", limits=NEIGHBORS, metavar="K"),
        Option("--gallery-images", "images whose patches are kept", default=50, limits=Range(1), metavar="N"),
    ),
)
