"""The journal: one SQLite file, a row a trigger. The desk's thread writes (and `edge-ad label`); anyone may read.

A row is there from the moment the trigger is accepted, and gets its outcome once. `number` counts outcomes in the order
in which they became durable, without gaps: sinks read by it. The file is in WAL mode with `synchronous=FULL`, so what
was committed outlives a power cut. Names that are no Unicode are stored as `edge_ad.system.names.storable` gives them.

Over 400 lines: every statement that touches the tables stands here, so no other file needs to know them.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge_ad._version import __version__
from edge_ad.errors import EdgeADError
from edge_ad.sources.base import Capture
from edge_ad.station.events import EventKind
from edge_ad.station.outcomes import FAULT, RESTART, Decision
from edge_ad.system.names import storable

VERSION = 2  # of the tables
LABELS = ("good", "defect", "unsure", "")  # what a person says of a part; "" takes it back
PLANNED, KEPT, LOST, REMOVED = 1, 2, 3, 4  # a row's picture; 0: none was to be kept
_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE triggers (
    id INTEGER PRIMARY KEY,
    camera TEXT NOT NULL, part_id TEXT NOT NULL, source TEXT NOT NULL, sequence INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    number INTEGER, outcome TEXT, reason TEXT NOT NULL DEFAULT '', score REAL, threshold REAL, p_value REAL,
    bundle TEXT NOT NULL DEFAULT '', point TEXT NOT NULL DEFAULT '', engine TEXT NOT NULL DEFAULT '',
    threads INTEGER NOT NULL DEFAULT 0, roi TEXT NOT NULL DEFAULT '', latency_ms REAL,
    picture TEXT NOT NULL DEFAULT '', kept INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
    label TEXT NOT NULL DEFAULT '',
    UNIQUE (camera, part_id)
);
CREATE UNIQUE INDEX by_number ON triggers (number) WHERE number IS NOT NULL;
CREATE INDEX undecided ON triggers (id) WHERE outcome IS NULL;
CREATE INDEX pictures ON triggers (outcome, number) WHERE kept = 2;
CREATE INDEX planned ON triggers (id) WHERE kept = 1;
CREATE INDEX by_sequence ON triggers (camera, sequence);
CREATE TABLE sinks (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE bundles (id INTEGER PRIMARY KEY, camera TEXT NOT NULL, bundle TEXT NOT NULL, time_ns INTEGER NOT NULL);
CREATE TABLE events (id INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, camera TEXT NOT NULL, kind TEXT NOT NULL,
    text TEXT NOT NULL);
"""
_ALARMS = """
CREATE TABLE IF NOT EXISTS alarms (
    key TEXT PRIMARY KEY, camera TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL, since_ns INTEGER NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class Row:
    """A trigger as the journal has it. Fields have the names of the columns.

    Attributes:
        number: order of the outcomes, from 1; None while there is none.
        kept: what became of the picture: 0 none was to be kept, 1 planned, 2 kept, 3 lost, 4 removed by retention.
        bytes: of the picture and its overlay on the disk.
        label: "good", "defect" or "unsure", where a person said so.
    """

    id: int
    camera: str
    part_id: str
    source: str
    sequence: int
    time_ns: int
    number: int | None
    outcome: str | None
    reason: str
    score: float | None
    threshold: float | None
    p_value: float | None
    bundle: str
    point: str
    engine: str
    threads: int
    roi: str
    latency_ms: float | None
    picture: str
    kept: int
    bytes: int
    label: str

    def to_dict(self) -> dict[str, Any]:
        """What sinks and `edge-ad journal --json` tell of it, ready for JSON."""
        return {
            "number": self.number,
            "part_id": self.part_id,
            "camera": self.camera,
            "source": self.source,
            "sequence": self.sequence,
            "time": iso(self.time_ns),
            "outcome": self.outcome,
            "reason": self.reason,
            "score": self.score,
            "threshold": self.threshold,
            "p_value": self.p_value,
            "bundle": self.bundle,
            "point": self.point,
            "engine": self.engine,
            "latency_ms": None if self.latency_ms is None else round(self.latency_ms, 3),
            "picture": self.picture if self.kept in (PLANNED, KEPT) else "",
            "label": self.label,
        }


COLUMNS = ", ".join(field.name for field in fields(Row))


def iso(time_ns: int) -> str:
    """Nanoseconds since 1970 as text in UTC, with milliseconds."""
    seconds, rest = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest // 10**6:03d}Z"


def journal_error(path: Path, error: sqlite3.Error) -> EdgeADError:
    """What a person is told where SQLite gives up."""
    return EdgeADError(
        f"the journal {path} cannot be used",
        got=error,
        remedy="Check the folder, its permissions and its disk. Keep the file: it may be repaired by sqlite3.",
    )


def _recipe_key(camera: str, recipe: int) -> str:
    """Under which name the bundles of a recipe stand: no camera's name holds a tabulator."""
    return f"{camera}\t{recipe}" if recipe else camera


