"""Shapes that defects are made of: strokes, blobs, rough pieces and textures, on square windows of (n, n) pixels.

Every function draws its random numbers from the generator that it gets, and from nothing else.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

_CANVAS_PX = 512  # a stroke is measured on a finer grid of at most this side
_FINEST = 2  # fine pixels per pixel


def window_side(extent_px: float, margin_px: float) -> int:
    """Side of the window for a shape of that extent, with room around it."""
    return int(np.ceil(extent_px + 2 * margin_px)) + 1


def grid(n: int) -> tuple[Plane, Plane]:
    """(y, x) of each pixel from the centre of the window, shapes (n, 1) and (1, n)."""
    axis = np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2)
    return axis[:, None], axis[None, :]


def blur(plane: Plane, sigma_px: float) -> Plane:
    """Gaussian blur, of planes and of pictures; edges are mirrored."""
    if sigma_px < 0.05:
        return plane
    return cv2.GaussianBlur(plane, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101)


def clouds(n: int, feature_px: float, generator: np.random.Generator, octaves: int = 3) -> Plane:
    """Smooth noise of mean 0 and about unit deviation, whose largest features have that many pixels."""
    total = np.zeros((n, n), np.float32)
    for octave in range(octaves):
        cells = int(np.clip(np.ceil(n / max(feature_px / 2**octave, 1.0)), 1, n)) + 3
        coarse = generator.standard_normal((cells, cells), dtype=np.float32)
        fine = cv2.resize(coarse, (n, n), interpolation=cv2.INTER_CUBIC)
        total += fine * np.float32(0.55**octave)
    return (total - total.mean()) / np.float32(max(float(total.std()), 1e-6))


def blob(n: int, extent_px: float, generator: np.random.Generator, rough: float, stretch: float = 0.6) -> Plane:
    """How far each pixel lies from the centre of an irregular blob, in its radii: 0 there, 1 at its outline.

    Args:
        n: side of the window.
        extent_px: largest diameter, about.
        rough: how far the outline strays from an ellipse, 0 to 0.5 or so.
        stretch: the shorter axis is at least this part of the longer.
    """
    y, x = grid(n)
    angle, ratio = generator.uniform(0, np.pi), generator.uniform(stretch, 1)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = x * c + y * s, (y * c - x * s) / np.float32(ratio)
    r, around = cv2.cartToPolar(u, v)
    turns = np.linspace(0, 2 * np.pi, 513, dtype=np.float32)
    outline = np.ones_like(turns)
    for k in range(2, 9):
        outline += np.float32(rough * generator.normal(0, 1) / k) * np.cos(k * turns + generator.uniform(0, 2 * np.pi))
    outline = np.clip(outline, 0.4, None)
    outline /= outline.max()
    radius = outline[(around * np.float32(512 / 2 / np.pi)).astype(np.int32) % 513]
    return r / (radius * np.float32(max(extent_px, 1.5) / 2))


def piece(n: int, extent_px: float, generator: np.random.Generator) -> Plane:
    """Signed distance in pixels from the outline of a broken piece, negative inside: an angular, uneven polygon."""
    corners = int(generator.integers(5, 9))
    around = np.sort((np.arange(corners) + generator.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners)
    radii = generator.uniform(0.62, 1.0, corners)
    radii /= radii.max()
    angle, ratio = generator.uniform(0, np.pi), generator.uniform(0.6, 1)
    points = np.stack([np.cos(around), np.sin(around) * ratio], 1) * radii[:, None]
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = points @ turn * (max(extent_px, 2.0) / 2)
    fine = _fineness(n)
    canvas = np.zeros((n * fine, n * fine), np.uint8)
    cv2.fillPoly(canvas, [np.rint((points + (n - 1) / 2 + 0.5) * fine * 16).astype(np.int32)], 255, shift=4)
    inside = cv2.distanceTransform(canvas, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(255 - canvas, cv2.DIST_L2, 5)
    signed = cv2.resize(outside - inside, (n, n), interpolation=cv2.INTER_AREA) / np.float32(fine)
    return signed + np.float32(0.018 * extent_px) * clouds(n, max(extent_px * 0.15, 2.0), generator)


def path(extent_px: float, bend: float, curl: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Points (x, y) of a curve that is as long as `extent_px` from end to end, around the origin.

    Args:
        bend: how far it turns from end to end, radians, about.
        curl: how far its direction wavers, radians.
    """
    steps = 64
    s = np.linspace(0, 1, steps)
    direction = generator.uniform(0, 2 * np.pi) + generator.normal(0, 1) * bend * (s - 0.5)
    for k in range(1, 4):
        direction = direction + generator.normal(0, curl / k) * np.sin(np.pi * (k * s * 2 + generator.uniform(0, 2)))
    points = np.cumsum(np.stack([np.cos(direction), np.sin(direction)], 1), axis=0)
    points -= (points.min(axis=0) + points.max(axis=0)) / 2
    reach = max(float(np.hypot(*np.ptp(points, axis=0))), 1e-6)
    return points * (max(extent_px, 2.0) / reach)


