"""The cable of the sample: the cross-section of three insulated cores of copper strands in a sheath.

A `Scene` says where everything is; `draw` renders it. Lengths of a scene are in radii of the cable, measured from
its centre, x to the right and y down; the pose (centre, radius, turn) sets it into the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from export.sample.canvas import Camera, Canvas, Light, Plane, Window, bgr, shade, soft, strips, texture

__all__ = ["Core", "Overlay", "Pose", "Scene", "Strand", "draw", "draw_both", "make_scene", "paint_strand"]

SIDE = 512
_SUPERSAMPLING = 1.5
CORE_DISTANCE, CORE_RADIUS, BORE_RADIUS = 0.445, 0.375, 0.252
SHEATH_INNER = 0.865
FLOOR = -0.30  # height of the ground, and of an empty place in the cable, in radii of the cable
_COPPER = bgr(246, 172, 124)
_TARNISH = bgr(182, 98, 62)
_INSULATION = (  # by position: top, lower left, lower right
    (bgr(70, 126, 66), bgr(212, 184, 62)),
    (bgr(106, 72, 54), None),
    (bgr(50, 94, 154), None),
)
_SHEATH = bgr(204, 203, 198)
_FILLER = bgr(158, 154, 146)
_GROUND = bgr(104, 99, 94)


class Strand(NamedTuple):
    """The end of a copper wire: place and radius in radii of the cable, shape and look."""

    x: float
    y: float
    radius: float
    stretch: float
    angle: float
    tilt_x: float
    tilt_y: float
    lift: float
    tarnish: float


@dataclass(frozen=True)
class Core:
    """An insulated core; `colour` is the position whose colour it has, `turn` where its stripes are."""

    x: float
    y: float
    radius: float
    bore: float
    colour: int
    turn: float
    dent: tuple[float, float]
    strands: tuple[Strand, ...]
    present: bool = True


@dataclass(frozen=True)
class Scene:
    """A cable before a camera. Centre and radius of the cable are in sides of the picture; `turn` is in radians."""

    centre: tuple[float, float]
    radius: float
    turn: float
    cores: tuple[Core, ...]
    wobble: tuple[tuple[float, float], ...]
    blade: float
    tint: tuple[float, float, float]
    light: Light
    camera: Camera
    seed: int


@dataclass(frozen=True)
class Pose:
    """Where the cable lies on a canvas: centre and radius in its pixels."""

    x: float
    y: float
    radius: float
    turn: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Canvas pixels (x, y) of a point of the cable."""
        c, s = float(np.cos(self.turn)), float(np.sin(self.turn))
        return self.x + self.radius * (x * c - y * s), self.y + self.radius * (x * s + y * c)


Overlay = Callable[[Canvas, Pose], None]


def make_scene(generator: np.random.Generator) -> Scene:
    """A cable as it comes off the line: each one a little different from the next."""
    uniform, normal = generator.uniform, generator.normal
    cores = []
    for position, angle in enumerate(np.radians([-90, 150, 30])):
        angle += normal(0, 0.02)
        distance = CORE_DISTANCE * (1 + normal(0, 0.006))
        x, y = distance * np.cos(angle) + normal(0, 0.004), distance * np.sin(angle) + normal(0, 0.004)
        bore = BORE_RADIUS * (1 + normal(0, 0.015))
        turn = float(angle + np.pi / 2 + normal(0, 0.12))
        dent = (float(uniform(0.004, 0.014)), float(uniform(0, 2 * np.pi)))
        strands = _strands(float(x), float(y), bore, generator)
        radius = CORE_RADIUS * (1 + normal(0, 0.008))
        cores.append(Core(float(x), float(y), radius, bore, position, turn, dent, strands))
    return Scene(
        centre=(0.5 + normal(0, 0.010), 0.5 + normal(0, 0.010)),
        radius=0.425 * float(np.clip(1 + normal(0, 0.014), 0.96, 1.04)),
        turn=float(np.clip(normal(0, 0.045), -0.12, 0.12)),
        cores=tuple(cores),
        wobble=tuple((float(uniform(0.001, 0.006)), float(uniform(0, 2 * np.pi))) for _ in range(3)),
        blade=float(uniform(0, np.pi)),
        tint=tuple(float(v) for v in 1 + normal(0, 0.02, 3)),  # type: ignore[arg-type]
        light=Light(float(np.radians(-125) + normal(0, 0.28)), float(np.radians(uniform(46, 58)))),
        camera=Camera(
            gain=float(uniform(0.93, 1.10)),
            balance=tuple(float(v) for v in 1 + normal(0, 0.012, 3)),  # type: ignore[arg-type]
            vignette=float(uniform(0.10, 0.26)),
            lean=float(uniform(0.03, 0.12)),
            blur_sigma=float(uniform(0.55, 0.85)),
            noise=float(uniform(1.0, 1.9)),
            seed=int(generator.integers(2**31)),
        ),
        seed=int(generator.integers(2**31)),
    )


