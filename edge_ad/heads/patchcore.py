"""PatchCore: Roth et al., "Towards Total Recall in Industrial Anomaly Detection" (CVPR 2022).

A patch's anomaly is the Euclidean distance to the nearest of the coreset's patches (Eq. 6); the image score is the
largest of them, re-weighted by Eq. 7 where asked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def image_score(
    patches: NDArray[np.float32],
    distances: NDArray[np.float32],
    nearest: NDArray[np.int32],
    rows: NDArray[np.int32] | None,
    coreset: NDArray[np.float32],
    neighbors: int,
) -> float:
    """The score of an image, in units of distance.

    Args:
        patches: (P, D) float32 of the whole grid.
        distances, nearest: (R,) of the searched patches.
        rows: (R,) the grid positions of those; None when R = P.
        coreset: (N, D) float32.
        neighbors: b of Eq. 7; 0 gives the plain maximum.
    """
    worst = int(distances.argmax())
    score = float(distances[worst])
    if neighbors == 0 or score == 0.0:
        return score
    patch = patches[worst if rows is None else int(rows[worst])]
    return score * reweighting(patch, coreset, int(nearest[worst]), neighbors)


def reweighting(patch: NDArray[np.float32], coreset: NDArray[np.float32], nearest: int, neighbors: int) -> float:
    """The factor of Eq. 7: 1 - exp(d*) / sum of exp(d_m) over the b coreset patches nearest to m*, m* included.

    Args:
        patch: (D,) the patch with the largest distance.
        coreset: (N, D).
        nearest: row of m*, the coreset patch nearest to it.
        neighbors: b.
    """
    center = coreset[nearest]
    count = min(neighbors, len(coreset))
    # |m - m*|^2 less the constant |m*|^2: one product, no (N, D) temporary
    around = np.einsum("nd,nd->n", coreset, coreset) - 2.0 * (coreset @ center)
    support = np.argpartition(around, count - 1)[:count]
    if nearest not in support:  # exact duplicates of m* can crowd it out
        support[-1] = nearest
    to_patch = np.sqrt(((coreset[support] - patch) ** 2).sum(axis=1, dtype=np.float64))
    exponents = np.exp(to_patch - to_patch.max())  # the largest exponent is 0: no overflow
    own = exponents[support == nearest][0]
    return float(1.0 - own / exponents.sum())
