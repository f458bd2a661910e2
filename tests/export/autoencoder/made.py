"""Normal maps that tests draw."""

from __future__ import annotations

import numpy as np


def dome(size: int, bump: bool = False, turn: float = 0.0) -> np.ndarray:
    """(size, size, 3) float32 normals (z, y, x) of a dome with waves; 0 in the corners, where it is not.

    Args:
        bump: a small bump on it.
        turn: phase of the waves.
    """
    y, x = np.mgrid[:size, :size] / size - 0.5
    height = -1.2 * (x**2 + y**2) + 0.01 * np.sin(30 * x + turn)
    if bump:
        height += 0.03 * np.exp(-((x - 0.1) ** 2 + (y + 0.05) ** 2) / 0.0015)
    slope_y, slope_x = np.gradient(height, 1 / size)
    normals = np.dstack([np.ones_like(x), -slope_y, -slope_x])
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    normals[np.hypot(x, y) > 0.48] = 0
    return normals.astype(np.float32)
