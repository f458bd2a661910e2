"""How near graph search comes to exact search, and the breadth it needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ad import native

WANTED_RECALL = 0.97
_BREADTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True)
class SearchFidelity:
    """Graph search against exact search.

    Attributes:
        ef: breadth.
        recall: share of patches whose nearest coreset row was found.
        map_error: mean relative error of the patch distances.
    """

    ef: int
    recall: float
    map_error: float


def choose_ef(
    graph: native.Graph,
    grids: list[NDArray[np.float32]],
    grid_width: int,
    rows: NDArray[np.int32] | None,
    pool: native.Pool,
) -> SearchFidelity:
    """The smallest breadth with a recall of `WANTED_RECALL`, or the largest tried.

    Args:
        graph: the graph.
        grids: (P, D) float32 patches of frames that are not in the coreset.
        grid_width, rows: as in `edge_ad.native.graph_search`.
    """
    exact = [native.exact_search(graph.coreset, grid, pool, rows)[0] for grid in grids]
    truth = np.concatenate(exact)
    for ef in _BREADTHS:
        found = np.concatenate([native.graph_search(graph, grid, pool, ef, grid_width, rows)[0] for grid in grids])
        # by distance and not by row: of two coreset rows equally near either is right
        recall = float((found <= truth).mean())
        error = float((found / np.maximum(truth, 1e-12) - 1).mean())
        if recall >= WANTED_RECALL:
            break
    return SearchFidelity(ef, recall, error)
