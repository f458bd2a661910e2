"""How a picture that is moved by a matrix fits planes beside it, by the native core. Checks arguments.

:func:`edge_ad.native.reference.moved_products` does the same in plain NumPy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ad.native import _core
from edge_ad.native.arguments import require_array

__all__ = ["MOST_PLANES", "MOST_SIDE", "moved_products"]

MOST_SIDE, MOST_PLANES = 4096, 15  # kMostMoved, kMostPlanes in kernels.hpp

Float32Array = NDArray[np.float32]


def moved_products(
    picture: Float32Array, matrix: NDArray[np.float64], weights: Float32Array, planes: Float32Array
) -> NDArray[np.float64]:
    """Sums of products of a moved picture and planes: what a step of Gauss-Newton needs, in one pass. Thread-safe.

    Pixel (x, y) of the moved picture is the picture's bilinear value at `matrix` (x, y, 1); its border is repeated. A
    pixel counts by its weight, and not at all where that point is more than half a pixel outside. The last bits differ
    between instruction sets.

    Args:
        picture: (h, w) float32, finite; each side 2..`MOST_SIDE`.
        matrix: (2, 3) float64; the centres of pixels are whole numbers.
        weights: (h, w) float32, finite.
        planes: (N, h, w) float32, finite; N is `MOST_PLANES` at most.

    Returns:
        (1 + N, 1 + N) float64, symmetric: entry (i, k) is the sum over the pixels of weight times value i times value
        k; value 0 is the moved picture, the others are the planes.

    Raises:
        NativeError: an array is of another kind or size, or not C-contiguous.
    """
    size = picture.shape if isinstance(picture, np.ndarray) and picture.ndim == 2 else (-1, -1)
    count = len(planes) if isinstance(planes, np.ndarray) and len(planes) <= MOST_PLANES else -1
    require_array("picture", picture, np.float32, size)
    require_array("matrix", matrix, np.float64, (2, 3))
    require_array("weights", weights, np.float32, size)
    require_array("planes", planes, np.float32, (count, *size))
    sums = np.empty((count + 1, count + 1))
    _core.moved_products(picture, matrix, weights, planes, sums)
    return sums
