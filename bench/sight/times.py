"""Milliseconds a frame of both sides, in turns: a round of the one, a round of the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.sight import theirs
from bench.sight.sets import LabelledSet
from edge_ad import Runtime
from edge_ad.frames.check import read_frame

FRAMES, ROUNDS = 8, 6


def some_frames(found: LabelledSet) -> list[np.ndarray]:
    """Test images from the whole set, good ones and defects."""
    numbers = np.linspace(0, len(found.test) - 1, min(FRAMES, len(found.test))).astype(int)
    return [read_frame(found.test[number].path) for number in numbers]


def as_colour(frame: np.ndarray) -> np.ndarray:
    """The frame as (H, W, 3) u8 BGR, which is what the peer takes."""
    frame = frame if frame.dtype == np.uint8 else (frame >> 8).astype(np.uint8)
    return frame if frame.ndim == 3 else np.repeat(frame[:, :, None], 3, axis=2)


def own_rounds(bundle: Path, frames: Sequence[np.ndarray], threads: int, count: int) -> Iterator[list[float]]:
    """Milliseconds of each frame, from memory to verdict; no map is read. A list a round."""
    runtime = Runtime(bundle, threads=threads)
    for _ in range(count):
        ms = []
        for frame in frames:
            start = time.perf_counter()
            runtime.inspect(frame)
            ms.append(1e3 * (time.perf_counter() - start))
        yield ms


def measure(
    bundles: Sequence[Path], peer: theirs.Theirs | None, seed: int, found: LabelledSet, threads: int
) -> tuple[list[float], float | None]:
    """Median milliseconds by each bundle, and by the peer (None without one)."""
    frames, count = some_frames(found), ROUNDS + 1  # the first is not kept
    contestants = [own_rounds(bundle, frames, threads, count) for bundle in bundles]
    if peer is not None:
        contestants.append(theirs.rounds(peer, seed, [as_colour(frame) for frame in frames], count))
    kept = list(zip(*contestants, strict=True))[1:]
    medians = [float(np.median(side)) for side in zip(*kept, strict=True)]
    return medians[: len(bundles)], medians[-1] if peer is not None else None