def stroke(n: int, points: NDArray[np.float64]) -> tuple[Plane, Plane]:
    """Distance in pixels of each pixel of the window from a curve, and where along it its nearest point is, 0 to 1."""
    fine = _fineness(n)
    side = n * fine
    at = (points + (n - 1) / 2 + 0.5) * fine - 0.5
    lengths = np.r_[0, np.cumsum(np.hypot(*np.diff(at, axis=0).T))]
    samples = np.arange(0, lengths[-1] + 0.5, 0.5)
    x, y = np.interp(samples, lengths, at[:, 0]), np.interp(samples, lengths, at[:, 1])
    there = (x >= 0) & (y >= 0) & (x <= side - 1) & (y <= side - 1)
    samples, x, y = samples[there], x[there].astype(np.float32), y[there].astype(np.float32)
    rows, columns = np.rint(y).astype(np.intp), np.rint(x).astype(np.intp)
    canvas = np.ones((side, side), np.uint8)
    canvas[rows, columns] = 0
    _, labels = cv2.distanceTransformWithLabels(canvas, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.zeros(int(labels.max()) + 1, np.intp)
    nearest[labels[rows, columns]] = np.arange(len(samples))
    which = nearest[labels]
    axis = np.arange(side, dtype=np.float32)
    # from the curve and not from its pixels; smoothed, because the nearest point is found by its pixel
    distance = blur(np.hypot(axis[:, None] - y[which], axis[None, :] - x[which]), 0.7)
    along = (samples / max(lengths[-1], 1e-6)).astype(np.float32)[which]
    if fine > 1:
        distance = cv2.resize(distance, (n, n), interpolation=cv2.INTER_AREA)
        along = cv2.resize(along, (n, n), interpolation=cv2.INTER_AREA)
    return distance / np.float32(fine), along


def taper(along: Plane, generator: np.random.Generator) -> Plane:
    """How strongly a tool pressed along a stroke, 0 to 1: less at the ends, and unevenly."""
    ends = np.clip(np.minimum(along / 0.12, (1 - along) / generator.uniform(0.12, 0.5)), 0, 1)
    knots = np.clip(1 + 0.25 * generator.standard_normal(12), 0.35, 1.4).astype(np.float32)
    return np.sqrt(ends) * np.interp(along, np.linspace(0, 1, 12), knots).astype(np.float32)


def soft(signed_px: Plane) -> Plane:
    """How much of each pixel lies inside an outline, 0 to 1, by its signed distance in pixels (negative inside)."""
    return np.clip(np.float32(0.5) - signed_px, 0, 1)


def _fineness(n: int) -> int:
    return int(np.clip(_CANVAS_PX // max(n, 1), 1, _FINEST))
