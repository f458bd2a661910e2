"""What a rendered scene is made of: a canvas of heights and colours, the light on it, and the camera that sees it.

Colours are linear light, float32, 1 is white, in planes (3, H, W): blue, green, red. Lengths are canvas pixels.
All of it is NumPy and OpenCV, with no state but the canvas: the same numbers in, the same picture out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Camera",
    "Canvas",
    "Light",
    "Plane",
    "Window",
    "bgr",
    "develop",
    "expose",
    "photograph",
    "shade",
    "soft",
    "strips",
    "texture",
]

Plane = NDArray[np.float32]
Window = tuple[slice, slice]  # rows and columns
_BANK_SEED = 1905  # the textures are the same in every sample: a picture takes its own part of them
_AMBIENT = 0.42
_STRIP = 64  # rows: what a step makes of them stays in the cache for the next one


@dataclass(frozen=True)
class Light:
    """A lamp: `azimuth` in radians (0 from the right, growing clockwise), `elevation` above the picture's plane."""

    azimuth: float
    elevation: float

    @property
    def vector(self) -> tuple[float, float, float]:
        """Unit vector (x, y, z) towards the lamp."""
        flat = float(np.cos(self.elevation))
        return (
            flat * float(np.cos(self.azimuth)),
            flat * float(np.sin(self.azimuth)),
            float(np.sin(self.elevation)),
        )


@dataclass(frozen=True)
class Camera:
    """How the picture is taken.

    Attributes:
        gain: exposure, 1 as metered.
        balance: gain of blue, green and red.
        vignette: fall-off of light in the corners, 0 to 1.
        lean: fall-off from one side to the other, along the direction of the lamp.
        blur_sigma: of the lens, in pixels of the picture.
        noise: standard deviation of the read-out noise at mid grey, in grey levels.
        seed: of the noise.
    """

    gain: float
    balance: tuple[float, float, float]
    vignette: float
    lean: float
    blur_sigma: float
    noise: float
    seed: int


