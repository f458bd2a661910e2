"""Checks what a station needs, before a line stands still for it."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_ad.bundle.file import Bundle
from edge_ad.errors import EdgeADError
from edge_ad.learning.entries import LESSON
from edge_ad.learning.store import Store
from edge_ad.runtime import Runtime
from edge_ad.sources.registry import open_source
from edge_ad.sources.resume import Resume
from edge_ad.sources.state import CONNECTED, LOST
from edge_ad.station.config import Camera, Config, SinkConfig
from edge_ad.station.events import AGAIN, EventKind
from edge_ad.station.health import Health, health_after
from edge_ad.station.http import Http
from edge_ad.station.journal import Journal, iso
from edge_ad.station.kept import keep_mask
from edge_ad.station.labels import store_of_camera
from edge_ad.station.lock import is_locked
from edge_ad.station.page.auth import ROLES, is_open, read_tokens
from edge_ad.station.page.extra import missing
from edge_ad.station.page.listen import listen
from edge_ad.station.retention import RESERVE_BYTES
from edge_ad.system.cpu import allowed_cores, default_threads
from edge_ad.system.names import storable

OK, NOTE, BAD = "ok", "note", "BAD"
_COMMITS = 20
_SLOW_MS = 50.0
_SLOW_SINK_S = 60.0
_LARGE_STORE = 5 * 10**9  # bytes
_CONNECT_S = 60.0  # to a camera, on a PC that has much to do: starting its process takes seconds


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        mark: `OK`, `NOTE` (it runs, and should be looked at) or `BAD`.
        what: was checked.
        told: what was found, and what to do.
    """

    mark: str
    what: str
    told: str


def examine(config: Config) -> Iterator[Finding]:
    """All checks, each as it is done. It opens the sources, waits until cameras are connected, and reads no frame."""
    running = is_locked(config.data) if config.data.is_dir() else False
    yield Finding(OK, "station", "it runs" if running else "it does not run")
    yield from _disk(config)
    yield from _journal(config)
    yield from _sinks(config, running)
    if config.http is not None:
        yield _page(config, config.http, running)
    yield _cores(config)
    for camera in config.cameras:
        yield _source(config, camera, running)
        yield from _bundles(camera)
        if camera.roi is not None:
            yield _roi(camera)
        store = store_of_camera(config.data, camera.name)
        if store.is_dir():
            yield _lessons(store, f"camera {camera.name}, lessons")


def _disk(config: Config) -> Iterator[Finding]:
    data = config.data
    try:
        data.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(data).free
        median_ms = _commit_ms(data)
    except (OSError, sqlite3.Error) as error:
        told = (
            f"{data} cannot be written: {error}. Give its folder to the user that runs the station, or choose another."
        )
        yield Finding(BAD, "data folder", told)
        return
    need = config.retention.min_free_gb * 1e9 + 4 * RESERVE_BYTES
    space = f"{free / 1e9:.1f} GB free at {data}"
    if free < need:
        told = f"{space}; min_free_gb and the journal want {need / 1e9:.1f} GB. Free some, or lower min_free_gb."
        yield Finding(BAD, "disk", told)
    else:
        yield Finding(OK, "disk", space)
    speed = f"a durable commit takes {median_ms:.1f} ms"
    shortest = min(camera.deadline_ms for camera in config.cameras)
    if median_ms > min(_SLOW_MS, shortest / 4):
        told = f"{speed}, much of the deadline of {shortest:g} ms. Put data on a faster local disk."
        yield Finding(NOTE, "disk speed", told)
    else:
        yield Finding(OK, "disk speed", speed)


