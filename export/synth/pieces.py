"""Piece kinds: a piece of the part is missing, or has moved from its place."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from export.synth.shapes import Plane, blur, clouds, piece, soft, window_side
from export.synth.site import Drawing, Drawn, Site, open_site
from export.synth.study import Study

_AT_EDGE = 0.6  # of missing pieces of an object are bitten out of its outline; the others are holes


def draw_missing(study: Study, extent: float, generator: np.random.Generator) -> Drawn:
    """A piece that broke off: the ground shows at the outline of the object, and rough, shaded material within."""
    n = window_side(extent * 1.15, 6)
    signed = piece(n, extent, generator)
    cover = soft(signed)
    at_edge = generator.uniform() < _AT_EDGE
    azimuth = generator.uniform(0, 2 * np.pi)
    rough = clouds(n, max(2.0, extent / 4), generator, 4)
    y, x = study.place(extent, generator)
    edge = study.edge_place(extent, generator)
    if at_edge and edge is not None:
        y, x = edge
        apart = 2 * study.size[0] // study.room.shape[0] + 5  # pixels of the outline belong to neither
        ground = study.allowed(y - n // 2, x - n // 2, n) < 0.02
        ground = cv2.erode(ground.astype(np.uint8), np.ones((apart, apart), np.uint8)) > 0
        site = open_site(study, y, x, n, within=False)
        if ground.mean() > 0.04:
            # never half transparent: that would look like glass
            return site, _fill(site, cover, _spread(site.light, ground), 1.0)
    site = open_site(study, y, x, n)
    return site, _fill(site, cover, _cavity(site, signed, extent, azimuth, rough), 0.003)


def draw_displaced(study: Study, extent: float, generator: np.random.Generator) -> Drawn:
    """A piece that is cut loose, turned and pushed aside; its place gapes. The strength is how far it has moved."""
    n = window_side(extent * 1.5, 6)
    signed = piece(n, extent * 0.85, generator)
    cover = soft(signed)
    turn = float(generator.choice([-1, 1]) * generator.uniform(8, 22))
    azimuth, far = generator.uniform(0, 2 * np.pi), generator.uniform(0.10, 0.18) * extent
    lamp = generator.uniform(0, 2 * np.pi)
    rough = clouds(n, max(2.0, extent / 4), generator, 4)
    site = open_site(study, *study.place(extent, generator), n)
    gap = _cavity(site, signed, extent, lamp, rough)
    lift = max(1.0, 0.025 * extent)
    tilt = float(generator.choice([-1, 1]) * generator.uniform(0.12, 0.3))

    def render(strength: float) -> tuple[Plane, Plane]:
        matrix = cv2.getRotationMatrix2D(((n - 1) / 2, (n - 1) / 2), turn * strength, 1.0)
        matrix[:, 2] += far * strength * np.array([np.cos(azimuth), np.sin(azimuth)])
        moved = _warped(cover, matrix)[..., None]
        content = _warped(site.light, matrix).reshape(site.light.shape) * np.float32(1 + tilt * min(1.0, strength))
        fallen = _moved(blur(moved[..., 0], lift), -lift * np.cos(lamp), -lift * np.sin(lamp))[..., None]
        under = site.light + np.maximum(cover[..., None] - moved, 0) * (gap - site.light)
        under = under * (1 - np.float32(0.45 * min(1.0, 3 * strength)) * fallen * (1 - moved))
        light = blur(np.ascontiguousarray(under + moved * (content - under) - site.light), 0.6 * site.blur_px)
        left = 1 - np.maximum(cover[..., None] - moved, 0)
        return site.light + light.reshape(site.light.shape) * site.allowed, left

    return site, Drawing(render, 2.0, np.abs(signed) < max(1.5, 0.1 * extent))


def _cavity(site: Site, signed: Plane, extent: float, azimuth: float, rough: Plane) -> Plane:
    """The light in a hole: rough, darker material, in the shadow of the wall on the lamp's side, lit on the other."""
    deep = max(1.0, 0.10 * extent)
    mean = site.mean
    floor = (np.float32(0.30) * mean + np.float32(0.05) * mean.mean()) * (1 + np.float32(0.28) * rough[..., None])
    wall = _moved(signed, deep * np.cos(azimuth), deep * np.sin(azimuth))  # what stands towards the lamp
    floor *= 1 - np.float32(0.6) * np.clip(0.5 + wall / np.float32(deep), 0, 1)[..., None]
    far = _moved(signed, -deep * np.cos(azimuth), -deep * np.sin(azimuth))
    lit = np.clip(far / np.float32(deep), 0, 1) * np.clip(1 + signed / np.float32(deep), 0, 1)
    return np.maximum(floor + np.float32(0.55) * lit[..., None] * mean, 0).astype(np.float32)


def _fill(site: Site, cover: Plane, what: Plane, least: float) -> Drawing:
    def render(strength: float) -> tuple[Plane, Plane]:
        alpha = np.float32(strength) * np.clip(blur(cover, site.blur_px), 0, 1)[..., None] * site.allowed
        return site.light + alpha * (what - site.light), 1 - alpha

    return Drawing(render, 1.0, cover > 0.5, least)


def _spread(light: Plane, ground: NDArray[np.bool_]) -> Plane:
    """The light of the ground, (n, n) bool, carried on smoothly to where there is none."""
    weight = ground.astype(np.float32)
    total, amount = np.zeros_like(light), np.zeros(ground.shape, np.float32)
    for sigma, trust in ((0.08, 1.0), (0.25, 1e-2), (1.0, 1e-4)):
        share = np.float32(trust) * blur(weight, sigma * len(light))
        amount += share
        total += np.float32(trust) * blur(light * weight[..., None], sigma * len(light)).reshape(light.shape)
    return total / (amount[..., None] + np.float32(1e-12))


def _warped(plane: Plane, matrix: NDArray[np.float64]) -> Plane:
    mode = cv2.BORDER_REFLECT_101 if plane.ndim == 3 else cv2.BORDER_CONSTANT
    return cv2.warpAffine(plane, matrix, plane.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=mode)


def _moved(plane: Plane, dx: float, dy: float) -> Plane:
    matrix = np.array([[1, 0, -dx], [0, 1, -dy]], np.float32)
    return cv2.warpAffine(plane, matrix, plane.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
