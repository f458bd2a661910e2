"""Local scale and smoothing: what a patch's distance counts at its place, and among its neighbours.

    value(p) = distance(p) * factor[row(p)]                     row(p): the coreset row nearest to patch p
    cell(p)  = sum of weight(p, q) * value(q) / sum of weight(p, q), over the patches q of the region of interest

The factors come from the bundle. The weights are a Gaussian over the patch grid, cut off at 3 sigma. All is float32,
multiplied and added in one fixed order (`edge_ad.native.local`). So a cell depends on the values in its window
alone, to the bit, and a larger value never makes a cell smaller. The proof of the largest cell (`edge_ad.heads.index`)
needs both.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_ad.native import local as native
from edge_ad.spec import Size

_SMALLEST = float(np.finfo(np.float32).tiny)  # a smaller weight is 0: it would make NaN of an infinite value


class Reach:
    """How far it is from each coreset row to a larger factor. Immutable and safe to share between threads.

    A patch at the distance d of a row may have another row that is nearer. By the triangle inequality that one is at
    most 2 d from the first. So if every factor above a level is farther off, the nearer row's factor is at most the
    level. With the largest factor of all instead, most patches of a frame could be the largest.

    Args:
        levels: (L,) float32 factors, ascending.
        reach: (N, L) float32 distances from each row to the nearest one with a factor above the level, ascending.
    """

    def __init__(self, levels: NDArray[np.float32], reach: NDArray[np.float32]) -> None:
        self._levels, self._reach = levels, reach

    def bounds(
        self, distances: NDArray[np.float32], nearest: NDArray[np.int32], largest: np.float32
    ) -> NDArray[np.float32]:
        """(R,) float32: what distance times factor can be at most; `largest` where no level bounds the factor."""
        return native.value_bounds(self._levels, self._reach, float(largest), distances, nearest)


class Local:
    """Scale and smoothing of one head, each of which may be missing. Immutable and safe to share between threads.

    Args:
        scale: (N,) float32 factors of the coreset rows, above 0 and finite; None for none.
        smoothing: over the patches; None for none.
        reach: bounds factors more tightly; None where nothing needs bounds.
    """

    def __init__(
        self,
        scale: NDArray[np.float32] | None = None,
        smoothing: Smoothing | None = None,
        reach: Reach | None = None,
    ) -> None:
        self._scale, self._smoothing, self._reach = scale, smoothing, reach
        self._largest = None if scale is None else scale.max()

    def __call__(self, distances: NDArray[np.float32], nearest: NDArray[np.int32]) -> NDArray[np.float32]:
        """(R,) float32 smoothed values of (R,) distances and coreset rows; Inf where a distance is or a value grows so.

        Without scale and smoothing these are the distances themselves, not a copy.
        """
        return self.smooth(self.scaled(distances, nearest))

    def scaled(self, distances: NDArray[np.float32], nearest: NDArray[np.int32]) -> NDArray[np.float32]:
        """(R,) float32: each distance times the factor of its row. The row -1 belongs to an infinite distance."""
        return distances if self._scale is None else _times(distances, self._scale[nearest])

    def bounds(self, distances: NDArray[np.float32], nearest: NDArray[np.int32]) -> NDArray[np.float32]:
        """(R,) float32: the most that `scaled` can give for the true rows, which are as near as these or nearer."""
        if self._largest is None:
            return distances.copy()
        if self._reach is None:
            return _times(distances, self._largest)
        return self._reach.bounds(distances, nearest, self._largest)

    def of(self, rows: NDArray[np.int32]) -> Local:
        """The same for some of the patches: (R,) int32 ascending. The others do not exist for the smoothing."""
        smoothing = None if self._smoothing is None else self._smoothing.of(rows)
        return Local(self._scale, smoothing, self._reach)

    def smooth(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(R,) float32 cells of (R,) values."""
        return values if self._smoothing is None else self._smoothing(values)

    def choose(
        self, values: NDArray[np.float32], bounds: NDArray[np.float32], open_patches: NDArray[np.bool_], least: int
    ) -> NDArray[np.int32]:
        """The patches to find next for the largest cell: `edge_ad.native.local.Smoothing.choose`."""
        return (self._smoothing or _single(len(values))).choose(values, bounds, open_patches, least)


def _times(distances: NDArray[np.float32], factors: NDArray[np.float32] | np.float32) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        product: NDArray[np.float32] = distances * factors
    return product


class Smoothing:
    """A Gaussian over the patches of the region of interest. Immutable and safe to share between threads.

    The weights of a cell are divided by their sum over the patches that exist and are inside the region. So the border
    of the grid and the edge of the region are as bright as the middle.

    Args:
        sigma: in patches; above 0.
        grid: (h, w) of the patches.
        rows: (R,) int32 ascending row-major numbers of the patches inside the region; None for all.
    """

    def __init__(self, sigma: float, grid: Size, rows: NDArray[np.int32] | None) -> None:
        self._sigma = sigma
        reach = min(math.ceil(3 * sigma), max(grid) - 1)
        weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(reach + 1)]
        self._grid = grid
        self._core = native.Smoothing(np.array([w for w in weights if w >= _SMALLEST], np.float32), grid, rows)

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(R,) float32 smoothed values of (R,) float32 values from 0 up; Inf where one in the window is Inf."""
        return self._core(values)

    def choose(
        self, values: NDArray[np.float32], bounds: NDArray[np.float32], open_patches: NDArray[np.bool_], least: int
    ) -> NDArray[np.int32]:
        """`edge_ad.native.local.Smoothing.choose`."""
        return self._core.choose(values, bounds, open_patches, least)

    def of(self, rows: NDArray[np.int32]) -> Smoothing:
        """The same over other patches of the grid: (R,) int32 ascending."""
        return Smoothing(self._sigma, self._grid, rows)


@lru_cache(maxsize=16)  # making one takes as long as `choose` itself
def _single(count: int) -> native.Smoothing:
    """Each patch by itself. About square: for each patch chosen, `choose` looks through one row, and down all rows."""
    width = max(1, math.isqrt(count))
    return native.Smoothing(np.ones(1, np.float32), (-(-count // width), width), np.arange(count, dtype=np.int32))
