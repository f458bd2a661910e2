"""Gives outcomes to a sink: in order, at least once, again after a pause where it fails, and on after a restart.

The journal is the outbox. A sink's place in it is the number of the last outcome that it has.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge_ad.station.config import SinkConfig
from edge_ad.station.desk import Desk
from edge_ad.station.events import EventKind
from edge_ad.station.journal import Journal
from edge_ad.station.sinks.base import Message, NotYet, Sink, SinkOpening
from edge_ad.station.sinks.table import SINKS

_log = logging.getLogger("edge_ad.station")
_BATCH = 256
_PAUSE_S = (0.1, 30.0)  # after a failure: at first, at most
_SOON_S = 0.05
_LONG_S = 5.0  # a pause that comes after several failures
_TURN_S = 0.5  # looks by itself, should nobody wake it


class Outbox:
    """A sink and its thread.

    Args:
        patiently: a sink that cannot be opened is tried again, as one that fails later is.

    Raises:
        EdgeADError: the sink cannot be opened, or the journal not be read. Nothing stays open.
    """

    def __init__(self, config: SinkConfig, station: str, data: Path, desk: Desk, *, patiently: bool = False) -> None:
        self.config, self._desk = config, desk
        self._stop, self._awake = threading.Event(), threading.Event()
        self._open: Callable[[], Sink] = lambda: SINKS.open(
            config.kind, SinkOpening(station, data, dict(config.options), self._stop, self._tell)
        )
        self._pause_s, self._told = 0.0, ""
        self._thread = threading.Thread(target=self._run, name=f"edge-ad-sink-{config.kind}", daemon=True)
        with contextlib.ExitStack() as opened:  # of what is closed again where the rest cannot be had
            self._sink: Sink | None = None if patiently else self._open()
            if self._sink is not None:
                opened.callback(self._sink.close)
            self._journal = Journal(data / "journal.sqlite")
            opened.callback(self._journal.close)
            known = self._journal.position(config.id)
            self.position = self._journal.number if known is None else known
            self._save()
            self._thread.start()
            opened.pop_all()

    def wake(self) -> None:
        """There is a new outcome."""
        self._awake.set()

    def close(self, patience_s: float) -> None:
        """Gives what is left to the sink, for as long as that, and ends."""
        until = time.monotonic() + patience_s
        while self._thread.is_alive() and self.behind and time.monotonic() < until and not self._pause_s > _SOON_S:
            self._awake.set()
            time.sleep(0.01)
        self._stop.set()
        self._awake.set()
        self._thread.join()
        if self._sink is not None:
            self._sink.close()
        self._journal.close()

    @property
    def behind(self) -> bool:
        """Whether there are outcomes that the sink has not been given."""
        return self.position < self._desk.number

    @property
    def fails(self) -> str:
        """Why it has taken nothing for several tries, some 10 seconds long; "" where it has, or may still."""
        return self._told if self._pause_s > _LONG_S else ""

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                more = self._deliver()
            except NotYet:
                self._stop.wait(_SOON_S)
            except Exception as error:  # a sink may raise anything; it must not end what others need
                self._failed(error)
            else:
                if self._pause_s:
                    _log.warning("sink %s takes outcomes again", self.config.id)
                    self._pause_s = 0.0
                if not more:
                    self._awake.wait(_TURN_S)
                    self._awake.clear()

    def _deliver(self) -> bool:
        """Gives the next outcomes; whether there may be more."""
        upper = self._desk.number
        if upper <= self.position:
            return False
        if self._sink is None:
            self._sink = self._open()
        marks = ", ".join("?" * len(self.config.what))
        where, values = f"number > ? AND number <= ? AND outcome IN ({marks})", self.config.what
        found = list(self._journal.rows(where, (self.position, upper, *values), "number", _BATCH))
        last = found[-1].number or upper if len(found) == _BATCH else upper
        if found:
            taken = self._sink.deliver([Message(f"{self._journal.id}-{row.number}", row) for row in found])
            if taken is not None and taken != found[-1].number:
                last = taken
        self.position = last
        self._save()
        return self._desk.number > self.position

    def _save(self) -> None:
        position = self.position
        self._desk.write(lambda journal: journal.delivered(self.config.id, position))

    def _tell(self, text: str) -> None:
        _log.error("sink %s: %s", self.config.id, text)
        self._desk.event("", EventKind.SINK, f"{self.config.id}: {text}")

    def _failed(self, error: Exception) -> None:
        told = f"it failed and is tried again: {error}"
        if not self._pause_s or (self._pause_s == _PAUSE_S[1] and told != self._told):  # another cause than before
            self._tell(told)
            self._told = told
        self._pause_s = min(max(2 * self._pause_s, _PAUSE_S[0]), _PAUSE_S[1])
        self._stop.wait(self._pause_s)
