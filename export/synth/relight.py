"""A stack of photographs again, of the same surface with another height: relit under its own lights.

Pasting a defect into a normal map would test the paste. Here the height of the surface changes; the pictures follow
from it, and photometric stereo has to find the normals again, from noise, highlights and shadows as before.

    slopes    the slopes of the change are added to those of the surface that the stack shows, so that normals still
              belong to a height (the sum of two gradients is one)
    light     Lambert's part of each pixel changes as the cosine to the light does. What is brighter than it, a
              highlight, stays as it was, and so does the noise of the photograph
    shadows   a place is in a cast shadow where the height, seen along the light, now rises above the ray to the light
              and did not before. Stray light, as the photograph has it in its own shadows, stays
    camera    values are rounded and cut at white

What it does not do: light between parts of the surface, highlights that move with a normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import FrameError
from edge_ad.frames.photometric.lights import directions_of, fields_of, intensities_of
from edge_ad.frames.photometric.solve import Normals, check_pictures, normals
from edge_ad.spec import FrameSpec, LightsSpec, Pixels

Plane = NDArray[np.float32]

_GRAZING = 0.15  # cosine to the light: below it a ratio of cosines would blow up noise
_STEEPEST = 4.0  # slope of the surface that counts in shadows: steeper ones are at outlines, and uncertain
_STEP, _SOFT = 0.5, 0.25  # pixels: of the way to the light; how far below a ray's obstacle full shadow begins
_FEW = 50  # pixels in shadow; fewer say nothing of the stray light


@dataclass(frozen=True, eq=False)
class Surface:
    """What a stack shows, ready to be changed; nothing in it is altered.

    Attributes:
        pictures: N of (H, W) or (H, W, 3), u8 or u16, linear in the light.
        lights: of each picture.
        found: normals and albedo by robust photometric stereo.
        paint: (H, W, C) float32, what a pixel shows under a light of intensity 1 that falls on it straight.
        stray: (N,) part of `paint` that pixels in shadow still show.
        white: the pixel value that is white.
        ambient: a picture without the lights; None where there is none.
    """

    pictures: tuple[Pixels, ...]
    lights: LightsSpec
    found: Normals
    paint: Plane
    stray: NDArray[np.float64]
    white: int
    ambient: Pixels | None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of a picture."""
        return self.pictures[0].shape[0], self.pictures[0].shape[1]

    def slopes(self) -> tuple[Plane, Plane]:
        """(H, W) float32 each: dz/dx with x to the right, dz/dy with y up; 0 where there is no normal."""
        z = np.maximum(self.found.normals[..., 2], np.float32(1e-3))
        p, q = -self.found.normals[..., 0] / z, -self.found.normals[..., 1] / z
        return p.astype(np.float32), q.astype(np.float32)


def open_surface(
    stack: Sequence[object],
    lights: LightsSpec,
    mask: NDArray[np.bool_] | None = None,
    ambient: object = None,
    white_level: int = 65535,
) -> Surface:
    """Looks at a stack once, for any number of changes.

    Args:
        stack: N pictures as `edge_ad.frames.photometric.normals` takes them.
        lights: one for each.
        mask: (H, W) bool, where the surface is; None for everywhere.
        ambient: a picture without the lights.
        white_level: u16 value that is white.

    Raises:
        FrameError: a picture cannot be used, or the stack shows no surface.
    """
    spec = FrameSpec(None, "bgr", 16, white_level)
    pictures = tuple(check_pictures(stack, spec, lights.count))
    around = None if ambient is None else check_pictures([pictures[0], ambient], spec, 2)[1]
    found = normals(pictures, lights, mask=mask, ambient=around, white_level=white_level)
    if not found.valid.any():
        raise FrameError("the stack shows no surface", expected="pixels with a normal", got="none")
    white = white_level if pictures[0].dtype == np.uint16 else 255
    lit, total, squares = [], 0.0, 0.0
    for number, picture in enumerate(pictures):
        light, cosine = _intensity(lights, number, picture), _cosine(found.normals, lights, number)
        values = _values(picture, around)
        use = ((cosine > _GRAZING) & (_values(picture).max(axis=2) < white))[..., None]
        shade = light * np.maximum(cosine, 0)[..., None]
        total, squares = total + use * shade * values, squares + use * shade**2
        lit.append((values, light, cosine))
    paint = np.asarray(total / np.maximum(squares, 1e-6), np.float32)
    stray = np.array([_stray(*each, paint, found.valid) for each in lit])
    return Surface(pictures, lights, found, paint, stray, white, around)


def relit(surface: Surface, height: Plane) -> list[Pixels]:
    """The pictures of a surface whose height changed.

    Args:
        surface: as it was.
        height: (H, W) float32 pixels towards the camera that are added to its height; 0 where nothing changes.

    Returns:
        N pictures like those of the surface; the same values where nothing changed. They are the caller's.
    """
    if height.shape != surface.size or not np.isfinite(height).all():
        raise FrameError("the height does not fit the surface", expected=surface.size, got=height.shape)
    where = _window(surface, height)
    if where is None:
        return [picture.copy() for picture in surface.pictures]
    p, q = (slope[where] for slope in surface.slopes())
    change = height[where].astype(np.float32)
    before = surface.found.normals[where]
    there = surface.found.valid[where]
    after = added(before, change)
    made = []
    for number, picture in enumerate(surface.pictures):
        towards = directions_of(surface.lights)[number]
        changed = _relit(surface, number, where, before, after)
        dark = _shadow(change, p, q, towards)[..., None] * there[..., None]
        stray = surface.stray[number] * surface.paint[where] * _intensity(surface.lights, number, picture, where)
        changed -= dark * np.maximum(changed - stray, 0)
        if surface.ambient is not None:
            changed += _values(surface.ambient[where])
        level = np.clip(np.rint(changed), 0, surface.white).astype(picture.dtype)
        touched = (before != after).any(axis=2) | (dark[..., 0] > 0)
        new = picture.copy()
        new[where][touched] = level.reshape(new[where].shape)[touched]
        made.append(new)
    return made


