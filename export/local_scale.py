"""The factors of the local scale: one for each coreset row, from the distances of held-out good patches.

    local(row)  = ((sum of d^16 + 5 * level^16) / (count + 5)) ^ (1/16)   over the patches that match the row or its
                                                                          32 nearest rows
    factor(row) = (level / local(row)) ^ exponent                         level: 99th percentile of all d

d is the distance of a good patch to a coreset that has not seen its image; a patch matches the row nearest to it. So a
distance counts less among rows where good patches lie far apart, such as copper strands, and more where they hardly
vary, such as a smooth sheath. The score of an image is its largest value, so what counts is how far the farthest good
patches of a place lie, and not the usual ones: such a mean is near the largest, and no patch alone owns it. The plain
mean wins half as much (bench/NOTES.md). Pooling, and the level, which weighs as much as 5 patches, steady rows with
few matches: a row that nothing matches, nor its neighbours, has the factor 1. So have all rows if the level is 0.
local(row) counts as twice the level at most: beside a ground that never varies, a part of 1% of the frame would else
count next to nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ad import native

Neighbours = tuple[NDArray[np.float32], NDArray[np.int32]]  # distances and rows, each (N, k), ascending
NEIGHBOURS = 32  # rows that share their patches, the row itself among them
PRIOR = 5.0  # patches that the level weighs as much as
POWER = 16  # of the mean
LEVEL = 0.99  # quantile of the distances of all patches
LEVELS = (0.5, 0.75, 0.9, 0.95, 0.98)  # quantiles of the factors: see `factor_reach`
MOST_PATCHES = 100_000  # to match with rows; of more, a regular share is enough
FARTHEST = 2.0  # times the level: what a place counts at most
_FINITE = 1e6  # times the level: a power of more would be no number


def level_of(distances: NDArray[np.float32]) -> float:
    """The level of (n, R) held-out distances. An odd image does not move it, so it is alike in all folds."""
    return float(np.quantile(distances, LEVEL))


def row_statistics(
    coreset: native.Coreset,
    patches: NDArray[np.float32],
    distances: NDArray[np.float32],
    images: NDArray[np.int64],
    pool: native.Pool,
    guesses: NDArray[np.int32] | None = None,
    neighbours: Neighbours | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of the patches that match each row, (N,) sums of (d / level)^16 and counts; the counts twice if the level is 0.

    Of more than `MOST_PATCHES` patches it takes a regular share: every n-th, from another one in each image, so that
    all places of the grid have a part.

    Args:
        coreset: (N, D).
        patches: (n, R, D) float32 of good images; may be memory-mapped, and is read image by image.
        distances: (n, R) float32 held-out distances of the patches.
        images: numbers of the images to take, which were held out.
        pool: threads.
        guesses: (n, R) int32, for each patch a row that is near; -1 for none. They need the neighbours.
        neighbours: of the rows.
    """
    sums, counts = np.zeros(coreset.size), np.zeros(coreset.size, np.int64)
    per_image, level = patches.shape[1], level_of(distances[images])
    step = -(-len(images) * per_image // MOST_PATCHES)
    for number, image in enumerate(images):
        taken = np.arange(number % step, per_image, step, dtype=np.int32)
        own = np.ascontiguousarray(patches[image])
        if guesses is None or neighbours is None:
            _, rows = native.exact_search(coreset, own, pool, taken)
        else:
            _, rows = native.guessed_search(coreset, own, guesses[image, taken], neighbours, pool, taken)
        counts += np.bincount(rows, minlength=coreset.size)
        if level > 0:
            far = np.minimum(distances[image, taken].astype(np.float64) / level, _FINITE) ** POWER
            sums += np.bincount(rows, weights=far, minlength=coreset.size)
    return sums if level > 0 else counts.astype(np.float64), counts


def row_neighbours(coreset: native.Coreset, pool: native.Pool) -> Neighbours:
    """The k rows nearest to each, itself among them; `NEIGHBOURS` of them, or all."""
    return native.knn_search(coreset, coreset.vectors, min(NEIGHBOURS, coreset.size), pool)


def local_scale(
    sums: NDArray[np.float64], counts: NDArray[np.int64], neighbours: NDArray[np.int32], exponent: float
) -> NDArray[np.float32]:
    """(N,) float32 factors, above 0 and finite: see the module.

    Args:
        sums, counts: (N,) of each row: `row_statistics`.
        neighbours: (N, k) rows that are pooled, of `row_neighbours`.
        exponent: 0 gives factors of 1.
    """
    local = (sums[neighbours].sum(axis=1) + PRIOR) / (counts[neighbours].sum(axis=1) + PRIOR)
    factors: NDArray[np.float32] = (np.minimum(local, FARTHEST**POWER) ** (-exponent / POWER)).astype(np.float32)
    return factors


def factor_reach(
    vectors: NDArray[np.float32], factors: NDArray[np.float32], basis: NDArray[np.float32] | None, pool: native.Pool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How far it is from each row to a larger factor: `edge_ad.heads.local.Reach`. For graph search.

    Args:
        vectors: (N, D) float32, the coreset.
        factors: (N,) float32 of its rows.
        basis: of exact search; None for none.
        pool: threads.

    Returns:
        levels (L,) float32, ascending factors; and reach (N, L) float32, the distance of each row to the nearest one
        whose factor is above that level, or the largest float32 if there is none.
    """
    levels = np.quantile(factors, LEVELS).astype(np.float32)
    reach = np.full((len(vectors), len(levels)), np.finfo(np.float32).max, np.float32)
    for column, level in zip(reach.T, levels, strict=True):
        above = vectors[factors > level]
        if len(above):
            column[:] = native.exact_search(native.Coreset(above, basis, pool=pool), vectors, pool)[0]
    return levels, np.maximum.accumulate(reach, axis=1)  # last bits could differ between the searches
