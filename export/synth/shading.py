"""Shades a change of height into a picture: the picture's own light falls on the new surface from one side.

Lambert's law as a ratio to the flat surface, so that the light of the picture stays what it is; a narrow highlight with
Blinn's half vector (1977), so that dark and glossy surfaces show a form too; and less light in hollows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.synth.shapes import Plane, blur
from export.synth.site import Drawing, Site

_STEEPEST = 2.5  # gain of the height; beyond it the gloss alone grows
_MOST = 10.0
_DARKEST = 0.12  # of the surface's own light: what falls on a wall in shadow from all around


@dataclass(frozen=True)
class Lamp:
    """Where the light comes from (azimuth and elevation in radians, x right and y down); how glossy the surface is."""

    azimuth: float
    elevation: float
    gloss: float


def draw_lamp(generator: np.random.Generator) -> Lamp:
    """A lamp that lights from any side, not too flat."""
    azimuth, elevation = generator.uniform(0, 2 * np.pi), np.radians(generator.uniform(30, 55))
    return Lamp(float(azimuth), float(elevation), float(generator.uniform(0.15, 0.5)))


def shade(site: Site, height: Plane, lamp: Lamp, bare: float = 0.0, deep: float = 0.0) -> Drawing:
    """A height field of (n, n) pixels, lit at a site; the strength is the gain of the height.

    Args:
        bare: how much the material inside hollows differs from the surface, 0 to 1: what a tool has scraped is bright
            on a dark surface, and dull on a bright one.
        deep: how much of the light does not reach the floor of hollows, 0 to 1.
    """
    dy, dx = np.gradient(height)
    deepest = np.float32(max(float(np.abs(height).max()), 1e-6))
    hollow = np.maximum(blur(height, max(1.0, 0.06 * site.side)) - height, 0) / deepest
    floor = np.clip(-height / deepest, 0, 1)[..., None]
    shine = np.maximum(np.percentile(site.light, 97, axis=(0, 1)).astype(np.float32), np.float32(0.25))
    is_dark = float(np.sqrt(site.mean.mean())) < 0.55
    scraped = (
        np.float32(0.35) * site.mean + np.maximum(shine, np.float32(0.5)) if is_dark else np.float32(0.35) * site.mean
    )
    lx, ly = np.cos(lamp.azimuth) * np.cos(lamp.elevation), np.sin(lamp.azimuth) * np.cos(lamp.elevation)
    lz = np.sin(lamp.elevation)
    half = np.array([lx, ly, lz + 1]) / np.linalg.norm([lx, ly, lz + 1])
    kept = np.ones((*height.shape, 1), np.float32)

    def render(strength: float) -> tuple[Plane, Plane]:
        gain = np.float32(min(strength, _STEEPEST))
        gx, gy = gain * dx, gain * dy
        upright = 1 / np.sqrt(1 + np.square(gx) + np.square(gy))
        ratio = np.maximum((lz - lx * gx - ly * gy) * upright, 0) / np.float32(lz)
        reached = 1 - np.float32(deep * min(1.0, strength)) * floor[..., 0]
        ratio = ratio * reached / (1 + np.float32(0.9) * min(gain, np.float32(1.5)) * hollow)
        ratio = np.float32(_DARKEST) + np.float32(1 - _DARKEST) * ratio
        glint = np.maximum((half[2] - half[0] * gx - half[1] * gy) * upright, 0) ** 24 - np.float32(half[2] ** 24)
        gloss = np.float32(lamp.gloss * max(1.0, strength / _STEEPEST))
        glint = np.maximum(glint, 0) * np.square(reached)
        # scraped material scatters: it is lit from all around
        share = np.float32(bare) * np.minimum(floor * np.float32(strength / 2), 1)
        lit = site.light * ratio[..., None] * (1 - share) + scraped * share + gloss * glint[..., None] * shine
        change = blur((lit - site.light).astype(np.float32), site.blur_px).reshape(site.light.shape)
        return site.light + change * site.allowed, kept

    return Drawing(render, _MOST, np.abs(height) > 0.3 * deepest)
