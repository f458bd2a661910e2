"""What an opened operating point takes on this PC: latencies of frames, and the frames to measure with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from edge_ad.bundle.file import Bundle
from edge_ad.bundle.probes import load_probes
from edge_ad.errors import FrameError
from edge_ad.frames.check import check_frame, in_declared_order, read_frame
from edge_ad.frames.listing import list_images
from edge_ad.serving import clock
from edge_ad.serving.point import Point
from edge_ad.spec import REFERENCE, Frame, FrameSpec, Size
from edge_ad.system.percentiles import percentiles

WARM_UP = 3  # frames: the first ones build what an engine keeps
CAMERA: Size = (1024, 1024)  # (H, W) of a frame where the bundle does not tell
MOST_FRAMES, MOST_BYTES = 32, 2**28  # that are held in memory


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
    """Milliseconds of one frame after the other, without end; `WARM_UP` go before and are not told."""
    turns = itertools.cycle(frames)
    for _ in range(WARM_UP):
        point.latency(next(turns))
    for frame in turns:
        yield point.latency(frame)


def time_frames(point: Point, frames: Sequence[Frame], most: int, seconds: float, least: int = 5) -> Timing:
    """Times `most` frames, or fewer but `least` when `seconds` are over."""
    end, found = clock.now() + seconds, []
    for latency in latencies(point, frames):
        found.append(latency)
        if len(found) >= most or (len(found) >= least and clock.now() >= end):
            break
    return timing(found)


def sample_frames(bundle: Bundle) -> list[Frame]:
    """The frames of the bundle's golden probes, at the camera's size and in the colour order that it declares.

    The last of several probes is noise, which no camera gives and on which a graph is slow: it is left out. Four are
    enough.
    """
    spec = bundle.manifest.frame
    probes = load_probes(bundle.at(REFERENCE))
    height, width = spec.size or CAMERA
    frames: list[Frame] = [
        cv2.resize(probe.frame, (width, height)) for probe in probes[: min(4, max(1, len(probes) - 1))]
    ]
    return [in_declared_order(frame, spec) for frame in frames]


def read_frames(folder: Path, spec: FrameSpec) -> list[Frame]:
    """The images of a folder as the camera would give them, the first in natural order, as many as memory may hold.

    Raises:
        FrameError: there is none, or one of them cannot be inspected.
    """
    paths = list_images(folder) if folder.is_dir() else []
    if not paths:
        raise FrameError(f"there are no images in {folder}", expected="a folder of images", got="none")
    frames: list[Frame] = []
    for path in paths[:MOST_FRAMES]:
        frames.append(in_declared_order(check_frame(read_frame(path), spec, f"{path}"), spec))
        if sum(frame.nbytes for frame in frames) >= MOST_BYTES:
            break
    return frames
