"""Photometric stereo by the native core: a normal for each pixel. Checks arguments.

:mod:`edge_ad.native.reference_normals` does the same in plain NumPy, to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import NativeError
from edge_ad.native import Pool

__all__ = ["MOST_PICTURES", "null_of", "photometric", "solver_of"]

MOST_PICTURES = 128  # kMostPictures in normals.hpp

Floats = NDArray[np.float32]


def solver_of(directions: NDArray[np.float64]) -> Floats:
    """(3, N): the matrix that gives normal times albedo from samples by least squares.

    Written out, as a library of linear algebra may round otherwise on another CPU.
    """
    lights = [tuple(map(float, light)) for light in directions]
    xx, xy, xz, yy, yz, zz = (
        sum(light[i] * light[k] for light in lights) for i, k in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    )
    rows = (
        (yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy),
        (xz * yz - xy * zz, xx * zz - xz * xz, xy * xz - xx * yz),
        (xy * yz - xz * yy, xy * xz - xx * yz, xx * yy - xy * xy),
    )
    det = xx * rows[0][0] + xy * rows[0][1] + xz * rows[0][2]
    return np.array([[(row[0] * x + row[1] * y + row[2] * z) / det for x, y, z in lights] for row in rows], np.float32)


def null_of(directions: NDArray[np.float64]) -> Floats:
    """(4,): what four samples of a matt surface, times this, sum to 0; of length 1."""
    lights = [tuple(map(float, light)) for light in directions]
    found = []
    for left in range(4):
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (light for n, light in enumerate(lights) if n != left)
        det = ax * (by * cz - bz * cy) - ay * (bx * cz - bz * cx) + az * (bx * cy - by * cx)
        found.append(det if left % 2 == 0 else -det)
    length = sum(value * value for value in found) ** 0.5
    return np.array([value / length for value in found], np.float32)


def photometric(
    pictures: Sequence[NDArray[Any]],
    directions: NDArray[np.float64],
    scales: Floats,
    *,
    robust: bool,
    dark: float,
    white: float,
    ambient: NDArray[Any] | None = None,
    gains: Floats | None = None,
    mask: NDArray[np.bool_] | None = None,
    pool: Pool | None = None,
) -> tuple[Floats, Floats, Floats, NDArray[np.uint8]]:
    from edge_ad.native.reference_normals import photometric as twin

    if len(pictures) > MOST_PICTURES:
        raise NativeError("too many pictures", expected=MOST_PICTURES, got=len(pictures))
    return twin(
        pictures, directions, scales, robust=robust, dark=dark, white=white, ambient=ambient, gains=gains, mask=mask
    )
