"""Procedural textures in the manner of industrial surfaces, to distil from where photographs show none.

Every texture is a (size, size, 3) u8 RGB image made from a generator alone: the same generator, the same image.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

U8Image = NDArray[np.uint8]
Plane = NDArray[np.float32]


def make_texture(size: int, generator: np.random.Generator) -> U8Image:
    """A random texture, with a scratch, crack, blot or the like on two of three."""
    kind = _KINDS[generator.integers(len(_KINDS))]
    plane = _unit(kind(size, generator))
    if generator.random() < 0.4:  # structures carry fine grain
        plane = plane + generator.uniform(0.05, 0.5) * (_unit(_noise(size, generator)) - 0.5)
    image = _coloured(np.clip(plane, 0, 1), generator)
    if generator.random() < 0.66:
        image = add_defect(image, generator)
    return image


def add_defect(image: U8Image, generator: np.random.Generator) -> U8Image:
    """A copy with one to four marks: scratches, cracks, blots, or patches of another place."""
    marked = image.copy()
    for _ in range(generator.integers(1, 5)):
        _MARKS[generator.integers(len(_MARKS))](marked, generator)
    return marked


def blend_object(back: U8Image, front: U8Image, generator: np.random.Generator) -> U8Image:
    """`front` cut out by a random ellipse or polygon, on `back`: a part on its support."""
    size = back.shape[0]
    mask = np.zeros((size, size), np.uint8)
    centre = generator.uniform(0.3, 0.7, 2) * size
    if generator.random() < 0.6:
        axes = generator.uniform(0.12, 0.5, 2) * size
        if generator.random() < 0.5:
            axes[1] = axes[0]
        angle = float(generator.uniform(0, 180))
        cv2.ellipse(mask, (tuple(centre.tolist()), tuple((2 * axes).tolist()), angle), 255, -1, cv2.LINE_AA)
        if generator.random() < 0.4:  # a ring
            inner = axes * generator.uniform(0.3, 0.9)
            cv2.ellipse(mask, (tuple(centre.tolist()), tuple((2 * inner).tolist()), angle), 0, -1, cv2.LINE_AA)
    else:
        turns = np.sort(generator.uniform(0, 2 * np.pi, generator.integers(3, 9)))
        radii = generator.uniform(0.15, 0.55, len(turns)) * size
        corners = centre + radii[:, None] * np.stack([np.cos(turns), np.sin(turns)], 1)
        cv2.fillPoly(mask, [corners.astype(np.int32)], 255, cv2.LINE_AA)
    if generator.random() < 0.5:
        mask = cv2.GaussianBlur(mask, (0, 0), float(generator.uniform(0.5, 3)))
    alpha = mask[..., None].astype(np.float32) / 255
    return (front * alpha + back * (1 - alpha)).astype(np.uint8)


def _unit(plane: Plane) -> Plane:
    low, high = np.percentile(plane, (1, 99))
    return ((plane - low) / max(float(high - low), 1e-6)).astype(np.float32)


def _coordinates(size: int, generator: np.random.Generator) -> tuple[Plane, Plane]:
    """Turned and slightly bent coordinates in pixels."""
    y, x = np.mgrid[:size, :size].astype(np.float32)
    angle = generator.uniform(0, np.pi) if generator.random() < 0.7 else generator.choice([0.0, np.pi / 2])
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    bend = generator.choice([0.0, 1.0, 4.0])
    if bend:
        field = cv2.resize(
            generator.standard_normal((4, 4)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC
        )
        u = u + bend * field
    return u.astype(np.float32), v.astype(np.float32)


def _noise(size: int, generator: np.random.Generator) -> Plane:
    """Noise whose spectrum falls by a random power, as cast, ground, sprayed and rolled surfaces have."""
    fy = np.fft.fftfreq(size)[:, None] * generator.choice([1.0, 1.0, 2.0, 6.0])
    fx = np.fft.rfftfreq(size)[None]
    radius = np.sqrt(fy**2 + fx**2)
    low = generator.uniform(0.003, 0.08)
    spectrum = (radius + low) ** -generator.uniform(0.3, 2.6) * np.exp(-((radius / generator.uniform(0.1, 0.7)) ** 2))
    white = np.fft.rfft2(generator.standard_normal((size, size)))
    return np.fft.irfft2(white * spectrum, s=(size, size)).astype(np.float32)


def _brushed(size: int, generator: np.random.Generator) -> Plane:
    plane = generator.standard_normal((size, size)).astype(np.float32)
    plane = cv2.GaussianBlur(
        plane, (0, 0), sigmaX=float(generator.uniform(8, 60)), sigmaY=float(generator.uniform(0.3, 1.2))
    )
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), float(generator.uniform(0, 180)), 1.0)
    return cv2.warpAffine(plane, matrix, (size, size), borderMode=cv2.BORDER_REFLECT)


def _fabric(size: int, generator: np.random.Generator) -> Plane:
    u, v = _coordinates(size, generator)
    pitch = generator.uniform(3, 24, 2)
    warp, weft = np.sin(2 * np.pi * u / pitch[0]), np.sin(2 * np.pi * v / pitch[1])
    over = (np.floor(u / pitch[0]) + np.floor(v / pitch[1])) % 2
    plane = np.where(over > 0, warp, weft) if generator.random() < 0.5 else warp * weft
    return (plane + generator.uniform(0, 0.6) * _unit(_noise(size, generator))).astype(np.float32)


def _tiles(size: int, generator: np.random.Generator) -> Plane:
    u, v = _coordinates(size, generator)
    pitch = generator.uniform(10, 90, 2)
    row = np.floor(v / pitch[1])
    u = u + generator.choice([0.0, 0.5]) * pitch[0] * (row % 2)
    joint = generator.uniform(0.02, 0.15)
    edge = np.minimum(np.abs((u / pitch[0]) % 1 - 0.5), np.abs((v / pitch[1]) % 1 - 0.5))
    shade = np.sin(row * 12.9898 + np.floor(u / pitch[0]) * 78.233) * generator.uniform(0, 0.5)
    return ((0.5 - edge > joint) + shade + generator.uniform(0, 0.5) * _unit(_noise(size, generator))).astype(
        np.float32
    )


def _wood(size: int, generator: np.random.Generator) -> Plane:
    u, v = _coordinates(size, generator)
    rings = np.hypot(u - size * generator.uniform(-1, 1), v * generator.uniform(0.02, 1.0))
    field = _unit(_noise(size, generator))
    return np.sin(2 * np.pi * (rings / generator.uniform(6, 30) + generator.uniform(0, 2) * field)).astype(np.float32)


def _speckle(size: int, generator: np.random.Generator) -> Plane:
    """Grains: every pixel belongs to the nearest seed (a Voronoi pattern), or carries its distance."""
    count = int(np.exp(generator.uniform(np.log(20), np.log(1500))))
    seeds = np.full((size, size), 255, np.uint8)
    seeds[tuple(generator.integers(0, size, (2, count)))] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    if generator.random() < 0.5:
        return distance
    return generator.random(int(labels.max()) + 1).astype(np.float32)[labels]


def _plain(size: int, generator: np.random.Generator) -> Plane:
    """A smooth shade with little on it."""
    small = generator.standard_normal((3, 3)).astype(np.float32)
    plane = _unit(cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC))
    return (plane + generator.uniform(0.01, 0.2) * generator.standard_normal((size, size))).astype(np.float32)


def _holes(size: int, generator: np.random.Generator) -> Plane:
    u, v = _coordinates(size, generator)
    pitch = generator.uniform(8, 50)
    spot = np.hypot((u / pitch) % 1 - 0.5, (v / pitch) % 1 - 0.5)
    return np.tanh((spot - generator.uniform(0.15, 0.45)) * pitch).astype(np.float32)


def _coloured(plane: Plane, generator: np.random.Generator) -> U8Image:
    """Between two colours, grey for half of the textures, of high or low contrast."""
    ends = generator.uniform(0, 255, (2, 3))
    if generator.random() < 0.5:
        ends = np.repeat(ends[:, :1], 3, axis=1)
    ends[1] = ends[0] + (ends[1] - ends[0]) * generator.choice([0.15, 0.3, 0.6, 1.0, 1.0])
    image: U8Image = np.clip(ends[0] + plane[..., None] * (ends[1] - ends[0]), 0, 255).astype(np.uint8)
    return image


def _shade(image: U8Image, generator: np.random.Generator) -> tuple[float, ...]:
    """A colour darker or brighter than the image, by a little or much."""
    step = generator.choice([-1, 1]) * generator.uniform(15, 130)
    return tuple(float(c) for c in np.clip(image[::16, ::16].mean((0, 1)) + step, 0, 255))


def _scratch(image: U8Image, generator: np.random.Generator) -> None:
    size = image.shape[0]
    start = generator.uniform(0, size, 2)
    angle, length = generator.uniform(0, 2 * np.pi), generator.uniform(0.05, 0.7) * size
    steps = np.linspace(0, length, 12)[:, None]
    bend = generator.normal(0, 0.02) * steps**2 / max(length, 1) * np.array([[-np.sin(angle), np.cos(angle)]]) * 10
    points = start + steps * np.array([[np.cos(angle), np.sin(angle)]]) + bend
    cv2.polylines(
        image, [points.astype(np.int32)], False, _shade(image, generator), int(generator.integers(1, 4)), cv2.LINE_AA
    )


def _crack(image: U8Image, generator: np.random.Generator) -> None:
    size = image.shape[0]
    turns = generator.uniform(0, 2 * np.pi) + np.cumsum(generator.normal(0, 0.5, 40))
    paces = generator.uniform(1, 6) * np.stack([np.cos(turns), np.sin(turns)], 1)
    points = generator.uniform(0, size, 2) + np.cumsum(paces, axis=0)
    cv2.polylines(
        image, [points.astype(np.int32)], False, _shade(image, generator), int(generator.integers(1, 3)), cv2.LINE_AA
    )


def _blot(image: U8Image, generator: np.random.Generator) -> None:
    size = image.shape[0]
    axes = np.exp(generator.uniform(np.log(0.01), np.log(0.2), 2)) * size
    mask = np.zeros((size, size), np.uint8)
    centre = tuple(generator.uniform(0, size, 2).tolist())
    cv2.ellipse(mask, (centre, tuple((2 * axes + 2).tolist()), float(generator.uniform(0, 180))), 255, -1, cv2.LINE_AA)
    mask = cv2.GaussianBlur(mask, (0, 0), float(generator.uniform(0.4, 5)))
    alpha = mask[..., None].astype(np.float32) / 255 * generator.uniform(0.3, 1)
    image[:] = (image * (1 - alpha) + np.array(_shade(image, generator)) * alpha).astype(np.uint8)


def _moved(image: U8Image, generator: np.random.Generator) -> None:
    """A piece of the image at another place (CutPaste, Li et al. 2021)."""
    size = image.shape[0]
    h, w = (np.exp(generator.uniform(np.log(0.03), np.log(0.3), 2)) * size).astype(int) + 2
    y0, x0 = generator.integers(0, size - h), generator.integers(0, size - w)
    y1, x1 = generator.integers(0, size - h), generator.integers(0, size - w)
    image[y1 : y1 + h, x1 : x1 + w] = image[y0 : y0 + h, x0 : x0 + w][:: generator.choice([-1, 1])].copy()


_KINDS: tuple[Callable[[int, np.random.Generator], Plane], ...] = (
    _noise,
    _noise,
    _noise,
    _brushed,
    _fabric,
    _tiles,
    _wood,
    _speckle,
    _plain,
    _holes,
)
_MARKS: tuple[Callable[[U8Image, np.random.Generator], None], ...] = (_scratch, _crack, _blot, _blot, _moved)
