"""Times an opened operating point on this PC, and makes the frames to measure with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_ad.bundle.file import Bundle
from edge_ad.bundle.probes import load_probes
from edge_ad.errors import FrameError
from edge_ad.frames.capture import read_capture, resized
from edge_ad.frames.check import in_declared_order
from edge_ad.frames.listing import list_frames
from edge_ad.serving import clock
from edge_ad.serving.point import Point
from edge_ad.spec import REFERENCE, Frame, FrameSpec, Pixels, Size
from edge_ad.system.percentiles import percentiles

WARM_UP = 3  # frames that are run first and not counted, as an engine is slower at first
CAMERA: Size = (1024, 1024)  # (H, W) of a frame if the bundle does not say
MOST_FRAMES, MOST_BYTES = 32, 2**28  # held in memory


@dataclass(frozen=True)
class Timing:
    """Milliseconds from the frame in memory to the verdict; percentiles as `edge_ad.system.percentiles` defines them.

    Attributes:
        frames: how many were timed.
    """

    frames: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


def timing(latencies: Sequence[float]) -> Timing:
    """The percentiles of latencies in ms, one or more."""
    return Timing(len(latencies), *percentiles(latencies))


def latencies(point: Point, frames: Sequence[Frame]) -> Iterator[float]:
    """Yields the milliseconds of each frame, without end. `WARM_UP` frames are run first and not counted."""
    turns = itertools.cycle(frames)
    for _ in range(WARM_UP):
        point.latency(next(turns))
    for frame in turns:
        yield point.latency(frame)


def time_frames(point: Point, frames: Sequence[Frame], most: int, seconds: float, least: int = 5) -> Timing:
    """Times `most` frames. After `seconds` it stops earlier, but not before `least` frames."""
    end, found = clock.now() + seconds, []
    for latency in latencies(point, frames):
        found.append(latency)
        if len(found) >= most or (len(found) >= least and clock.now() >= end):
            break
    return timing(found)


def sample_frames(bundle: Bundle) -> list[Frame]:
    """The frames of the bundle's golden probes, at the camera's size and in the colour order that it declares.

    If there are several probes, the last one is left out: it is noise, which no camera gives, and graph search is slow
    on it. Four are enough.
    """
    spec = bundle.manifest.frame
    probes = load_probes(bundle.at(REFERENCE))
    height, width = spec.size or CAMERA
    frames: list[Pixels] = [
        resized(probe.frame, (height, width), spec) for probe in probes[: min(4, max(1, len(probes) - 1))]
    ]
    return [in_declared_order(frame, spec) for frame in frames]


def read_frames(folder: Path, spec: FrameSpec) -> list[Frame]:
    """The first images of a folder in natural order, as a camera gives them; at most `MOST_FRAMES` and `MOST_BYTES`.

    Raises:
        FrameError: there is none, or one of them cannot be inspected.
    """
    paths = list_frames(folder, stacks=spec.stack is not None) if folder.is_dir() else []
    if not paths:
        raise FrameError(f"there are no images in {folder}", expected="a folder of images", got="none")
    frames: list[Frame] = []
    for path in paths[:MOST_FRAMES]:
        frames.append(read_capture(path, spec))
        if sum(frame.nbytes for frame in frames) >= MOST_BYTES:
            break
    return frames
