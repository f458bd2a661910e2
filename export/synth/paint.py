"""Paint kinds: spot, stain, foreign fibre and texture patch change what a surface reflects, or cover it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from export.synth.shapes import Plane, blob, blur, clouds, grid, path, soft, stroke, window_side
from export.synth.site import Drawing, Drawn, Site, open_site
from export.synth.study import Study

_INKS = ((0.02, 0.02, 0.02), (0.03, 0.06, 0.12), (0.05, 0.03, 0.02), (0.02, 0.02, 0.10))  # BGR light: dark dirt
_CHALKS = ((0.92, 0.94, 0.95), (0.75, 0.85, 0.9), (0.85, 0.85, 0.8))
_THREADS = (
    (0.9, 0.9, 0.9),
    (0.02, 0.02, 0.02),
    (0.45, 0.12, 0.04),
    (0.06, 0.05, 0.5),
    (0.35, 0.5, 0.6),
)


def draw_spot(study: Study, extent: float, generator: np.random.Generator) -> Drawn:
    """A small blot that covers the surface, with an outline nearly round."""
    n = window_side(extent, 4)
    r = blob(n, extent, generator, rough=0.16, stretch=0.65)
    cover = soft((r - 1) * np.float32(extent / 2))
    cover *= 1 - np.float32(0.08) * np.clip(clouds(n, extent / 2, generator), -1, 1)
    site = open_site(study, *study.place(extent, generator), n)
    ink = _against(site, _INKS, _CHALKS, generator)
    return site, _cover(site, cover, np.broadcast_to(ink, site.light.shape))


def draw_stain(study: Study, extent: float, generator: np.random.Generator) -> Drawn:
    """What a drop left when it dried: it takes light, or dulls a dark surface; cloudy, with a darker rim."""
    n = window_side(extent, 4)
    r = blob(n, extent, generator, rough=0.22)
    inside = np.clip((1 - r) * np.float32(extent / 2) / np.float32(max(1.5, 0.05 * extent)), 0, 1)
    rim = np.exp(-(((r - 0.93) / 0.06) ** 2)) * np.float32(generator.uniform(0.3, 1.0))
    thick = inside * np.clip(0.6 + rim + 0.22 * clouds(n, extent / 2, generator), 0.05, None)
    thick = thick.astype(np.float32)[..., None]
    site = open_site(study, *study.place(extent, generator), n)
    absorb = generator.uniform(0.75, 1.0) * np.array([1.0, 0.75, 0.55])  # BGR: brownish
    dries_pale = float(site.mean.mean()) < 0.06
    haze = np.float32(0.5) + np.float32(0.5) * site.mean

    def render(strength: float) -> tuple[Plane, Plane]:
        if dries_pale:
            veil = 1 - np.exp(-np.float32(strength) * thick)
            change, kept = veil * (_channels(haze, site) - site.light), 1 - veil
        else:
            through = np.exp(-np.float32(strength) * thick * _channels(absorb, site))
            change, kept = site.light * (through - 1), np.ones_like(thick)
        return site.light + _blurred(change, site) * site.allowed, kept

    return site, Drawing(render, 5.0, thick[..., 0] > 0.25)


def draw_fibre(study: Study, extent: float, generator: np.random.Generator) -> Drawn:
    """A curled thread that lies on the part: round, lit along its middle, with a soft shadow beside it."""
    width = float(np.clip(0.013 * extent, 0.5, 4.0)) * float(generator.uniform(0.9, 1.6))
    n = window_side(extent, 5 * width + 3)
    distance, along = stroke(n, path(extent, 2.2, 0.9, generator))
    cover = soft(distance - np.float32(width)) * np.float32(min(1.0, width / 0.7))
    across = np.clip(distance / np.float32(width), 0, 1)
    tone = (np.float32(1.1) - np.float32(0.55) * across**2) * (1 + np.float32(0.15) * np.sin(along * 40))
    offset = generator.normal(0, 1, 2)
    offset *= 1.8 * width / max(float(np.hypot(*offset)), 1e-6)
    shadow = np.float32(0.35) * _shifted(blur(cover, 1.2 * width), offset[0], offset[1])
    site = open_site(study, *study.place(extent, generator), n, within=False)
    thread = _against(site, _THREADS[1:], _THREADS[:1] + _THREADS[2:], generator)

    def render(strength: float) -> tuple[Plane, Plane]:
        alpha = np.float32(strength) * cover[..., None]
        ground = site.light * (1 - np.float32(strength) * shadow[..., None])
        change = ground + alpha * (thread * tone[..., None] - ground) - site.light
        return site.light + _blurred(change, site) * site.allowed, 1 - alpha

    return site, Drawing(render, 1.0, cover > 0.5)


def draw_texture(study: Study, extent: float, generator: np.random.Generator) -> Drawn:
    """A patch whose surface is another one: its own texture is gone, and a grain, streaks or a weave is there."""
    n = window_side(extent, 4)
    edge = max(1.5, 0.06 * extent)
    patch = soft((blob(n, extent, generator, rough=0.3) - 1) * np.float32(extent / 2 / edge))
    grain = _texture(n, extent, generator)
    site = open_site(study, *study.place(extent, generator), n)
    even = blur(site.light, max(1.5, 0.12 * extent)).reshape(site.light.shape)
    room = np.float32(0.06)  # texture shows on black too

    def render(strength: float) -> tuple[Plane, Plane]:
        alpha = np.float32(min(1.0, 1.5 * strength)) * patch[..., None]
        other = even * (1 + np.float32(0.28 * strength) * grain[..., None]) + room * np.float32(strength) * np.maximum(
            grain[..., None], 0
        )
        return site.light + _blurred(alpha * (np.maximum(other, 0) - site.light), site) * site.allowed, 1 - alpha

    return site, Drawing(render, 2.0, patch > 0.5)


def _texture(n: int, extent: float, generator: np.random.Generator) -> Plane:
    """A texture of mean 0 and about unit deviation, (n, n)."""
    feature = float(np.clip(extent * generator.uniform(0.06, 0.2), 1.5, 24))
    which = int(generator.integers(3))
    if which == 0:
        return clouds(n, feature, generator)
    y, x = grid(n)
    angle = np.float32(generator.uniform(0, np.pi))
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    u, v = u + np.float32(0.3 * feature) * clouds(n, 8 * feature, generator), v + np.float32(0.1 * feature)
    pitch = np.float32(2 * np.pi / (1.5 * feature))
    if which == 1:  # streaks: lines of uneven strength
        line = generator.standard_normal(4 * n, dtype=np.float32)
        line = blur(line[None], feature / 3)[0]
        lines = np.interp(v, np.linspace(-n, n, 4 * n), line / max(float(line.std()), 1e-6)).astype(np.float32)
        return lines + np.float32(0.3) * clouds(n, feature, generator)
    return np.float32(1.4) * np.sin(pitch * u) * np.sin(pitch * v) + np.float32(0.3) * clouds(n, feature, generator)


def _cover(site: Site, cover: Plane, what: Plane) -> Drawing:
    """Something opaque, by how much of each pixel it covers, (n, n); strength 1 is wholly opaque."""

    def render(strength: float) -> tuple[Plane, Plane]:
        alpha = np.float32(strength) * np.clip(blur(cover, site.blur_px), 0, 1)[..., None] * site.allowed
        return site.light + alpha * (what - site.light), 1 - alpha

    return Drawing(render, 1.0, cover > 0.5)


def _against(
    site: Site,
    dark: tuple[tuple[float, ...], ...],
    light: tuple[tuple[float, ...], ...],
    generator: np.random.Generator,
) -> Plane:
    """A colour that stands out from the site: dark on bright ground and bright on dark, either on grey, (C,)."""
    level = float(np.sqrt(site.mean.mean()))
    wants_light = generator.uniform(0.25, 0.6) > level
    colours = light if wants_light else dark
    return _channels(np.array(colours[int(generator.integers(len(colours)))]), site)


def _channels(colour: NDArray[np.float64], site: Site) -> Plane:
    """A BGR colour as the site has channels, (C,)."""
    values = np.asarray(colour, np.float32).reshape(-1)
    channels = site.light.shape[2]
    return values if len(values) == channels else np.full(channels, values.mean(), np.float32)


def _blurred(change: Plane, site: Site) -> Plane:
    return blur(np.ascontiguousarray(change, np.float32), site.blur_px).reshape(site.light.shape)


def _shifted(plane: Plane, dy: float, dx: float) -> Plane:
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    return cv2.warpAffine(plane, matrix, plane.shape[::-1], flags=cv2.INTER_LINEAR)
