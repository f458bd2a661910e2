"""What is kept, and what goes first where there is too little room: pictures of good parts, the oldest first, then
faults and parts that were not found, rejects last. What a person has labelled stays.

A file of `RESERVE_BYTES` lies in the data folder so that the journal has room on a full disk. It is given up for the
journal alone, and made again when there is room. Meanwhile no picture is written.

Where `days` is set, copies of bundles go too, once no row names them. A clock that is set while the station runs says
nothing of age: then nothing is removed by age until it is right again, or the station is started again.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from pathlib import Path

from edge_ad.station.config import Retention
from edge_ad.station.desk import Desk
from edge_ad.station.events import EventKind
from edge_ad.station.journal import KEPT, REMOVED, Journal, Row
from edge_ad.station.pictures import overlay_of
from edge_ad.system.files import hold_space

_log = logging.getLogger("edge_ad.station")
RESERVE_BYTES = 32 * 2**20  # some 100,000 rows
_TURN_S = 10.0
_BATCH = 50
_EVENTS = 100_000  # that are kept
_CLOCK_S = 3600.0  # by which a clock may go wrong
_BUNDLES_S = 3600.0  # between two looks at the bundles, which reads all of the journal
_BUNDLES = 10  # the latest of a camera, which stay
_NEW_S = 86400.0  # a copy that is younger may be about to be used
_ORDER = "CASE outcome WHEN 'good' THEN 0 WHEN 'reject' THEN 2 ELSE 1 END, number"


class Keeper:
    """Keeps the data folder within the limits. Thread-safe.

    Args:
        path: the journal, which must be there.
        settings: may be replaced by `settings = ...` while it runs.
    """

    def __init__(self, data: Path, settings: Retention) -> None:
        self._data, self.settings = data, settings
        self._journal: Journal | None = None
        self._desk: Desk | None = None
        self._work = threading.RLock()  # one thread at a time removes; it may take long
        self._lock = threading.Lock()  # of the set, for a moment
        self._removed: set[int] = set()  # whose row does not say so yet
        self._clock_ns = time.time_ns() - _running_ns()
        self._clock_told = False
        self._bundles_at = 0.0
        self._stop, self._awake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge-ad-retention", daemon=True)
        self.used_bytes = 0  # of kept pictures, when they were counted last
        self.has_reserve = hold_space(self._reserve, RESERVE_BYTES)
        if not self.has_reserve:
            _log.error(
                "there is no room for the journal's reserve of %d MB on the disk of %s", _mb(RESERVE_BYTES), data
            )

    @property
    def _reserve(self) -> Path:
        return self._data / "reserve"

    def start(self, desk: Desk) -> None:
        """Begins; `desk` is told what is removed."""
        self._desk, self._journal = desk, Journal(self._data / "journal.sqlite")
        self._thread.start()

    def close(self) -> None:
        """Ends. May be called twice."""
        self._stop.set()
        self._awake.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._journal is not None:
            self._journal.close()

    def make_room_for_journal(self) -> bool:
        """The journal cannot be written: gives up the reserve. Whether there is room now."""
        self._awake.set()
        if not self.has_reserve:
            return False
        self.has_reserve = False
        with contextlib.suppress(OSError):
            self._reserve.unlink()
            _log.error("the disk of %s is full: the journal takes its reserve, and no picture is written", self._data)
            return True
        return False

    def make_room_for_picture(self) -> bool:
        """A picture cannot be written: removes some that count less. Whether there may be room now."""
        with self._work:
            return self.has_reserve and self._remove(_BATCH) > 0

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._work:
                    self.look()
            except Exception as error:  # such as a disk that fails: verdicts go on
                _log.error("retention failed and is tried again: %s", error)
            self._awake.wait(_TURN_S if self.has_reserve else 1.0)
            self._awake.clear()

    def look(self) -> None:
        """Removes what is too much, or too old, and makes the reserve again."""
        journal, settings = self._journal, self.settings
        assert journal is not None
        while self._too_much(journal) and self._remove(_BATCH):
            pass
        if settings.days is not None and self._clock_is_right():
            self._forget(time.time_ns() - round(settings.days * 86400e9))
            self._forget_bundles(journal)
        assert self._desk is not None
        if (journal.one("SELECT max(id) - min(id) FROM events") or 0) > 1.1 * _EVENTS:
            self._desk.write(lambda writer: writer.forget_events(_EVENTS))
        if not self.has_reserve and self._free() > 2 * RESERVE_BYTES:
            self.has_reserve = hold_space(self._reserve, RESERVE_BYTES)
            if self.has_reserve:
                _log.warning("there is room again: the journal has its reserve")

    def _clock_is_right(self) -> bool:
        """Whether the clock that tells age has not been set since the start."""
        off_s = (time.time_ns() - _running_ns() - self._clock_ns) / 1e9
        right = abs(off_s) < _CLOCK_S
        if not right and not self._clock_told:
            assert self._desk is not None
            text = f"the clock was set by {off_s / 3600:+.1f} hours: nothing is removed by age until the next start"
            _log.warning(text)
            self._desk.event("", EventKind.CLOCK, text)
        self._clock_told = not right
        return right

    def _forget_bundles(self, journal: Journal) -> None:
        """Removes copies of bundles that nothing can be inspected again with."""
        if time.monotonic() < self._bundles_at:
            return
        self._bundles_at = time.monotonic() + _BUNDLES_S
        kept = journal.bundles_in_use(_BUNDLES)
        for path in (self._data / "bundles").glob("*.bundle"):
            with contextlib.suppress(OSError):
                if path.stem not in kept and time.time() - path.stat().st_mtime > _NEW_S:
                    path.unlink()

    def _too_much(self, journal: Journal) -> bool:
        gone = ", ".join(map(str, self._gone()))  # in one query: a row may say so meanwhile
        counted = f"kept = {KEPT} AND number NOT IN ({gone})"
        used = int(journal.one(f"SELECT coalesce(sum(bytes), 0) FROM triggers WHERE {counted}"))
        self.used_bytes = used
        missing = 0 if self.has_reserve else 2 * RESERVE_BYTES
        return used > self.settings.max_gb * 1e9 or self._free() < max(self.settings.min_free_gb * 1e9, missing)

    def _free(self) -> int:
        return shutil.disk_usage(self._data).free

    def _remove(self, most: int, where: str = "", *values: object) -> int:
        """Removes pictures, those first that count least; returns how many."""
        assert self._journal is not None
        gone = self._gone()
        found = self._journal.rows(f"kept = {KEPT} AND label = ''{where}", values, _ORDER, most + len(gone))
        left = [row for row in found if row.number not in gone][:most]
        rows = [row for row in left if row.outcome == left[0].outcome]  # the next kind may not be needed
        for row in rows:
            self._remove_one(row)
        return len(rows)

    def _gone(self) -> set[int]:
        with self._lock:
            return set(self._removed)

    def _remove_one(self, row: Row) -> None:
        assert self._desk is not None
        assert row.number is not None
        picture, number = self._data / row.picture, row.number
        for path in (picture, overlay_of(picture)):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        for folder in list(picture.parents)[:3]:  # outcome, camera, day
            with contextlib.suppress(OSError):
                folder.rmdir()
        with self._lock:
            self._removed.add(number)
        self._desk.write(lambda journal: journal.picture_done(number, REMOVED), lambda: self._told(number))

    def _told(self, number: int) -> None:
        with self._lock:
            self._removed.discard(number)

    def _forget(self, before_ns: int) -> None:
        while self._remove(_BATCH, " AND time_ns < ?", before_ns):
            pass
        assert self._desk is not None
        self._desk.write(lambda writer: _forget_some(writer, before_ns))


def _forget_some(journal: Journal, before_ns: int) -> None:
    journal.forget(before_ns, 1000)


def _running_ns() -> int:
    """A clock that nobody sets, and that goes on while the PC sleeps, where the system has one."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if boot is None else time.clock_gettime_ns(boot)


def _mb(size: int) -> int:
    return size // 2**20
