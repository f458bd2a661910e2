"""Sinks: at least once, in order, again after a failure, and on after a restart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edge_ad.errors import EdgeADError
from edge_ad.station import outbox
from edge_ad.station.config import SinkConfig
from edge_ad.station.desk import Desk, Ticket
from edge_ad.station.journal import Journal
from edge_ad.station.outbox import Outbox
from edge_ad.station.outcomes import OUTCOMES, Decision
from edge_ad.station.sinks.base import Message, NotYet
from tests.station.making import capture, wait_for


class Recorder:
    """A sink that fails as often as it is told to."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.fails: list[Exception] = []
        self.closed = 0

    def deliver(self, messages: Sequence[Message]) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.got += messages

    def close(self) -> None:
        self.closed += 1


class Bites(Recorder):
    """Takes two at a time, and fails in between where it is told to."""

    def deliver(self, messages: Sequence[Message]) -> int | None:
        super().deliver(messages[:2])
        return messages[:2][-1].row.number


class Made:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, sink: Any = None) -> None:
        self.folder, self.sink = folder, sink or Recorder()
        monkeypatch.setattr(outbox.SINKS, "open", lambda kind, opening: self.sink)
        self.desk = Desk(folder / "journal.sqlite")

    def open(self, *what: str) -> Outbox:
        config = SinkConfig("made-1", "made", what or OUTCOMES, ())
        self.outbox = Outbox(config, "station", self.folder, self.desk)
        return self.outbox

    def decide(self, *outcomes: str) -> None:
        done: list[Ticket] = []
        for outcome in outcomes:
            ticket = self.desk.accept(capture(f"part {self.desk.number}-{len(done)}-{outcome}"), 6e5, done.append)
            assert ticket is not None
            self.desk.decide(ticket, Decision(outcome))
            wait_for(lambda ticket=ticket: ticket.number)
        self.outbox.wake()
        assert self.desk.flush(60)

    def numbers(self) -> list[int]:
        return [message.row.number or 0 for message in self.sink.got]

    def close(self) -> None:
        self.outbox.close(60)
        self.desk.close()


def test_what_it_asks_for_in_order_and_on_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(tmp_path, monkeypatch)
    made.open("reject", "fault")
    made.decide("good", "reject", "good", "fault", "good")
    made.close()
    assert made.numbers() == [2, 4]
    assert len({message.key for message in made.sink.got}) == 2
    again = Made(tmp_path, monkeypatch)
    again.open("reject", "fault")
    again.decide("reject")
    again.close()
    assert again.numbers() == [6]


def test_a_sink_that_fails_is_given_everything_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_PAUSE_S", (0.001, 0.002))
    made = Made(tmp_path, monkeypatch)
    made.open()
    made.sink.fails = [OSError("disk full"), NotYet(), ConnectionError("gone"), ValueError("x")]
    made.decide("good", "reject", "good")
    wait_for(lambda: not made.outbox.behind)
    made.decide("good")
    made.close()
    assert made.numbers() == [1, 2, 3, 4]
    assert made.sink.closed == 1


def test_many_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_BATCH", 3)
    made = Made(tmp_path, monkeypatch)
    made.open("good")
    made.decide(*(["good", "reject"] * 8))
    wait_for(lambda: not made.outbox.behind)
    made.close()
    assert made.numbers() == list(range(1, 17, 2))


def test_a_new_sink_begins_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(tmp_path, monkeypatch)
    made.outbox = None  # type: ignore[assignment]
    ticket = made.desk.accept(capture("before"), 6e5, lambda ticket: None)
    assert ticket is not None
    made.desk.decide(ticket, Decision("good"))
    assert made.desk.flush(60)
    made.open()
    made.decide("good")
    made.close()
    assert made.numbers() == [2]


def test_what_a_crash_left_undelivered_is_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sink had it, and the journal did not know: it comes again with the same key."""
    made = Made(tmp_path, monkeypatch)
    made.open()
    made.decide("good", "good")
    wait_for(lambda: not made.outbox.behind)
    made.desk.write(lambda journal: journal.delivered("made-1", 1))
    made.close()
    first = {message.row.number: message.key for message in made.sink.got}
    again = Made(tmp_path, monkeypatch)
    again.open()
    wait_for(lambda: not again.outbox.behind)
    again.close()
    assert {message.row.number: message.key for message in again.sink.got} == {2: first[2]}
    assert json.dumps(again.sink.got[0].row.to_dict())


def test_a_sink_that_takes_a_part_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(tmp_path, monkeypatch, Bites())
    made.sink.fails = [OSError("away")]
    made.open("reject")
    made.decide("reject", "good", "reject", "reject", "good", "reject", "reject", "good")
    wait_for(lambda: not made.outbox.behind)
    made.close()
    assert made.numbers() == [1, 3, 4, 6, 7]
    again = Made(tmp_path, monkeypatch)
    assert not again.open("reject").behind
    again.close()


@pytest.mark.parametrize("fails", ["__init__", "position"])
def test_a_sink_is_closed_where_the_journal_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """A connection that nobody has any more would keep its port and its threads."""
    made, closed = Made(tmp_path, monkeypatch), []

    def broken(*given: object) -> None:
        raise EdgeADError("the journal cannot be used")

    inner = Journal.close
    monkeypatch.setattr(outbox.Journal, fails, broken)
    monkeypatch.setattr(outbox.Journal, "close", lambda journal: closed.append(inner(journal)))
    with pytest.raises(EdgeADError, match="cannot be used"):
        made.open()
    assert made.sink.closed == 1
    assert len(closed) == (fails == "position")
    made.desk.close()


def test_a_sink_that_waits_is_told_of_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openings = []

    class Waits(Recorder):
        def deliver(self, messages: Sequence[Message]) -> None:
            self.got += messages
            assert openings[0].stopping.wait(600)
            raise NotYet

    made = Made(tmp_path, monkeypatch, Waits())
    monkeypatch.setattr(outbox.SINKS, "open", lambda kind, opening: openings.append(opening) or made.sink)
    made.open()
    made.decide("good")
    wait_for(lambda: made.sink.got)
    openings[0].tell("something")
    made.outbox.close(0)
    made.desk.flush(60)
    with Journal(tmp_path / "journal.sqlite") as journal:
        assert [event[3] for event in journal.events()] == ["made-1: something"]
        assert journal.position("made-1") == 0
    made.desk.close()


def test_another_cause_is_said_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_PAUSE_S", (0.01, 0.01))
    made = Made(tmp_path, monkeypatch)
    made.sink.fails = [OSError("away"), OSError("away"), OSError("401"), OSError("401"), OSError("401")]
    made.open()
    made.decide("good")
    wait_for(lambda: not made.outbox.behind)
    made.close()
    with Journal(tmp_path / "journal.sqlite") as journal:
        told = [event[3].rpartition(": ")[2] for event in journal.events()]
    assert told == ["401", "away"]