def _strands(x: float, y: float, bore: float, generator: np.random.Generator) -> tuple[Strand, ...]:
    """Wire ends packed into the bore of a core: pushed apart until they touch rather than overlap."""
    count = int(generator.integers(13, 20))
    radii = bore * np.sqrt(0.86 / count) * np.clip(1 + generator.normal(0, 0.06, count), 0.85, 1.15)
    at = _seeds(count, bore, generator)
    itself, touching, reach = np.eye(count), radii[:, None] + radii[None], np.maximum(bore - radii, 0)
    others = 1 - itself
    for _ in range(60):
        apart = at[:, None] - at[None]
        distance = np.sqrt((apart**2).sum(-1)) + itself + 1e-9
        overlap = np.maximum(touching - distance, 0) * others
        at = at + 0.45 * (apart / distance[..., None] * overlap[..., None]).sum(1)
        out = np.sqrt((at**2).sum(1)) + 1e-9
        at = at * np.minimum(1, reach / out)[:, None]
    normal = generator.normal
    return tuple(
        Strand(
            x=float(x + px),
            y=float(y + py),
            radius=float(r * 1.02),
            stretch=float(np.clip(1 + normal(0, 0.06), 0.88, 1.12)),
            angle=float(generator.uniform(0, np.pi)),
            tilt_x=float(normal(0, 0.15)),
            tilt_y=float(normal(0, 0.15)),
            lift=float(normal(0, 0.010)),
            tarnish=float(generator.beta(1.2, 3.5)),
        )
        for (px, py), r in zip(at, radii, strict=True)
    )