class Canvas:
    """Heights, colours and how metallic the surface is, on `side` by `side` pixels."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.height = np.zeros((side, side), np.float32)
        self.metal = np.zeros((side, side), np.float32)
        self.colour = np.zeros((3, side, side), np.float32)

    def copy(self) -> Canvas:
        """The same on arrays of its own."""
        other = Canvas(0)
        other.side, other.height, other.metal = self.side, self.height.copy(), self.metal.copy()
        other.colour = self.colour.copy()
        return other

    def window(self, x: float, y: float, reach: float) -> Window:
        """The rows and columns within `reach` of a point, as far as they lie on the canvas."""

        def span(at: float) -> slice:
            return slice(max(0, int(at - reach)), max(0, min(self.side, int(at + reach) + 2)))

        return span(y), span(x)

    def grid(self, window: Window, x: float = 0.0, y: float = 0.0) -> tuple[Plane, Plane]:
        """(1, W) of x and (H, 1) of y in the window, measured from a point."""
        rows, columns = window
        xs = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(x)
        ys = np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(y)
        return xs[None, :], ys[:, None]

    def paint(
        self,
        window: Window,
        cover: Plane,
        height: Plane | float,
        colour: Plane | None,
        metal: float | None = None,
    ) -> None:
        """Blends a layer over what is there; without `colour` or `metal` that stays."""
        self.height[window] += cover * (height - self.height[window])
        if colour is not None:
            part = self.colour[:, window[0], window[1]]
            part += cover * (colour - part)
        if metal is not None:
            self.metal[window] += cover * (np.float32(metal) - self.metal[window])


def strips(window: Window) -> Iterator[Window]:
    """A window in strips of some rows, for steps that look at each pixel by itself. They are then several times as
    fast.
    """
    rows, columns = window
    for top in range(rows.start, rows.stop, _STRIP):
        yield slice(top, min(top + _STRIP, rows.stop)), columns


def bgr(red: int, green: int, blue: int) -> Plane:
    """A colour as a screen shows it (0 to 255) in linear light, (3, 1, 1): blue, green, red."""
    return ((np.array([blue, green, red], np.float32) / 255) ** np.float32(2.2)).astype(np.float32)[:, None, None]


def soft(distance: Plane, width: float = 1.0) -> Plane:
    """Cover of a shape by the signed distance to its edge (negative inside): 1 inside, 0 outside, `width` between."""
    return np.clip(0.5 - distance / np.float32(width), 0, 1).astype(np.float32)


@lru_cache(maxsize=8)
def _bank(side: int, kind: str) -> Plane:
    generator = np.random.default_rng([_BANK_SEED, len(kind)])
    noise = generator.standard_normal((side, side), np.float32)
    if kind == "grain":
        plane = cv2.GaussianBlur(noise, (0, 0), 1.1, borderType=cv2.BORDER_REFLECT)
    elif kind == "streaks":  # what a blade leaves
        fine = cv2.GaussianBlur(noise, (0, 0), 30, sigmaY=0.9)
        broad = cv2.GaussianBlur(noise, (0, 0), 60, sigmaY=4)
        plane = fine / fine.std() + broad / broad.std()
    elif kind == "board":  # rough, and out of focus
        plane = cv2.GaussianBlur(noise, (0, 0), 2.2, borderType=cv2.BORDER_REFLECT)
    else:  # clouds
        plane = np.zeros_like(noise)
        for cells in (4, 9, 20, 45, 100):
            octave = cv2.resize(noise[:cells, :cells], (side, side), interpolation=cv2.INTER_CUBIC)
            plane += octave * np.float32(cells**-0.6)
    plane -= plane.mean()
    return (plane / plane.std()).astype(np.float32)


def texture(side: int, kind: str, generator: np.random.Generator, angle: float | None = None) -> Plane:
    """A part of a stored texture (grain, board, clouds or streaks), turned by `angle` radians: mean 0, deviation 1."""
    bank = _bank(side * 3 // 2, kind)
    dy, dx = (int(v) for v in generator.integers(0, side // 2, 2))
    flips = generator.integers(0, 2, 2)
    if angle is None:
        part = bank[dy : dy + side, dx : dx + side]
        return part[:: 1 - 2 * int(flips[0]), :: 1 - 2 * int(flips[1])]
    turn = cv2.getRotationMatrix2D((bank.shape[1] / 2, bank.shape[0] / 2), float(np.degrees(angle)), 1.0)
    turn[:, 2] += (side - bank.shape[0]) / 2 + (np.array([dx, dy]) - side / 4) * 0.3
    return cv2.warpAffine(bank, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def shade(canvas: Canvas, light: Light) -> Plane:
    """The light that the canvas sends to the camera, (3, side, side): diffuse, gloss, reflections, shadows."""
    height = canvas.height
    gx = cv2.Scharr(height, cv2.CV_32F, 1, 0, scale=1 / 32)
    gy = cv2.Scharr(height, cv2.CV_32F, 0, 1, scale=1 / 32)
    blocked, below = _blocked(height, light), _below(height)
    x, y, wide, high = cv2.boundingRect((canvas.metal > 0).astype(np.uint8))
    seen = np.empty_like(canvas.colour)
    for part in strips((slice(0, canvas.side), slice(0, canvas.side))):
        nz = 1 / np.sqrt(1 + gx[part] * gx[part] + gy[part] * gy[part])
        normal = -gx[part] * nz, -gy[part] * nz, nz
        lit, open_sky = 1 - blocked[part] * np.float32(0.85), _open_sky(height[part], below, part, canvas.side)
        own = seen[:, part[0], part[1]]
        own[:] = _dull(canvas.colour[:, part[0], part[1]], normal, lit, open_sky, light)
        rows = slice(max(part[0].start, y), min(part[0].stop, y + high))
        if rows.start < rows.stop and wide:
            inner = np.s_[rows.start - part[0].start : rows.stop - part[0].start, x : x + wide]
            shiny = _metal(normal[0][inner], normal[1][inner], light.vector[:2], lit[inner]) * open_sky[inner] ** 1.5
            glint = np.clip(shiny - 0.95, 0, None)  # a highlight burns out to the colour of the lamp
            at = rows, slice(x, x + wide)
            metal = canvas.colour[:, at[0], at[1]] * shiny + glint * np.float32(0.35)
            seen[:, at[0], at[1]] += canvas.metal[at] * (metal - seen[:, at[0], at[1]])
    return seen


def _dull(colour: Plane, normal: tuple[Plane, Plane, Plane], lit: Plane, open_sky: Plane, light: Light) -> Plane:
    """The light of all that is no metal."""
    (nx, ny, nz), (lx, ly, lz) = normal, light.vector
    facing = nx * np.float32(lx) + ny * np.float32(ly) + nz * np.float32(lz)
    diffuse = np.maximum(facing, 0) * (lit * np.float32((1 - _AMBIENT) / lz)) + np.float32(_AMBIENT)
    half = np.array([lx, ly, lz + 1], np.float32) / np.float32(np.sqrt(2 + 2 * lz))
    gloss = np.maximum(nx * half[0] + ny * half[1] + nz * half[2], 0)
    gloss = cv2.pow(gloss, 38) * lit
    return colour * (diffuse * open_sky) + gloss * open_sky * np.float32(0.055)


def _metal(nx: Plane, ny: Plane, towards: tuple[float, float], lit: Plane) -> Plane:
    """What bare metal mirrors: a dim room, a bright wall on the lamp's side, and the lamp."""
    along = nx * np.float32(towards[0]) + ny * np.float32(towards[1])
    across = ny * np.float32(towards[0]) - nx * np.float32(towards[1])
    room = 0.16 + 0.38 / (1 + np.exp(np.clip(-10 * along, -30, 30)))
    wall = 0.24 * np.exp(-((along + 0.08) ** 2) / 0.004)
    lamp = 1.75 * np.exp(-((along - 0.24) ** 2 + 0.5 * across**2) / 0.010) * lit
    dark = 0.16 * np.exp(-((across - 0.22) ** 2) / 0.01)
    return (room + wall + lamp - dark).astype(np.float32)


