"""What a camera must be able to do for `edge_ad.sources.process`, which runs it in a process of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

Frame = NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """A frame that has just arrived.

    Attributes:
        frame: (H, W) or (H, W, 3) BGR, u8 or u16. It may be the driver's memory: it is copied before the next `grab`.
        missed: frames that the camera or the network lost since the one before, as far as they can tell.
        full: the value that is white: 255, or 4095 for 12 bits.
        time_ns, clock_ns: when it arrived, by `time.time_ns` and `time.monotonic_ns`.
    """

    frame: Frame
    missed: int = 0
    full: int = 255
    time_ns: int = field(default_factory=time.time_ns)
    clock_ns: int = field(default_factory=time.monotonic_ns)


class Grabber(Protocol):
    """A camera, as it is used by the one thread that grabs. It is made with its address and its options."""

    def open(self) -> None:
        """Connects, and starts the camera. After `close` it may be called again.

        Raises:
            SourceError: there is no such camera, or it cannot do what is asked.
        """

    def grab(self, timeout_s: float) -> Picture | None:
        """The next frame; None where none came in time. A driver with a time-out of its own may take that instead.

        Raises:
            SourceError: the camera is gone.
            EOFError: a video is at its end.
        """

    def trigger(self) -> None:
        """Tells the camera to take a picture now. Called for cameras with a software trigger only.

        Raises:
            SourceError: the camera is gone.
        """

    def close(self) -> None:
        """Gives the camera back. May be called twice, and after an `open` that failed."""