def _seeds(count: int, bore: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Evenly spread places to start from: the spiral of a sunflower."""
    n = np.arange(count) + 0.5
    r, a = bore * 0.85 * np.sqrt(n / count), n * 2.39996 + generator.uniform(0, 6.28)
    return np.stack([r * np.cos(a), r * np.sin(a)], 1) + generator.normal(0, bore * 0.03, (count, 2))


def draw(scene: Scene, overlay: Overlay | None = None, side: int = SIDE) -> Plane:
    """The light of a scene at the camera, with `overlay` painted on the canvas before it is lit.

    `side` is that of the picture; the light has more pixels, for the camera to average (see `photograph`).
    """
    canvas, pose, skin = _begin(scene, side)
    _draw_cores(canvas, pose, scene, skin)
    if overlay is not None:
        overlay(canvas, pose)
    return shade(canvas, scene.light)


def draw_both(scene: Scene, other: Scene, overlay: Overlay | None = None, side: int = SIDE) -> tuple[Plane, Plane]:
    """`draw` of a scene, and of another in the same sheath and light with an overlay. What they share is drawn once."""
    begun, pose, skin = _begin(scene, side)
    canvas = begun.copy()
    _draw_cores(canvas, pose, scene, skin)
    light = shade(canvas, scene.light)
    if other.cores != scene.cores:
        _draw_cores(canvas := begun, pose, other, skin)
    if overlay is not None:
        overlay(canvas, pose)
    return light, shade(canvas, other.light)


def _begin(scene: Scene, side: int) -> tuple[Canvas, Pose, _Skin]:
    """A canvas with all that lies below the cores, where the cable lies on it, and its textures."""
    canvas = Canvas(int(side * _SUPERSAMPLING))
    n = canvas.side
    pose = Pose(scene.centre[0] * n, scene.centre[1] * n, scene.radius * n, scene.turn)
    generator = np.random.default_rng([scene.seed, 1])
    skin = _Skin(n, scene.blade, generator)
    _draw_ground(canvas, generator)
    _draw_sheath(canvas, pose, scene, skin)
    return canvas, pose, skin


def _draw_cores(canvas: Canvas, pose: Pose, scene: Scene, skin: _Skin) -> None:
    """The cores with their strands."""
    for core in scene.cores:
        if core.present:
            _draw_core(canvas, pose, core, scene, skin)
        else:
            _draw_hole(canvas, pose, core, skin)
    _bleed(canvas, pose)
    for core in scene.cores:
        for strand in core.strands if core.present else ():
            paint_strand(canvas, pose, strand, skin.streaks)


def _tint(scene: Scene) -> Plane:
    """How the plastics of this cable differ in colour from those of others, (3, 1, 1)."""
    return np.array(scene.tint, np.float32)[:, None, None]


class _Skin:
    """The textures of a picture: what the blade left on the face, grain, and uneven colour."""

    def __init__(self, side: int, blade: float, generator: np.random.Generator) -> None:
        self.streaks = texture(side, "streaks", generator, blade)
        self.grain = texture(side, "grain", generator)
        self.clouds = texture(side, "clouds", generator)


def _draw_ground(canvas: Canvas, generator: np.random.Generator) -> None:
    """A grey board, out of focus, below the cable."""
    clouds = texture(canvas.side, "clouds", generator)
    grain = texture(canvas.side, "board", generator)
    bright = np.float32(1 + generator.normal(0, 0.05))
    for part in strips((slice(0, canvas.side), slice(0, canvas.side))):
        tone = bright + np.float32(0.045) * clouds[part] + np.float32(0.04) * grain[part]
        canvas.colour[:, part[0], part[1]] = _GROUND * tone
    canvas.height[:] = FLOOR * 0.425 * canvas.side


def _draw_sheath(canvas: Canvas, pose: Pose, scene: Scene, skin: _Skin) -> None:
    """The sheath with its rounded rim, and the filler within."""
    turns = np.linspace(0, 2 * np.pi, 2048)
    waves = sum(size * np.cos(k * turns + phase) for k, (size, phase) in enumerate(scene.wobble, 2))
    wave_of = np.asarray(waves, np.float32)
    unit = np.float32(pose.radius)
    for window in strips(canvas.window(pose.x, pose.y, pose.radius * 1.03)):
        streaks, grain, clouds = skin.streaks[window], skin.grain[window], skin.clouds[window]
        x, y = canvas.grid(window, pose.x, pose.y)
        shape = (y.shape[0], x.shape[1])
        r, angle = cv2.cartToPolar(np.broadcast_to(x, shape), np.broadcast_to(y, shape))
        wave = wave_of[(angle * np.float32(2047 / 2 / np.pi)).astype(np.uint16)]
        outer = r - unit * (1 + wave)
        rim = np.clip(1 + outer / (0.030 * unit), 0, 1) ** 2  # 0 on the flat face, 1 at the edge
        height = unit * (-0.024 * rim) + 0.22 * streaks + 0.18 * grain
        glow = np.float32(0.10) * np.exp(np.minimum(outer, 0) / (0.05 * unit))  # light through the edge
        tone = 1 + glow + 0.016 * clouds + 0.010 * streaks + 0.018 * grain
        colour = _SHEATH * _tint(scene) * tone
        canvas.paint(window, soft(outer, 1.6), height, colour)
        inner = r - unit * (SHEATH_INNER + 1.6 * wave)
        tone = 1 + 0.05 * clouds + 0.05 * grain
        height = unit * -0.028 + 0.5 * grain + 1.3 * clouds
        canvas.paint(window, soft(inner, 2.2), height, _FILLER * tone)
        seam = np.exp(-((inner / (0.007 * unit)) ** 2))
        canvas.height[window] -= seam * np.float32(0.018) * unit


def _core_distance(canvas: Canvas, pose: Pose, core: Core) -> Iterator[tuple[Window, Plane, Plane]]:
    """Strips of a core's window, each with the distance to the core's edge, and the angle around its centre."""
    x, y = pose.place(core.x, core.y)
    for window in strips(canvas.window(x, y, core.radius * pose.radius * 1.12)):
        dx, dy = canvas.grid(window, x, y)
        shape = (dy.shape[0], dx.shape[1])
        r, angle = cv2.cartToPolar(np.broadcast_to(dx, shape), np.broadcast_to(dy, shape))
        angle -= np.float32(pose.turn)
        size, phase = core.dent
        edge = core.radius * (1 + size * np.cos(2 * angle + np.float32(phase)))
        yield window, r - np.float32(pose.radius) * edge, angle


def _draw_core(canvas: Canvas, pose: Pose, core: Core, scene: Scene, skin: _Skin) -> None:
    """The insulation of a core, and the dark of its bore."""
    unit = np.float32(pose.radius)
    base, stripe = _INSULATION[core.colour]
    for window, outer, angle in _core_distance(canvas, pose, core):
        streaks, grain, clouds = skin.streaks[window], skin.grain[window], skin.clouds[window]
        tone = 1 + 0.035 * clouds + 0.025 * streaks + 0.035 * grain
        colour = base * _tint(scene) * tone
        if stripe is not None:
            band = soft(np.cos(2 * (angle - np.float32(core.turn))) * -1 + 0.25, 0.045)
            colour += band * (stripe * tone - colour)
        rim = np.clip(1 + outer / (0.035 * unit), 0, 1) ** 2
        height = unit * (0.004 - 0.030 * rim) + 0.30 * streaks + 0.22 * grain
        canvas.paint(window, soft(outer + 0.5, 1.6), height, colour)
        inner = outer + np.float32((core.radius - core.bore) * pose.radius)
        lip = np.exp(-((inner / (0.008 * unit)) ** 2))
        canvas.height[window] -= lip * np.float32(0.008) * unit
        canvas.paint(window, soft(inner + 1, 2.0), unit * np.float32(-0.075), _TARNISH * np.float32(0.25))


def _draw_hole(canvas: Canvas, pose: Pose, core: Core, skin: _Skin) -> None:
    """What is left where a core is missing: its print in the filler, and the depth of the cable."""
    for window, outer, angle in _core_distance(canvas, pose, core):
        wall = np.clip(-outer / (0.13 * np.float32(pose.radius)), 0, 1)
        wall = np.sqrt(wall * (2 - wall)) * (1 + 0.012 * skin.clouds[window] * wall)
        ribs = 1 + 0.05 * np.sin(23 * angle) * (1 - wall)
        colour = _FILLER * (ribs * (0.72 - 0.635 * wall) * (1 + 0.06 * skin.grain[window] + 0.06 * skin.clouds[window]))
        canvas.paint(window, soft(outer, 1.6), FLOOR * np.float32(pose.radius) * (0.25 + 0.75 * wall), colour)


def _bleed(canvas: Canvas, pose: Pose) -> None:
    """Plastics scatter light inside: each colour tints its neighbours a little."""
    for plane in canvas.colour:
        small = cv2.resize(plane, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), 0.045 * pose.radius / 8)
        around = cv2.resize(small, plane.shape[::-1], interpolation=cv2.INTER_LINEAR)
        cv2.addWeighted(plane, 0.91, around, 0.09, 0, dst=plane)


def paint_strand(canvas: Canvas, pose: Pose, strand: Strand, streaks: Plane) -> None:
    """The cut end of a wire: a face that the blade tilted and scored, with a rounded edge."""
    x, y = pose.place(strand.x, strand.y)
    radius = np.float32(strand.radius * pose.radius)
    window = canvas.window(x, y, float(radius) * 1.2)
    dx, dy = canvas.grid(window, x, y)
    turn = strand.angle + pose.turn
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u, v = (dx * c + dy * s) / (radius * strand.stretch), (dy * c - dx * s) * (strand.stretch / radius)
    rho = u * u + v * v
    uneven = np.clip(np.float32(3 * strand.lift) + np.float32(0.16) * u * v * (u + v), -0.3, 0.3)
    rho = rho * (1 + uneven)  # no two cuts are alike
    cover = soft((np.sqrt(rho) - 1) * radius, 1.5)
    dome = np.sqrt(np.maximum(1 - np.minimum(rho, 1) ** 2, 0))
    score = streaks[window][:: 1 if strand.tilt_x > 0 else -1]
    height = radius * (0.42 * dome + strand.tilt_x * u + strand.tilt_y * v - 0.30)
    height = height + np.float32(strand.lift * pose.radius) + 0.20 * score
    tone = 1 + 0.03 * score
    colour = (_COPPER + np.float32(strand.tarnish) * (_TARNISH - _COPPER)) * tone
    canvas.paint(window, cover, height.astype(np.float32), colour.astype(np.float32), 1.0)
