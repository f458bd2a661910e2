"""Runs a station as a process: signals, systemd, and a look at whether everything gets on."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from edge_ad.station.config import load_config
from edge_ad.station.events import EventKind
from edge_ad.station.notify import notify, watchdog_s
from edge_ad.station.outcomes import OUTCOMES
from edge_ad.station.station import Station

_log = logging.getLogger("edge_ad.station")
_TURN_S = 0.1
_STUCK_S = 60.0  # of a loop that does not get on, where no service manager says otherwise
_TWICE_S = 1.0  # a stop that is sent twice at once, to a process and to its group, is one
_HANGUP = getattr(signal, "SIGHUP", None)
_THREADS_TURN_S = 0.0005  # Python's own 5 ms would let one busy thread hold up a verdict for as long


def run_station(path: Path, *, batch: bool = False) -> int:
    """Runs a station until it is stopped; returns the number of the signal that did, or 0.

    SIGTERM and SIGINT finish the parts in hand; SIGHUP reads the configuration again. Who asks again after a second is
    not kept waiting: the process ends as if it were killed, which loses nothing that is durable.

    Raises:
        EdgeADError: it cannot be started, or go on.
    """
    config = load_config(path)
    share_interpreter()
    wanted: list[int] = []
    awake = threading.Event()
    stops: list[float] = []

    def take(number: int, frame: object) -> None:
        now = time.monotonic()
        if number != _HANGUP:
            if stops and now - stops[0] > _TWICE_S:
                os._exit(128 + number)  # an exception would leave threads in libraries, and those crash at the end
            stops.append(now)
        wanted.append(number)
        awake.set()

    station = Station(config, batch=batch)
    try:
        with _signals(take):
            try:
                notify("READY=1")
                _log.info("station %s runs; data in %s", config.name, config.data)
                return _loop(station, wanted, awake)
            finally:
                notify("STOPPING=1")
                station.close()
                _log.info("station %s has stopped; %s", config.name, _told(station.outcomes))
    finally:
        station.close()  # where a signal came before they were taken


def share_interpreter() -> None:
    """Threads of this process give way to each other more often than is usual: the desk and the links must not wait for
    a page's request or for OPC UA's encoding."""
    sys.setswitchinterval(_THREADS_TURN_S)


def _told(outcomes: Counter[str]) -> str:
    if not outcomes:
        return "no trigger came"
    counts = ", ".join(f"{outcomes[name]} {name}" for name in OUTCOMES if outcomes[name])
    return f"{counts} ({outcomes.total()} triggers); edge-ad journal lists them"


def _loop(station: Station, wanted: list[int], awake: threading.Event) -> int:
    watchdog = _Watchdog(station)
    while station.turn():
        awake.wait(_TURN_S)
        awake.clear()
        while wanted:
            number = wanted.pop(0)
            if number != _HANGUP:
                return number
            with watchdog.beside():  # it opens bundles, and waits for cameras that end
                _reload(station)
        watchdog.look()
    return 0


class _Watchdog:
    """Tells the service manager that the station is alive: by what the cameras' loops do, and not where one hangs."""

    def __init__(self, station: Station) -> None:
        self._station, self._asked_s = station, watchdog_s()
        self._limit_s = _STUCK_S if self._asked_s is None else self._asked_s
        self._told_stuck, self._fed = "", time.monotonic()

    def look(self) -> None:
        """To be called some times a second."""
        stuck = self._station.stuck(self._limit_s)
        if stuck and stuck != self._told_stuck:
            _log.critical("camera %s has not got on for %g s", stuck, self._limit_s)
        self._told_stuck = stuck
        if self._asked_s is not None and not stuck and time.monotonic() - self._fed > self._asked_s / 4:
            self._fed = time.monotonic()
            notify("WATCHDOG=1")

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """Looks meanwhile, in a thread: it is the cameras that must get on."""
        done = threading.Event()

        def look() -> None:
            while not done.wait(_TURN_S):
                self.look()

        thread = threading.Thread(target=look, name="edge-ad-watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def _reload(station: Station) -> None:
    notify("RELOADING=1")
    try:
        station.reload()
    except Exception as error:  # an engine or a library of a sink may raise anything; the cameras go on
        _log.error("the configuration is not taken over: %s", error)
        station.desk.event("", EventKind.RELOAD, f"refused: {error}")
    else:
        _log.info("the configuration was read again")
    notify("READY=1")


@contextlib.contextmanager
def _signals(take: Callable[[int, object], None]) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP are taken meanwhile; what is ignored (SIGHUP under nohup) stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # Windows has the last in place of the one before
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, take)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
