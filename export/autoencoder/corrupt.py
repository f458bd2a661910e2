"""Spoils good pictures for the training, so that the network learns to repair. NumPy and OpenCV alone.

These marks teach; they measure nothing. What is measured are the defects of `export.synth`, and real ones: another
generator, with other shapes, so that a network that has learned to undo its own marks is not praised for it.

Source of the idea: Collin & De Vleeschouwer, "Improved anomaly detection by training an autoencoder with skip
connections on images corrupted with stain-shaped noise" (2020); the pasted pieces: Li et al., "CutPaste" (2021).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]  # (H, W, 3): colours in 0..1, or normals
Mask = NDArray[np.float32]  # (H, W) in 0..1

MOST_MARKS = 4  # of a picture
_SMALLEST, _LARGEST = 0.02, 0.45  # extents of a mark, as parts of the shorter side


def pictures(tensor: NDArray[np.generic], *, normals: bool = False) -> NDArray[np.float32]:
    """(N, H, W, 3) float32 as the network takes them, of tensors as an engine takes them: u8 pixels as colours in 0..1,
    or 127.5 (n + 1) of normals n as these, z, y, x.
    """
    if normals:
        return tensor.astype(np.float32) * np.float32(1 / 127.5) - np.float32(1)
    return tensor.astype(np.float32) * np.float32(1 / 255)


def corrupt(picture: Picture, other: Picture, generator: np.random.Generator, *, normals: bool = False) -> Picture:
    """A spoilt copy.

    Args:
        picture: colours in 0..1, or with `normals` vectors of length 1 or 0.
        other: another good picture of the same size, for pieces that are pasted.
        generator: every random choice comes from it.
        normals: the result has vectors of length 1 again, and of length 0 where they were.
    """
    spoilt = picture.copy()
    for _ in range(int(generator.integers(1, MOST_MARKS + 1))):
        mask = _MASKS[int(generator.integers(len(_MASKS)))](picture.shape[:2], generator)[..., None]
        fill = _FILLS[int(generator.integers(len(_FILLS)))](spoilt, other, mask[..., 0], generator, normals)
        alpha = mask * np.float32(generator.uniform(0.3, 1) if generator.random() < 0.6 else 1.0)
        spoilt += alpha * (fill - spoilt)
    return unit(spoilt, picture) if normals else np.clip(spoilt, 0, 1)


def unit(vectors: Picture, like: Picture) -> Picture:
    """The vectors with length 1, or 0 where those of `like` have it."""
    lengths = np.linalg.norm(vectors, axis=2, keepdims=True)
    there = np.linalg.norm(like, axis=2, keepdims=True) > 0.5
    return np.where(there, vectors / np.maximum(lengths, 1e-6), 0).astype(np.float32)


def _extent(size: tuple[int, ...], generator: np.random.Generator) -> float:
    return float(min(size) * np.exp(generator.uniform(np.log(_SMALLEST), np.log(_LARGEST))))


def _stain(size: tuple[int, ...], generator: np.random.Generator) -> Mask:
    """An ellipse with a ragged outline and a soft or hard edge."""
    extent = max(_extent(size, generator), 2.0)
    turns = np.linspace(0, 2 * np.pi, 49)[:-1]
    radii = np.ones_like(turns)
    for wave in range(2, 7):
        radii += generator.normal(0, 0.5 / wave) * np.cos(wave * turns + generator.uniform(0, 2 * np.pi))
    ratio, angle = generator.uniform(0.25, 1), generator.uniform(0, np.pi)
    u, v = radii * np.cos(turns) * extent / 2, radii * np.sin(turns) * extent / 2 * ratio
    points = np.stack([u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)], axis=1)
    points += generator.uniform(0, 1, 2) * (size[1], size[0])
    return _filled(size, points, generator)


def _corners(size: tuple[int, ...], generator: np.random.Generator) -> Mask:
    """A polygon of three to six corners."""
    extent = max(_extent(size, generator), 2.0)
    turns = np.sort(generator.uniform(0, 2 * np.pi, int(generator.integers(3, 7))))
    points = extent / 2 * np.stack([np.cos(turns), np.sin(turns) * generator.uniform(0.3, 1)], axis=1)
    points += generator.uniform(0, 1, 2) * (size[1], size[0])
    return _filled(size, points, generator)


def _line(size: tuple[int, ...], generator: np.random.Generator) -> Mask:
    """A bent line of one to a few pixels."""
    length, count = 2 * max(_extent(size, generator), 4.0), int(generator.integers(2, 12))
    turns = generator.uniform(0, 2 * np.pi) + np.cumsum(generator.normal(0, 0.45, count))
    points = np.cumsum(length / count * np.stack([np.cos(turns), np.sin(turns)], axis=1), axis=0)
    points += generator.uniform(0, 1, 2) * (size[1], size[0]) - points.mean(axis=0)
    drawn = np.zeros(size, np.uint8)
    cv2.polylines(drawn, [_fixed(points)], False, 255, int(generator.integers(1, 4)), cv2.LINE_AA, 3)
    return drawn.astype(np.float32) / np.float32(255)


def _patches(size: tuple[int, ...], generator: np.random.Generator) -> Mask:
    """Where smooth noise is high, in a window: several pieces with ragged outlines."""
    field = noise(size, float(generator.uniform(4, 24)), generator)
    within = _stain(size, generator) if generator.random() < 0.5 else _corners(size, generator)
    return (within * (field > generator.uniform(0, 0.8))).astype(np.float32)


def _filled(size: tuple[int, ...], points: NDArray[np.float64], generator: np.random.Generator) -> Mask:
    drawn = np.zeros(size, np.uint8)
    cv2.fillPoly(drawn, [_fixed(points)], 255, cv2.LINE_AA, 3)
    mask: Mask = drawn.astype(np.float32) / np.float32(255)
    if generator.random() < 0.5:
        return mask
    return cv2.GaussianBlur(mask, (0, 0), float(generator.uniform(0.5, 4)))


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Points for OpenCV, with three bits of a pixel's fraction."""
    return np.rint(points * 8).astype(np.int32)


