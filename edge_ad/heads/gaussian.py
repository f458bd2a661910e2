"""A Gaussian at each place: Mahalanobis distances, by the inverse Cholesky factors of the covariances.

With Sigma = L L^T the distance is |L^-1 (x - mu)|. A bundle holds W = L^-1, lower triangular, by its columns, so that a
frame costs one pass over R C (C + 1) / 2 numbers. See `edge_ad.heads.padim` for the paper.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.heads.base import Scored, largest


class Gaussians:
    """A head. Immutable and safe to share between threads.

    Args:
        channels: (C,) int32 which numbers of a patch vector are used.
        means: (R, C) float32.
        factors: (R, C (C + 1) / 2) float32, the columns of W one after the other, from the diagonal down.
        rows: (R,) int32 patches of the region of interest; None where R = P.
        pool: threads.
    """

    has_map, search = True, "exact"

    def __init__(
        self,
        channels: NDArray[np.int32],
        means: NDArray[np.float32],
        factors: NDArray[np.float32],
        rows: NDArray[np.int32] | None,
        pool: native.Pool,
    ) -> None:
        self._channels, self._means, self._factors, self._rows, self._pool = channels, means, factors, rows, pool

    def __call__(
        self, patches: NDArray[np.float32], *, exact: bool = False, rows: NDArray[np.int32] | None = None
    ) -> Scored:
        """Mahalanobis distances and the score of (P, D) patches, or of `rows` among them.

        With `rows` it takes no less time: their factors would have to be copied, which is as much work.
        """
        distances = native.mahalanobis(patches, self._channels, self._means, self._factors, self._pool, self._rows)
        if rows is not None:
            distances = distances[rows if self._rows is None else np.searchsorted(self._rows, rows)]
        rows = self._rows if rows is None else rows
        inside = patches if rows is None else patches[rows]
        # a NaN in a channel that is not used must also be found
        return self._scored(distances, rows) if np.isfinite(inside).all() else Scored(distances, float("nan"))

    def _scored(self, distances: NDArray[np.float32], rows: NDArray[np.int32] | None) -> Scored:
        """What (R,) distances, those of `rows` of the grid, mean for the frame."""
        return Scored(distances, largest(distances))
