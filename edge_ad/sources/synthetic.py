"""`synthetic:HxW`: drawn frames, the same for the same seed. For tests, soaks and a first run without a camera.

A disc on a textured ground; a share `bad` of the frames has a scratch, a share `broken` cannot be had, and a share
`marked` has a stamp: good parts that look as no part before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from edge_ad.errors import SpecError
from edge_ad.sources.base import Capture
from edge_ad.sources.resume import Resume
from edge_ad.spec import MAX_FRAME_PIXELS, MIN_FRAME_SIDE
from edge_ad.system.keys import Key, number, options_of, whole

OPTIONS = {
    "count": Key(whole(0, 10**9), "frames in all; 0: without end", 0),
    "seed": Key(whole(0, 2**31), "of what is random", 0),
    "rate": Key(number(0, 1e5), "frames a second; 0: as fast as they are asked for", 0.0),
    "bad": Key(number(0, 1), "share of the frames that have a scratch", 0.0),
    "marked": Key(number(0, 1), "share of the frames that have a stamp, which is no defect", 0.0),
    "broken": Key(number(0, 1), "share of the frames that cannot be had", 0.0),
}


class Synthetic:
    """Drawn frames, see the module. A frame depends on the seed and its number alone."""

    def __init__(self, address: str, camera: str, size: tuple[int, int], options: dict[str, Any], first: int) -> None:
        self._camera, self._address, self._next = camera, address, first
        self._count, self._seed, self._rate = options["count"], options["seed"], options["rate"]
        self._bad, self._broken, self._marked = options["bad"], options["broken"], options["marked"]
        self._size = size
        self._due = time.monotonic()
        height, width = size
        y, x = np.mgrid[:height, :width].astype(np.float32)
        y, x = y / height, x / width
        ground = 90 + 12 * np.sin(18 * x + 3 * np.sin(9 * y))
        self._ground = np.stack([ground, ground * 0.8, ground * 1.1], axis=-1)

    @property
    def ended(self) -> bool:
        """Whether all `count` frames were given."""
        return bool(self._count) and self._next >= self._count

    @property
    def waiting(self) -> bool:
        """Whether some of `count` frames are left."""
        return bool(self._count) and not self.ended

    def read(self, timeout_s: float) -> Capture | None:
        """See `Source.read`."""
        wait = timeout_s if self.ended else self._due - time.monotonic() if self._rate else 0.0
        if wait > 0:
            time.sleep(min(wait, timeout_s))
        if self.ended or (self._rate and time.monotonic() < self._due):
            return None
        if self._rate:
            self._due = max(self._due, time.monotonic() - 1.0) + 1 / self._rate  # a second is caught up, no more
        at, self._next = self._next, self._next + 1
        time_ns, clock_ns = time.time_ns(), time.monotonic_ns()
        frame = self.frame(at)
        fault = "" if frame is not None else "this synthetic frame is one that cannot be had"
        return Capture(self._camera, at, f"{at:08d}", self._address, time_ns, clock_ns, frame, fault)

    def frame(self, at: int) -> np.ndarray | None:
        """(H, W, 3) u8 BGR: the frame of a number; None where it is one of the broken ones."""
        generator = np.random.default_rng((self._seed, at))
        kind, gain = generator.random(), generator.uniform(0.95, 1.05)
        if kind < self._broken:
            return None
        height, width = self._size
        dy, dx = generator.uniform(-0.02, 0.02, 2)
        frame = self._ground.copy()
        centre = round((0.5 + dx) * width), round((0.5 + dy) * height)
        cv2.ellipse(frame, centre, (round(0.3 * width), round(0.3 * height)), 0, 0, 360, (60, 120, 180), -1)
        frame = frame * gain + generator.normal(0, 3, frame.shape)
        found = np.clip(frame, 0, 255).astype(np.uint8)
        is_bad = kind < self._broken + self._bad
        if is_bad:
            start, end = (int(0.4 * width), int(0.4 * height)), (int(0.62 * width), int(0.55 * height))
            cv2.line(found, start, end, (250, 250, 250), max(1, min(self._size) // 16))
        if not is_bad and kind < self._broken + self._bad + self._marked:
            corner, other = (int(0.5 * width), int(0.62 * height)), (int(0.62 * width), int(0.7 * height))
            cv2.rectangle(found, corner, other, (150, 60, 40), -1)
        return found

    def settle(self, capture: Capture) -> None:
        """There is nothing to mark."""

    def close(self) -> None:
        """There is nothing to give back."""


def check_source(
    address: str, camera: str, options: Mapping[str, Any] | None
) -> tuple[tuple[int, int], dict[str, Any]]:
    """Size and options; see `edge_ad.sources.registry.check_source`."""
    place = address.partition(":")[2]
    height, x, width = place.partition("x")
    if not (x and height.isdecimal() and width.isdecimal() and len(place) < 20):
        raise SpecError("the size of the frames is not understood", expected="synthetic:HxW", got=repr(address))
    size = int(height), int(width)
    if min(size) < MIN_FRAME_SIDE or size[0] * size[1] > MAX_FRAME_PIXELS:
        expected = f"{MIN_FRAME_SIDE} or more"
        raise SpecError("the frames have a size that cannot be inspected", expected=expected, got=place)
    return size, options_of(options, OPTIONS, f"options of camera {camera}")


def open_source(address: str, camera: str, options: Mapping[str, Any] | None, resume: Resume) -> Synthetic:
    """Opens the source.

    Raises:
        SpecError: size or options are not understood.
    """
    size, values = check_source(address, camera, options)
    return Synthetic(address, camera, size, values, resume.first)
