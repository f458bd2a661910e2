"""What every source of frames gives: captures, one after another.

A new source is a file beside this one and a line in `SOURCES` of `registry.py`. Whoever reads knows none of them:
`open_source` finds the one by the beginning of its address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge_ad.sources.state import CameraEvent, CameraState


@dataclass(frozen=True)
class Capture:
    """One trigger, and what the camera gave for it.

    Attributes:
        camera: name of the camera, as the station calls it.
        sequence: the source's own number of the frame, from 0; one that was dropped leaves a gap.
        part_id: the part in front of the camera; unique within a camera. Sources without one make it of the sequence.
        source: the file, or the address of the stream without a password.
        time_ns: the trigger by the clock of the PC, nanoseconds since 1970 (`time.time_ns`), for people and journals.
            Where this program does not trigger the camera: when the frame arrived.
        clock_ns: the same moment by `time.monotonic_ns`, which is one clock for all processes of the PC. Deadlines
            count from it: nobody sets this clock.
        frame: (H, W) or (H, W, 3) u8 or u16, BGR; a stack has (N, H, W[, 3]). It belongs to the reader. None where
            there is no frame.
        fault: why there is no frame; "" where there is one.
    """

    camera: str
    sequence: int
    part_id: str
    source: str
    time_ns: int
    clock_ns: int
    frame: np.ndarray | None = None
    fault: str = ""


class Source(Protocol):
    """Frames of a folder, a video, a stream or a camera. It is used by one thread at a time."""

    @property
    def ended(self) -> bool:
        """Whether no capture will ever come again: a video is at its end. A folder or a camera never ends."""

    @property
    def waiting(self) -> bool:
        """Whether more is known to come: frames of a video that is being read, files that still rest, a camera that is
        being connected for the first time. Asked by another thread, of whoever ends when all is done."""

    def read(self, timeout_s: float) -> Capture | None:
        """The next capture; None where none came within `timeout_s` seconds. It never blocks for longer.

        A frame that was triggered and cannot be had (a broken file, a camera that went away) is a capture with `fault`.

        Raises:
            SourceError: the source itself is gone; whoever reads may open it again.
        """

    def settle(self, capture: Capture) -> None:
        """The outcome of `capture` is durable: a folder moves or marks the file, so that it never comes twice."""

    def close(self) -> None:
        """Gives everything back. May be called twice."""


class Triggered(Source, Protocol):
    """A source that takes a picture when it is told to. Whoever drives one calls `trigger`, and reads the capture."""

    def trigger(self, part_id: str) -> None:
        """Takes a picture of this part, and returns at once. May be called by another thread than the one that reads.

        For each trigger there is one capture, with its part and the times of this call. It has a `fault` where the
        picture does not come.

        Raises:
            SourceError: the camera has no software trigger, or was asked for this part and has not answered.
        """


class Watched(Protocol):
    """A source that tells of its health: a live camera. Both may be called by any thread, and never wait."""

    def state(self) -> CameraState:
        """What is known of the camera now."""

    def events(self) -> list[CameraEvent]:
        """What happened since the last call, oldest first."""
