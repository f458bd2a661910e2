"""The projection of exact search by bounds, and the order of rows that suits it.

Rows of the basis are the first principal directions of the vectors, mixed by a random rotation, so that each row has
the same share of the spread. Then int8 codes with one scale for all rows lose least. Any basis with orthonormal rows
gives the same answers; a good one gives them fast (edge_ad/native/bounds.hpp).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTHS = (60, 124, 188, 252)  # rows of the basis: with the four numbers of the tail a multiple of 64 codes
LEAF = 32  # rows that stay together when vectors are put in order: a group of the native core
_SAMPLE = 4096  # vectors whose principal directions stand for all
_QUERIES = 64  # vectors searched among the others to compare widths
# nanoseconds of a thread (bench/NOTES.md, "Search"): of a multiply-add of brute force and of the projection, of a code
# of a row, of a row that the bound lets through and of each of its numbers
_PRODUCT_NS, _CODE_NS, _ROW_NS, _NUMBER_NS = 0.024, 0.0025, 100.0, 0.5


def choose_basis(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32] | None:
    """(d, D) float32, the basis with the shortest expected search in (N, D) vectors; None if brute force is as fast.

    Args:
        vectors: the vectors to search in.
        seed: seed of the rotation.
    """
    count, dim = vectors.shape
    sample = vectors[:: -(-count // _SAMPLE)].astype(np.float64)
    mean = sample.mean(axis=0)
    sample -= mean
    directions = np.linalg.eigh(sample.T @ sample)[1][:, ::-1]
    queries = sample[:: -(-len(sample) // _QUERIES)]
    costs = {0: count * dim * _PRODUCT_NS}
    for width in WIDTHS:
        if width < dim:
            through = _let_through(sample, queries, directions[:, :width]) * count
            costs[width] = dim * width * _PRODUCT_NS + count * width * _CODE_NS + through * (_ROW_NS + dim * _NUMBER_NS)
    best = min(costs, key=lambda width: costs[width])
    if best == 0:
        return None
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((best, best)))[0]
    return np.ascontiguousarray((directions[:, :best] @ rotation).T, np.float32)


def _let_through(sample: NDArray[np.float64], queries: NDArray[np.float64], directions: NDArray[np.float64]) -> float:
    """The share of the sample that the bound lets through for one of the queries, which are rows of it."""
    inside, asked = sample @ directions, queries @ directions
    squares, query_squares = (sample**2).sum(axis=1), (queries**2).sum(axis=1)
    tails = np.sqrt(np.maximum(squares - (inside**2).sum(axis=1), 0))
    query_tails = np.sqrt(np.maximum(query_squares - (asked**2).sum(axis=1), 0))
    apart = query_squares[:, None] + squares - 2 * queries @ sample.T
    nearest = np.partition(apart, min(1, len(sample) - 1), axis=1)[:, -1 if len(sample) == 1 else 1]
    bound = (asked**2).sum(axis=1)[:, None] + (inside**2).sum(axis=1) - 2 * asked @ inside.T
    bound += (query_tails[:, None] - tails) ** 2
    # codes make the bound smaller by some hundredths of the points' own size
    slack = 0.02 * np.sqrt(squares.mean())
    return float((np.sqrt(np.maximum(bound, 0)) <= np.sqrt(np.maximum(nearest, 0))[:, None] + slack).mean())


def near_together(vectors: NDArray[np.float32], basis: NDArray[np.float32]) -> NDArray[np.int64]:
    """(N,) numbers of (N, D) vectors in an order with near ones side by side. The rows for a query are then in few
    groups, and in the cache.

    The vectors are halved again and again along the projected number that varies most, as in a k-d tree.
    """
    projected = vectors @ basis.T
    pending, leaves = [np.arange(len(vectors), dtype=np.int64)], []
    while pending:
        rows = pending.pop()
        if len(rows) <= LEAF:
            leaves.append(np.sort(rows))
            continue
        values = projected[rows, projected[rows].var(axis=0).argmax()]
        half = -(-len(rows) // (2 * LEAF)) * LEAF
        order = np.argsort(values, kind="stable")
        pending += [rows[order[half:]], rows[order[:half]]]
    return np.concatenate(leaves)
