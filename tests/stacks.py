"""Stacks of pictures of a small part under six lights: a plate with bumps, good or with a dent. No file is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.frames.photometric.lights import lights_to_json, make_lights
from tests.frames.photometric.made import photograph, ring, write_stack
from tests.tiny import SIZE

LIGHTS = ring(6)
_PLATE = cv2.GaussianBlur(np.random.default_rng(5).normal(size=(SIZE, SIZE)), (0, 0), 4)
_PAINT = np.where(cv2.GaussianBlur(np.random.default_rng(6).normal(size=(SIZE, SIZE)), (0, 0), 5) > 0, 0.8, 0.6)


def stack(seed: int, *, dent: bool = False, size: int = SIZE) -> NDArray[Any]:
    """(6, size, size) u8: the plate, somewhat moved, lit and noisy."""
    rng = np.random.default_rng(seed)
    height = 0.8 * _PLATE / _PLATE.std()
    if dent:
        y, x = np.mgrid[:SIZE, :SIZE] - rng.uniform(20, 44, 2)[:, None, None]
        height = height - 9 * np.exp(-(x**2 + y**2) / 30)
    moved = tuple(rng.integers(-1, 2, 2))
    dy, dx = np.gradient(np.roll(height, moved, (0, 1)) * 0.4)
    normals = np.stack([-dx, dy, np.ones_like(dx)], axis=2)
    normals = normals / np.linalg.norm(normals, axis=2, keepdims=True)
    paint = np.roll(_PAINT, moved, (0, 1)) * rng.uniform(0.95, 1.05)
    pictures = photograph(normals, paint, LIGHTS, noise=0.005, seed=seed)
    return np.stack([cv2.resize(picture, (size, size)) for picture in pictures])


def write_stacks(folder: Path, goods: int = 12, tests: int = 2) -> Path:
    """A category of stacks in MVTec AD layout, and lights.json beside it."""
    for part, count, start, dent in (
        ("train/good", goods, 0, False),
        ("test/good", tests, 1000, False),
        ("test/dent", tests, 2000, True),
    ):
        for i in range(count):
            write_stack(folder / part / f"{i:03}", list(stack(start + i, dent=dent)))
    (folder.parent / "lights.json").write_bytes(lights_to_json(make_lights(LIGHTS)))
    return folder


def stack_options(folder: Path, **changes: object) -> Any:
    """Export options for `write_stacks(folder / "part")` and a backbone in `folder`."""
    from tests.tiny import tiny_options

    given = {"input": "photometric", "lights": folder / "lights.json", "coreset": 0.2}
    return tiny_options(folder, **{**given, **changes})
