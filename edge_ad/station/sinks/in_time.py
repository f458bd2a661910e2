"""Work that may hang (a name server, a peer that says nothing) in a thread of its own, and no longer than it may take.

No time-out of a socket covers all of it: looking up a name has none, and one of reads begins anew with each byte.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from edge_ad.errors import EdgeADError
from edge_ad.station.sinks.base import NotYet

_T = TypeVar("_T")
_TURN_S = 0.1


class _Work(Generic[_T]):
    def __init__(self, work: Callable[[], _T], late: Callable[[], None]) -> None:
        self._work, self._late = work, late
        self._lock, self.done, self._given_up = threading.Lock(), threading.Event(), False
        self.error: BaseException | None = None
        self.results: list[_T] = []

    def run(self) -> None:
        try:
            self.results.append(self._work())
        except BaseException as error:  # it is raised by who waits
            self.error = error
        with self._lock:
            self.done.set()
            given_up = self._given_up
        if given_up:
            self._late()

    def give_up(self) -> bool:
        """False where it is done after all."""
        with self._lock:
            self._given_up = not self.done.is_set()
            return self._given_up


def in_time(
    work: Callable[[], _T],
    seconds: float,
    stopping: threading.Event,
    what: str,
    late: Callable[[], None] = lambda: None,
) -> _T:
    """What the work returns or raises.

    Args:
        stopping: when it is set, nobody waits any more.
        what: the message where it takes longer.
        late: called after the work, in its thread, where nobody waited for it any more.

    Raises:
        EdgeADError: it takes longer.
        NotYet: the station stops.
    """
    one = _Work(work, late)
    threading.Thread(target=one.run, name="edge-ad-sink-peer", daemon=True).start()
    until = time.monotonic() + seconds
    while not one.done.wait(_TURN_S):
        if stopping.is_set() and one.give_up():
            raise NotYet
        if time.monotonic() > until and one.give_up():
            raise EdgeADError(what)
    if one.error is not None:
        raise one.error
    return one.results[0]
