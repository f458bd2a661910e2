"""Captures of one real object, good and with defects, from the photographs of a set of photometric stereo.

A capture takes some of the photographs (a subset of the lights), relights them where there is a defect
(`export.synth.relight`), moves the part by a part of a pixel, adds the camera's noise once more, and solves for normals
with lights that are known a little wrongly. Three ways:

    subset      one place of the object; no subset of the lights that the test uses is used in the training
    elsewhere   so too, and places differ: frames show pieces of one half of it in the training, else of the other
    station     one place, all lights in every capture, as a station has them: noise, movement and wrong lights alone
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.frames.photometric import make_lights, normals
from edge_ad.frames.photometric.lights import directions_of, intensities_of
from edge_ad.frames.photometric.pictures import read_picture
from edge_ad.frames.photometric.sets import read_set
from edge_ad.spec import Box, FrameSpec
from export.synth.relief import draw_extent, relief
from export.synth.relight import Surface, open_surface, relit

Array = NDArray[Any]
KINDS = ("scratch", "dent", "bump", "pit", "wear")
DEPTHS = (0.1, 0.25, 0.5, 1.0, 2.0)  # pixels
WAYS = ("subset", "elsewhere", "station")
SUBSETS = 24  # of the lights, for the training
LEFT_OUT = 1 / 6  # of the lights, in a subset
SHIFT_PX = 0.25  # most movement of the part along each axis
JITTER_DEGREES, GAIN = 0.5, 0.01  # deviation of what the solver is told of each light: direction, intensity
INSET_PX, STEEP = 3, 0.35  # from the outline; z of a normal, below which a surface is too steep to judge
ROOM_PX = 8  # of the photographs around the frame
PLACE, PIECE = 128, 96  # sides of frames: that show one place, or pieces
TRAINING, GOOD = 48, 40  # captures
EACH = {"scratch": 12, "dent": 12, "bump": 4, "pit": 4, "wear": 4}  # defects of each depth


@dataclass(frozen=True, eq=False)
class Scene:
    """An object, its frame and where it is judged.

    Attributes:
        name: of the set.
        surface: what its photographs show.
        mask: (H, W) bool, the object.
        judged: (H, W) bool, where defects are put and scores count.
        frame: box of the place, or of the object.
        room: (H, W) float32, how far a place lies inside `judged`.
        noise: (N,) deviation of each photograph's noise, in its values.
        halves: boxes in which frames of parts lie: for the training, for the test.
    """

    name: str
    surface: Surface
    mask: Array
    judged: Array
    frame: Box
    room: Array
    noise: Array
    halves: tuple[Box, Box]


@dataclass(frozen=True, eq=False)
class Capture:
    """A capture: (h, w, 3) float32 normals; (h, w) bool where it is judged, and its defect, empty for a good one."""

    normals: Array
    judged: Array
    defect: Array
    kind: str = "good"
    depth_px: float = 0.0


def open_scene(folder: Path, way: str) -> Scene:
    """Reads a set: the place in it that has most to judge, or the whole object if frames show pieces."""
    found = read_set(folder)
    assert found.lights is not None, f"{folder} has no lights"
    assert found.mask is not None, f"{folder} has no mask"
    pictures = [read_picture(path, FrameSpec(None, "bgr", 16)) for path in found.pictures]
    whole = open_surface(pictures, found.lights, found.mask)
    inner = cv2.erode(found.mask.astype(np.uint8), np.ones((2 * INSET_PX + 1,) * 2, np.uint8)) > 0
    steep = (whole.found.normals[..., 2] < STEEP).astype(np.uint8)
    judged = inner & ~(cv2.morphologyEx(steep, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0)
    box = _box(found.mask) if way == "elsewhere" else _place(judged)
    y0, x0, y1, x1 = _around(box, found.mask.shape)
    part = (slice(y0, y1), slice(x0, x1))
    mask, judged = np.ascontiguousarray(found.mask[part]), np.ascontiguousarray(judged[part])
    box = box[0] - y0, box[1] - x0, box[2] - y0, box[3] - x0
    surface = open_surface([np.ascontiguousarray(picture[part]) for picture in pictures], found.lights, mask)
    room = cv2.distanceTransform(np.pad(judged.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    noise = np.array([_noise(picture) for picture in pictures])
    return Scene(found.name, surface, mask, judged, box, room, noise, _halves(mask, box))


def capture(
    scene: Scene,
    lights: Sequence[int],
    generator: np.random.Generator,
    *,
    half: int | None = None,
    kind: str = "good",
    depth_px: float = 0.0,
) -> Capture:
    """One capture by some of the lights.

    Args:
        half: shows a part of this half of the object, 0 or 1; None: all of it.
        kind, depth_px: of a defect; by default there is none.
    """
    box = scene.frame if half is None else _part(scene, half, generator)
    pictures: list[Any] = list(scene.surface.pictures)
    defect = np.zeros(scene.mask.shape, np.uint8)
    if kind != "good":
        height, where = _placed(scene, box, kind, depth_px, generator)
        pictures, defect = relit(scene.surface, height), where.astype(np.uint8)
    shift = generator.uniform(-SHIFT_PX, SHIFT_PX, 2)
    taken = [_taken(pictures[number], scene.noise[number], shift, generator) for number in lights]
    moved = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    defect = cv2.warpAffine(defect, moved, defect.shape[::-1], flags=cv2.INTER_NEAREST)
    own = scene.surface.lights
    towards = directions_of(own)[list(lights)]
    towards = towards + generator.normal(0, np.radians(JITTER_DEGREES), towards.shape)
    strength = intensities_of(own)[list(lights)] * generator.normal(1, GAIN, (len(lights), 1))
    found = normals(taken, make_lights(towards, strength), mask=scene.mask).normals
    y0, x0, y1, x1 = box
    part = (slice(y0, y1), slice(x0, x1))
    return Capture(found[part], scene.judged[part], (defect[part] > 0) & scene.judged[part], kind, depth_px)


def draw_captures(scene: Scene, way: str, seed: int = 0) -> tuple[list[Capture], list[Capture]]:
    """Good captures for the training; and for the test good ones, then those with defects, in one order always."""
    generator = np.random.default_rng([seed, WAYS.index(way), zlib.crc32(scene.name.encode())])
    halves = (0, 1) if way == "elsewhere" else (None, None)
    train, test = _subsets(scene, way, generator)
    wanted = [("good", 0.0)] * GOOD
    wanted += [(kind, depth) for depth in DEPTHS for kind in KINDS for _ in range(EACH[kind])]
    good = [capture(scene, train[i % len(train)], generator, half=halves[0]) for i in range(TRAINING)]
    tests = [
        capture(scene, test[i % len(test)], generator, half=halves[1], kind=kind, depth_px=depth)
        for i, (kind, depth) in enumerate(wanted)
    ]
    return good, tests


def _subsets(scene: Scene, way: str, generator: np.random.Generator) -> tuple[list[Array], list[Array]]:
    """Numbers of lights: for the training, and as many others for the test."""
    count = len(scene.surface.pictures)
    if way == "station":
        return [np.arange(count)], [np.arange(count)]
    found: dict[tuple[int, ...], Array] = {}
    while len(found) < 2 * SUBSETS:
        one = np.sort(generator.choice(count, count - round(LEFT_OUT * count), replace=False))
        found.setdefault(tuple(one.tolist()), one)
    return [*found.values()][:SUBSETS], [*found.values()][SUBSETS:]


def _taken(picture: Array, noise: float, shift: Array, generator: np.random.Generator) -> Array:
    """The photograph of the moved part, with the camera's noise once more."""
    moved = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    size = picture.shape[1], picture.shape[0]
    values = cv2.warpAffine(
        picture.astype(np.float32), moved, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    values += np.float32(noise) * generator.standard_normal(values.shape, dtype=np.float32)
    top = float(np.iinfo(picture.dtype).max)
    return np.clip(np.rint(values), 0, top).astype(picture.dtype)


def _placed(scene: Scene, box: Box, kind: str, depth_px: float, generator: np.random.Generator) -> tuple[Array, Array]:
    """(H, W) height of a defect on the object in the box, and (H, W) bool where it is."""
    extent = draw_extent(kind, generator)
    form, where = relief(kind, extent, depth_px, generator)
    y0, x0, y1, x1 = box
    room = np.zeros_like(scene.room)
    room[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4] = scene.room[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4]
    places = np.argwhere(room >= min(extent / 3, 0.7 * float(room.max())))
    y, x = places[int(generator.integers(len(places)))]
    n = len(form)
    size = scene.mask.shape
    height, marked = np.zeros((size[0] + 2 * n, size[1] + 2 * n), np.float32), np.zeros(scene.mask.shape, np.bool_)
    height[y - n // 2 + n : y - n // 2 + 2 * n, x - n // 2 + n : x - n // 2 + 2 * n] = form
    drawn = np.zeros(height.shape, np.bool_)
    drawn[y - n // 2 + n : y - n // 2 + 2 * n, x - n // 2 + n : x - n // 2 + 2 * n] = where
    marked = drawn[n : n + size[0], n : n + size[1]] & scene.mask
    return height[n : n + size[0], n : n + size[1]] * scene.mask, marked


def _box(mask: Array) -> Box:
    """Of the object."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _place(judged: Array) -> Box:
    """The square that has most to judge."""
    sums = cv2.integral(judged.astype(np.uint8))
    share = sums[PLACE:, PLACE:] - sums[:-PLACE, PLACE:] - sums[PLACE:, :-PLACE] + sums[:-PLACE, :-PLACE]
    y, x = (int(at) for at in np.unravel_index(int(share.argmax()), share.shape))
    return y, x, y + PLACE, x + PLACE


def _around(box: Box, size: tuple[int, ...]) -> Box:
    """The box with room for what moves into it."""
    y0, x0, y1, x1 = box
    return max(y0 - ROOM_PX, 0), max(x0 - ROOM_PX, 0), min(y1 + ROOM_PX, size[0]), min(x1 + ROOM_PX, size[1])


def _halves(mask: Array, box: Box) -> tuple[Box, Box]:
    """The frame in two, each with half of the object, across its longer side."""
    y0, x0, y1, x1 = box
    tall = y1 - y0 >= x1 - x0
    filled = np.cumsum(mask[y0:y1, x0:x1].sum(axis=1 if tall else 0))
    middle = int(np.searchsorted(filled, filled[-1] / 2))
    if tall:
        return (y0, x0, y0 + middle, x1), (y0 + middle, x0, y1, x1)
    return (y0, x0, y1, x0 + middle), (y0, x0 + middle, y1, x1)


def _part(scene: Scene, half: int, generator: np.random.Generator) -> Box:
    """A square frame in one half, most of it on the object."""
    y0, x0, y1, x1 = scene.halves[half]
    best: tuple[float, Box] = (-1.0, scene.halves[half])
    for _ in range(20):
        y = int(generator.integers(y0, max(y1 - PIECE, y0) + 1))
        x = int(generator.integers(x0, max(x1 - PIECE, x0) + 1))
        box = y, x, y + PIECE, x + PIECE
        share = float(scene.judged[y : y + PIECE, x : x + PIECE].mean())
        if share >= 0.5:
            return box
        best = max(best, (share, box))
    return best[1]


def _noise(picture: Array) -> float:
    """Deviation of white noise (Immerkaer, 1996), by the quieter quarter of pixels; at least that of rounding."""
    grey = picture.astype(np.float32)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    levels = np.unique(picture)
    step = float(np.diff(levels.astype(np.int64)).min()) if len(levels) > 1 else 1.0
    rest = np.abs(cv2.filter2D(grey, -1, kernel))
    return max(float(np.percentile(rest, 25) / 0.3186 / 6), step / float(np.sqrt(12)))
