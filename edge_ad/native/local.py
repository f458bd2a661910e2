"""Local scale and smoothing by the native core: bounds, smoothing, the proof of the largest cell. Checks arguments.

:mod:`edge_ad.native.reference_local` does the same in plain NumPy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import NativeError
from edge_ad.native import _core
from edge_ad.native.arguments import require_array

__all__ = ["Smoothing", "value_bounds"]

Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]


def value_bounds(
    levels: Float32Array, far: Float32Array, largest: float, distances: Float32Array, nearest: Int32Array
) -> Float32Array:
    """(R,) float32: what distance times factor can be at most, of rows that are as near or nearer. Thread-safe.

    A nearer row is at most twice the distance from the given one, by the triangle inequality. So its factor is at most
    the first level above which no factor is so near.

    Args:
        levels: (L,) float32, ascending factors.
        far: (N, L) float32, the distance of each row to the nearest one with a factor above the level, ascending.
        largest: of all factors.
        distances: (R,) float32.
        nearest: (R,) int32 rows; negative where the distance is infinite.

    Raises:
        NativeError: an array is of another kind or size, or a row is none of the N.
    """
    require_array("levels", levels, np.float32, (None,))
    require_array("far", far, np.float32, (None, len(levels)))
    require_array("distances", distances, np.float32, (None,))
    require_array("nearest", nearest, np.int32, (len(distances),))
    bounds = np.empty(len(distances), np.float32)
    _core.value_bounds(levels, far, largest, distances, nearest, bounds)
    return bounds


class Smoothing:
    """Weighted means of values over the windows of a grid of patches. Immutable and thread-safe.

        cell(p) = sum of weight(p, q) * value(q) / sum of weight(p, q), over the patches q that exist

    weight(p, q) is the weight of the rows between p and q times that of the columns between them. Sums are float32,
    without contraction, down the columns first: the middle, then each pair from inside out. So a cell has the same bits
    on every CPU, wherever its window lies, and a larger value never makes a cell smaller.

    Args:
        weights: (r + 1,) float32 above 0, that of the middle first; no patch farther than r counts.
        grid: (h, w) of the patches.
        rows: (R,) int32, ascending row-major numbers of the patches that exist, one or more; None for all.

    Raises:
        NativeError: an argument is of another kind, a row is outside the grid, or the weights of a window add up to 0
            or to Inf.
    """

    def __init__(self, weights: Float32Array, grid: tuple[int, int], rows: Int32Array | None = None) -> None:
        require_array("weights", weights, np.float32, (None,))
        if not (len(weights) and weights.min() > 0 and np.isfinite(weights).all()):
            raise NativeError("weights cannot be used", expected="one or more, above 0 and finite", got=weights)
        if rows is not None:
            require_array("rows", rows, np.int32, (None,))
        height, width = grid
        if not (height >= 1 and width >= 1 and height * width < 2**31):
            raise NativeError("a grid has no such size", expected="1 .. 2^31 - 1 patches", got=f"{height} x {width}")
        self._count = height * width if rows is None else len(rows)
        self._core = _core.Smoothing(weights, height, width, rows)

    def __call__(self, values: Float32Array) -> Float32Array:
        """(R,) float32 cells of (R,) float32 values from 0 up; Inf where one in the window is Inf.

        Raises:
            NativeError: the values are of another kind or number.
        """
        require_array("values", values, np.float32, (self._count,))
        cells = np.empty(self._count, np.float32)
        self._core.smooth(values, cells)
        return cells

    def choose(
        self, values: Float32Array, bounds: Float32Array, open_patches: NDArray[np.bool_], least: int
    ) -> Int32Array:
        """The patches whose exact values should be found next, to be sure of the largest cell and of its place.

        None if both are certain: the first of the largest cells of the bounds has no open patch in its window. Else
        enough that they are certain afterwards, if the exact values are the expected ones: the window of the cell that
        is expected to be the largest, and of every other cell that could be larger those whose bounds raise it most.

        Args:
            values: (R,) float32 that are expected, none above its bound.
            bounds: (R,) float32, the most that each value can be.
            open_patches: (R,) bool; the others have exact values, which are their bounds too.
            least: how many to choose where there is something to find; fewer where no more are open.

        Returns:
            (k,) int32, ascending.

        Raises:
            NativeError: an array is of another kind or size.
        """
        for name, array in (("values", values), ("bounds", bounds)):
            require_array(name, array, np.float32, (self._count,))
        require_array("open_patches", open_patches, np.bool_, (self._count,))
        chosen = np.empty(self._count, np.int32)
        return chosen[: self._core.choose(values, bounds, open_patches.view(np.uint8), least, chosen)]
