"""What the page may ask of the station. The page is what strangers reach, so nothing that it sends is believed."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edge_ad._version import __version__
from edge_ad.errors import SourceError, SpecError
from edge_ad.station.alarms import DRIFT
from edge_ad.station.desk import Ticket
from edge_ad.station.events import EventKind
from edge_ad.station.journal import LABELS, Journal, iso
from edge_ad.station.labels import label_part
from edge_ad.station.page.channel import BAD, CONFLICT, LATE, UNAVAILABLE, UNKNOWN, RefusedError
from edge_ad.station.page.counts import Counts
from edge_ad.station.page.jobs import Jobs
from edge_ad.station.page.live import Last, last_of, pictures_of
from edge_ad.station.plc.base import Answer
from edge_ad.station.swap import roll_back

if TYPE_CHECKING:
    from edge_ad.station.line import Line
    from edge_ad.station.station import Station

Told = tuple[dict[str, Any], list[bytes]]
Answers = Callable[[dict[str, Any]], None]  # called once, by any thread; it must not wait
_MOST = 500  # characters of a text
_PATIENCE_S = 8.0  # with the disk


class Commands:
    """See the module. `quick` are those that take no time; `ended` is told of each outcome by the desk's thread."""

    quick = ("state", "acknowledge", "job", "learn", "undo")

    def __init__(self, station: Station) -> None:
        self._station = station
        self._counts: dict[str, Counts] = {}
        self._last: dict[str, Last] = {}
        self.jobs = Jobs(station.desk.event)

    def ended(self, ticket: Ticket) -> None:
        """A trigger has its durable outcome."""
        camera = ticket.capture.camera
        self._counts.setdefault(camera, Counts()).add(ticket)
        last = last_of(ticket)
        if last is not None:
            self._last[camera] = last

    def run(self, name: str, values: dict[str, Any]) -> Told:
        """The answer to a command.

        Raises:
            EdgeADError: it is not done.
        """
        command = getattr(self, f"_do_{name}", None)
        if command is None:
            raise RefusedError(f"the station knows no command {name!r}", BAD)
        found = command(values)
        return found if isinstance(found, tuple) else (found, [])

    # ------------------------------------------------------------------------------------------------ state

    def _do_state(self, values: dict[str, Any]) -> dict[str, Any]:
        station = self._station
        config, desk, keeper = station.config, station.desk, station.keeper
        links = station.links.states()
        kinds = {link.id: link.kind for link in config.links}
        number = desk.number
        return {
            "time": iso(time.time_ns()),
            "station": config.name,
            "version": __version__,
            "cameras": [self._camera(line) for line in list(station.lines.values())],
            "links": [
                {"id": name, "kind": kinds.get(name, ""), "well": state.well, "text": state.text}
                for name, state in links.items()
            ],
            "sinks": [
                {"id": name, "behind": max(0, number - outbox.position), "fails": outbox.fails}
                for name, outbox in list(station.outboxes.items())
            ],
            "disk": {
                "free_bytes": shutil.disk_usage(config.data).free,
                "pictures_bytes": keeper.used_bytes,
                "max_bytes": round(config.retention.max_gb * 1e9),
                "blocked": desk.blocked,
            },
            "alarms": [alarm.to_dict() for alarm in station.alarms.all()],
            "jobs": self.jobs.all(),
            "queue": desk.open_triggers,
        }

    def _camera(self, line: Line) -> dict[str, Any]:
        camera, in_use, state = line.camera, line.slot.current, line.state
        runtime, why = in_use.runtime, line.not_ready
        last = self._last.get(camera.name)
        return {
            "name": camera.name,
            "address": camera.address,
            "trigger": camera.trigger,
            "bundle": runtime.bundle_id,
            "roi": in_use.roi,
            "point": runtime.point,
            "engine": runtime.engine,
            "threshold": runtime.threshold,
            "ready": not why,
            "why": why,
            "health": line.health.word,
            "drops": 0 if state is None else state.drops,
            "missed": 0 if state is None else state.missed,
            "deadline_ms": camera.deadline_ms,
            "budget_ms": camera.budget_ms,
            **self._counts.setdefault(camera.name, Counts()).told(),
            "last": None if last is None else _short(last),
            "drift": line.drift.state(),
            "recipe": line.slot.number,
            "recipes": [path.stem for path in (camera.bundle, *camera.recipes)] if camera.recipes else [],
        }

    def _do_live(self, values: dict[str, Any]) -> Told:
        line = self._line(values)
        last = self._last.get(line.camera.name)
        if last is None:
            return {}, []
        if last.number == values.get("have"):
            return {"same": True}, []
        frame, heat = pictures_of(last)
        told = {"number": last.number, "verdict": last.to_dict(), "frame": None if frame is None else list(frame.shape)}
        return told, [each.tobytes() for each in (frame, heat) if each is not None]

    # ------------------------------------------------------------------------------------------------ commands

    def trigger(self, values: dict[str, Any], answers: Answers) -> None:
        """Asks for an inspection; `answers` is called when the outcome is durable.

        Raises:
            EdgeADError: it is not accepted.
        """
        camera, part_id = self._line(values).camera, _text(values, "part_id")
        if camera.trigger != "software":
            raise RefusedError(
                f'camera {camera.name} takes no triggers; expected trigger = "software"; got {camera.trigger}', CONFLICT
            )
        try:
            self._station.links.ask(camera.name, part_id, lambda answer: answers(_answer(answer)))
        except SourceError as error:
            raise RefusedError(str(error), UNAVAILABLE) from error

    def _do_label(self, values: dict[str, Any]) -> dict[str, Any]:
        camera, part_id, who = (_text(values, name) for name in ("camera", "part_id", "who"))
        label = values.get("label")
        if label not in LABELS:
            raise RefusedError(f"the label is not known; expected {', '.join(LABELS[:-1])} or nothing; got {label!r}")
        found: list[bool] = []

        def write(journal: Journal) -> None:
            found[:] = [label_part(journal, camera, part_id, label, who)]

        self._write(write)
        if not found[0]:
            raise RefusedError(f"the journal has no part {part_id!r} of camera {camera!r}", UNKNOWN)
        return {"camera": camera, "part_id": part_id, "label": label}

    def _write(self, write: Callable[[Journal], None]) -> None:
        durable = threading.Event()
        self._station.desk.write(write, durable.set)
        if not durable.wait(_PATIENCE_S):
            raise RefusedError("the journal has not taken it yet; it will be written when it can be", LATE)

    def _do_acknowledge(self, values: dict[str, Any]) -> dict[str, Any]:
        key = _text(values, "key")
        try:
            self._station.alarms.acknowledge(key, _text(values, "who"))
        except SpecError as error:
            raise RefusedError(str(error), UNKNOWN) from error
        kind, _, what = key.partition(":")
        camera, _, statistic = what.rpartition(":")
        if kind == DRIFT and camera in self._station.lines:
            self._station.lines[camera].drift.acknowledge(statistic)
        return {"key": key}

    def _do_rollback(self, values: dict[str, Any]) -> dict[str, Any]:
        camera, config = self._line(values).camera, self._station.config
        with Journal(config.journal) as journal:
            bundle, _ = roll_back(camera, journal, config.data, self._station.desk.event, _text(values, "who"))
        return {"camera": camera.name, "bundle": bundle}

    def _do_learn(self, values: dict[str, Any], *more: str) -> dict[str, Any]:
        camera, who = self._line(values).camera.name, _text(values, "who")
        path = str(self._station.config.path)
        told = ["learn", "--station", path, "--camera", camera, "--who", who, "--json", *more]
        return self.jobs.start(EventKind.UNDO if more else EventKind.LEARN, camera, told)

    def _do_undo(self, values: dict[str, Any]) -> dict[str, Any]:
        return self._do_learn(values, "--undo")

    def _do_job(self, values: dict[str, Any]) -> dict[str, Any]:
        return self.jobs.get(_text(values, "id"))

    def _do_renew_drift(self, values: dict[str, Any]) -> dict[str, Any]:
        line = self._line(values)
        camera = line.camera.name
        line.drift.renew()
        told = f"a new reference was asked for by {_text(values, 'who')}"
        self._station.desk.event(camera, EventKind.REFERENCE, told)
        return {"camera": camera}

    def _do_select_recipe(self, values: dict[str, Any]) -> dict[str, Any]:
        camera, number = self._line(values).camera.name, values.get("number")
        if not isinstance(number, int) or isinstance(number, bool):
            raise RefusedError(f"the number of the recipe is no whole number; got {number!r}")
        try:
            self._station.links.select_recipe(camera, number)
        except SpecError as error:
            raise RefusedError(str(error), UNKNOWN) from error
        self._station.desk.event(camera, EventKind.RECIPE, f"{number} by {_text(values, 'who')}")
        return {"camera": camera, "number": number}

    # ------------------------------------------------------------------------------------------------ helpers

    def _line(self, values: dict[str, Any]) -> Line:
        name = _text(values, "camera")
        line = self._station.lines.get(name)
        if line is None:
            known = ", ".join(self._station.lines)
            raise RefusedError(f"there is no camera of that name; expected {known}; got {name!r}", UNKNOWN)
        return line


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MOST:
        raise RefusedError(f"{name} is missing, or too long; expected a text of up to {_MOST} characters")
    return value


def _short(last: Last) -> dict[str, Any]:
    told = last.to_dict()
    return {name: told[name] for name in ("number", "part_id", "outcome", "score", "threshold", "time", "latency_ms")}


def _answer(answer: Answer) -> dict[str, Any]:
    """The deadline goes with it: whoever sends "good" looks at the clock, which is one for all processes of a PC."""
    decision = answer.decision
    return {
        "number": answer.number,
        "camera": answer.camera,
        "part_id": answer.part_id,
        "journal_id": answer.journal_id,
        "outcome": answer.outcome,
        "reason": answer.reason,
        "score": decision.score,
        "threshold": decision.threshold,
        "p_value": decision.p_value,
        "bundle": decision.bundle,
        "latency_ms": round(answer.latency_ms, 3),
        "deadline_ns": answer.deadline_ns,
    }
