"""What can be wrong with the cable of the sample: each defect changes the scene, or paints on its canvas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from export.sample.cable import CORE_RADIUS, FLOOR, SHEATH_INNER, Core, Overlay, Pose, Scene, Strand
from export.sample.canvas import Canvas, Plane, bgr, soft

__all__ = ["DEFECTS", "add_defect", "changed"]

_Generator = np.random.Generator
_Points = NDArray[np.float64]
_VISIBLE, _FAINT = 11, 7  # grey levels of change: what a defect is made of, and what belongs to it beside that
_SPECK, _PINHOLE = 12, 400  # pixels: smaller parts and smaller holes of a mask are no parts and no holes
_SCUFFED = bgr(214, 212, 206)
_WIRE = bgr(236, 158, 110)


def add_defect(kind: str, scene: Scene, generator: _Generator) -> tuple[Scene, Overlay | None]:
    """The scene with a defect, and what has to be painted over it."""
    return DEFECTS[kind](scene, generator)


def changed(clean: NDArray[np.uint8], defective: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mask of a defect, 255 where it can be seen, by two noiseless pictures of the same scene."""
    difference = cv2.GaussianBlur(cv2.absdiff(clean, defective).max(axis=2), (0, 0), 0.8)
    core = cv2.dilate((difference >= _VISIBLE).astype(np.uint8), np.ones((5, 5), np.uint8))
    mask = core * (difference >= _FAINT)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    mask = _without_small(mask, _SPECK)
    return (1 - _without_small(1 - mask, _PINHOLE)) * np.uint8(255)


def _without_small(mask: NDArray[np.uint8], area: int) -> NDArray[np.uint8]:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    keep = (stats[:, cv2.CC_STAT_AREA] >= area).astype(np.uint8)
    keep[0] = 0
    return keep[labels]


def _missing_core(scene: Scene, generator: _Generator) -> tuple[Scene, Overlay | None]:
    return _with_core(scene, int(generator.integers(3)), present=False), None


def _swapped_colors(scene: Scene, generator: _Generator) -> tuple[Scene, Overlay | None]:
    one, other = (int(i) for i in generator.permutation(3)[:2])
    colours = scene.cores[one].colour, scene.cores[other].colour
    return _with_core(_with_core(scene, one, colour=colours[1]), other, colour=colours[0]), None


def _with_core(scene: Scene, index: int, **changes: object) -> Scene:
    cores = list(scene.cores)
    cores[index] = replace(cores[index], **changes)  # type: ignore[arg-type]
    return replace(scene, cores=tuple(cores))


def _bent_strand(scene: Scene, generator: _Generator) -> tuple[Scene, Overlay | None]:
    """One or two wires from the edge of a bundle lie bent over the insulation."""
    index = int(generator.integers(3))
    core = scene.cores[index]
    outermost = sorted(core.strands, key=lambda s: -np.hypot(s.x - core.x, s.y - core.y))[:8]
    first = outermost[int(generator.integers(8))]
    bent = [first]
    if generator.random() < 0.35:
        bent.append(min((s for s in outermost if s is not first), key=lambda s: np.hypot(s.x - first.x, s.y - first.y)))
    paths = [(_bend(core, strand, generator), strand.radius * 0.86) for strand in bent]
    left = tuple(s for s in core.strands if s not in bent)

    def paint(canvas: Canvas, pose: Pose) -> None:
        for path, radius in paths:
            _paint_wire(canvas, pose, path, radius)

    return _with_core(scene, index, strands=left), paint


def _bend(core: Core, strand: Strand, generator: _Generator) -> _Points:
    """Points (x, y) of a wire from its place in the bundle outwards."""
    outwards = float(np.arctan2(strand.y - core.y, strand.x - core.x) + generator.normal(0, 0.25))
    length, curl = float(generator.uniform(0.15, 0.33)), float(generator.normal(0, 0.8))
    t = np.linspace(0, 1, 14)
    heading = outwards + curl * t**1.5
    steps = np.stack([np.cos(heading), np.sin(heading)], 1) * length / len(t)
    return np.array([strand.x, strand.y]) + np.cumsum(steps, axis=0)


