"""The index finds the nearest coreset row of every patch, by exact search or with the HNSW graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ad import native

# The sizes from which the graph is faster than exact search, which misses nothing (bench/NOTES.md). Without bounds:
# floats in the coreset (rows x D). With bounds: rows, as the product of codes grows with them.
GRAPH_FROM_FLOATS = 200_000
GRAPH_FROM_ROWS = {"amx": 6000, "avx512vnni": 2000, "avxvnni": 2000, "neondot": 2000}  # by instruction set
GRAPH_FROM_ROWS_ELSE = 1000
_RECHECK = 16  # queries of one exact re-check: a full tile of the exact kernel

Nearest = tuple[NDArray[np.float32], NDArray[np.int32]]


def choose_search(wanted: str, coreset: native.Coreset, *, has_graph: bool) -> str:
    """ "exact" or "graph": the wanted one, or for "auto" the faster one for this coreset and CPU."""
    if wanted != "auto":
        return wanted
    if coreset.has_bounds:
        large = coreset.size >= GRAPH_FROM_ROWS.get(native.isa(), GRAPH_FROM_ROWS_ELSE)
    else:
        large = coreset.size * coreset.dim >= GRAPH_FROM_FLOATS
    return "graph" if has_graph and large else "exact"


class Index:
    """Finds nearest coreset rows. Immutable and safe to share between threads.

    Args:
        coreset: the patch vectors of the good images.
        graph: HNSW graph over them; None searches exactly.
        ef: how many candidates the graph search keeps.
        grid_width: patches in a row of the grid.
        rows: (R,) int32 ascending row-major numbers of the patches inside the region of interest; None for all.
        pool: threads.
    """

    def __init__(
        self,
        coreset: native.Coreset,
        graph: native.Graph | None,
        *,
        ef: int,
        grid_width: int,
        rows: NDArray[np.int32] | None,
        pool: native.Pool,
    ) -> None:
        self.coreset = coreset
        self._graph, self._ef, self._grid_width, self._rows, self._pool = graph, ef, grid_width, rows, pool

    @property
    def has_graph(self) -> bool:
        """Whether `nearest` searches the graph."""
        return self._graph is not None

    def exact(self, patches: NDArray[np.float32], rows: NDArray[np.int32] | None) -> Nearest:
        """Exact distances (R,) float32 and coreset rows (R,) int32 of the patches `rows` (all by default)."""
        return native.exact_search(self.coreset, patches, self._pool, rows)

    def nearest(self, patches: NDArray[np.float32]) -> Nearest:
        """Distances (R,) float32, Euclidean, and coreset rows (R,) int32 of the patches in the region of interest.

        With the graph some distances can be too large, never too small. The largest one is always exact.

        Args:
            patches: (P, D) float32, row-major patches of the grid.
        """
        if self._graph is None:
            return self.exact(patches, self._rows)
        distances, nearest = native.graph_search(
            self._graph, patches, self._pool, self._ef, self._grid_width, self._rows
        )
        self._recheck(patches, distances, nearest)
        return distances, nearest

    def _recheck(
        self, patches: NDArray[np.float32], distances: NDArray[np.float32], nearest: NDArray[np.int32]
    ) -> None:
        """Replaces the largest distances by exact ones until no approximate distance can be the maximum.

        An approximate neighbour is never nearer than the true one. So the maximum is found when the largest exact
        distance is at least the next approximate one.
        """
        order = np.argsort(-distances, kind="stable")
        best = -np.inf
        for start in range(0, len(order), _RECHECK):
            if best >= distances[order[start]]:
                return
            chosen = order[start : start + _RECHECK]
            rows = chosen.astype(np.int32) if self._rows is None else self._rows[chosen]
            distances[chosen], nearest[chosen] = self.exact(patches, rows)
            best = max(best, float(distances[chosen].max()))
