"""A station that is staged: a real journal with real pictures and verdicts, and a bridge that answers by hand."""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_ad import Runtime
from edge_ad.sources.base import Capture
from edge_ad.station.journal import KEPT, Journal, Row, iso
from edge_ad.station.outcomes import OUTCOMES, Decision, decide, fault
from edge_ad.station.page.auth import OPERATOR, VIEWER, Auth
from edge_ad.station.page.bridge import Live
from edge_ad.station.page.channel import UNAVAILABLE, UNKNOWN, RefusedError
from edge_ad.station.page.context import Context, Settings
from edge_ad.station.pictures import folder_name, overlay_of, safe_name, to_png
from edge_ad.system.files import write_file
from edge_ad.verdict.overlay import heat_layer

TOKENS = {VIEWER: "viewer-token-of-the-tests", OPERATOR: "operator-token-of-the-tests"}
Part = tuple[str, str, "np.ndarray | None"]  # camera, part id, frame; without one, it is a fault


def statistic(low: float, middle: float, high: float, latest: float, evidence: float = 0.1) -> dict[str, Any]:
    """As the state has it."""
    told = {"low": low, "middle": middle, "high": high, "latest": latest, "evidence": evidence}
    return {**told, "alarm": None, "since_ns": None, "text": "", "picture": ""}


def drift_of(reference: str = "export") -> dict[str, Any]:
    """As `Watcher.state` has it: nothing drifts, and the reference of one statistic is being made."""
    statistics = {
        "brightness": statistic(0.48, 0.5, 0.52, 0.505),
        "sharpness": statistic(0.031, 0.0333, 0.0361, 0.0329, evidence=0.62),
        "rows": {**statistic(0.1, 0.2, 0.3, 0.0412, evidence=0.0), "low": None, "middle": None, "high": None},
        "turn": statistic(-1.0, 0.0, 1.0, -0.004),
    }
    told = {"enabled": True, "bundle": "ab", "reference": reference, "asked": False, "taken": 37, "of": 200}
    return {**told, "statistics": statistics}