def added(before: Plane, height: Plane) -> Plane:
    """(H, W, 3) float32 normals of a surface whose height changed by (H, W) pixels; 0 where there was none."""
    dy, dx = np.gradient(height.astype(np.float32))
    z = np.maximum(before[..., 2], 1e-3)
    after = np.stack([before[..., 0] / z - dx, before[..., 1] / z + dy, np.ones_like(z)], axis=2)
    after /= np.linalg.norm(after, axis=2, keepdims=True)
    # exactly as it was where the slopes do not change
    same = ((dx == 0) & (dy == 0)) | ~(np.abs(before).max(axis=2) > 0)
    return np.where(same[..., None], before, after).astype(np.float32)


def _relit(surface: Surface, number: int, where: tuple[slice, slice], before: Plane, after: Plane) -> Plane:
    """(h, w, C) values without ambient light and before cast shadows."""
    ambient = None if surface.ambient is None else surface.ambient[where]
    values = _values(surface.pictures[number][where], ambient)
    light = _intensity(surface.lights, number, surface.pictures[number], where) * surface.paint[where]
    old, new = (np.maximum(_cosine(each, surface.lights, number), 0)[..., None] for each in (before, after))
    matt = np.minimum(values, light * old)
    ratio = matt * (new / np.maximum(old, _GRAZING) - 1)
    return np.maximum(values + np.where(old >= _GRAZING, ratio, light * (new - old)), 0).astype(np.float32)


def _shadow(change: Plane, p: Plane, q: Plane, towards: NDArray[np.float64]) -> Plane:
    """(h, w) 0..1: how dark the change of height makes each place by what it casts, or is cast, a shadow."""
    flat = float(np.hypot(towards[0], towards[1]))
    if flat < 1e-3:
        return np.zeros_like(change)
    x, y, rise = float(towards[0]) / flat, float(towards[1]) / flat, float(towards[2]) / flat
    slope = np.clip(p * np.float32(x) + q * np.float32(y), -_STEEPEST, _STEEPEST)
    base = np.zeros_like(change)
    worst = np.full((2, *change.shape), -np.inf, np.float32)
    reach = min(max(change.shape), float(np.ptp(change)) * (_STEEPEST + 1) + 2)
    for number in range(1, int(reach / _STEP) + 1):
        way = number * _STEP
        base += np.float32(_STEP) * _from(slope, x * (way - _STEP / 2), -y * (way - _STEP / 2))
        above = base - np.float32(way * rise)
        worst[0] = np.maximum(worst[0], above)
        worst[1] = np.maximum(worst[1], above + _from(change, x * way, -y * way) - change)
    old, new = np.clip(worst / np.float32(_SOFT), 0, 1)
    return np.clip((new - old) / np.maximum(1 - old, 1e-3), 0, 1)


def _from(plane: Plane, x: float, y: float) -> Plane:
    """The values that lie x columns to the right and y rows below each place."""
    shift = np.array([[1, 0, -x], [0, 1, -y]], np.float64)
    return cv2.warpAffine(plane, shift, plane.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _window(surface: Surface, height: Plane) -> tuple[slice, slice] | None:
    """What the change can reach, its shadows too; None where nothing changes."""
    rows, columns = (np.flatnonzero(np.abs(height).max(axis=axis) > 0) for axis in (1, 0))
    if not len(rows):
        return None
    towards = directions_of(surface.lights)
    flat = float((np.hypot(towards[:, 0], towards[:, 1]) / np.maximum(towards[:, 2], 0.2)).max())
    far = int(np.ceil(float(np.ptp(height)) * (flat + 1))) + 3
    return tuple(  # type: ignore[return-value]
        slice(max(int(at[0]) - far, 0), min(int(at[-1]) + far + 1, side))
        for at, side in zip((rows, columns), surface.size, strict=True)
    )


def _values(picture: Pixels, ambient: Pixels | None = None) -> Plane:
    """(H, W, C) float32 without the ambient light."""
    values = picture.astype(np.float32).reshape(*picture.shape[:2], -1)
    return values if ambient is None else values - ambient.astype(np.float32).reshape(values.shape)


def _cosine(directions: Plane, lights: LightsSpec, number: int) -> Plane:
    return np.asarray(directions @ directions_of(lights)[number].astype(np.float32))


def _intensity(
    lights: LightsSpec, number: int, picture: Pixels, where: tuple[slice, slice] = (slice(None), slice(None))
) -> Plane:
    """(C,) or (h, w, C) float32 intensity of a light as B, G, R or grey, relative to the mean of all."""
    strength = intensities_of(lights)
    strength = strength / strength.mean()
    own = strength[number, ::-1] if picture.ndim == 3 else strength[number].mean(keepdims=True)
    fields = fields_of(lights, (picture.shape[0], picture.shape[1]))
    if fields is None:
        return own.astype(np.float32)
    return fields[number][where][..., None] * own.astype(np.float32)


def _stray(values: Plane, light: Plane, cosine: Plane, paint: Plane, valid: NDArray[np.bool_]) -> float:
    """The part of a straight light that a pixel turned away from it still shows; 0 where too few pixels are."""
    turned = valid & (cosine < -0.05)
    if int(turned.sum()) < _FEW:
        return 0.0
    share = (values / np.maximum(paint * light, 1e-3))[turned]
    return float(np.clip(np.median(share), 0, 0.3))