def noise(size: tuple[int, ...], feature_px: float, generator: np.random.Generator) -> Mask:
    """Smooth noise of about unit deviation, (H, W)."""
    cells = (max(2, int(size[0] / feature_px)) + 1, max(2, int(size[1] / feature_px)) + 1)
    coarse = generator.standard_normal(cells).astype(np.float32)
    return cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)


def _plain(now: Picture, other: Picture, mask: Mask, generator: np.random.Generator, normals: bool) -> Picture:
    """One colour, often near the picture's own; or one direction."""
    own = (now * mask[..., None]).sum(axis=(0, 1)) / max(float(mask.sum()), 1e-6)
    colour = own + generator.normal(0, 0.25, 3 if generator.random() < 0.4 or normals else 1)
    return np.broadcast_to(colour.astype(np.float32), now.shape)


def _grain(now: Picture, other: Picture, mask: Mask, generator: np.random.Generator, normals: bool) -> Picture:
    """Another texture around what is there."""
    field = noise(now.shape[:2], float(generator.uniform(1, 12)), generator)[..., None]
    even = cv2.blur(now, (15, 15)) if generator.random() < 0.5 else now
    tint = generator.normal(0, 0.2, 3 if generator.random() < 0.3 or normals else 1).astype(np.float32)
    return even + field * tint


def _pasted(now: Picture, other: Picture, mask: Mask, generator: np.random.Generator, normals: bool) -> Picture:
    """A piece of another place, of this or of another good picture."""
    source = now if generator.random() < 0.5 else other
    step = [int(generator.integers(side // 8, max(side - side // 8, side // 8 + 1))) for side in now.shape[:2]]
    return np.roll(source, step, axis=(0, 1))


def _smeared(now: Picture, other: Picture, mask: Mask, generator: np.random.Generator, normals: bool) -> Picture:
    """What is there, blurred."""
    return cv2.GaussianBlur(now, (0, 0), float(generator.uniform(1.5, 8)))


def _shaded(now: Picture, other: Picture, mask: Mask, generator: np.random.Generator, normals: bool) -> Picture:
    """Lighter on one side and darker on the other, as a dent is; of normals a dent itself."""
    smooth = cv2.GaussianBlur(mask, (0, 0), float(generator.uniform(1, 6)))
    slope = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)], axis=2)
    slope *= np.float32(generator.uniform(0.1, 0.6) / max(float(np.abs(slope).max()), 1e-6))
    if normals:
        return now + np.dstack([np.zeros_like(mask), slope[..., 1], slope[..., 0]])
    angle = generator.uniform(0, 2 * np.pi)
    light = slope[..., 0] * np.float32(np.cos(angle)) + slope[..., 1] * np.float32(np.sin(angle))
    return now + light[..., None]


_MASKS: tuple[Callable[[tuple[int, ...], np.random.Generator], Mask], ...] = (_stain, _stain, _line, _corners, _patches)
_FILLS: tuple[Callable[[Picture, Picture, Mask, np.random.Generator, bool], Picture], ...] = (
    _plain,
    _plain,
    _grain,
    _pasted,
    _smeared,
    _shaded,
)
