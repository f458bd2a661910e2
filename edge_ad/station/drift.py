"""Drift of a camera: a thread of its own measures some of the frames that were decided, and keeps the alarms.

It delays no outcome: a frame is handed over after its decision, and left out where the thread is behind. Whatever fails
here is logged and touches no inspection. What it keeps lies below the data folder:

    drift/top/reference.json    the reference of what the bundle does not know, or that a person has renewed
    drift/top/then.png          a picture of it
    drift/top/renew             a request to take a new reference (`edge-ad drift --renew`)
    drift/top/20261129T180752Z-brightness.png    then and now
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle.drift import open_drift
from edge_ad.bundle.file import Bundle
from edge_ad.bundle.roi import open_roi
from edge_ad.monitor.causes import Alarm
from edge_ad.monitor.monitor import Monitor
from edge_ad.monitor.pair import MOST, side_by_side
from edge_ad.monitor.sequential import LEAST, Rate
from edge_ad.monitor.statistics import PLACED, Gauge, rows_share, thumbnail
from edge_ad.spec import REFERENCE, Manifest
from edge_ad.station.config import Drift
from edge_ad.station.events import EventKind, Tell
from edge_ad.station.kept import bundle_path
from edge_ad.station.outcomes import GOOD, REJECT, Decision
from edge_ad.station.pictures import folder_name, to_png
from edge_ad.station.swap import Seen
from edge_ad.system.files import write_file
from edge_ad.system.inputs import read_input

_log = logging.getLogger("edge_ad.station")
_TURN_S = 0.25
_WAITING = 2  # frames in memory
_PAIRS = 50  # pictures that are kept of a camera
_NICE = 10
_LARGEST = 1e12  # that a statistic can be; NaN is not below it
_SAID = 20  # failures that are remembered, so that each is logged once
_MOST_BYTES = 2**22  # of a reference

Values = dict[str, NDArray[np.float64]]


def folder_of(data: Path, camera: str) -> Path:
    """Where the drift of a camera is kept."""
    return data / "drift" / folder_name(camera)


def ask_to_renew(data: Path, camera: str) -> None:
    """Asks a station to take a new reference; one that is down does when it starts."""
    folder = folder_of(data, camera)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "renew", [b""])


@dataclass(frozen=True)
class _Job:
    frame: np.ndarray
    decision: Decision
    seen: Seen
    time_ns: int


@dataclass(frozen=True)
class _Against:
    """What a bundle's frames are compared with.

    Attributes:
        bundle: its id.
        point: whose scores are known.
        names: of the statistics.
        rows: of its coreset; 0 where nobody says which are hit.
        then: a picture of the reference; None until there is one.
        source: "export", "station" (the first good parts), or "operator" (renewed).
    """

    bundle: str
    point: str
    gauge: Gauge
    names: tuple[str, ...]
    rows: int
    white_level: int
    then: NDArray[np.uint8] | None
    source: str


class Watcher:
    """Watches the drift of one camera; see the module. Thread-safe.

    Args:
        settings: may be replaced by `settings = ...` while it runs: the blocks begin anew.
        tell: journals an event.
    """

    def __init__(self, camera: str, data: Path, settings: Drift, tell: Tell) -> None:
        self._camera, self._data, self._settings, self._tell = camera, data, settings, tell
        self._folder = folder_of(data, camera)
        self._lock = threading.Lock()
        self._jobs: queue.Queue[_Job] = queue.Queue(maxsize=_WAITING)
        self._count = 0
        self._against: _Against | None = None
        self._monitor: Monitor | None = None
        self._learned: Values = {}
        self._asked = False  # for a new reference, which has not begun yet
        self._said: set[str] = set()  # what was logged of failures
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"edge-ad-drift-{camera}", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def close(self) -> None:
        """Measures what waits, and ends. May be called twice."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def settings(self) -> Drift:
        """The table [drift] of the configuration."""
        return self._settings

    @settings.setter
    def settings(self, new: Drift) -> None:
        with self._lock:
            if new != self._settings:
                self._settings, self._against, self._monitor = new, None, None

    def look(self, frame: np.ndarray | None, decision: Decision, seen: Seen | None) -> None:
        """Takes a BGR frame that was decided; by the one thread that inspects. Does not wait."""
        if not self._settings.enabled or frame is None or seen is None or decision.outcome not in (GOOD, REJECT):
            return
        if frame.ndim > 3 or (frame.ndim == 3 and frame.shape[2] != 3):  # a stack
            return
        self._count += 1
        if self._count % self._settings.every == 0:
            with contextlib.suppress(queue.Full):
                self._jobs.put_nowait(_Job(frame, decision, seen, time.time_ns()))

    # ------------------------------------------------------------------------------------------------ people

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Those that nobody has acknowledged."""
        with self._lock:
            return () if self._monitor is None else self._monitor.alarms

    def acknowledge(self, statistic: str) -> bool:
        """Ends the alarm of a statistic; the reference stays. Whether there was one."""
        with self._lock:
            there = self._monitor is not None and self._monitor.acknowledge(statistic)
        if there:
            self._tell(self._camera, EventKind.REFERENCE, f"the alarm of {statistic} was acknowledged")
        return there

    def renew(self) -> None:
        """Takes the next good parts as the new reference of everything, and ends all alarms."""
        ask_to_renew(self._data, self._camera)

    def state(self) -> dict[str, Any]:
        """What there is to show, ready for JSON: `statistics` as in `Monitor.state`, whose reference it is (`export`,
        `station`, `operator`), whether a new one is `asked` for and has not begun, and, while one is made, how many
        good parts it has `taken` and of how many."""
        asked = self._asked or (self._folder / "renew").is_file()
        with self._lock:
            against, monitor = self._against, self._monitor
            if against is None or monitor is None:
                told = {"enabled": self._settings.enabled, "bundle": "", "reference": "", "statistics": {}}
                return {**told, "asked": asked}
            learning = monitor.learning
            return {
                "enabled": self._settings.enabled,
                "bundle": against.bundle,
                "reference": against.source,
                "asked": asked,
                "taken": learning,
                "of": None if learning is None else self._settings.reference,
                "statistics": monitor.state(),
            }

    # ------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        _be_patient()
        while True:
            try:
                self._turn(self._jobs.get(timeout=_TURN_S))
            except queue.Empty:
                if self._stop.is_set():
                    return
            except Exception as error:  # of many kinds; nothing of it may touch the inspection
                self._say_once(f"drift is not watched: {type(error).__name__}: {error}")

    def _turn(self, job: _Job) -> None:
        self._asked = self._take_request() or self._asked
        with self._lock:
            against, monitor, settings = self._against, self._monitor, self._settings
        if against is None or monitor is None or against.bundle != job.decision.bundle or self._asked:
            against, monitor = self._begin(job, settings, self._asked)
            self._asked = False
        verdict = job.seen.verdict
        values = against.gauge.measure(job.frame, verdict.place)
        good = job.decision.outcome == GOOD
        if job.decision.score is not None and job.decision.point == against.point:
            values["score"] = job.decision.score
        if against.rows and verdict.nearest is not None:
            values["rows"] = rows_share(verdict.nearest, against.rows)
        with self._lock:
            if self._monitor is not monitor:  # the settings changed meanwhile
                return
            alarms, complete = monitor.add(values, good, job.time_ns)
        if against.then is None and good:
            pictured = replace(against, then=thumbnail(job.frame, against.white_level, MOST))
            with self._lock:
                self._against = pictured if self._against is against else self._against
            against = pictured
        if complete:
            self._keep_reference(against, complete)
        for alarm in alarms:
            self._alarm(against, monitor, alarm, job)

    def _take_request(self) -> bool:
        """Whether somebody asks for a new reference; a request that comes from here on is another one."""
        try:
            (self._folder / "renew").unlink()
        except FileNotFoundError:
            return False
        except OSError as error:  # such as a folder of that name: no request, and no reason to stop watching
            self._say_once(f"the request for a new reference cannot be taken: {error}")
            return False
        return True

    def _say_once(self, told: str) -> None:
        if told not in self._said:
            self._said = {*self._said, told} if len(self._said) < _SAID else {told}
            _log.error("camera %s: %s", self._camera, told)

    def _begin(self, job: _Job, settings: Drift, renewed: bool) -> tuple[_Against, Monitor]:
        """What the frames of a bundle are compared with: the bundle's own reference, or what the station has kept."""
        identity, point = job.decision.bundle, job.decision.point
        with Bundle.open(bundle_path(self._data, identity), points=(REFERENCE,)) as bundle:
            manifest, own = bundle.manifest, open_drift(bundle)
            sight = bundle.sights()[0]
            gauge = Gauge(manifest.frame, manifest.backbone, open_roi(sight))
        kept, operator = ({}, True) if renewed else self._kept(identity)
        known: Values = {}
        if not (renewed or operator):
            known = {} if own is None else {name: each.astype(np.float64) for name, each in own.values.items()}
            scores = _scores(manifest, point)
            known |= {} if scores is None else {"score": scores}
        known |= kept
        rows = 0 if job.seen.verdict.nearest is None or manifest.index is None else manifest.index.size
        names = _names(manifest, job.frame, bool(rows))
        monitor = Monitor(names, known, Rate(settings.per_frames, settings.every), settings.reference)
        source = "operator" if operator else "station" if own is None else "export"
        then = self._then(bool(kept)) if operator or own is None else own.then
        against = _Against(identity, point, gauge, names, rows, manifest.frame.white_level, then, source)
        with self._lock:
            self._against, self._monitor, self._learned = against, monitor, dict(kept)
        if renewed:
            self._write_reference(against)  # a restart goes on to take it
            self._event(f"a new reference: the next {settings.reference} good parts that are measured")
        elif monitor.learning is not None:
            what = "everything" if own is None else "what the bundle has no reference of"
            self._event(f"the first {settings.reference} good parts that are measured become the reference of {what}")
        return against, monitor

    def _keep_reference(self, against: _Against, complete: Values) -> None:
        """Writes what the station has learned, so that a restart goes on with it."""
        self._learned |= complete
        self._folder.mkdir(parents=True, exist_ok=True)
        if against.source != "export" and against.then is not None:
            write_file(self._folder / "then.png", [to_png(against.then)])
        self._write_reference(against)
        self._event(f"the reference of {', '.join(complete)} is complete")

    def _write_reference(self, against: _Against) -> None:
        document = {
            "bundle": against.bundle,
            "renewed": against.source == "operator",
            "values": {name: values.tolist() for name, values in self._learned.items()},
        }
        write_file(self._folder / "reference.json", [json.dumps(document).encode()])

    def _kept(self, bundle: str) -> tuple[Values, bool]:
        """What the station has learned of a bundle, and whether a person asked for it."""
        try:
            document = json.loads(read_input(self._folder / "reference.json", most=_MOST_BYTES))
            if document["bundle"] != bundle:
                return {}, False
            values = {str(name): np.array(each, np.float64) for name, each in document["values"].items()}
            if not all(each.ndim == 1 and (np.abs(each) < _LARGEST).all() for each in values.values()):
                raise ValueError("it has no lists of numbers")
            return values, bool(document["renewed"])
        except FileNotFoundError:
            return {}, False
        except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            _log.warning("camera %s: the kept reference is not used, and taken anew: %s", self._camera, error)
            return {}, False

    def _then(self, kept: bool) -> NDArray[np.uint8] | None:
        """The picture of the reference that is kept; None where none is, and the next good part is to be it."""
        if not kept:
            return None
        with contextlib.suppress(OSError, cv2.error):
            data = np.frombuffer(read_input(self._folder / "then.png", most=_MOST_BYTES), np.uint8)
            picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
            return None if picture is None else np.asarray(picture, np.uint8)
        return None

    def _alarm(self, against: _Against, monitor: Monitor, alarm: Alarm, job: _Job) -> None:
        told = replace(alarm, picture=self._pair(against, alarm, job))
        with self._lock:
            monitor.replace(told)
        self._event(f"{told.text}{f' Then and now: {told.picture}' if told.picture else ''}", logging.WARNING)

    def _pair(self, against: _Against, alarm: Alarm, job: _Job) -> str:
        """Writes the picture of then and now; its path below the data folder, "" where it cannot be written."""
        if against.then is None:
            return ""
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(job.time_ns / 1e9))
        path = self._folder / f"{moment}-{alarm.statistic}.png"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_file(path, [to_png(side_by_side(against.then, job.frame, against.white_level))])
            for old in sorted(self._folder.glob("*Z-*.png"))[:-_PAIRS]:
                old.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("camera %s: no picture of the drift: %s", self._camera, error)
            return ""
        return path.relative_to(self._data).as_posix()

    def _event(self, text: str, level: int = logging.INFO) -> None:
        kind = EventKind.DRIFT if level == logging.WARNING else EventKind.REFERENCE
        _log.log(level, "camera %s: %s: %s", self._camera, kind, text)
        self._tell(self._camera, kind, text)


def _names(manifest: Manifest, frame: np.ndarray, rows: bool) -> tuple[str, ...]:
    """The statistics that can be watched in such frames."""
    colours = ("blue", "red") * (frame.ndim == 3)
    placed = PLACED if manifest.align is not None and manifest.align.most_turn else PLACED[:2]
    return ("brightness", "sharpness", *colours, "score", *("rows",) * rows, *placed * (manifest.align is not None))


def _scores(manifest: Manifest, point: str) -> NDArray[np.float64] | None:
    """Held-out scores of good images that pass, as those of a station do; None where there are too few.

    They come from methods that were fitted to fewer images than the bundle's. So they are a little too high, and only
    a rise is drift.
    """
    own = manifest.at(point).calibration
    passed = np.array([score for score in own.good_scores if score < own.threshold])
    return passed if own.held_out and len(passed) >= LEAST else None


def _be_patient() -> None:
    """The thread runs when no other wants to, where the system can say so for one thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
