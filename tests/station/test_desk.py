"""The desk: exactly one outcome, at the deadline the latest, also where the disk takes nothing."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad.errors import EdgeADError
from edge_ad.station import desk as module
from edge_ad.station.desk import Desk, Ticket
from edge_ad.station.journal import Journal, Row
from edge_ad.station.outcomes import Decision, fault
from tests.station.making import capture, wait_for

GOOD = Decision("good", "", 0.25, 0.5)
LONG_MS = 600_000.0


class Made:
    """A desk, and the tickets that are done."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.path, self.done = folder / "j", list[Ticket]()
        self.desk = Desk(self.path, **options)

    def accept(self, part_id: str = "a", deadline_ms: float = LONG_MS, **options: Any) -> Ticket:
        ticket = self.desk.accept(capture(part_id, **options), deadline_ms, self.done.append)
        assert ticket is not None
        return ticket

    def rows(self) -> list[Row]:
        assert self.desk.flush(60)
        with Journal(self.path) as journal:
            return list(journal.rows())


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    made = Made(tmp_path)
    yield made
    made.desk.close()


def test_the_first_decision_stands(made: Made) -> None:
    ticket = made.accept(frame=np.zeros((4, 4), np.uint8))
    assert made.desk.decide(ticket, GOOD)
    assert not made.desk.decide(ticket, fault("engine", "x"))
    (row,) = made.rows()
    assert (row.outcome, row.score) == ("good", 0.25)
    assert wait_for(lambda: made.done) == [ticket]
    wait_for(lambda: ticket.frame is None)
    assert (ticket.number, made.desk.open_triggers, made.desk.number) == (1, 0, 1)


def test_without_a_verdict_the_deadline_is_a_fault(made: Made) -> None:
    ticket = made.accept(deadline_ms=20)
    wait_for(lambda: ticket.number)
    assert not made.desk.decide(ticket, GOOD)
    (row,) = made.rows()
    assert row.outcome == "fault"
    assert row.reason == "late: there was no verdict at the deadline"