def _blocked(height: Plane, light: Light) -> Plane:
    """How much of the lamp is hidden, 0 to 1: a point is in shadow when the height towards it rises above the ray."""
    lx, ly, lz = light.vector
    flat = float(np.hypot(lx, ly))
    slope = lz / flat
    blocked = np.zeros_like(height)
    for step in np.array([2.0, 5.0, 10.0, 18.0, 30.0]) * height.shape[0] / 1024:
        shift = np.array([[1, 0, -step * lx / flat], [0, 1, -step * ly / flat]], np.float32)
        towards = cv2.warpAffine(
            height, shift, height.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for part in strips((slice(0, height.shape[0]), slice(0, height.shape[1]))):
            above = (towards[part] - height[part] - np.float32(step * slope)) * np.float32(1 / (0.25 * step + 1))
            np.maximum(blocked[part], above, out=blocked[part])
    return cv2.blur(np.minimum(blocked, 1), (3, 3))


def _below(height: Plane) -> list[tuple[Plane, float]]:
    """Surroundings of each point, at the scale of the canvas, and how deep below them counts."""
    side = height.shape[0]
    small = cv2.resize(height, (side // 4, side // 4), interpolation=cv2.INTER_AREA)
    return [
        (cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma), (side, side), interpolation=cv2.INTER_LINEAR), depth)
        for sigma, depth in ((side / 1024 * 1.2, 11.0), (side / 1024 * 5, 30.0))
    ]


def _open_sky(height: Plane, surroundings: list[tuple[Plane, float]], part: Window, side: int) -> Plane:
    """How much of the sky the points of a part see, 0 to 1, by their depth below the surroundings."""
    deep: Plane | None = None
    for around, depth in surroundings:
        below = np.clip((around[part] - height) * np.float32(1024 / side / depth), -0.03, 1.7)
        deep = below if deep is None else deep + below
    assert deep is not None
    return np.exp(np.float32(-0.72) * deep)


def photograph(light: Plane, camera: Camera, lamp: Light, side: int, noisy: bool = True) -> NDArray[np.uint8]:
    """The picture of a scene, (side, side, 3) u8 BGR: lens, exposure, noise, and the curve of the screen."""
    return develop(expose(light, camera, lamp, side), camera if noisy else None)


def expose(light: Plane, camera: Camera, lamp: Light, side: int) -> Plane:
    """What reaches the sensor, (3, side, side): lens and exposure."""
    planes = [cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA) for plane in light]
    picture = np.stack([cv2.GaussianBlur(plane, (0, 0), camera.blur_sigma) for plane in planes])
    at = (np.arange(side, dtype=np.float32) - side / 2) / (side / 2)
    lx, ly, _ = lamp.vector
    for rows, columns in strips((slice(0, side), slice(0, side))):
        falloff = 1 - camera.vignette * 0.5 * (at[None, :] ** 2 + at[rows, None] ** 2)
        falloff += camera.lean * (at[None, :] * lx + at[rows, None] * ly)
        part = picture[:, rows, columns]
        part *= falloff * np.array(camera.balance, np.float32)[:, None, None] * np.float32(camera.gain)
        part /= 1 + 0.18 * np.maximum(part - 0.55, 0)  # the shoulder of the sensor
    return picture


def develop(exposed: Plane, camera: Camera | None) -> NDArray[np.uint8]:
    """The picture, (side, side, 3) u8 BGR, with the noise of the camera; None for none."""
    side = exposed.shape[1]
    noise = None if camera is None else _noise(exposed.shape, camera)
    curve = (np.linspace(0, 1, 4096) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)
    found = np.empty((side, side, 3), np.uint8)
    for rows, columns in strips((slice(0, side), slice(0, side))):
        part = exposed[:, rows, columns]
        if noise is not None and camera is not None:
            own, mean, softened = noise[0][:, rows], noise[1][rows], noise[2][:, rows]
            grain = np.float32(0.65) * own + np.float32(0.75) * softened + np.float32(0.35) * mean
            spread = np.sqrt(np.maximum(part, 0) * np.float32(0.85) + np.float32(0.03))
            part = part + (grain * spread * np.float32(camera.noise / 255 * 1.6)).astype(np.float32)
        levels = (np.clip(part, 0, 1) * np.float32(4095)).astype(np.uint16)
        found[rows] = cv2.merge([curve[plane] for plane in levels])
    return found


def _noise(shape: tuple[int, ...], camera: Camera) -> tuple[Plane, Plane, Plane]:
    """Shot and read-out noise: of each colour, (3, H, W), what they have in common, (H, W), and softened: its grain is
    softened a little, as a colour sensor's is by demosaicking."""
    generator = np.random.default_rng([camera.seed, 77])
    noise = generator.standard_normal(shape, np.float32)
    return noise, noise.mean(axis=0), np.stack([cv2.blur(plane, (3, 3)) for plane in noise])
