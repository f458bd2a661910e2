"""Alarms: what a person must look at. One stays until a person has acknowledged it, also when its cause is gone, and
also over a restart.

An alarm is active while its cause is there. Acknowledged and active, it is still shown; acknowledged and no more
active, it is gone. Some causes are events (a camera that is lost, a bundle that is refused), others are looked for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edge_ad.errors import SpecError
from edge_ad.station.desk import Desk
from edge_ad.station.events import AGAIN, EventKind
from edge_ad.station.journal import iso
from edge_ad.station.outcomes import FAULT

if TYPE_CHECKING:
    from edge_ad.station.line import Line
    from edge_ad.station.outbox import Outbox
    from edge_ad.station.plc.base import LinkState
    from edge_ad.station.retention import Keeper

_log = logging.getLogger("edge_ad.station")
LOST, HEALTH, BUNDLE, DRIFT, FAULTS = "lost", "health", "bundle", "drift", "faults"  # of a camera
LINK, SINK, JOURNAL, DISK, PAGE = "link", "sink", "journal", "disk", "page"  # of the station
KINDS = (LOST, HEALTH, BUNDLE, DRIFT, FAULTS, LINK, SINK, JOURNAL, DISK, PAGE)
_SET = {  # by events of these kinds
    EventKind.LOST: LOST,
    EventKind.SOURCE: LOST,
    EventKind.SILENT: HEALTH,
    EventKind.FROZEN: HEALTH,
    EventKind.DARK: HEALTH,
    EventKind.BLINDED: HEALTH,
    EventKind.REFUSED: BUNDLE,
    EventKind.PAGE: PAGE,
}
_ENDED = {EventKind.CONNECTED: LOST, EventKind.LIVE: HEALTH, EventKind.BUNDLE: BUNDLE}
_MANY, _OF = 5, 20  # faults among the latest outcomes of a camera
_LINK_S = 5.0  # that a link may take to connect
_TURN_S = 1.0


@dataclass(frozen=True)
class Alarm:
    """An alarm.

    Attributes:
        key: names it, such as "lost:top".
        camera: "" where it is of the station.
        kind: one of `KINDS`.
        text: what happened, for people.
        since_ns: when it was raised, by `time.time_ns`.
        active: whether its cause is there.
        acknowledged: whether a person has seen it.
    """

    key: str
    camera: str
    kind: str
    text: str
    since_ns: int
    active: bool = True
    acknowledged: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        told = {"key": self.key, "camera": self.camera, "kind": self.kind, "text": self.text}
        return {**told, "since": iso(self.since_ns), "active": self.active, "acknowledged": self.acknowledged}


class Alarms:
    """Those of a station. Thread-safe, and nothing waits.

    Args:
        desk: writes what is latched.
        latched: what `Journal.alarms` gave.
    """

    def __init__(self, desk: Desk, latched: Sequence[tuple[str, str, str, str, int]] = ()) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._alarms = {each[0]: Alarm(*each, active=False) for each in latched}
        self._recent: dict[str, deque[bool]] = {}
        self._missing: dict[str, float] = {}  # links, and since when they are not well
        self._looked = float("-inf")
        desk.on_event = self.heard

    def all(self) -> list[Alarm]:
        """All of them, the oldest first."""
        with self._lock:
            return sorted(self._alarms.values(), key=lambda alarm: (alarm.since_ns, alarm.key))

    def heard(self, camera: str, kind: EventKind, text: str) -> None:
        """Of an event that is journalled."""
        if kind in _SET and text == AGAIN:
            self.end(_SET[kind], camera)
        elif kind in _SET:
            self.set(_SET[kind], camera, text)
        elif kind in _ENDED:
            self.end(_ENDED[kind], camera)

    def set(self, kind: str, what: str, text: str, *, camera: str | None = None) -> None:
        """Its cause is there. `what` is the camera, or names what else it is of; with `camera`, which one."""
        key, text = f"{kind}:{what}" if what else kind, " ".join(text.split())
        with self._lock:
            known = self._alarms.get(key)
            if known is not None and (known.active or not known.acknowledged):
                self._alarms[key] = replace(known, active=True, text=text)
                return
            alarm = Alarm(key, what if camera is None else camera, kind, text, time.time_ns())
            self._alarms[key] = alarm
        _log.error("alarm %s: %s", key, text)
        values = (alarm.key, alarm.camera, alarm.kind, alarm.text, alarm.since_ns)
        self._desk.write(lambda journal: journal.latch(*values))

    def end(self, kind: str, what: str) -> None:
        """Its cause is gone."""
        key = f"{kind}:{what}" if what else kind
        with self._lock:
            known = self._alarms.get(key)
            if known is None:
                return
            if known.acknowledged:
                del self._alarms[key]
            else:
                self._alarms[key] = replace(known, active=False)

    def acknowledge(self, key: str, who: str) -> None:
        """A person has seen it.

        Raises:
            SpecError: there is no such alarm.
        """
        with self._lock:
            known = self._alarms.get(key)
            if known is None:
                raise SpecError("there is no such alarm", expected=", ".join(self._alarms) or "none", got=repr(key))
            if known.acknowledged:
                return
            if known.active:
                self._alarms[key] = replace(known, acknowledged=True)
            else:
                del self._alarms[key]
        self._desk.write(lambda journal: journal.unlatch(key))
        self._desk.event(known.camera, EventKind.ACKNOWLEDGED, f"{key} by {who}: {known.text}")

    def ended(self, camera: str, outcome: str) -> None:
        """A trigger has its outcome. Called by the desk's thread."""
        recent = self._recent.setdefault(camera, deque(maxlen=_OF))
        recent.append(outcome == FAULT)
        faults = sum(recent)
        if faults >= _MANY and recent[-1]:
            self.set(FAULTS, camera, f"{faults} of the last {len(recent)} parts are faults")
        elif faults < _MANY:
            self.end(FAULTS, camera)

    def look(
        self,
        lines: Mapping[str, Line],
        outboxes: Mapping[str, Outbox],
        keeper: Keeper,
        links: Mapping[str, LinkState],
    ) -> None:
        """Looks for causes that no event tells of; about once a second, however often it is called."""
        now = time.monotonic()
        if now - self._looked < _TURN_S:
            return
        self._looked = now
        self._keep(JOURNAL, "", self._desk.blocked, "the journal cannot be written: no trigger is accepted")
        full = "the disk is full: the journal takes its reserve, and no picture is written"
        self._keep(DISK, "", not keeper.has_reserve, full)
        for name, outbox in outboxes.items():
            self._keep(SINK, name, bool(outbox.fails), f"sink {name}: {outbox.fails}")
        for name, state in links.items():
            since = self._missing.setdefault(name, now)
            if state.well:
                del self._missing[name]
            self._keep(LINK, name, not state.well and now - since >= _LINK_S, f"link {name}: {state.text}")
        self._look_at_drift(lines)
        for alarm in self.all():  # of what the configuration has no more
            of = {LINK: links, SINK: outboxes, **dict.fromkeys((LOST, HEALTH, BUNDLE, FAULTS), lines)}.get(alarm.kind)
            if of is not None and alarm.active and alarm.key.partition(":")[2] not in of:
                self.end(alarm.kind, alarm.key.partition(":")[2])

    def _look_at_drift(self, lines: Mapping[str, Line]) -> None:
        there = {f"{name}:{each.statistic}": (name, each) for name, line in lines.items() for each in line.drift.alarms}
        for what, (name, alarm) in there.items():
            self.set(DRIFT, what, alarm.text, camera=name)
        for known in self.all():
            what = known.key.partition(":")[2]
            if known.kind == DRIFT and what not in there:
                self.end(DRIFT, what)

    def _keep(self, kind: str, what: str, there: bool, text: str) -> None:
        if there:
            self.set(kind, what, text, camera="")
        else:
            self.end(kind, what)