class Staged:
    """The bridge: it answers as the station would, and remembers what it was told to do."""

    def __init__(self, data: Path, cameras: Sequence[str], bundle: Path) -> None:
        self.data, self.journal_path = data, data / "journal.sqlite"
        data.mkdir(parents=True, exist_ok=True)
        Journal(self.journal_path, writes=True).close()
        self.runtime = Runtime(bundle, threads=1)
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self.lives: dict[str, Live] = {}
        self.ended = False  # the station does not answer any more
        self.counts = {camera: Counter[str]() for camera in cameras}
        self._lock = threading.Lock()
        runtime = self.runtime
        self.told: dict[str, Any] = {
            "time": iso(time.time_ns()),
            "station": "press 4",
            "version": "0.1.0",
            "cameras": [
                {
                    "name": camera,
                    "address": f"folder:/srv/frames/{at}",
                    "trigger": "software" if at == 0 else "free",
                    "bundle": runtime.bundle_id,
                    "roi": "",
                    "point": runtime.point,
                    "engine": runtime.engine,
                    "threshold": runtime.threshold,
                    "ready": True,
                    "why": "",
                    "health": "live",
                    "drops": 0,
                    "missed": 0,
                    "p50_ms": 41.2,
                    "p99_ms": 62.4,
                    "deadline_ms": 400.0,
                    "budget_ms": 150.0,
                    "counts": {},
                    "last": None,
                    "drift": drift_of(),
                    "recipe": 0,
                    "recipes": [],
                }
                for at, camera in enumerate(cameras)
            ],
            "links": [{"id": "line", "kind": "modbus", "well": True, "text": "connected"}],
            "sinks": [{"id": "mes", "behind": 0, "fails": ""}],
            "disk": {"free_bytes": 48.3e9, "pictures_bytes": 3_000_000, "max_bytes": 50_000_000_000, "blocked": False},
            "alarms": [],
            "jobs": [],
            "queue": 0,
        }

    # ------------------------------------------------------------------------------------------------ as the bridge

    def state(self) -> dict[str, Any]:
        if self.ended:
            raise RefusedError("the station has ended", UNAVAILABLE)
        with self._lock:
            self.told["time"] = iso(time.time_ns())
            return copy.deepcopy(self.told)

    def camera(self, name: str) -> dict[str, Any]:
        for camera in self.state()["cameras"]:
            if camera["name"] == name:
                return dict(camera)
        raise RefusedError(f"there is no camera of that name; got {name!r}", UNKNOWN)

    def live(self, camera: str) -> Live | None:
        self.camera(camera)
        return self.lives.get(camera)

    def command(self, name: str, **values: Any) -> dict[str, Any]:
        self.commands.append((name, values))
        if name == "label":
            with Journal(self.journal_path, writes=True) as journal:
                if not journal.label(values["camera"], values["part_id"], values["label"]):
                    raise RefusedError("the journal has no such part", UNKNOWN)
        if name == "acknowledge":
            with self._lock:
                left = [alarm for alarm in self.told["alarms"] if alarm["key"] != values["key"] or alarm["active"]]
                for alarm in left:
                    alarm["acknowledged"] |= alarm["key"] == values["key"]
                self.told["alarms"] = left
        if name == "rollback" and values["camera"] == "stubborn":
            raise RefusedError("there is no bundle before this one", UNKNOWN)
        return {}

    # ------------------------------------------------------------------------------------------------ as the station

    def inspect(self, parts: Sequence[Part], seconds_ago: float = 0.0, every_s: float = 1.0) -> list[Row]:
        """Parts come, the last one so many seconds ago, and every picture is kept."""
        found: list[Row] = []
        with Journal(self.journal_path, writes=True) as journal:
            for at, (camera, part_id, frame) in enumerate(parts):
                age_s = seconds_ago + every_s * (len(parts) - 1 - at)
                found.append(self._end(journal, camera, part_id, frame, time.time_ns() - int(age_s * 1e9)))
        return found

    def _end(self, journal: Journal, camera: str, part_id: str, frame: np.ndarray | None, time_ns: int) -> Row:
        capture = Capture(camera, journal.next_sequence(camera), part_id, "test:", time_ns, 0, frame)
        verdict = None if frame is None else self.runtime.inspect(frame)
        decision: Decision = fault("no_frame", "the camera gave none in 400 ms") if verdict is None else decide(verdict)
        name = safe_name(part_id, camera)
        picture = "" if frame is None else f"pictures/{folder_name(camera)}/{decision.outcome}/{name}.png"
        with journal.transaction():
            journal.accept(capture)
            number = journal.decide(camera, part_id, capture, decision, 41.25 + journal.number % 7, picture)
            assert number is not None
            if frame is not None and verdict is not None:
                path = self.data / picture
                path.parent.mkdir(parents=True, exist_ok=True)
                write_file(path, [to_png(frame)])
                write_file(overlay_of(path), [to_png(verdict.overlay(frame))])
                journal.picture_done(number, KEPT, path.stat().st_size)
        (row,) = journal.rows("number = ?", (number,))
        jpeg, heat = b"", None
        if frame is not None and verdict is not None:
            jpeg = cv2.imencode(".jpg", frame)[1].tobytes()
            drawn = verdict.heat()
            heat = None if drawn is None else cv2.imencode(".png", heat_layer(drawn))[1].tobytes()
        self.lives[camera] = Live(number, row.to_dict(), jpeg, heat)
        with self._lock:
            self.counts[camera][decision.outcome] += 1
            for each in self.told["cameras"]:
                if each["name"] == camera:
                    each["last"] = row.to_dict()
                    each["counts"] = {outcome: self.counts[camera][outcome] for outcome in OUTCOMES}
        return row

    def drift(self, at: int, name: str = "brightness", side: str = "down", picture: str = "") -> dict[str, Any]:
        """A statistic of a camera drifts, and has its alarm; with a picture below the data folder."""
        camera = self.told["cameras"][at]
        text = f"{name} is 0.412, {'above' if side == 'up' else 'below'} the reference. Usual causes: many."
        alarmed = {"alarm": f"{name}.{side}", "since_ns": time.time_ns() - 90 * 10**9, "text": text}
        latest = 0.412 if side == "down" else 0.588
        told = {**statistic(0.48, 0.5, 0.52, latest, evidence=1.0), **alarmed, "picture": picture}
        camera["drift"]["statistics"][name] = told
        self.told["alarms"].append({**alarm(f"drift:{camera['name']}:{name}", text), "camera": camera["name"]})
        return told

    def rows(self, where: str = "1") -> list[Row]:
        with Journal(self.journal_path) as journal:
            return list(journal.rows(where))


def alarm(key: str, text: str, *, active: bool = True, acknowledged: bool = False) -> dict[str, Any]:
    """As the state has it."""
    kind, _, camera = key.partition(":")
    told = {"key": key, "camera": camera, "kind": kind, "text": text, "since": iso(time.time_ns() - 90 * 10**9)}
    return {**told, "active": active, "acknowledged": acknowledged}


def context_of(staged: Staged) -> Context:
    """What the routes work with."""
    files = {}
    for role, token in TOKENS.items():
        files[role] = staged.data / f"{role}.token"
        files[role].write_text(token)
    settings = Settings(
        station=staged.told["station"],
        path=str(staged.data / "station.toml"),
        data=str(staged.data),
        host="127.0.0.1",
        port=0,
        names=("testserver",),
        metrics_open=False,
        max_body=1_000_000,
        viewer_token=str(files[VIEWER]),
        operator_token=str(files[OPERATOR]),
        secret="5" * 64,
        log="text",
    )
    auth = Auth(files, bytes.fromhex(settings.secret), "edge_ad_test")
    return Context(staged, staged.journal_path, staged.data, settings, auth)  # type: ignore[arg-type]


@contextlib.contextmanager
def served(staged: Staged) -> Iterator[str]:
    """The page on a free port, with all its gates but for the limit of requests: its address."""
    import uvicorn

    from edge_ad.station.page.app import make_app
    from edge_ad.station.page.limits import Limits

    app = make_app(context_of(staged), Limits(rate=1e6, burst=1e6, total_rate=1e6, total_burst=1e6))
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < until
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
