"""Photometric stereo by the native core: a normal for each pixel. Checks arguments.

:mod:`edge_ad.native.reference_normals` does the same in plain NumPy, to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import NativeError
from edge_ad.native import Pool, _core

__all__ = ["MOST_PICTURES", "null_of", "photometric", "solver_of"]

MOST_PICTURES = 128  # kMostPictures in normals.hpp

_CALL_SAMPLES = 1 << 28  # of one call into C++: about a second of one thread

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
    """A normal for each pixel. Thread-safe; the same bits for every instruction set and number of threads.

    `edge_ad.frames.photometric.solve` says what the methods do, and gives errors that a user understands.

    Args:
        pictures: N of (H, W) or (H, W, 3), uint8 or uint16, all alike; N is 3..`MOST_PICTURES`. The pixels of a row are
            contiguous, the rows need not be. They may be read-only.
        directions: (N, 3) float64 unit vectors towards the lights.
        scales: (N, C) float32: a sample is the sum of the channels times these.
        robust: reweighted; False: least squares.
        dark: a sample that is not above it is no light.
        white: a pixel with a channel at it or above does not count, if `robust`.
        ambient: a picture like the others; subtracted from each.
        gains: (N, H, W) float32, times which the samples are; None for 1.
        mask: (H, W) bool, True where normals are wanted; None for everywhere.
        pool: threads; None: the calling thread alone.

    Returns:
        normals (H, W, 3), albedo (H, W), residual (H, W), all float32 and 0 where there is no normal, and how many
        samples are lit, (H, W) uint8; new arrays.

    Raises:
        NativeError: an argument is of another kind.
    """
    size = _check(pictures, directions, scales, ambient, gains, mask, pool)
    toward = np.ascontiguousarray(directions, np.float32)
    null = null_of(directions) if len(pictures) == 4 else np.zeros(4, np.float32)
    lights = toward, scales, solver_of(directions), null
    found = (
        np.empty((*size, 3), np.float32),
        np.empty(size, np.float32),
        np.empty(size, np.float32),
        np.empty(size, np.uint8),
    )
    kernel: Any = _core.photometric_u8 if pictures[0].dtype == np.uint8 else _core.photometric_u16
    step = max(1, _CALL_SAMPLES // (len(pictures) * size[1]))
    for start in range(0, size[0], step):
        part = slice(start, start + step)
        kernel(
            [picture[part] for picture in pictures],
            None if ambient is None else ambient[part],
            None if gains is None else np.ascontiguousarray(gains[:, part]),
            None if mask is None else np.ascontiguousarray(mask[part]).view(np.uint8),
            lights,
            (robust, dark, white),
            None if pool is None else pool._core,
            tuple(array[part] for array in found),
        )
    return found


def _check(
    pictures: Sequence[NDArray[Any]],
    directions: NDArray[np.float64],
    scales: Floats,
    ambient: NDArray[Any] | None,
    gains: Floats | None,
    mask: NDArray[np.bool_] | None,
    pool: Pool | None,
) -> tuple[int, int]:
    """(H, W) of the pictures, once all arguments are checked."""
    if not 3 <= len(pictures) <= MOST_PICTURES:
        raise NativeError("the number of pictures is out of range", expected=f"3..{MOST_PICTURES}", got=len(pictures))
    first = pictures[0]
    for picture in (*pictures, *([] if ambient is None else [ambient])):
        if not isinstance(picture, np.ndarray) or picture.dtype not in (np.uint8, np.uint16) or not _rows_of(picture):
            got = f"{picture.dtype} of shape {picture.shape}" if isinstance(picture, np.ndarray) else type(picture)
            raise NativeError("a picture has another kind", expected="uint8 or uint16 (H, W) or (H, W, 3)", got=got)
        if picture.shape != first.shape or picture.dtype != first.dtype:
            raise NativeError("a picture is not like the first one", expected=first.shape, got=picture.shape)
    channels, size = (1 if first.ndim == 2 else 3), (int(first.shape[0]), int(first.shape[1]))
    for name, value, kind, shape in (
        ("directions", directions, np.float64, (len(pictures), 3)),
        ("scales", scales, np.float32, (len(pictures), channels)),
        ("gains", gains, np.float32, (len(pictures), *size)),
        ("mask", mask, np.bool_, size),
    ):
        given: Any = value
        if given is None and name in ("gains", "mask"):
            continue
        if not isinstance(given, np.ndarray) or given.dtype != kind or given.shape != shape:
            got = f"{given.dtype} of shape {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
            raise NativeError(f"{name} do not fit the pictures", expected=f"{np.dtype(kind)} {shape}", got=got)
    if not scales.flags.c_contiguous:
        raise NativeError("scales are not contiguous", expected="a C-contiguous array", got=scales.strides)
    if pool is not None and not isinstance(pool, Pool):
        raise NativeError("pool has the wrong type", expected="edge_ad.native.Pool", got=type(pool).__name__)
    return size


def _rows_of(picture: NDArray[Any]) -> bool:
    """Whether it is (H, W) or (H, W, 3), not empty, with the pixels of a row next to each other."""
    item = picture.itemsize
    grey = picture.ndim == 2 and picture.strides[1] == item
    colour = picture.ndim == 3 and picture.shape[2] == 3 and picture.strides[1:] == (3 * item, item)
    return (grey or colour) and min(picture.shape) >= 1
