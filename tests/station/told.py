"""A source that takes a picture when it is told to, answers late and in another order, and tells of itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from edge_ad.errors import SourceError
from edge_ad.sources.base import Capture
from edge_ad.sources.state import CameraEvent
from tests.tiny import bad_frame, good_frame


class Told:
    ended = waiting = False

    def __init__(self, camera: str) -> None:
        self._camera, self._count = camera, 0
        self._ready: list[Capture] = []
        self._events = [CameraEvent(camera, 0, "connected", "it is there")]

    def _make(self, part_id: str, **fields: Any) -> None:
        times = time.time_ns(), time.monotonic_ns()
        self._ready.append(Capture(self._camera, self._count, part_id, "told:", *times, **fields))
        self._count += 1

    def trigger(self, part_id: str) -> None:
        if part_id == "never":
            raise SourceError("the camera does not answer")
        self._make("another part", frame=bad_frame(2000))  # of a trigger that was given up
        if part_id == "broken":
            self._make(part_id, fault="the picture did not come")
        else:
            self._make(part_id, frame=good_frame(1000))

    def read(self, timeout_s: float) -> Capture | None:
        if self._ready:
            return self._ready.pop(0)
        time.sleep(min(timeout_s, 0.01))
        return None

    def events(self) -> list[CameraEvent]:
        found, self._events = self._events, []
        return found

    def settle(self, capture: Capture) -> None:
        pass

    def close(self) -> None:
        pass


def open_source(address: str, camera: str, options: Mapping[str, Any] | None) -> Told:
    return Told(camera)


def check_source(address: str, camera: str, options: Mapping[str, Any] | None) -> None:
    pass