def _paint_wire(canvas: Canvas, pose: Pose, path: _Points, radius: float) -> None:
    """A wire along a path: round, rising from the bundle, with a cut end."""
    points = np.array([pose.place(*p) for p in path])
    thick = np.float32(radius * pose.radius)
    window = _around(canvas, points, float(thick) * 1.3)
    distance, along = _to_path(canvas, window, points)
    inside = np.minimum(distance / thick, 1)
    rise = np.float32(pose.radius) * (0.01 + 0.06 * np.sqrt(np.maximum(along, 0)))
    height = rise + thick * np.sqrt(1 - inside**2)
    drawn = 1 + 0.05 * np.sin(inside * 40)  # lines of the drawing die
    tip = np.clip((along - 0.93) / 0.07, 0, 1)
    colour = _WIRE * (drawn * (1 - 0.35 * tip))
    canvas.paint(window, soft(distance - thick, 1.5), height.astype(np.float32), colour.astype(np.float32), 1.0)


def _around(canvas: Canvas, points: _Points, margin: float) -> tuple[slice, slice]:
    low, high = points.min(axis=0), points.max(axis=0)
    middle = (low + high) / 2
    return canvas.window(float(middle[0]), float(middle[1]), float((high - low).max()) / 2 + margin)


def _to_path(canvas: Canvas, window: tuple[slice, slice], points: _Points) -> tuple[Plane, Plane]:
    """Of each pixel of a window: distance to a path, and how far along it is nearest, 0 to 1."""
    x, y = canvas.grid(window)
    best = np.full((y.shape[0], x.shape[1]), np.inf, np.float32)
    along = np.zeros_like(best)
    count = len(points) - 1
    for i, ((ax, ay), (bx, by)) in enumerate(pairwise(points)):
        vx, vy = np.float32(bx - ax), np.float32(by - ay)
        px, py = x - np.float32(ax), y - np.float32(ay)
        t = np.clip((px * vx + py * vy) / max(vx * vx + vy * vy, np.float32(1e-6)), 0, 1)
        distance = np.hypot(px - t * vx, py - t * vy)
        nearer = distance < best
        best[nearer] = distance[nearer]
        along[nearer] = ((i + t) / count)[nearer]
    return best, along


def _cut_insulation(scene: Scene, generator: _Generator) -> tuple[Scene, Overlay | None]:
    """A notch into the insulation from outside, or a slice off its edge."""
    core = scene.cores[int(generator.integers(3))]
    towards = float(generator.uniform(0, 2 * np.pi))
    wall = core.radius - core.bore
    if generator.random() < 0.6:
        depth, half = wall * generator.uniform(0.55, 1.0), generator.uniform(0.02, 0.045)
        shape = [(1.08, -half), (0.5, -half * 0.75), (0.0, -0.008), (0.0, 0.008), (0.5, half * 0.6), (1.08, half)]
        points = [(core.radius - depth * (1 - a), b) for a, b in shape]
    else:
        depth = wall * generator.uniform(0.30, 0.62)
        half = float(np.sqrt(core.radius**2 - (core.radius - depth) ** 2))
        at = np.linspace(-1, 1, 12)
        inner = [(core.radius - depth + 0.004 * generator.normal(), half * a) for a in at]
        bow = np.sqrt(core.radius**2 - (half * at) ** 2) + 0.008
        points = inner + list(zip(bow[::-1], half * at[::-1], strict=True))
    lean = towards + float(generator.normal(0, 0.12))
    c, s = np.cos(lean), np.sin(lean)
    outline = np.array([(core.x + a * c - b * s, core.y + a * s + b * c) for a, b in points])
    return scene, lambda canvas, pose: _paint_gap(canvas, pose, outline, depth=-0.20, burr=0.006, pale=0.25)


def _poked_insulation(scene: Scene, generator: _Generator) -> tuple[Scene, Overlay | None]:
    """A hole pricked into the insulation, with the plastic thrown up and whitened around it."""
    core = scene.cores[int(generator.integers(3))]
    towards = float(generator.uniform(0, 2 * np.pi))
    distance = float(generator.uniform(0.40, 0.60)) * (core.radius - core.bore) + core.bore
    size = float(generator.uniform(0.017, 0.036))
    at = np.linspace(0, 2 * np.pi, 18, endpoint=False)
    radii = size * (1 + 0.22 * np.cos(2 * at + generator.uniform(0, 6)) + generator.normal(0, 0.07, 18))
    x, y = core.x + distance * np.cos(towards), core.y + distance * np.sin(towards)
    outline = np.stack([x + radii * np.cos(at), y + radii * np.sin(at)], 1)
    return scene, lambda canvas, pose: _paint_gap(canvas, pose, outline, depth=-0.13, burr=0.016, pale=0.45)


