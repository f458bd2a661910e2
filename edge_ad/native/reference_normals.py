"""The plain NumPy twin of :func:`edge_ad.native.photometric`: the same operations of float32 in the same order.

So both give the same bits. Thread-safe: the functions keep no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.native.normals import null_of, solver_of

__all__ = ["photometric"]

Floats = NDArray[np.float32]

SHADOW = np.float32(0.2)  # of a pixel's median sample: below it a sample is in shadow
FEW = 16  # lights; with more, residuals above count less than those below (TAU)
TAU = np.float32(0.3)  # weight of a residual above, 1 - TAU of one below
NEAR = np.float32(0.03)  # of the albedo: smaller residuals count alike
ROUNDS = 8  # of reweighting
FLAT = np.float32(1e-4)  # det / (trace / 3)^3 of the lights that lit a pixel: below it they are near a plane
SPARK = np.float32(0.1)  # of the albedo: four samples that disagree by more have a highlight among them
_ZERO, _ONE = np.float32(0), np.float32(1)


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
) -> tuple[Floats, Floats, Floats, NDArray[np.uint8]]:
    """Twin of :func:`edge_ad.native.photometric`: normals (H, W, 3), albedo, residual, lit (H, W)."""
    size = pictures[0].shape[:2]
    samples = [_sample(picture, ambient, scale) for picture, scale in zip(pictures, scales, strict=True)]
    if gains is not None:
        samples = [sample * gain for sample, gain in zip(samples, gains, strict=True)]
    b = np.stack(samples).reshape(len(pictures), -1)
    bright = np.stack([_channels(picture).max(axis=2) >= np.float32(white) for picture in pictures])
    with np.errstate(all="ignore"):
        g, albedo, lit, good = _solve(b, bright.reshape(b.shape), directions, robust=robust, dark=np.float32(dark))
        residual = _residual(b, directions.astype(np.float32), g, albedo, _lit(b, np.float32(dark)))
    if mask is not None:
        good &= mask.ravel()
    normals = np.where(good, g / np.where(good, albedo, _ONE), _ZERO)
    albedo, residual = np.where(good, albedo, _ZERO), np.where(good, residual, _ZERO)
    counts = np.where(mask.ravel(), lit, 0) if mask is not None else lit
    return (
        np.ascontiguousarray(normals.T).reshape(*size, 3),
        albedo.reshape(size),
        residual.reshape(size),
        counts.astype(np.uint8).reshape(size),
    )


def _channels(picture: NDArray[Any]) -> Floats:
    return picture.astype(np.float32).reshape(*picture.shape[:2], -1)


def _sample(picture: NDArray[Any], ambient: NDArray[Any] | None, scale: Floats) -> Floats:
    """(H, W): the channels times their scales, without the ambient light."""
    channels = _channels(picture)
    around = np.zeros_like(channels) if ambient is None else _channels(ambient)
    total = np.zeros(channels.shape[:2], np.float32)
    for c in range(channels.shape[2]):
        total = total + (channels[..., c] - around[..., c]) * scale[c]
    return np.maximum(total, _ZERO)


def _lit(b: Floats, dark: np.float32) -> NDArray[np.bool_]:
    """(N, P): samples that are not in shadow."""
    median = np.sort(b, axis=0)[len(b) // 2]
    return b > np.maximum(median * SHADOW, dark)


def _solve(
    b: Floats, bright: NDArray[np.bool_], directions: NDArray[np.float64], *, robust: bool, dark: np.float32
) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """(3, P) normals times albedo, (P,) albedo, (P,) counts of lit samples, and (P,) bool where there is a normal."""
    lit, counts = _lit(b, dark), _lit(b, dark).sum(axis=0)
    if not robust:
        solver = solver_of(directions)
        g = np.zeros((3, b.shape[1]), np.float32)
        for n in range(len(b)):
            for i in range(3):
                g[i] = g[i] + solver[i, n] * b[n]
        albedo = _length(g)
        return g, albedo, counts, (counts >= 3) & (albedo > 0) & np.isfinite(albedo)
    lights, weights = directions.astype(np.float32), (lit & ~bright).astype(np.float32)
    a = _matrix(weights, lights)
    enough = _det(a) > FLAT * _cube(a)
    g = _weighted(a, b, weights, lights)
    if len(b) == 4:
        kept = _without_highlight(b, weights, null_of(directions), g)
        a = _matrix(kept, lights)
        g = np.where(_det(a) > FLAT * _cube(a), _weighted(a, b, kept, lights), g)
    for _ in range(ROUNDS if len(b) > 4 else 0):
        g = _round(b, weights, lights, g)
    albedo = _length(g)
    good = enough & (weights.sum(axis=0) >= 3) & (counts >= 3) & (albedo > 0) & np.isfinite(albedo)
    return g, albedo, counts, good


def _round(b: Floats, weights: Floats, lights: Floats, g: Floats) -> Floats:
    """One round of reweighting."""
    tau = TAU if len(b) >= FEW else np.float32(0.5)
    near = NEAR * _length(g)
    new = np.empty_like(weights)
    for n, (x, y, z) in enumerate(lights):
        r = b[n] - (x * g[0] + y * g[1] + z * g[2])
        new[n] = weights[n] * (np.where(r > 0, tau, _ONE - tau) * (near / np.maximum(np.abs(r), near)))
    a = _matrix(new, lights)
    found = _weighted(a, b, new, lights)
    return np.where(_det(a) > np.float32(1e-3) * FLAT * _cube(a), found, g)


def _without_highlight(b: Floats, weights: Floats, null: Floats, g: Floats) -> Floats:
    """Four samples have one to spare: where they disagree, the brightest that can be a highlight is left out."""
    s = null[0] * b[0] + null[1] * b[1] + null[2] * b[2] + null[3] * b[3]
    hot = (weights.sum(axis=0) == 4) & (np.abs(s) > SPARK * _length(g))
    best, most = np.full(b.shape[1], -1), np.zeros(b.shape[1], np.float32)
    for n in range(4):
        can = (s * null[n] > 0) & (b[n] > most)
        best, most = np.where(can, n, best), np.where(can, b[n], most)
    return np.stack([np.where(hot & (best == n), _ZERO, weights[n]) for n in range(4)])


def _matrix(weights: Floats, lights: Floats) -> Floats:
    """(6, P): xx, xy, xz, yy, yz, zz of the sum of w l l^T."""
    a = np.zeros((6, weights.shape[1]), np.float32)
    for n, (x, y, z) in enumerate(lights):
        for i, product in enumerate((x * x, x * y, x * z, y * y, y * z, z * z)):
            a[i] = a[i] + weights[n] * product
    return a


def _minors(a: Floats) -> tuple[Floats, ...]:
    xx, xy, xz, yy, yz, zz = a
    return (
        yy * zz - yz * yz,
        xz * yz - xy * zz,
        xy * yz - xz * yy,
        xx * zz - xz * xz,
        xy * xz - xx * yz,
        xx * yy - xy * xy,
    )


def _det(a: Floats) -> Floats:
    m = _minors(a)
    return np.asarray(a[0] * m[0] + a[1] * m[1] + a[2] * m[2])


def _cube(a: Floats) -> Floats:
    third = (a[0] + a[3] + a[5]) * np.float32(1 / 3)
    return np.asarray(third * third * third)


def _weighted(a: Floats, b: Floats, weights: Floats, lights: Floats) -> Floats:
    """(3, P): the g of least sum of w (b - l g)^2."""
    right = np.zeros((3, b.shape[1]), np.float32)
    for n, light in enumerate(lights):
        sample = weights[n] * b[n]
        for i in range(3):
            right[i] = right[i] + light[i] * sample
    m, r = _minors(a), right
    inverse = _ONE / _det(a)
    return np.stack(
        [
            (m[0] * r[0] + m[1] * r[1] + m[2] * r[2]) * inverse,
            (m[1] * r[0] + m[3] * r[1] + m[4] * r[2]) * inverse,
            (m[2] * r[0] + m[4] * r[1] + m[5] * r[2]) * inverse,
        ]
    )


def _length(g: Floats) -> Floats:
    return np.sqrt(g[0] * g[0] + g[1] * g[1] + g[2] * g[2])


def _residual(b: Floats, lights: Floats, g: Floats, albedo: Floats, lit: NDArray[np.bool_]) -> Floats:
    """(P,): mean |b - l g| of the lit samples, over the albedo."""
    total = np.zeros(b.shape[1], np.float32)
    for n, (x, y, z) in enumerate(lights):
        r = np.abs(b[n] - (x * g[0] + y * g[1] + z * g[2]))
        total = total + np.where(lit[n], r, _ZERO)
    count = lit.sum(axis=0).astype(np.float32)
    return np.asarray(total / (np.maximum(count, _ONE) * albedo))