def _commit_ms(data: Path) -> float:
    with tempfile.TemporaryDirectory(dir=data, prefix=".doctor") as folder:
        db = sqlite3.connect(Path(folder, "try.sqlite"), isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("CREATE TABLE t (a TEXT)")
            times = []
            for _ in range(_COMMITS):
                began = time.perf_counter()
                db.execute("INSERT INTO t VALUES ('x')")
                times.append(1e3 * (time.perf_counter() - began))
        finally:
            db.close()
    return statistics.median(times)


def _journal(config: Config) -> Iterator[Finding]:
    if not config.journal.exists():
        yield Finding(OK, "journal", "none yet; the first start makes it")
        return
    try:
        with Journal(config.journal) as journal:
            sound = journal.one("PRAGMA quick_check(1)")
            rows = journal.one("SELECT count(*) FROM triggers")
            latest = journal.one("SELECT max(time_ns) FROM triggers")
    except (EdgeADError, sqlite3.Error) as error:
        yield Finding(BAD, "journal", str(error))
        return
    if sound != "ok":
        told = f"{config.journal} is damaged: {sound}. Keep a copy, and see https://sqlite.org/recovery.html."
        yield Finding(BAD, "journal", told)
        return
    yield Finding(OK, "journal", f"{rows} triggers" + (f", the latest at {iso(latest)}" if latest else ""))
    now = time.time_ns()
    if latest is not None and latest > now + 60e9:
        told = f"it says {iso(now)}, and the journal has a trigger at {iso(latest)}. Set it, by NTP or PTP."
        yield Finding(BAD, "clock", told)
    elif datetime.now(timezone.utc).year < 2026:
        yield Finding(BAD, "clock", f"it says {iso(now)}. Set it, by NTP or PTP; outcomes do not depend on it.")
    else:
        yield Finding(OK, "clock", f"{iso(now)} (UTC)")


def _sinks(config: Config, running: bool) -> Iterator[Finding]:
    """How far each sink is behind, and why. It connects to none: an outcome is the only thing that they are given."""
    if not config.journal.is_file():
        return
    try:
        with Journal(config.journal) as journal:
            for sink in config.sinks:
                yield _sink(journal, sink, running)
    except (EdgeADError, sqlite3.Error) as error:
        yield Finding(BAD, "sinks", str(error))


def _sink(journal: Journal, sink: SinkConfig, running: bool) -> Finding:
    what = f"sink {sink.id}"
    position = journal.position(sink.id)
    if position is None:
        return Finding(OK, what, "new; it is given what comes from the next start on")
    marks = ", ".join("?" * len(sink.what))
    waiting = f"FROM triggers WHERE number > ? AND outcome IN ({marks})"
    behind = journal.one(f"SELECT count(*) {waiting}", position, *sink.what)
    if not behind:
        return Finding(OK, what, "it has every outcome")
    oldest = journal.one(f"SELECT min(time_ns) {waiting}", position, *sink.what)
    told = f"{behind} outcomes wait for it, the oldest of {iso(oldest)}"
    if running and time.time_ns() - oldest < _SLOW_SINK_S * 1e9:
        return Finding(OK, what, told)
    text = "SELECT text FROM events WHERE kind = ? AND substr(text, 1, ?) = ? ORDER BY id DESC LIMIT 1"
    latest = journal.one(text, EventKind.SINK.value, len(sink.id) + 1, f"{sink.id}:")
    return Finding(NOTE, what, f"{told}. " + (latest or "The station gives them when it runs."))


def _page(config: Config, http: Http, running: bool) -> Finding:
    """Whether the operator page can be served. Where the station runs, its port is in use by the page itself, and the
    journal says whether it is there."""
    told = missing()
    if told:
        return Finding(BAD, "page", told)
    try:
        own = {role: config.data / "tokens" / role for role in ROLES}  # the first start makes them
        files = {role: path or own[role] for role, path in http.tokens.items() if path or own[role].exists()}
        read_tokens(files)
        if not running:
            listen(http.host, http.port).close()
        else:
            latest = [text for kind, text in _since_the_start(config, "") if kind == EventKind.PAGE][-1:]
            if latest and latest != [AGAIN]:
                return Finding(BAD, "page", *latest)
    except EdgeADError as error:
        return Finding(BAD, "page", str(error))
    opened = [str(path) for path in files.values() if is_open(path)]
    if opened:
        told = f"others on this PC may read or change {' and '.join(opened)}; chmod 600 keeps them out."
        return Finding(NOTE, "page", told)
    if not http.is_local:
        return Finding(NOTE, "page", f"{http.url} is open to the network without TLS. See docs/http.md.")
    return Finding(OK, "page", http.url)


def _cores(config: Config) -> Finding:
    allowed = allowed_cores()
    foreign = sorted({core for camera in config.cameras for core in camera.cores or ()} - {*allowed})
    if foreign:
        return Finding(BAD, "cores", f"cores {foreign} are not among those of this process, {[*allowed]}.")
    wanted = sum(camera.threads or default_threads(camera.cores) for camera in config.cameras)
    if len(config.cameras) > 1 and wanted > len(allowed):
        told = f"{len(config.cameras)} cameras want {wanted} threads, and there are {len(allowed)} cores. Set threads."
        return Finding(NOTE, "cores", told)
    return Finding(OK, "cores", f"{len(allowed)} cores, {wanted} threads")


def _source(config: Config, camera: Camera, running: bool) -> Finding:
    what = f"camera {camera.name}, source"
    if running:
        return _source_in_use(config, camera, what)
    try:
        source = open_source(camera.source, camera.name, camera.options, Resume(config.path.parent))
        try:
            told = _connected(source) if hasattr(source, "events") else ""
        finally:
            source.close()
    except EdgeADError as error:
        return Finding(BAD, what, str(error))
    return Finding(BAD, what, f"{camera.address}: {told}") if told else Finding(OK, what, camera.address)


def _connected(source: Any) -> str:
    """Waits until a camera, which is opened by a process of its own, is connected; "", or why it is not."""
    until = time.monotonic() + _CONNECT_S
    while time.monotonic() < until:
        for event in source.events():
            if event.kind == CONNECTED:
                return ""
            if event.kind == LOST:
                return str(event.text)
        time.sleep(0.02)
    return f"it is not connected after {_CONNECT_S:g} s"


def _source_in_use(config: Config, camera: Camera, what: str) -> Finding:
    """What the journal says of the health of a camera that the station has open."""
    try:
        events = _since_the_start(config, camera.name)
    except EdgeADError as error:
        return Finding(BAD, what, str(error))
    health: Health | None = None
    for kind, text in events:
        health = health_after(health, kind, text)
    if health is not None and not health.is_well:
        return Finding(BAD, what, f"{camera.address}; {health.word}: {health.why}")
    return Finding(OK, what, f"{camera.address}; the station has it open")


def _since_the_start(config: Config, camera: str) -> list[tuple[str, str]]:
    """Kinds and texts of the events of a camera ("" for the station's own) since the station was started, the oldest
    first.

    Raises:
        EdgeADError: the journal cannot be read.
    """
    with Journal(config.journal) as journal:
        events = journal.events()
    latest = itertools.takewhile(lambda event: event[2] != EventKind.START, events)
    return [(kind, text) for _, of, kind, text in latest if of == storable(camera)][::-1]


def _bundles(camera: Camera) -> Iterator[Finding]:
    yield _bundle(camera, camera.bundle, f"camera {camera.name}, bundle")
    for number, path in enumerate(camera.recipes, 1):
        yield _bundle(camera, path, f"camera {camera.name}, recipe {number}")


def _bundle(camera: Camera, path: Path, what: str) -> Finding:
    try:
        with Bundle.open(path, points=()) as bundle:
            aligns = bundle.manifest.align is not None
        if camera.align and not aligns:
            return Finding(BAD, what, f"{path} does not look for the part. Export it with --align.")
        runtime = Runtime(path, threads=camera.threads, cores=camera.cores, budget_ms=camera.budget_ms)
        runtime.check()
    except EdgeADError as error:
        return Finding(BAD, what, str(error))
    told = f"{runtime.bundle_id}, {runtime.point} by {runtime.engine} {runtime.engine_version}; golden probes hold"
    return Finding(OK, what, told)


def _lessons(folder: Path, what: str) -> Finding:
    """Whether the audit of a camera's lessons is whole, and what their store takes, of which nothing is removed."""
    try:
        count = sum(entry.kind == LESSON and entry.done for entry in Store(folder).entries)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except (EdgeADError, OSError) as error:
        return Finding(BAD, what, str(error))
    told = f"{count}, which take {size / 1e9:.1f} GB in {folder}"
    if size > _LARGE_STORE:
        told += ". Undo needs its bundles; those between the first and the latest may be removed."
        return Finding(NOTE, what, told)
    return Finding(OK, what, told)


def _roi(camera: Camera) -> Finding:
    assert camera.roi is not None
    what = f"camera {camera.name}, roi"
    try:
        with tempfile.TemporaryDirectory() as folder:
            _, mask = keep_mask(Path(folder), camera.roi)
    except (EdgeADError, OSError) as error:
        return Finding(BAD, what, str(error))
    if not mask.any():
        return Finding(BAD, what, f"{camera.roi} is 0 everywhere: nothing would be inspected.")
    return Finding(OK, what, f"{mask.shape[0]}x{mask.shape[1]}, {(mask > 0).mean():.0%} inspected")
