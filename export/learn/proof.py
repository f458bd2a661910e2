"""Proves that known defects are still found, by the bundle as it was written, and draws those that would pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import EdgeADError
from edge_ad.frames.check import in_declared_order, read_frame
from edge_ad.learning.store import sha256_of
from edge_ad.learning.task import Task
from edge_ad.runtime import Runtime
from edge_ad.system.files import write_output


def lost_defects(task: Task, new: Path, found: Mapping[str, frozenset[Path]]) -> dict[Path, Path]:
    """Locked defects that the old bundle finds and the new one does not -> the picture that was drawn of it.

    Args:
        new: the new bundle.
        found: operating point -> the defects that the old bundle finds.
    """
    lost: dict[Path, Path] = {}
    for name, defects in found.items():
        runtime = Runtime(new, point=name, threads=task.threads, profile=False)
        for path in sorted(defects - lost.keys()):
            if not runtime.inspect(path).is_anomalous:
                lost[path] = _draw(task, path, name, runtime)
    return lost


def _draw(task: Task, path: Path, point: str, after: Runtime) -> Path:
    """What both bundles say of a defect, beside one another."""
    before = Runtime(task.bundle, point=point, threads=task.threads, profile=False)
    frame = in_declared_order(read_frame(path), before.manifest.frame)
    pictures: list[NDArray[np.uint8]] = [runtime.inspect(frame).overlay(frame) for runtime in (before, after)]
    done, data = cv2.imencode(".png", np.hstack(pictures))
    if not done:
        raise EdgeADError(f"{path} cannot be drawn as PNG", got=pictures[0].shape)
    target = task.refused / f"{Path(task.names[path]).stem[:60]}-{sha256_of(path)[:8]}.png"
    write_output(target, [data.tobytes()])
    return target
