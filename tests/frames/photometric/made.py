"""Rendered scenes of photometric stereo: a matt part with bumps, a chrome sphere, a plane; and the lights over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def ring(count: int, rise: float = 50.0, turn: float = 0.2) -> Array:
    """(count, 3) directions of lights on a ring around the camera, `rise` degrees above the table."""
    angles, up = np.arange(count) * 2 * np.pi / count + turn, np.radians(rise)
    return np.stack([np.cos(up) * np.cos(angles), np.cos(up) * np.sin(angles), np.full(count, np.sin(up))], axis=1)


def part(size: tuple[int, int] = (48, 64), seed: int = 0, bumps: float = 0.25) -> tuple[Array, Array]:
    """(H, W, 3) normals and (H, W) albedo of a plane with bumps and patches of paint."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(size=size), (0, 0), 4)
    height = noise / noise.std()
    dy, dx = np.gradient(height)
    normals = np.stack([-dx * bumps * 8, dy * bumps * 8, np.ones(size)], axis=2)
    paint = cv2.GaussianBlur(rng.normal(size=size), (0, 0), 3)
    return normals / np.linalg.norm(normals, axis=2, keepdims=True), np.where(paint > 0, 0.8, 0.5)


def photograph(
    normals: Array,
    albedo: Array,
    lights: Array,
    *,
    noise: float = 0.0,
    gloss: float = 0.0,
    seed: int = 0,
    dtype: Any = np.uint8,
    gain: float = 0.9,
) -> list[Array]:
    """A picture under each light: a matt surface, with highlights where `gloss` is above 0."""
    rng, top = np.random.default_rng(seed), np.iinfo(dtype).max
    pictures = []
    for light in lights:
        cosine = np.maximum(normals @ light, 0)
        half = light + np.array((0, 0, 1))
        half = half / np.linalg.norm(half)
        shine = gloss * np.maximum(normals @ half, 0) ** 60 * (cosine > 0)
        values = gain * (albedo * cosine + shine) + rng.normal(0, noise, albedo.shape)
        pictures.append(np.clip(np.rint(values * top), 0, top).astype(dtype))
    return pictures


def angles(found: Array, true: Array) -> Array:
    """Degrees between unit vectors."""
    return np.degrees(np.arccos(np.clip((found * true).sum(axis=-1), -1, 1)))


def chrome(lights: Array, size: tuple[int, int] = (120, 160), radius: float = 50.0) -> tuple[list[Array], Array]:
    """Pictures of a chrome sphere under each light, and its mask."""
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    across, up = (x - (size[1] - 1) / 2) / radius, ((size[0] - 1) / 2 - y) / radius
    inside = across**2 + up**2 <= 1
    towards = np.sqrt(np.maximum(1 - across**2 - up**2, 0))
    normals = np.stack([across, up, towards], axis=2)
    mirrored = 2 * towards[..., None] * normals - (0, 0, 1)
    pictures = [
        np.where(inside, np.clip(20 + 600 * np.exp((mirrored @ light - 1) * 150), 0, 255), 5).astype(np.uint8)
        for light in lights
    ]
    return pictures, inside


def write_stack(folder: Path, pictures: list[Array], names: list[str] | None = None) -> Path:
    """The pictures as a capture: a folder with an image file for each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        name = f"{number:02}.png" if names is None else names[number]
        assert cv2.imwrite(str(folder / name), picture)
    return folder
