"""The export as its tests call it, and images to export."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from tests.tiny import SIZE, good_frame

Export = Callable[..., Path]


def command(tiny: Path, out: Path, *more: object) -> list[str]:
    fixed = ["--backbone", tiny / "backbone.onnx", "--layers", "fine", "coarse", "--input-size", SIZE, "--out", out]
    fixed += ["--resize", "area", "--local-scale", 0, "--smooth", 0, "--quick"]
    return [sys.executable, "-m", "export", *map(str, [*(more or [tiny / "part"]), *fixed])]


def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload, no-any-return]


def write(folder: Path, frames: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        assert cv2.imwrite(str(folder / name), frame)
    return folder


def goods(count: int = 8, start: int = 0, size: int = SIZE) -> dict[str, np.ndarray]:
    return {f"{i}.png": good_frame(start + i, size) for i in range(count)}