def test_a_clock_that_is_set_back_changes_no_deadline(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.accept("before")
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    late, good = made.accept("late", deadline_ms=20), made.accept("good")
    assert made.desk.decide(good, GOOD)
    wait_for(lambda: late.number and good.number)
    found = {row.part_id: row for row in made.rows()}
    assert [found[name].outcome for name in ("before", "late", "good")] == [None, "fault", "good"]
    assert found["good"].time_ns == 10**18
    assert found["before"].time_ns > 10**18
    assert found["late"].latency_ms is not None
    assert found["late"].latency_ms >= 0


def test_a_part_id_that_is_used_again_is_another_part(made: Made) -> None:
    for ticket in [made.accept("a"), made.accept("a"), made.accept("a", camera="side")]:
        made.desk.decide(ticket, GOOD)
    assert [(row.camera, row.part_id) for row in made.rows()] == [("top", "a"), ("top", "a~2"), ("side", "a")]


def test_a_part_id_that_is_used_all_day(made: Made) -> None:
    """Were each number tried in turn, the parts of a controller that sends one id would all be late at some time."""
    with contextlib.closing(Journal(made.path, writes=True)) as journal, journal.transaction():
        for name in ("a", *(f"a~{number}" for number in range(2, 3000))):
            journal.accept(capture(name))
    with Journal(made.path) as journal:
        looked: list[str] = []
        known = journal.known
        journal.known = lambda camera, part: looked.append(part) or known(camera, part)  # type: ignore[method-assign]
        assert journal.free("top", "a") == "a~3000"
        assert len(looked) < 30
        assert (journal.free("top", "b"), journal.free("side", "a")) == ("b", "a")
    tickets = [made.accept("a"), made.accept("a")]
    assert made.desk.flush(60)
    assert [ticket.part_id for ticket in tickets] == ["a~3000", "a~3001"]


def test_what_comes_during_a_commit_is_committed_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits, go = [], threading.Event()
    inner = Desk._commit

    def slowly(self: Desk, batch: list[Any]) -> None:
        commits.append(len(batch))
        go.wait(60)
        inner(self, batch)

    monkeypatch.setattr(Desk, "_commit", slowly)
    made = Made(tmp_path)
    tickets = [made.accept("first")]
    wait_for(lambda: commits)
    tickets += [made.accept(f"{number}") for number in range(50)]
    assert all(made.desk.decide(ticket, GOOD) for ticket in tickets)
    go.set()
    assert len(made.rows()) == 51
    made.desk.close()
    assert commits == [1, 101]


class Disk:
    """A disk that is full while it is told to be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        inner = Journal.accept, Journal.decide

        def refuse() -> None:
            if self.full:
                raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(Journal, "accept", lambda *a: (refuse(), inner[0](*a))[1])
        monkeypatch.setattr(Journal, "decide", lambda *a: (refuse(), inner[1](*a))[1])


def test_on_a_full_disk_nothing_is_accepted_and_verdicts_that_come_too_late_are_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, made = Disk(monkeypatch), Made(tmp_path)
    in_time, late = made.accept("in time"), made.accept("late", deadline_ms=300)
    assert made.desk.flush(60)
    disk.full = True
    made.desk.decide(in_time, GOOD)
    made.desk.decide(late, GOOD)
    wait_for(lambda: made.desk.blocked)
    assert made.desk.accept(capture("c"), LONG_MS, made.done.append, lambda: True) is None
    time.sleep(max(0.0, (late.deadline_ns - time.monotonic_ns()) / 1e9))
    disk.full = False
    found = {row.part_id: row for row in made.rows()}
    assert found["in time"].outcome == "good"
    assert found["late"].outcome == "fault"
    assert found["late"].reason.startswith("late: ")
    assert "c" not in found
    made.accept("again")
    assert not made.desk.blocked
    made.desk.close()


def test_room_that_is_made_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)

    def make_room() -> bool:
        disk.full = False
        return True

    made = Made(tmp_path, make_room=make_room)
    disk.full = True
    made.desk.decide(made.accept(), GOOD)
    assert [row.outcome for row in made.rows()] == ["good"]
    assert not made.desk.blocked
    made.desk.close()


def test_a_journal_that_fails_stops_everything(made: Made) -> None:
    def fail(journal: Journal) -> None:
        raise sqlite3.DatabaseError("malformed")

    made.desk.write(fail)
    wait_for(lambda: made.desk.failed)
    assert made.desk.accept(capture(), LONG_MS, made.done.append) is None
    assert not made.desk.flush(60)


def test_closing_on_a_full_disk_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, made = Disk(monkeypatch), Made(tmp_path)
    disk.full = True
    made.accept()
    wait_for(lambda: made.desk.blocked)
    made.desk.close()
    assert made.desk.failed is not None
    assert made.desk.accept(capture(), LONG_MS, made.done.append) is None


def test_after_a_stop_the_numbers_go_on(tmp_path: Path) -> None:
    made = Made(tmp_path)
    made.desk.decide(made.accept("a"), GOOD)
    made.accept("open")
    made.desk.close()
    again = Made(tmp_path)
    assert again.desk.recovered == 1
    again.desk.decide(again.accept("b"), GOOD)
    assert [(row.part_id, row.number) for row in again.rows()] == [("a", 1), ("open", 2), ("b", 3)]
    again.desk.close()


def test_tickets_that_have_ended_are_not_kept_until_their_deadline(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DEADLINES", 10)
    late = made.accept("late", deadline_ms=2000)
    for number in range(100):
        assert made.desk.decide(made.accept(f"{number}"), GOOD)
        assert made.desk.flush(60)
    assert len(made.desk._deadlines) <= 20
    wait_for(lambda: late.number)
    assert late.decision is not None
    assert late.decision.outcome == "fault"


def test_another_writer_costs_no_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, failed = Journal.accept, list[int]()

    def locked(self: Journal, given: Any) -> bool:
        if not failed:
            failed.append(1)
            raise sqlite3.OperationalError("database is locked")
        return inner(self, given)

    monkeypatch.setattr(Journal, "accept", locked)
    asked: list[int] = []
    made = Made(tmp_path, make_room=lambda: not asked.append(1))
    made.desk.decide(made.accept(), GOOD)
    assert [row.outcome for row in made.rows()] == ["good"]
    assert (failed, asked) == ([1], [])
    made.desk.close()


def test_what_becomes_durable_after_the_deadline_is_a_fault_before_anybody_is_told(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very commit stalls that holds the decision, and takes longer than what is left."""
    inner, seen = Journal.transaction, list[tuple[str, int]]()

    @contextlib.contextmanager
    def stalling(self: Journal) -> Iterator[None]:
        with inner(self):
            yield
        found = self.one("SELECT outcome FROM triggers WHERE part_id = 'a'")
        seen.append((found, made.desk.number))
        while found == "good" and time.monotonic_ns() <= ticket.deadline_ns:
            time.sleep(0.01)

    ticket = made.accept(deadline_ms=2000)
    assert made.desk.flush(60)
    monkeypatch.setattr(Journal, "transaction", stalling)
    assert made.desk.decide(ticket, GOOD)
    (row,) = made.rows()
    assert (row.outcome, row.number, row.score) == ("fault", 1, 0.25)
    assert row.reason == "late: the outcome was good and became durable only after the deadline"
    assert seen[:2] == [("good", 0), ("fault", 0)]  # sinks are given what is up to the desk's number
    wait_for(lambda: made.desk.number == 1)
    assert ticket.decision is not None
    assert ticket.decision.outcome == "fault"


def test_a_start_on_a_full_disk_takes_the_reserve_or_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, room = Journal.recover, [True, False]

    def full(self: Journal, *arguments: Any) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    def take() -> bool:
        monkeypatch.setattr(Journal, "recover", inner)
        return room.pop(0)

    monkeypatch.setattr(Journal, "recover", full)
    Desk(tmp_path / "j", make_room=take).close()
    monkeypatch.setattr(Journal, "recover", full)
    with pytest.raises(EdgeADError, match=r"cannot be used.*disk is full"):
        Desk(tmp_path / "j", make_room=take)
