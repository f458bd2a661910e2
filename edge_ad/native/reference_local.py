"""The plain NumPy twins of :mod:`edge_ad.native.local`: slow, short, equal to the bit, and the oracle for tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["choose", "smooth", "value_bounds"]

Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]


def value_bounds(
    levels: Float32Array, far: Float32Array, largest: float, distances: Float32Array, nearest: Int32Array
) -> Float32Array:
    """Twin of :func:`edge_ad.native.local.value_bounds`: (R,) float32."""
    with np.errstate(over="ignore"):
        near = far[nearest] <= (distances * np.float32(2.01))[:, None]
        factors = np.append(levels, np.float32(largest))[np.where(nearest < 0, len(levels), near.sum(axis=1))]
        bounds: Float32Array = distances * factors
    return bounds


def smooth(
    values: Float32Array, weights: Float32Array, grid: tuple[int, int], rows: Int32Array | None = None
) -> Float32Array:
    """Twin of :class:`edge_ad.native.local.Smoothing`: (R,) float32 cells of (R,) values."""
    sums = _sums(values, weights, grid, rows)
    cells: Float32Array = sums / _sums(np.ones_like(values), weights, grid, rows)
    return cells


def _sums(values: Float32Array, weights: Float32Array, grid: tuple[int, int], rows: Int32Array | None) -> Float32Array:
    inside = np.arange(grid[0] * grid[1]) if rows is None else rows
    plane = np.zeros(grid[0] * grid[1], np.float32)
    plane[inside] = values
    with np.errstate(over="ignore"):
        sums: Float32Array = _down(_down(plane.reshape(grid), weights).T, weights).T.reshape(-1)[inside]
    return sums


def _down(plane: Float32Array, weights: Float32Array) -> Float32Array:
    radius, height = len(weights) - 1, len(plane)
    padded = np.pad(plane, ((radius, radius), (0, 0)))
    total: Float32Array = plane * weights[0]
    for k, weight in enumerate(weights[1:], 1):
        above, below = padded[radius - k : radius - k + height], padded[radius + k : radius + k + height]
        total = total + (above + below) * weight
    return total


def choose(
    values: Float32Array,
    bounds: Float32Array,
    open_patches: NDArray[np.bool_],
    least: int,
    weights: Float32Array,
    grid: tuple[int, int],
    rows: Int32Array | None = None,
) -> Int32Array:
    """Twin of :meth:`edge_ad.native.local.Smoothing.choose`: (k,) int32."""
    radius, each = len(weights) - 1, weights.astype(np.float64)
    y, x = np.divmod(np.arange(grid[0] * grid[1]) if rows is None else rows, grid[1])
    expected, most = (np.where(np.isnan(given), np.float32(np.inf), given) for given in (values, bounds))
    left, closed = open_patches.copy(), np.zeros(len(values), np.bool_)
    target, totals = smooth(expected, weights, grid, rows).max(), _sums(np.ones_like(values), weights, grid, rows)
    chosen: list[int] = []
    certain = False
    while not closed.all() and not (certain and len(chosen) >= least):
        cells = np.where(closed, -np.inf, smooth(most, weights, grid, rows))
        cell = int(cells.argmax())
        away_y, away_x = abs(y - y[cell]), abs(x - x[cell])
        window = np.flatnonzero(left & (away_y <= radius) & (away_x <= radius))
        if len(window) == 0:
            if len(chosen) == 0 or len(chosen) >= least:
                break
            certain, closed[cell] = True, True
            continue
        with np.errstate(invalid="ignore"):
            less = np.where(most > expected, most.astype(np.float64) - expected, 0.0)[window]
            excess = (np.float64(cells[cell]) - np.float64(target)) * np.float64(totals[cell])
        gains = each[away_y[window]] * each[away_x[window]] * less
        gained, count = 0.0, 0
        for at in np.argsort(-gains, kind="stable"):
            if not (certain or count < 1 + radius * radius // 16 or not gained > excess):
                break
            gained, count = gained + gains[at], count + 1
            chosen.append(int(window[at]))
        most[chosen], left[chosen] = expected[chosen], False
    return np.array(sorted(chosen), np.int32)
