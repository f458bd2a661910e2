"""What a rendered scene is made of: a canvas of heights and colours, the light on it, and the camera that sees it.

Colours are linear light, float32, 1 is white, in planes (3, H, W): blue, green, red. Lengths are canvas pixels.
All of it is NumPy and OpenCV, with no state but the canvas: the same numbers in, the same picture out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Camera", "Canvas", "Light", "Plane", "bgr", "photograph", "shade", "soft", "texture"]

Plane = NDArray[np.float32]
_BANK_SEED = 1905  # the textures are the same in every sample: a picture takes its own part of them
_AMBIENT = 0.42


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

    def window(self, x: float, y: float, reach: float) -> tuple[slice, slice]:
        """The rows and columns within `reach` of a point, as far as they lie on the canvas."""

        def span(at: float) -> slice:
            return slice(max(0, int(at - reach)), max(0, min(self.side, int(at + reach) + 2)))

        return span(y), span(x)

    def grid(self, window: tuple[slice, slice], x: float = 0.0, y: float = 0.0) -> tuple[Plane, Plane]:
        """(1, W) of x and (H, 1) of y in the window, measured from a point."""
        rows, columns = window
        xs = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(x)
        ys = np.arange(rows.start, rows.stop, dtype=np.float32) - np.float32(y)
        return xs[None, :], ys[:, None]

    def paint(
        self,
        window: tuple[slice, slice],
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
    nz = 1 / np.sqrt(1 + gx * gx + gy * gy)
    nx, ny = -gx * nz, -gy * nz
    lx, ly, lz = light.vector
    facing = nx * np.float32(lx) + ny * np.float32(ly) + nz * np.float32(lz)
    lit = _shadow(height, light)
    open_sky = _occlusion(height)
    diffuse = np.maximum(facing, 0) * (lit * np.float32((1 - _AMBIENT) / lz)) + np.float32(_AMBIENT)
    half = np.array([lx, ly, lz + 1], np.float32) / np.float32(np.sqrt(2 + 2 * lz))
    gloss = np.maximum(nx * half[0] + ny * half[1] + nz * half[2], 0)
    gloss = cv2.pow(gloss, 38) * lit
    dull = canvas.colour * (diffuse * open_sky) + gloss * open_sky * np.float32(0.055)
    window = cv2.boundingRect((canvas.metal > 0).astype(np.uint8))
    if window[2]:
        part = np.s_[window[1] : window[1] + window[3], window[0] : window[0] + window[2]]
        shiny = _metal(nx[part], ny[part], (lx, ly), lit[part]) * open_sky[part] ** 1.5
        glint = np.clip(shiny - 0.95, 0, None)  # a highlight burns out to the colour of the lamp
        metal = canvas.colour[:, part[0], part[1]] * shiny + glint * np.float32(0.35)
        dull[:, part[0], part[1]] += canvas.metal[part] * (metal - dull[:, part[0], part[1]])
    return dull


def _metal(nx: Plane, ny: Plane, towards: tuple[float, float], lit: Plane) -> Plane:
    """What bare metal mirrors: a dim room, a bright wall on the lamp's side, and the lamp."""
    along = nx * np.float32(towards[0]) + ny * np.float32(towards[1])
    across = ny * np.float32(towards[0]) - nx * np.float32(towards[1])
    room = 0.16 + 0.38 / (1 + np.exp(np.clip(-10 * along, -30, 30)))
    wall = 0.24 * np.exp(-((along + 0.08) ** 2) / 0.004)
    lamp = 1.75 * np.exp(-((along - 0.24) ** 2 + 0.5 * across**2) / 0.010) * lit
    dark = 0.16 * np.exp(-((across - 0.22) ** 2) / 0.01)
    return (room + wall + lamp - dark).astype(np.float32)


def _shadow(height: Plane, light: Light) -> Plane:
    """Where the lamp shines, 0 to 1: a point is in shadow when the height towards the lamp rises above the ray."""
    lx, ly, lz = light.vector
    flat = float(np.hypot(lx, ly))
    slope = lz / flat
    blocked = np.zeros_like(height)
    for step in np.array([2.0, 5.0, 10.0, 18.0, 30.0]) * height.shape[0] / 1024:
        shift = np.array([[1, 0, -step * lx / flat], [0, 1, -step * ly / flat]], np.float32)
        towards = cv2.warpAffine(
            height, shift, height.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        above = (towards - height - np.float32(step * slope)) * np.float32(1 / (0.25 * step + 1))
        np.maximum(blocked, above, out=blocked)
    return 1 - cv2.blur(np.minimum(blocked, 1), (3, 3)) * np.float32(0.85)


def _occlusion(height: Plane) -> Plane:
    """How much of the sky a point sees, 0 to 1, by its depth below the surroundings."""
    side = height.shape[0]
    small = cv2.resize(height, (side // 4, side // 4), interpolation=cv2.INTER_AREA)
    deep: Plane | None = None
    for sigma, depth in ((side / 1024 * 1.2, 11.0), (side / 1024 * 5, 30.0)):
        around = cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma), (side, side), interpolation=cv2.INTER_LINEAR)
        below = np.clip((around - height) * np.float32(1024 / side / depth), -0.03, 1.7)
        deep = below if deep is None else deep + below
    assert deep is not None
    return np.exp(np.float32(-0.72) * deep)


def photograph(light: Plane, camera: Camera, lamp: Light, side: int, noisy: bool = True) -> NDArray[np.uint8]:
    """The picture of a scene, (side, side, 3) u8 BGR: lens, exposure, noise, and the curve of the screen."""
    planes = [cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA) for plane in light]
    picture = np.stack([cv2.GaussianBlur(plane, (0, 0), camera.blur_sigma) for plane in planes])
    at = (np.arange(side, dtype=np.float32) - side / 2) / (side / 2)
    lx, ly, _ = lamp.vector
    falloff = 1 - camera.vignette * 0.5 * (at[None, :] ** 2 + at[:, None] ** 2)
    falloff += camera.lean * (at[None, :] * lx + at[:, None] * ly)
    picture *= falloff * np.array(camera.balance, np.float32)[:, None, None] * np.float32(camera.gain)
    picture /= 1 + 0.18 * np.maximum(picture - 0.55, 0)  # the shoulder of the sensor
    if noisy:
        picture += _noise(picture, camera)
    curve = (np.linspace(0, 1, 4096) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)
    return cv2.merge([curve[plane] for plane in (np.clip(picture, 0, 1) * np.float32(4095)).astype(np.uint16)])


def _noise(picture: Plane, camera: Camera) -> Plane:
    """Shot and read-out noise; its grain is softened a little, as a colour sensor's is by demosaicking."""
    generator = np.random.default_rng([camera.seed, 77])
    noise = generator.standard_normal(picture.shape, np.float32)
    softened = np.stack([cv2.blur(plane, (3, 3)) for plane in noise])
    noise = np.float32(0.65) * noise + np.float32(0.75) * softened + np.float32(0.35) * noise.mean(axis=0)
    spread = np.sqrt(np.maximum(picture, 0) * np.float32(0.85) + np.float32(0.03))
    return (noise * spread * np.float32(camera.noise / 255 * 1.6)).astype(np.float32)
