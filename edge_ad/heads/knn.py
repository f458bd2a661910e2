"""kNN: the mean distance to the K nearest normal patches.

A patch's anomaly is 1/K sum of |x - m_k| over the K vectors m_k of the bank nearest to it (Angiulli and Pizzuti,
"Fast Outlier Detection in High Dimensional Spaces", PKDD 2002, rank by this sum; Bergman et al., "Deep Nearest Neighbor
Anomaly Detection", 2020, by its mean over deep features). The image score is the largest. Units: Euclidean distance of
patch vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.errors import BundleCorruptError
from edge_ad.heads.base import CORESET, INDEX_MEMBERS, Found, Opening, Scored, largest, open_coreset
from edge_ad.registry import Method, Option
from edge_ad.spec import DISTANCES, HeadSpec
from edge_ad.spec.methods import NEIGHBORS


@dataclass(frozen=True)
class KnnSpec(HeadSpec):
    """kNN: mean distance to the K nearest rows of the coreset.

    Attributes:
        neighbors: K.
    """

    neighbors: Annotated[int, NEIGHBORS]


class Knn:
    """The head; see the module.

    Args:
        bank: patch vectors of the good images.
        neighbors: K, at most the size of the bank.
        rows: (R,) int32 patches of the region of interest; None for all.
        pool: threads.
    """

    has_map, search = True, "exact"

    def __init__(self, bank: native.Coreset, neighbors: int, rows: NDArray[np.int32] | None, pool: native.Pool) -> None:
        self._bank, self._neighbors, self._rows, self._pool = bank, neighbors, rows, pool

    @classmethod
    def open(cls, opening: Opening) -> Knn:
        """The head of a bundle.

        Raises:
            BundleCorruptError: a member does not fit the manifest.
        """
        head, index = opening.spec(KnnSpec), opening.index
        if head.neighbors > index.size:
            raise BundleCorruptError(
                "head.neighbors is larger than the number of rows", expected=f"{index.size} at most", got=head.neighbors
            )
        return cls(open_coreset(opening), head.neighbors, opening.rows, opening.pool)

    def __call__(
        self, patches: NDArray[np.float32], *, exact: bool = False, rows: NDArray[np.int32] | None = None
    ) -> Scored:
        """Mean distances and the score of (P, D) patches, or of `rows` among them."""
        distances, _ = self.find(patches, self._rows if rows is None else rows)
        return Scored(distances, largest(distances))

    def find(self, patches: NDArray[np.float32], rows: NDArray[np.int32] | None) -> Found:
        """Mean distances, and the nearest rows of the bank, of the `rows` of (P, D) patches."""
        nearest, numbers = native.knn_search(self._bank, patches, self._neighbors, self._pool, rows)
        return nearest.mean(axis=1), np.ascontiguousarray(numbers[:, 0])

    def judge(
        self, found: Found, vector: Callable[[int], NDArray[np.float32]], rows: NDArray[np.int32] | None = None
    ) -> Scored:
        """The answer to a frame from its mean distances."""
        return Scored(found[0], largest(found[0]))


METHOD = Method(
    title="kNN",
    spec=KnnSpec,
    open=Knn.open,
    score="largest mean distance of a patch to its K nearest in the bank, Euclidean",
    members=INDEX_MEMBERS,
    options=(
        replace(CORESET, help="share of the patches to keep, by default a tenth"),
        Option(
            "--neighbors",
            "how many nearest patches a distance is the mean of, by default 3",
            limits=NEIGHBORS,
            metavar="K",
        ),
    ),
    needs_index=True,
    distances=DISTANCES,
    masked=True,
    tiles=True,
)
