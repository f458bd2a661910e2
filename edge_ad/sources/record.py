"""What is known of a camera, as it changes: counts, health, events. Whoever has one holds a lock around it."""

from __future__ import annotations

import re
import time
from collections import deque

from edge_ad.sources.address import masked, shown
from edge_ad.sources.options import CameraOptions
from edge_ad.sources.state import CONNECTED, DROPS, FROZEN, LIVE, LOST, SILENT, CameraEvent, CameraState
from edge_ad.sources.watch import Health, Marks

_EVENTS = 1000  # that are kept for an owner who reads none
_DROPS_S = 10.0  # between two events that tell of drops


class Record:
    """The record of one camera.

    Args:
        camera, address: its name, and its address, which may hold a password. Nothing that leaves here does.
        options: what is watched.
    """

    def __init__(self, camera: str, address: str, options: CameraOptions) -> None:
        self._camera, self._address = camera, address
        self.shown = shown(address)
        self.events: deque[CameraEvent] = deque(maxlen=_EVENTS)
        self.connected, self._since_ns = False, time.time_ns()
        self.health, self._silence_told = SILENT, False
        self._judge = Health(options)
        self.frames = self.drops = self.missed = self._withheld = 0
        self._connections, self._lost_for = 0, ""
        self.arrived: float | None = None  # when the last frame did, by time.monotonic
        self._drops_told, self._drops_at = 0, 0.0

    def say(self, text: str) -> str:
        """A text without the password."""
        return masked(text, self._address)

    def event(self, kind: str, text: str) -> None:
        """Something happened."""
        self.events.append(CameraEvent(self._camera, time.time_ns(), kind, self.say(text)))

    def connect(self, text: str) -> None:
        """The camera is open."""
        self._connections, self._lost_for = self._connections + 1, ""
        self._connection(True)
        self.event(CONNECTED, text)

    def lose(self, why: str) -> None:
        """The camera is lost, or could not be opened once more: an attempt that fails as the one before is no news."""
        reason = re.sub(r"[\d.]+", "", why)  # times and ports differ each time
        if reason != self._lost_for:
            self._lost_for = reason
            self.event(LOST, why)

    def disconnect(self) -> None:
        """The camera is not open any more."""
        self._connection(False)

    def _connection(self, there: bool) -> None:
        if there != self.connected:
            self.connected, self._since_ns = there, time.time_ns()

    def turn(self, health: str, text: str) -> bool:
        """The health, and whether that is news. The first silence is news too: nobody has told of it."""
        if health == self.health and (health != SILENT or self._silence_told):
            return False
        self.health, self._silence_told = health, health == SILENT
        self.event(health, text)
        return True

    def came(self, marks: Marks, clock_ns: int, missed: int) -> str:
        """A frame arrived. Returns the health."""
        self.frames, self.missed, self.arrived = self.frames + 1, self.missed + missed, time.monotonic()
        if self.health == SILENT:
            self._judge.forget()
        health = self._judge.see(clock_ns / 1e9, marks)
        self._withheld += health != LIVE
        if health == LIVE:
            text = "frames come"
        else:
            text = "the same picture again and again" if health == FROZEN else f"every frame is {health}"
        self.turn(health, text)
        return health

    def dropped(self, missed: int) -> None:
        """A frame arrived that nobody gets."""
        self.frames, self.drops, self.missed = self.frames + 1, self.drops + 1, self.missed + missed
        self.arrived = time.monotonic()

    def tell_drops(self, now: float, at_once: bool = False) -> None:
        """An event, where there were more drops since the last one; not too often."""
        lost = self.drops + self.missed
        if lost > self._drops_told and (at_once or now - self._drops_at > _DROPS_S):
            self._drops_told, self._drops_at = lost, now
            told = f"{self.drops} dropped and {self.missed} missed, of {self.frames + self.missed} frames"
            self.event(DROPS, told)

    def state(self, pid: int | None) -> CameraState:
        """What is known now."""
        return CameraState(
            camera=self._camera,
            address=self.shown,
            connected=self.connected,
            since_ns=self._since_ns,
            health=self.health,
            frames=self.frames,
            drops=self.drops,
            missed=self.missed,
            withheld=self._withheld,
            reconnects=max(0, self._connections - 1),
            age_s=None if self.arrived is None else time.monotonic() - self.arrived,
            pid=pid,
        )
