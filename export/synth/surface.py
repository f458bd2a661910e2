"""Height-field kinds: scratch, dent, bump and cut as a change of the surface's height, without any picture.

`heights` knows nothing of light and pixels' values, so that it serves photographs (`export.synth.shading`) and
surface normals alike.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SpecError
from export.synth.shapes import Plane, blob, blur, clouds, path, stroke, taper, window_side

_LEAST = 0.02  # of the greatest height: less belongs no more to the defect


def heights(kind: str, extent_px: float, generator: np.random.Generator) -> tuple[Plane, NDArray[np.bool_]]:
    """The height that a defect adds to a flat surface. Pure: the same generator state gives the same bytes.

    Args:
        kind: one of `HEIGHT_KINDS`.
        extent_px: its largest extent in the surface, pixels.
        generator: every random choice comes from it.

    Returns:
        (n, n) float32 height in pixels, towards the camera, 0 around the defect; and (n, n) bool, True on the defect.
        The defect is in the middle. Both arrays are the caller's.

    Raises:
        SpecError: there is no such kind of height.
    """
    if kind not in HEIGHT_KINDS:
        raise SpecError("there is no such kind of height", expected=", ".join(HEIGHT_KINDS), got=repr(kind))
    height = HEIGHT_KINDS[kind](float(max(extent_px, 2.0)), generator)
    mask = np.abs(height) > _LEAST * np.float32(max(float(np.abs(height).max()), 1e-9))
    return np.where(mask, height, np.float32(0)), mask


def _scratch(extent: float, generator: np.random.Generator) -> Plane:
    """A groove with a burr on both sides, pressed unevenly; now and then with a fainter one beside it."""
    width = max(0.7, float(generator.uniform(0.012, 0.028)) * extent)
    n = window_side(extent, 4 * width + 2)
    points = path(extent, float(generator.uniform(0.1, 0.7)), 0.08, generator)
    height = _groove(n, points, width, generator)
    if extent > 24 and generator.uniform() < 0.4:
        aside = generator.normal(0, 1, 2) * width * 2.5 + points.mean(axis=0)
        height += np.float32(0.5) * _groove(n, points * generator.uniform(0.4, 0.8) + aside, width * 0.7, generator)
    return blur(height, 0.5)


def _groove(n: int, points: NDArray[np.float64], width: float, generator: np.random.Generator) -> Plane:
    distance, along = stroke(n, points)
    across = distance / np.float32(width)
    burr = np.float32(generator.uniform(0.15, 0.4)) * np.exp(-(((across - 2.0) / 0.7) ** 2))
    return np.float32(width) * (burr - np.exp(-(across**2))) * taper(along, generator)


def _dent(extent: float, generator: np.random.Generator) -> Plane:
    """A hollow with a soft shoulder, and a rim that the blow pushed up a little."""
    n = window_side(extent, 0.12 * extent + 2)
    r = blob(n, extent * 0.86, generator, rough=0.10)
    steep = float(generator.uniform(1.6, 2.6))
    hollow = np.clip(1 - r**2, 0, 1) ** np.float32(steep * 0.75)
    rim = np.float32(0.05) * np.exp(-(((r - 1.02) / 0.14) ** 2))
    uneven = 1 + np.float32(0.06) * clouds(n, extent / 3, generator, 2)
    return np.float32(0.22 * extent) * (rim - hollow * uneven)


def _bump(extent: float, generator: np.random.Generator) -> Plane:
    """A blister: a dome with a foot, steeper than a dent."""
    n = window_side(extent, 0.08 * extent + 2)
    r = blob(n, extent, generator, rough=0.08, stretch=0.7)
    dome = np.clip(1 - r**2, 0, 1) ** np.float32(generator.uniform(0.65, 1.0))
    return np.float32(0.20 * extent) * blur(dome, 0.035 * extent)


def _cut(extent: float, generator: np.random.Generator) -> Plane:
    """A blade's cut that gapes in the middle: straight, deep, with lips that stand up."""
    gape = max(0.8, float(generator.uniform(0.025, 0.055)) * extent)
    n = window_side(extent, 4 * gape + 2)
    distance, along = stroke(n, path(extent, float(generator.uniform(0, 0.25)), 0.02, generator))
    middle = np.float32(generator.uniform(0.4, 0.6))
    opening = np.sqrt(np.clip(1 - ((along - middle) / np.where(along < middle, middle, 1 - middle)) ** 2, 0, 1))
    half = np.float32(gape) * np.maximum(opening, np.float32(0.05))
    across = distance / half
    valley = np.clip(1.15 - across, 0, 1)
    lips = np.float32(0.28) * np.exp(-(((across - 1.7) / 0.55) ** 2))
    return blur(np.float32(2.2) * half * (lips * opening - valley), max(0.5, 0.15 * gape))


HEIGHT_KINDS: dict[str, Callable[[float, np.random.Generator], Plane]] = {
    "scratch": _scratch,
    "dent": _dent,
    "bump": _bump,
    "cut": _cut,
}
