"""Defects of a given depth in the height of a surface: scratch, dent, bump, pit and wear, without any picture.

The forms of scratch, dent and bump are those of `export.synth.surface`. There a depth follows from the extent, as
photographs need it. Here it is given, so that detection can be told by depth. `export.synth.relight` photographs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SpecError
from edge_ad.spec.base import Range
from export.synth.shapes import Plane, blob, blur, clouds, grid, window_side
from export.synth.surface import HEIGHT_KINDS

DEPTHS = Range(0.01, 20)  # pixels
_LEAST = 0.02  # of the depth: less belongs no more to the defect


def relief(
    kind: str, extent_px: float, depth_px: float, generator: np.random.Generator
) -> tuple[Plane, NDArray[np.bool_]]:
    """The height that a defect adds to a surface. Pure: the same generator state gives the same bytes.

    Args:
        kind: one of `RELIEF_KINDS`.
        extent_px: its largest extent in the picture, pixels.
        depth_px: the largest change of height, in pixels: one pixel of height is as long as one in the picture.
        generator: every random choice comes from it.

    Returns:
        (n, n) float32 height in pixels, towards the camera, 0 around the defect; and (n, n) bool, True on the defect.
        The defect is in the middle. Both arrays are the caller's.

    Raises:
        SpecError: there is no such kind, or the depth is out of range.
    """
    if kind not in RELIEF_KINDS:
        raise SpecError("there is no such kind of relief", expected=", ".join(RELIEF_KINDS), got=repr(kind))
    DEPTHS.check(depth_px, "the depth in pixels")
    form = RELIEF_KINDS[kind][0](float(max(extent_px, 2.0)), generator)
    form = form / np.float32(max(float(np.abs(form).max()), 1e-9))
    mask = np.abs(form) > _LEAST
    return np.where(mask, form * np.float32(depth_px), np.float32(0)), mask


def draw_extent(kind: str, generator: np.random.Generator) -> float:
    """An extent in pixels that is usual for a kind."""
    low, high = RELIEF_KINDS[kind][1]
    return float(generator.uniform(low, high))


def _pit(extent: float, generator: np.random.Generator) -> Plane:
    """A hole of corrosion: steep walls, a floor that is nearly flat, a ragged outline."""
    n = window_side(extent, 0.3 * extent + 2)
    r = blob(n, extent, generator, rough=0.2, stretch=0.75)
    floor = 1 + np.float32(0.15) * clouds(n, max(extent / 2, 1.0), generator, 2)
    return blur(-np.clip((1 - r) / np.float32(0.35), 0, 1) * floor, 0.4)


def _wear(extent: float, generator: np.random.Generator) -> Plane:
    """A patch that something rubbed down: lower, with the parallel grooves of what rubbed it."""
    n = window_side(extent, 0.15 * extent + 2)
    r = blob(n, extent, generator, rough=0.25)
    angle = generator.uniform(0, np.pi)
    y, x = grid(n)
    across = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    rows = blur(generator.standard_normal((1, 4 * n), dtype=np.float32), 1.2)[0]
    rows = rows / np.float32(np.abs(rows).max())
    grooves = np.interp(across + 2 * n, np.arange(4 * n), rows).astype(np.float32)
    return -np.clip((1 - r) / np.float32(0.4), 0, 1) * (np.float32(0.5) + np.float32(0.5) * grooves)


Draw = Callable[[float, np.random.Generator], Plane]
RELIEF_KINDS: Mapping[str, tuple[Draw, tuple[float, float]]] = MappingProxyType(
    {  # how it is drawn, and its usual extents in pixels
        "scratch": (HEIGHT_KINDS["scratch"], (16.0, 48.0)),
        "dent": (HEIGHT_KINDS["dent"], (8.0, 20.0)),
        "bump": (HEIGHT_KINDS["bump"], (8.0, 20.0)),
        "pit": (_pit, (3.0, 8.0)),
        "wear": (_wear, (16.0, 32.0)),
    }
)