class Journal:
    """An open journal; one thread at a time. Close it.

    Args:
        path: the file. A writer makes it if it is not there.
        writes: whether it is the writer.

    Raises:
        EdgeADError: it cannot be opened, is no journal, or is one of a newer version.
    """

    def __init__(self, path: Path, *, writes: bool = False) -> None:
        self.path = path
        if not writes and not path.is_file():
            raise EdgeADError(
                f"there is no journal at {path}",
                expected="the data folder of a station that has run",
                remedy="Start it with edge-ad run, or check data in the configuration.",
            )
        try:
            self._db = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(writes)
                self.number = int(self.one("SELECT coalesce(max(number), 0) FROM triggers"))
                self.id = str(self.one("SELECT value FROM about WHERE name = 'id'"))
            except BaseException:
                self._db.close()
                raise
        except sqlite3.Error as error:
            raise journal_error(path, error) from error

    def _prepare(self, writes: bool) -> None:
        version = int(self.one("PRAGMA user_version"))
        if version > VERSION or (version == 0 and not writes):
            raise EdgeADError(
                f"{self.path} is not a journal that this version reads",
                expected=f"version {VERSION}",
                got=version,
                remedy="Use the edge-ad that wrote it, or a newer one.",
            )
        if not writes:
            self._db.execute("PRAGMA query_only = ON")
            return
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA fullfsync = ON")  # macOS flushes the drive's cache only when asked to
        if version < VERSION:
            with self.transaction():
                if version == 0:
                    for statement in _TABLES.split(";\n"):
                        if statement.strip():
                            self._db.execute(statement)
                    about = [("id", secrets.token_hex(6)), ("made_by", f"edge-ad {__version__}")]
                    self._db.executemany("INSERT INTO about VALUES (?, ?)", about)
                self._db.execute(_ALARMS)  # since version 2
                self._db.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """May be called twice."""
        self._db.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()
        if isinstance(error, sqlite3.Error):  # it is damaged, or locked for long
            raise journal_error(self.path, error) from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes within become durable together, or none; `number` too.

        Raises:
            sqlite3.Error: it could not be committed. Nothing has changed.
        """
        before = getattr(self, "number", 0)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self.number = before
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    # ------------------------------------------------------------------------------------------------ writing

    def accept(self, capture: Capture) -> bool:
        """A row for a trigger; False, and no row, where the camera has one of that part id already."""
        names = (storable(text) for text in (capture.camera, capture.part_id, capture.source))
        values = (*names, capture.sequence, capture.time_ns)
        text = "INSERT OR IGNORE INTO triggers (camera, part_id, source, sequence, time_ns) VALUES (?, ?, ?, ?, ?)"
        return self._db.execute(text, values).rowcount == 1

    def decide(
        self, camera: str, part_id: str, capture: Capture, decision: Decision, latency_ms: float | None, picture: str
    ) -> int | None:
        """Gives a trigger its outcome, once. Source and number are those of `capture`, whose frame may have come later.

        Returns:
            Its number; None where it had an outcome already.
        """
        d = decision
        text = (
            "UPDATE triggers SET number = ?, outcome = ?, reason = ?, score = ?, threshold = ?, p_value = ?,"
            " bundle = ?, point = ?, engine = ?, threads = ?, roi = ?, latency_ms = ?, picture = ?, kept = ?,"
            " source = ?, sequence = ? WHERE camera = ? AND part_id = ? AND outcome IS NULL"
        )
        told = (
            d.outcome,
            storable(d.reason),
            d.score,
            d.threshold,
            d.p_value,
            d.bundle,
            d.point,
            d.engine,
            d.threads,
            d.roi,
        )
        kept = (latency_ms, picture, PLANNED if picture else 0, storable(capture.source), capture.sequence)
        part = (storable(camera), storable(part_id))
        if self._db.execute(text, (self.number + 1, *told, *kept, *part)).rowcount != 1:
            return None
        self.number += 1
        return self.number

    def withdraw(self, number: int, fault: Decision, latency_ms: float | None, picture: str) -> None:
        """An outcome that nobody was told of becomes this fault. It keeps its number and its score."""
        text = "UPDATE triggers SET outcome = ?, reason = ?, latency_ms = ?, picture = ?, kept = ? WHERE number = ?"
        told = (fault.outcome, storable(fault.reason), latency_ms, picture, PLANNED if picture else 0, number)
        self._db.execute(text, told)

    def recover(self, size_of: Callable[[str], int] = lambda picture: 0) -> int:
        """Triggers without an outcome when the process before ended are faults now. Returns how many there were.

        Args:
            size_of: bytes of a picture that was still to be written; 0 where it is not there, and then it is lost.
        """
        with self.transaction():
            found = self._db.execute("SELECT id FROM triggers WHERE outcome IS NULL ORDER BY id").fetchall()
            for (row,) in found:
                self.number += 1
                reason = f"{RESTART}: the station ended before there was a verdict"
                text = "UPDATE triggers SET number = ?, outcome = ?, reason = ? WHERE id = ?"
                self._db.execute(text, (self.number, FAULT, reason, row))
            planned = self._db.execute(f"SELECT number, picture FROM triggers WHERE kept = {PLANNED}").fetchall()
            for number, picture in planned:
                size = size_of(picture)
                self.picture_done(number, KEPT if size else LOST, size)
        return len(found)

    def picture_done(self, number: int, kept: int, size: int = 0) -> None:
        """What became of the picture of an outcome: KEPT, LOST or REMOVED; and its bytes."""
        self._db.execute("UPDATE triggers SET kept = ?, bytes = ? WHERE number = ?", (kept, size, number))

    def delivered(self, sink: str, number: int) -> None:
        """A sink has everything up to this number."""
        self._db.execute("INSERT OR REPLACE INTO sinks VALUES (?, ?)", (sink, number))

    def keep_sinks(self, names: Sequence[str]) -> None:
        """Forgets the places of all sinks but these."""
        marks = ", ".join("?" * len(names))
        self._db.execute(f"DELETE FROM sinks WHERE name NOT IN ({marks})", tuple(names))

    def adopted(self, camera: str, bundle: str, time_ns: int, recipe: int = 0) -> None:
        """From now on the camera inspects with this bundle of a recipe."""
        values = (_recipe_key(camera, recipe), bundle, time_ns)
        self._db.execute("INSERT INTO bundles (camera, bundle, time_ns) VALUES (?, ?, ?)", values)

    def choose(self, camera: str, recipe: int) -> None:
        """From now on the camera is to inspect with this recipe."""
        self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (f"recipe of {camera}", str(recipe)))

    def event(self, time_ns: int, camera: str, kind: EventKind, text: str) -> None:
        """Something that is no outcome: a start, a bundle that was refused, a full disk.

        Raises:
            ValueError: the kind is not in the list. Nothing is written.
        """
        values = (time_ns, storable(camera), EventKind(kind).value, storable(text))
        self._db.execute("INSERT INTO events (time_ns, camera, kind, text) VALUES (?, ?, ?, ?)", values)

    def forget_events(self, most: int) -> None:
        """Removes the oldest events beyond so many: a camera that fails every second must not fill the disk."""
        self._db.execute("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", (most,))

    def latch(self, key: str, camera: str, kind: str, text: str, since_ns: int) -> None:
        """An alarm that nobody has acknowledged; one of that key is replaced."""
        values = (storable(key), storable(camera), kind, storable(text), since_ns)
        self._db.execute("INSERT OR REPLACE INTO alarms VALUES (?, ?, ?, ?, ?)", values)

    def unlatch(self, key: str) -> None:
        """An alarm was acknowledged."""
        self._db.execute("DELETE FROM alarms WHERE key = ?", (storable(key),))

    def label(self, camera: str, part_id: str, label: str) -> bool:
        """What a person says of a part, one of `LABELS`. False where there is no such part."""
        values = (label, storable(camera), storable(part_id))
        return self._db.execute("UPDATE triggers SET label = ? WHERE camera = ? AND part_id = ?", values).rowcount == 1

    def forget(self, before_ns: int, most: int) -> int:
        """Removes rows that are older, whose number every sink has, and of which neither picture nor label is kept.
        Returns how many, `most` at a time."""
        text = (
            "DELETE FROM triggers WHERE id IN (SELECT id FROM triggers WHERE time_ns < ? AND label = ''"
            f" AND kept NOT IN ({PLANNED}, {KEPT}) AND number < (SELECT max(number) FROM triggers)"
            " AND number <= coalesce((SELECT min(number) FROM sinks), number) ORDER BY id LIMIT ?)"
        )
        return self._db.execute(text, (before_ns, most)).rowcount

    # ------------------------------------------------------------------------------------------------ reading

    def one(self, text: str, *values: object) -> Any:
        """The first column of the first row; None without a row."""
        found = self._db.execute(text, values).fetchone()
        return None if found is None else found[0]

    def rows(self, where: str = "1", values: Sequence[object] = (), order: str = "id", most: int = -1) -> Iterator[Row]:
        """Rows that fulfil a condition."""
        text = f"SELECT {COLUMNS} FROM triggers WHERE {where} ORDER BY {order} LIMIT ?"
        for found in self._db.execute(text, (*values, most)):
            yield Row(*found)

    def give_up_after(self, seconds: float) -> None:
        """Whatever is read ends then, with an error: a reader that goes on for long keeps the file growing."""
        until = time.monotonic() + seconds
        self._db.set_progress_handler(lambda: time.monotonic() > until, 20_000)

    def known(self, camera: str, part_id: str) -> bool:
        """Whether a trigger of that part was accepted."""
        text = "SELECT 1 FROM triggers WHERE camera = ? AND part_id = ?"
        return self.one(text, storable(camera), storable(part_id)) is not None

    def free(self, camera: str, part_id: str) -> str:
        """A part id that the camera has not used: that one, or with "~2", "~3" and so on. It looks at few of them, as a
        controller may send one and the same all day."""
        if not self.known(camera, part_id):
            return part_id
        low, high = 1, 2
        while self.known(camera, f"{part_id}~{high}"):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.known(camera, f"{part_id}~{middle}") else (low, middle)
        return f"{part_id}~{high}"

    def next_sequence(self, camera: str) -> int:
        """One more than the camera's largest sequence number."""
        return int(self.one("SELECT coalesce(max(sequence), -1) + 1 FROM triggers WHERE camera = ?", camera))

    def position(self, sink: str) -> int | None:
        """The number up to which a sink has everything; None of a new sink."""
        found = self.one("SELECT number FROM sinks WHERE name = ?", sink)
        return None if found is None else int(found)

    def recipe_of(self, camera: str) -> int:
        """The recipe that was selected last; 0 where none ever was."""
        return int(self.one("SELECT value FROM about WHERE name = ?", f"recipe of {camera}") or 0)

    def bundles_of(self, camera: str, recipe: int = 0) -> list[str]:
        """Ids of the bundles of a recipe that the camera inspected with, the latest first; one after another differ."""
        key = _recipe_key(camera, recipe)
        found = self._db.execute("SELECT bundle FROM bundles WHERE camera = ? ORDER BY id DESC", (key,))
        ids = [str(row[0]) for row in found]
        return [bundle for at, bundle in enumerate(ids) if at == 0 or ids[at - 1] != bundle]

    def bundles_in_use(self, most: int) -> set[str]:
        """Ids of the bundles that a row names, and of the latest `most` of each camera. Reads all rows."""
        cameras = [str(row[0]) for row in self._db.execute("SELECT DISTINCT camera FROM bundles")]
        found = {bundle for camera in cameras for bundle in self.bundles_of(camera)[:most]}
        return found | {str(row[0]) for row in self._db.execute("SELECT DISTINCT bundle FROM triggers")}

    def alarms(self) -> list[tuple[str, str, str, str, int]]:
        """(key, camera, kind, text, since_ns) of those that nobody has acknowledged, the oldest first."""
        if int(self.one("PRAGMA user_version")) < 2:  # one that an older edge-ad wrote, and no newer one has opened
            return []
        text = "SELECT key, camera, kind, text, since_ns FROM alarms ORDER BY since_ns, key"
        return [(str(a), str(b), str(c), str(d), int(e)) for a, b, c, d, e in self._db.execute(text)]

    def events(self, most: int = -1) -> list[tuple[int, str, str, str]]:
        """(time_ns, camera, kind, text), the latest first; the kind as it was written, perhaps by another edge-ad."""
        text = "SELECT time_ns, camera, kind, text FROM events ORDER BY id DESC LIMIT ?"
        return [(int(a), str(b), str(c), str(d)) for a, b, c, d in self._db.execute(text, (most,))]
