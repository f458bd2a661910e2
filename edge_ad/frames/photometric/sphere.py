"""Finds the lights of a station: their directions from a chrome sphere, their evenness from a matt plane.

A chrome sphere shows each light as a highlight. There the normal n halves the angle between the light l and the viewer
v = (0, 0, 1), so l = 2 (n v) n - v. One pixel of the highlight's place is 1.35 / radius radians or more in the light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import FrameError
from edge_ad.frames.photometric.lights import as_lights, directions_of, make_lights
from edge_ad.frames.photometric.solve import Given, check_pictures
from edge_ad.spec import FrameSpec, LightsSpec, Size

_HIGHLIGHT = 0.9  # of the brightest pixel of the sphere: what is brighter is the highlight
_ROUND = 0.05  # of the radius: how far a sphere's mask may be from a disc
_EDGE = 0.98  # of the radius: farther out a highlight says nothing
_MOST_SHARE = 0.05  # of the sphere that a highlight may cover
_LEAST_RADIUS = 10  # pixels
FIELD_SIZE: Size = (16, 16)


@dataclass(frozen=True, eq=False)
class Sphere:
    """What a chrome sphere showed.

    Attributes:
        lights: in the order of the pictures.
        centre: (y, x) of the sphere.
        radius: of the sphere, pixels.
        spots: (N, 2) y, x of the highlights.
        mean: (H, W) u8, the mean picture.
    """

    lights: LightsSpec
    centre: tuple[float, float]
    radius: float
    spots: NDArray[np.float64]
    mean: NDArray[np.uint8]


def calibrate_lights(sphere_stack: Given, mask: NDArray[np.bool_]) -> LightsSpec:
    """Directions of N lights, from N pictures of a chrome sphere, one under each light. All intensities are 1.

    Args:
        sphere_stack: as `edge_ad.frames.photometric.solve.normals` takes it.
        mask: (H, W) bool, True on the sphere: a whole disc.

    Raises:
        FrameError: the mask is no disc; a picture has no highlight, or one at the edge or too large.
        SpecError: the lights are near one plane.
    """
    return find_lights(sphere_stack, mask).lights


def find_lights(sphere_stack: Given, mask: NDArray[np.bool_]) -> Sphere:
    """`calibrate_lights`, with what it saw."""
    count = len(sphere_stack) if hasattr(sphere_stack, "__len__") else 0
    pictures = check_pictures(sphere_stack, FrameSpec(None, "bgr", 16), max(count, 3), "the stack of the sphere")
    grey = [picture.astype(np.float32).reshape(*picture.shape[:2], -1).mean(axis=2) for picture in pictures]
    (y, x), radius = _disc(mask, grey[0].shape)
    spots = np.array([_spot(picture, mask, (y, x), radius, i) for i, picture in enumerate(grey, 1)])
    across, up = (spots[:, 1] - x) / radius, (y - spots[:, 0]) / radius
    towards = np.sqrt(1 - across**2 - up**2)
    normal = np.stack([across, up, towards], axis=1)
    lights = 2 * towards[:, None] * normal - (0, 0, 1)
    mean = np.mean(grey, axis=0)
    shown = np.clip(mean * (255 / max(float(mean.max()), 1.0)), 0, 255).astype(np.uint8)
    return Sphere(make_lights(lights), (y, x), radius, spots, shown)


def _disc(mask: object, size: tuple[int, ...]) -> tuple[tuple[float, float], float]:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != size:
        got = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise FrameError("the sphere's mask does not fit", expected=f"an array of bool of {size}", got=got)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise FrameError("the sphere's mask is empty", expected="a disc", got="no pixel")
    centre = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
    sides = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    radius = float(np.sqrt(np.count_nonzero(mask) / np.pi))
    if radius < _LEAST_RADIUS or any(abs(side / 2 - radius) > _ROUND * radius for side in sides):
        raise FrameError(
            "the sphere's mask is no disc",
            expected=f"a whole disc with a radius of {_LEAST_RADIUS} pixels or more",
            got=f"{sides[0]} x {sides[1]} pixels with the area of a disc of radius {radius:.1f}",
        )
    return centre, radius


def _spot(
    picture: NDArray[np.float32], mask: NDArray[np.bool_], centre: tuple[float, float], radius: float, number: int
) -> tuple[float, float]:
    """(y, x) of the highlight: the centroid of the largest part of the sphere that is as bright as white chrome."""
    inside = np.where(mask, picture, 0)
    bright = (inside >= _HIGHLIGHT * inside.max()) & mask & (inside > 0)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(bright.astype(np.uint8))
    if len(stats) < 2:
        raise FrameError(f"picture {number} of the sphere is dark", expected="a highlight", got="no light")
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    share = float(stats[largest, cv2.CC_STAT_AREA] / np.count_nonzero(mask))
    rows, columns = np.nonzero(labels == largest)
    weights = inside[rows, columns]
    spot = float((rows * weights).sum() / weights.sum()), float((columns * weights).sum() / weights.sum())
    off = float(np.hypot(spot[0] - centre[0], spot[1] - centre[1]) / radius)
    if share > _MOST_SHARE or off > _EDGE:
        raise FrameError(
            f"picture {number} of the sphere has no clear highlight",
            expected=f"one of {_MOST_SHARE:.0%} of the sphere at most, not at its edge",
            got=f"{share:.1%}, {off:.2f} of the radius from its middle",
            remedy="Expose less, and take a sphere of chrome: a matt one shows no highlight.",
        )
    return spot


def calibrate_field(
    plane_stack: Given,
    lights: LightsSpec | Sequence[Sequence[float]] | NDArray[Any],
    ambient: Any = None,
    size: Size = FIELD_SIZE,
) -> LightsSpec:
    """The same lights with how bright each is at each place, from N pictures of a matt plane of one colour.

    The plane faces the camera, at the height of the part, and fills the picture. Its field is what a near light, a
    lens or a reflector does to the brightness; the direction of a light is still taken to be one. Intensities are
    found too.

    Args:
        plane_stack: as `edge_ad.frames.photometric.solve.normals` takes it.
        lights: as there.
        ambient: a picture of the plane without the lights.
        size: (h, w) of the fields, each 2..64.

    Raises:
        FrameError: a picture cannot be used, is dark or white somewhere, or a light does not reach the plane.
    """
    found = as_lights(lights)
    spec = FrameSpec(None, "bgr", 16)
    pictures = check_pictures(plane_stack, spec, found.count, "the stack of the plane")
    around = None if ambient is None else check_pictures([pictures[0], ambient], spec, 2)[1]
    cosines = directions_of(found)[:, 2]
    if not (cosines > 0.05).all():
        raise FrameError("a light does not reach a plane", expected="lights in front of it", got=cosines.min())
    fields, colours = [], []
    for number, (picture, cosine) in enumerate(zip(pictures, cosines, strict=True), 1):
        top = int(np.iinfo(picture.dtype).max)
        values = picture.astype(np.float32) - (0 if around is None else around.astype(np.float32))
        cells = cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_AREA).reshape(*size, -1) / cosine
        if not (cells > 0).all() or np.mean(picture >= top) > 0.001:
            raise FrameError(
                f"picture {number} of the plane is dark or white somewhere",
                expected="above black and below white everywhere",
                got=f"a darkest part of {cells.min():.3g}, {np.mean(picture >= top):.2%} white",
            )
        colours.append(cells.mean(axis=(0, 1)))
        fields.append(cells.mean(axis=2) / cells.mean())
    strength = np.array(colours)[:, ::-1]  # R, G, B
    strength = strength / strength.mean(axis=0)  # what all lights share is the plane's own colour
    strength = np.repeat(strength, 3, axis=1) if strength.shape[1] == 1 else strength
    return make_lights(directions_of(found), strength, np.array(fields))


def lights_picture(lights: LightsSpec, sphere: Sphere | None = None, side: int = 400) -> NDArray[np.uint8]:
    """(side, W, 3) u8 BGR picture for people: the lights seen from the camera, and the sphere with its highlights."""
    plot = np.full((side, side, 3), 255, np.uint8)
    middle, reach = side / 2, side * 0.45
    for share in (1.0, np.sin(np.radians(60)), np.sin(np.radians(30))):
        cv2.circle(plot, (int(middle), int(middle)), int(reach * share), (200, 200, 200), 1, cv2.LINE_AA)
    for number, (x, y, _) in enumerate(directions_of(lights), 1):
        at = (round(middle + reach * x), round(middle - reach * y))
        cv2.circle(plot, at, 4, (0, 90, 230), -1, cv2.LINE_AA)
        cv2.putText(
            plot, f"{number}", (at[0] + 6, at[1] - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (60, 60, 60), 1, cv2.LINE_AA
        )
    if sphere is None:
        return plot
    scale = side / sphere.mean.shape[0]
    shown = cv2.resize(sphere.mean, (round(sphere.mean.shape[1] * scale), side), interpolation=cv2.INTER_AREA)
    drawn = cv2.cvtColor(shown, cv2.COLOR_GRAY2BGR)
    centre = (round(sphere.centre[1] * scale), round(sphere.centre[0] * scale))
    cv2.circle(drawn, centre, round(sphere.radius * scale), (0, 200, 0), 1, cv2.LINE_AA)
    for number, (y, x) in enumerate(sphere.spots, 1):
        at = (round(x * scale), round(y * scale))
        cv2.circle(drawn, at, 3, (0, 90, 230), -1, cv2.LINE_AA)
        cv2.putText(
            drawn, f"{number}", (at[0] + 5, at[1] - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 220, 255), 1, cv2.LINE_AA
        )
    return np.hstack([drawn, plot])
