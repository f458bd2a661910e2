"""The index finds the nearest coreset row of every patch, by exact search or with the HNSW graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.heads.base import Found
from edge_ad.heads.local import Local

# The sizes from which the graph is faster than exact search, which misses nothing (bench/NOTES.md). Without bounds:
# floats in the coreset (rows x D). With bounds: rows, as the product of codes grows with them.
GRAPH_FROM_FLOATS = 200_000
GRAPH_FROM_ROWS = {"amx": 6000, "avx512vnni": 2000, "avxvnni": 2000, "neondot": 2000}  # by instruction set
GRAPH_FROM_ROWS_ELSE = 1000
_RECHECK = 16  # least queries of one exact re-check: a full tile of the exact kernel
_PLAIN = Local()


@dataclass(frozen=True)
class Estimate:
    """What is known of the patches of a frame. `Index.settle` makes more of it exact, in place.

    Attributes:
        distances: (R,) float32, exact or too large.
        nearest: (R,) int32 rows, each that of the distance or of a smaller one.
        open: (R,) bool: patches whose distance or row may be another one.
        sure: (R,) bool: open patches whose row is certain; None for none.
    """

    distances: NDArray[np.float32]
    nearest: NDArray[np.int32]
    open: NDArray[np.bool_]
    sure: NDArray[np.bool_] | None = None


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

    def exact(self, patches: NDArray[np.float32], rows: NDArray[np.int32] | None) -> Found:
        """Exact distances (R,) float32 and coreset rows (R,) int32 of the patches `rows` (all by default)."""
        return native.exact_search(self.coreset, patches, self._pool, rows)

    def nearest(
        self, patches: NDArray[np.float32], local: Local = _PLAIN, rows: NDArray[np.int32] | None = None
    ) -> Found:
        """Distances (R,) float32, Euclidean, and coreset rows (R,) int32 of the patches in the region of interest.

        With the graph some distances can be too large, never too small. The largest value of `local`, which is the
        largest distance by default, is always exact. So is the place where it is first.

        Args:
            patches: (P, D) float32, row-major patches of the grid.
            local: scale and smoothing.
            rows: other patches than those in the region of interest, (R,) int32 ascending.
        """
        rows = self._rows if rows is None else rows
        if self._graph is None:
            return self.exact(patches, rows)
        distances, nearest = native.graph_search(self._graph, patches, self._pool, self._ef, self._grid_width, rows)

        def search(chosen: NDArray[np.int32]) -> Found:
            return self.exact(patches, chosen if rows is None else rows[chosen])

        self.settle(Estimate(distances, nearest, np.ones(len(distances), np.bool_)), search, local)
        return distances, nearest

    @staticmethod
    def settle(known: Estimate, search: Callable[[NDArray[np.int32]], Found], local: Local) -> None:
        """Replaces distances and rows by exact ones until no other cell can be the largest.

        An approximate neighbour is never nearer than the true one, but its row may have another factor. So its distance
        times the largest factor in question bounds the patch, and smoothed bounds bound the cells. A cell is known
        when all patches of its window are exact. The search ends when no other bound is larger than the largest
        known cell; an equal one must stand behind it, as the first of equal cells is the frame's score.

        Approximate neighbours are nearly always the true ones. So what is searched for is what proves the largest cell
        if they are: all patches of its window, and of other windows as few as bring their cells below it
        (`edge_ad.native.local`). Then mostly one search is enough.

        Args:
            known: is changed.
            search: finds the exact distances and rows of patches, by their numbers.
            local: scale and smoothing.
        """
        distances, nearest, open_patches = known.distances, known.nearest, known.open
        values, bounds = local.scaled(distances, nearest), local.bounds(distances, nearest)
        exact = ~open_patches if known.sure is None else ~open_patches | known.sure
        bounds[exact] = values[exact]
        while len(chosen := local.choose(values, bounds, open_patches, _RECHECK)):
            distances[chosen], nearest[chosen] = search(chosen)
            values[chosen] = bounds[chosen] = local.scaled(distances[chosen], nearest[chosen])
            open_patches[chosen] = False
