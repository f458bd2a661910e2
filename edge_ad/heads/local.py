"""Local scale and smoothing: what a patch's distance counts at its place, and among its neighbours.

    value(p) = distance(p) * factor[row(p)]                     row(p): the coreset row nearest to patch p
    cell(p)  = sum of weight(p, q) * value(q) / sum of weight(p, q), over the patches q of the region of interest

The factors come from the bundle. The weights are a Gaussian over the patch grid, cut off at 3 sigma. All is float32,
by NumPy's multiplications and additions in one fixed order: each is rounded by itself, wherever it stands in an array.
So a cell depends on the values in its window alone, to the bit, and a larger value never makes a cell smaller. The
proof of the largest cell (`edge_ad.heads.index`) needs both.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.spec import Size

_SMALLEST = float(np.finfo(np.float32).tiny)  # a smaller weight is 0: it would make NaN of an infinite value
_TWICE = np.float32(2.01)  # more than 2, as distances are rounded


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

    def most(
        self, distances: NDArray[np.float32], nearest: NDArray[np.int32], largest: np.float32
    ) -> NDArray[np.float32]:
        """(R,) float32: what the factor of a nearer row can be at most; `largest` where no level bounds it."""
        with np.errstate(over="ignore"):
            near = self._reach[nearest] <= (distances * _TWICE)[:, None]
        most: NDArray[np.float32] = np.append(self._levels, largest)[near.sum(axis=1)]
        return most


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
        reach = self._reach
        return _times(distances, self._largest if reach is None else reach.most(distances, nearest, self._largest))

    def of(self, rows: NDArray[np.int32]) -> Local:
        """The same for some of the patches: (R,) int32 ascending. The others do not exist for the smoothing."""
        smoothing = None if self._smoothing is None else self._smoothing.of(rows)
        return Local(self._scale, smoothing, self._reach)

    def smooth(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(R,) float32 cells of (R,) values."""
        return values if self._smoothing is None else self._smoothing(values)

    def around(self, patches: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(R,) bool: the patches in whose windows at least one of these (R,) lies. Windows are symmetric."""
        return patches if self._smoothing is None else self._smoothing.around(patches)

    @property
    def window(self) -> int:
        """The most patches that a cell depends on."""
        return 1 if self._smoothing is None else (2 * self._smoothing.radius + 1) ** 2


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
        self._weights = [np.float32(weight) for weight in weights if weight >= _SMALLEST]
        self.radius = len(self._weights) - 1
        self._grid, self._rows = grid, rows
        self._window = np.ones((2 * self.radius + 1,) * 2, np.uint8)
        ones = np.ones(grid[0] * grid[1] if rows is None else len(rows), np.float32)
        self._total = self._sum(ones)

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(R,) float32 smoothed values of (R,) float32 values from 0 up; Inf where one in the window is Inf."""
        smoothed: NDArray[np.float32] = self._sum(values) / self._total
        return smoothed

    def of(self, rows: NDArray[np.int32]) -> Smoothing:
        """The same over other patches of the grid: (R,) int32 ascending."""
        return Smoothing(self._sigma, self._grid, rows)

    def around(self, patches: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(R,) bool: the patches in whose windows at least one of these (R,) lies; windows are symmetric."""
        plane = cv2.dilate(self._plane(patches.astype(np.uint8)), self._window)
        return self._inside(plane).astype(np.bool_)

    def _sum(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        plane = self._plane(values)
        with np.errstate(over="ignore"):
            across = np.ascontiguousarray(self._down(plane).T)
            return self._inside(np.ascontiguousarray(self._down(across).T))

    def _down(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Weighted sums down the columns of a plane: the middle first, then each pair of rows from inside out."""
        height, width = plane.shape
        padded = np.zeros((height + 2 * self.radius, width), np.float32)
        padded[self.radius : self.radius + height] = plane
        total, pair = plane * self._weights[0], np.empty((height, width), np.float32)
        for k, weight in enumerate(self._weights[1:], 1):
            above, below = self.radius - k, self.radius + k
            np.add(padded[above : above + height], padded[below : below + height], out=pair)
            np.multiply(pair, weight, out=pair)
            np.add(total, pair, out=total)
        return total

    def _plane(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(h, w) of the (R,) values; 0 outside the region."""
        if self._rows is None:
            return values.reshape(self._grid)
        plane = np.zeros(self._grid[0] * self._grid[1], values.dtype)
        plane[self._rows] = values
        return plane.reshape(self._grid)

    def _inside(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        flat = plane.reshape(-1)
        return flat if self._rows is None else flat[self._rows]
