"""The desk: accepts triggers, decides each of them once, and makes both durable.

One thread writes the journal. Whoever has something to write hands it over and goes on; the thread commits all that has
come meanwhile in one transaction. So the disk delays no verdict, and a commit holds as many rows as came during the one
before it.

The same thread watches the deadlines. A trigger without a verdict when its time is up is a fault at that moment, and
the verdict that comes later counts for nothing. A decision that cannot be made durable in time, as the disk is full or
stalls, is a fault too. Where the stall comes in the very commit that holds it, a second one makes it a fault before any
sink is told of the first.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import sqlite3
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from edge_ad.sources.base import Capture
from edge_ad.station.events import EventKind, Tell
from edge_ad.station.journal import Journal, journal_error
from edge_ad.station.outcomes import FAULT, LATE, Decision, fault

Drawing = Callable[[], np.ndarray]  # (H, W, 3) u8 BGR

_log = logging.getLogger("edge_ad.station")
_BACKLOG = 1000  # writes that may wait before no more triggers are accepted
_DEADLINES = 1000  # of tickets that have ended, which may be kept
_RETRY_S = 0.25  # between two tries to write to a disk that is full


@dataclass(eq=False)
class Ticket:
    """A trigger on its way.

    Attributes:
        capture: the trigger, without the frame.
        part_id: of the capture; the desk makes one that the camera has used already unique.
        frame: of the capture, until the ticket is done; None where there is none.
        deadline_ns: by `time.monotonic_ns`.
        decision: what it ends with; None while that is open.
        overlay: draws the verdict, where there was one.
        latency_ms: from the trigger to the decision.
        origin: what the source gave, without the frame, to be settled; None while nothing has come.
        accepted: whether its row is durable.
        number: of its outcome, once that is durable.
        picture: path of the picture that is to be kept, below the data folder; "" for none.
        done: called by the desk's thread when the outcome is durable.
    """

    capture: Capture
    deadline_ns: int
    done: Callable[[Ticket], None]
    part_id: str
    frame: np.ndarray | None = None
    decision: Decision | None = None
    overlay: Drawing | None = None
    latency_ms: float | None = None
    origin: Capture | None = None
    accepted: bool = False
    number: int | None = None
    picture: str = ""


@dataclass(frozen=True)
class _Write:
    write: Callable[[Journal], None]
    done: Callable[[], None] = lambda: None


class Desk:
    """See the module. Thread-safe.

    Args:
        path: the journal.
        plan: where the picture of a decided trigger is to be kept, "" for nowhere.
        make_room: called when the disk is full; whether there may be room now.
        size_of: bytes of a picture that the process before was to write, 0 where it is not there.

    Raises:
        EdgeADError: the journal cannot be opened, or not be written.
    """

    def __init__(
        self,
        path: Path,
        plan: Callable[[Ticket], str] = lambda ticket: "",
        make_room: Callable[[], bool] = lambda: False,
        size_of: Callable[[str], int] = lambda picture: 0,
    ) -> None:
        self._plan, self._make_room = plan, make_room
        self._journal = Journal(path, writes=True)
        self.recovered = self._recover(size_of)
        self._changed = threading.Condition()
        self._waiting: list[_Write] = []
        self._deadlines: list[tuple[int, int, Ticket]] = []
        self._count = itertools.count()
        self._open = self._writing = 0
        self._written: list[Ticket] = []  # the decisions of the transaction
        self._closing = False
        self._commits_s: deque[float] = deque([0.002], maxlen=31)
        self.number = self._journal.number  # of the latest outcome that is durable
        self.blocked = False  # the journal cannot be written now
        self.failed: BaseException | None = None
        self.on_event: Tell = lambda camera, kind, text: None  # hears of events
        self._thread = threading.Thread(target=self._run, name="edge-ad-desk", daemon=True)
        self._thread.start()

    def _recover(self, size_of: Callable[[str], int]) -> int:
        while True:
            try:
                return self._journal.recover(size_of)
            except sqlite3.Error as error:
                if isinstance(error, sqlite3.OperationalError) and self._make_room():
                    continue
                self._journal.close()
                raise journal_error(self._journal.path, error) from error

    # ------------------------------------------------------------------------------------------------ callers

    def accept(
        self,
        capture: Capture,
        deadline_ms: float,
        done: Callable[[Ticket], None],
        give_up: Callable[[], bool] = lambda: False,
    ) -> Ticket | None:
        """Accepts a trigger: its row is written, and it will have an outcome.

        It waits while the journal cannot be written: what cannot be kept is not accepted.

        Args:
            give_up: asked some times a second while it waits.

        Returns:
            None where it was not accepted: `give_up` said so, or the desk is closed.
        """
        bare = replace(capture, frame=None)
        ticket = Ticket(bare, capture.clock_ns + round(deadline_ms * 1e6), done, capture.part_id, capture.frame)
        with self._changed:
            while self.blocked or len(self._waiting) >= _BACKLOG:
                if self._closing or self.failed is not None or give_up():
                    return None
                self._changed.wait(0.1)
            if self._closing or self.failed is not None:
                return None
            self._open += 1
            self._watch(ticket)
            self._waiting.append(_Write(lambda journal: _accept(journal, ticket), lambda: _accepted(ticket)))
            self._changed.notify_all()
        return ticket

    def decide(self, ticket: Ticket, decision: Decision, overlay: Drawing | None = None) -> bool:
        """Ends a trigger. Returns False where it has ended already: then nothing changes."""
        with self._changed:
            return self._decide(ticket, decision, overlay)

    def write(self, write: Callable[[Journal], None], done: Callable[[], None] = lambda: None) -> None:
        """Writes anything else to the journal, after all that was handed over before.

        Args:
            write: called by the desk's thread within a transaction, perhaps more than once.
            done: called by that thread when it is durable.
        """
        with self._changed:
            self._waiting.append(_Write(write, done))
            self._changed.notify_all()

    def event(self, camera: str, kind: EventKind, text: str) -> None:
        """Journals something that is no outcome.

        Raises:
            ValueError: the kind is not in the list. It is told here, as the desk's thread would end of it.
        """
        now, kind = time.time_ns(), EventKind(kind)
        self.write(lambda journal: journal.event(now, camera, kind, text))
        self.on_event(camera, kind, text)

    @property
    def open_triggers(self) -> int:
        """How many triggers have no durable outcome yet."""
        with self._changed:
            return self._open

    def flush(self, timeout_s: float) -> bool:
        """Waits until everything that was handed over is durable. Returns whether it is."""
        until = time.monotonic() + timeout_s
        with self._changed:
            while (self._waiting or self._writing) and self.failed is None:
                if time.monotonic() >= until:
                    return False
                self._changed.wait(0.05)
            return self.failed is None

    def close(self) -> None:
        """Writes what is left, as far as the disk takes it, and ends. May be called twice."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._journal.close()

    # ------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._commit(batch)
                for each in batch:
                    each.done()
                with self._changed:
                    self._writing = 0
                    self._changed.notify_all()
        except BaseException as error:  # nothing can be promised any more: the station stops
            _log.critical("the journal failed: %s", error)
            with self._changed:
                self.failed = error
                self._changed.notify_all()

    def _next(self) -> list[_Write] | None:
        """Waits for something to write; None at the end."""
        with self._changed:
            while True:
                wait_s = self._end_late()
                if self._waiting:
                    batch, self._waiting = self._waiting, []
                    self._writing = len(batch)
                    return batch
                if self._closing:
                    return None
                self._changed.wait(wait_s)

    def _end_late(self) -> float | None:
        """Ends the triggers whose time is up; returns the seconds to the next deadline."""
        while self._deadlines:
            at, _, ticket = self._deadlines[0]
            if ticket.decision is None:
                left_s = (at - time.monotonic_ns()) / 1e9 - self._margin_s(ticket)
                if left_s > 0:
                    return left_s
                self._decide(ticket, fault(LATE, "there was no verdict at the deadline"), None)
            heapq.heappop(self._deadlines)
        return None

    def _watch(self, ticket: Ticket) -> None:
        """Keeps the ticket among the deadlines, and drops those that have ended, where they are the most."""
        heapq.heappush(self._deadlines, (ticket.deadline_ns, next(self._count), ticket))
        if len(self._deadlines) > _DEADLINES + 2 * self._open:
            self._deadlines = [each for each in self._deadlines if each[2].decision is None]
            heapq.heapify(self._deadlines)

    def _margin_s(self, ticket: Ticket) -> float:
        """What a commit takes, usually: a quarter of the deadline at most."""
        whole_s = (ticket.deadline_ns - ticket.capture.clock_ns) / 1e9
        return min(statistics.median(self._commits_s), whole_s / 4)

    def _decide(self, ticket: Ticket, decision: Decision, overlay: Drawing | None) -> bool:
        if ticket.decision is not None:
            return False
        ticket.decision, ticket.overlay = decision, overlay
        ticket.latency_ms = (time.monotonic_ns() - ticket.capture.clock_ns) / 1e6
        write = _Write(lambda journal: self._write_decision(journal, ticket), lambda: self._end(ticket))
        self._waiting.append(write)
        self._changed.notify_all()
        return True

    def _write_decision(self, journal: Journal, ticket: Ticket) -> None:
        """Within a transaction, which may be tried again: then it may be too late."""
        decision, capture = ticket.decision, ticket.capture
        assert decision is not None
        latest_ns = ticket.deadline_ns - self._margin_s(ticket) * 1e9
        if decision.outcome != FAULT and time.monotonic_ns() > latest_ns:
            over = f"the outcome was {decision.outcome} and could not be made durable before the deadline"
            ticket.decision = decision = replace(decision, outcome=FAULT, reason=f"{LATE}: {over}")
            ticket.latency_ms = (time.monotonic_ns() - capture.clock_ns) / 1e6
        ticket.picture = self._plan(ticket)
        ticket.number = journal.decide(
            capture.camera, ticket.part_id, capture, decision, ticket.latency_ms, ticket.picture
        )
        if ticket.number is None:
            raise RuntimeError(f"the journal has no open trigger {capture.camera} {ticket.part_id}")
        self._written.append(ticket)

    def _withdraw(self, ticket: Ticket, journal: Journal) -> None:
        """Within a transaction: a decision in time that became durable only after the deadline is a fault."""
        decision, capture = ticket.decision, ticket.capture
        assert decision is not None
        assert ticket.number is not None
        if decision.outcome != FAULT:  # else the transaction is tried again
            over = f"the outcome was {decision.outcome} and became durable only after the deadline"
            ticket.decision = decision = replace(decision, outcome=FAULT, reason=f"{LATE}: {over}")
            ticket.latency_ms = (time.monotonic_ns() - capture.clock_ns) / 1e6
            ticket.picture = self._plan(ticket)
        journal.withdraw(ticket.number, decision, ticket.latency_ms, ticket.picture)

    def _end(self, ticket: Ticket) -> None:
        with self._changed:
            self._open -= 1
        ticket.done(ticket)
        ticket.frame = ticket.overlay = None  # the list of deadlines keeps the ticket for longer

    def _commit(self, batch: list[_Write]) -> None:
        self._transact([each.write for each in batch])
        late = [ticket for ticket in self._written if _became_durable_late(ticket)]
        if late:
            self._transact([partial(self._withdraw, ticket) for ticket in late])
        self.number = self._journal.number  # not before: sinks are given all up to it
        if self.blocked:
            _log.warning("the journal can be written again")
            with self._changed:
                self.blocked = False
                self._changed.notify_all()

    def _transact(self, writes: Sequence[Callable[[Journal], None]]) -> None:
        """Makes all of it durable, however often that must be tried."""
        while True:
            began = time.monotonic()
            self._written = []
            try:
                with self._journal.transaction():
                    for write in writes:
                        write(self._journal)
            except sqlite3.OperationalError as error:
                self._wait_for_disk(error)
                continue
            self._commits_s.append(time.monotonic() - began)
            return

    def _wait_for_disk(self, error: sqlite3.OperationalError) -> None:
        """Makes room, or waits a moment.

        Raises:
            sqlite3.OperationalError: the station is closing, and the disk takes nothing.
        """
        if "locked" not in str(error) and self._make_room():  # locked: another program writes, such as `edge-ad label`
            return
        if not self.blocked:
            _log.error("the journal cannot be written (%s): no trigger is accepted until it can", error)
        with self._changed:
            self.blocked = True
            if self._closing:
                raise error
            self._changed.wait(_RETRY_S)


def _accept(journal: Journal, ticket: Ticket) -> None:
    """A source that gives a part id again means another part: one that it knows, it has left out."""
    ticket.part_id = ticket.capture.part_id
    if not journal.accept(ticket.capture):
        ticket.part_id = journal.free(ticket.capture.camera, ticket.capture.part_id)
        if not journal.accept(replace(ticket.capture, part_id=ticket.part_id)):
            raise RuntimeError(f"the journal takes no trigger {ticket.capture.camera} {ticket.part_id}")


def _became_durable_late(ticket: Ticket) -> bool:
    """Asked at once after the commit."""
    assert ticket.decision is not None
    return ticket.decision.outcome != FAULT and time.monotonic_ns() > ticket.deadline_ns


def _accepted(ticket: Ticket) -> None:
    ticket.accepted = True