def _paint_gap(canvas: Canvas, pose: Pose, outline: _Points, depth: float, burr: float, pale: float) -> None:
    """Material gone from within an outline down to `depth`, and a raised, paler edge; lengths in radii of the cable."""
    points = np.array([pose.place(*p) for p in outline])
    window = _around(canvas, points, 0.05 * pose.radius)
    distance = _to_outline(window, points)
    unit = np.float32(pose.radius)
    edge = np.exp(-(((distance - 0.008 * unit) / (0.010 * unit)) ** 2)) * (1 - canvas.metal[window])
    canvas.height[window] += edge * np.float32(burr) * unit
    colour = canvas.colour[:, window[0], window[1]]
    colour += edge * np.float32(pale) * (_SCUFFED - colour)
    wall = np.clip(-distance / (0.03 * unit), 0, 1)
    inside = (colour * (0.55 - 0.40 * wall)).astype(np.float32)
    canvas.paint(window, soft(distance, 1.6), unit * np.float32(depth) * (0.35 + 0.65 * wall), inside, 0.0)


def _to_outline(window: tuple[slice, slice], points: _Points) -> Plane:
    """Signed distance of each pixel of a window to an outline, negative within."""
    rows, columns = window
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    corners = ((points - (columns.start, rows.start)) * 16 + 0.5).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_8, 4)
    out = cv2.distanceTransform(255 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance = out - cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return cv2.GaussianBlur(distance, (0, 0), 0.8)


def _scratch(scene: Scene, generator: _Generator) -> tuple[Scene, Overlay | None]:
    """One to three nearly parallel scratches across plastics and whatever lies in their way."""
    r = float(generator.uniform(0.25, 0.5 * (SHEATH_INNER + CORE_RADIUS)))
    middle = r * np.array([np.cos(a := float(generator.uniform(0, 2 * np.pi))), np.sin(a)])
    heading, bow = float(generator.uniform(0, np.pi)), float(generator.normal(0, 0.05))
    ways = []
    for n in range(int(generator.integers(1, 4))):
        length, t = float(generator.uniform(0.20, 0.42)), np.linspace(-1, 1, 10)
        across = bow * t**2 + n * generator.uniform(0.02, 0.05) + 0.004 * generator.normal(size=10).cumsum() * 0.5
        c, s = np.cos(heading), np.sin(heading)
        path = middle + np.stack([length * t * c - across * s, length * t * s + across * c], 1)
        ways.append((path, float(generator.uniform(0.0045, 0.009)), float(generator.uniform(0.5, 1.0))))

    def paint(canvas: Canvas, pose: Pose) -> None:
        for path, width, force in ways:
            _paint_scratch(canvas, pose, path, width, force)

    return scene, paint


def _paint_scratch(canvas: Canvas, pose: Pose, path: _Points, width: float, force: float) -> None:
    """A groove with thrown-up edges, scuffed pale; it begins and ends gently."""
    points = np.array([pose.place(*p) for p in path])
    wide = np.float32(width * pose.radius)
    window = _around(canvas, points, float(wide) * 4)
    distance, along = _to_path(canvas, window, points)
    press = np.float32(force) * np.clip(6 * along, 0, 1) * np.clip(6 * (1 - along), 0, 1)
    press = press * (0.8 + 0.2 * np.sin(along * 37))
    press = press * (canvas.height[window] > FLOOR * 0.6 * pose.radius)  # it touches only what is near the face
    groove = np.exp(-((distance / wide) ** 2))
    edges = np.exp(-(((distance - 1.7 * wide) / (0.8 * wide)) ** 2))
    canvas.height[window] += press * wide * (1.1 * edges - 1.6 * groove)
    colour = canvas.colour[:, window[0], window[1]]
    colour += 0.75 * press * groove * (_SCUFFED - colour)


DEFECTS: dict[str, Callable[[Scene, _Generator], tuple[Scene, Overlay | None]]] = {
    "bent_strand": _bent_strand,
    "cut_insulation": _cut_insulation,
    "missing_core": _missing_core,
    "poked_insulation": _poked_insulation,
    "scratch": _scratch,
    "swapped_colors": _swapped_colors,
}
