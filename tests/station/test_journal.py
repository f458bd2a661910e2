"""The journal: one outcome a trigger, numbers without gaps, and what is left after a crash."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from edge_ad.errors import EdgeADError
from edge_ad.station.events import EventKind
from edge_ad.station.journal import KEPT, LOST, PLANNED, Journal, iso
from edge_ad.station.outcomes import Decision, fault
from tests.station.making import capture

GOOD = Decision("good", "", 0.25, 0.5, 0.9, "b", "f32", "openvino", 2, "")


def test_an_outcome_is_given_once(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", writes=True) as journal:
        with journal.transaction():
            assert journal.accept(capture("a"))
            assert not journal.accept(capture("a"))
            assert journal.accept(capture("a", camera="side"))
            assert journal.decide("top", "a", capture("a", sequence=7), GOOD, 1.5, "p.png") == 1
            assert journal.decide("top", "a", capture("a"), fault("late", "x"), 1.5, "") is None
        (row, other) = journal.rows()
        assert (row.outcome, row.score, row.sequence, row.kept) == ("good", 0.25, 7, PLANNED)
        assert other.outcome is None
        assert row.to_dict()["picture"] == "p.png"
        assert journal.next_sequence("top") == 8
        assert journal.next_sequence("none") == 0


def test_the_score_is_kept_to_the_bit(tmp_path: Path) -> None:
    score = 0.1 + 0.2
    with Journal(tmp_path / "j", writes=True) as journal, journal.transaction():
        journal.accept(capture())
        journal.decide("top", "a", capture(), Decision("reject", "", score, 5e-324), 1.0, "")
    with Journal(tmp_path / "j") as journal:
        (row,) = journal.rows()
    assert (row.score, row.threshold) == (score, 5e-324)


def test_what_a_crash_leaves_is_a_fault(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", writes=True) as journal, journal.transaction():
        for part in "abc":
            journal.accept(capture(part))
        journal.decide("top", "b", capture("b"), GOOD, 1.0, "p.png")
    with Journal(tmp_path / "j", writes=True) as journal:
        assert journal.number == 1
        assert journal.recover() == 2
        assert journal.recover() == 0
        found = {row.part_id: (row.number, row.outcome) for row in journal.rows()}
        assert found == {"a": (2, "fault"), "b": (1, "good"), "c": (3, "fault")}
        assert [row.kept for row in journal.rows("part_id = 'b'")] == [LOST]
        assert next(journal.rows("part_id = 'a'")).reason.startswith("restart: ")


def test_a_transaction_that_fails_changes_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", writes=True) as journal:
        with contextlib.suppress(ZeroDivisionError), journal.transaction():
            journal.accept(capture())
            journal.decide("top", "a", capture(), GOOD, 1.0, "")
            raise ZeroDivisionError
        assert journal.number == 0
        assert list(journal.rows()) == []


def test_it_is_durable_and_read_while_it_is_written(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", writes=True) as writer, Journal(tmp_path / "j") as reader:
        assert writer.one("PRAGMA journal_mode") == "wal"
        assert writer.one("PRAGMA synchronous") == 2
        with writer.transaction():
            writer.accept(capture())
            assert not reader.known("top", "a")
        assert reader.known("top", "a")
        with pytest.raises(sqlite3.OperationalError):
            reader.event(0, "", EventKind.START, "b")


def test_old_rows_go_when_nobody_needs_them(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", writes=True) as journal:
        with journal.transaction():
            for part in "abcdef":
                journal.accept(capture(part))
                journal.decide("top", part, capture(part), GOOD, 1.0, "p" if part == "c" else "")
            journal.picture_done(3, KEPT, 10)
            journal.delivered("slow", 4)
            assert journal.label("top", "b", "defect")
            assert not journal.label("top", "none", "defect")
        with journal.transaction():
            assert journal.forget(2**62, 100) == 2
        assert [row.part_id for row in journal.rows()] == ["b", "c", "e", "f"]
        with journal.transaction():
            journal.keep_sinks(())
            assert journal.forget(2**62, 100) == 1  # the last number stays: the next one follows it
        assert [row.part_id for row in journal.rows()] == ["b", "c", "f"]


def test_bundles_that_followed_one_another(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", writes=True) as journal:
        for bundle in ("1", "1", "2", "2", "1"):
            journal.adopted("top", bundle, 0)
        assert journal.bundles_of("top") == ["1", "2", "1"]


def test_what_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(EdgeADError, match="there is no journal"):
        Journal(tmp_path / "none")
    (tmp_path / "text").write_text("a text that is long enough to be no database" * 50)
    for writes in (False, True):
        with pytest.raises(EdgeADError, match="cannot be used"):
            Journal(tmp_path / "text", writes=writes)
    with Journal(tmp_path / "j", writes=True):
        pass
    db = sqlite3.connect(tmp_path / "j")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(EdgeADError, match="not a journal that this version reads"):
        Journal(tmp_path / "j", writes=True)


def test_times_are_told_in_utc() -> None:
    assert iso(1_764_433_805_123_999_999) == "2025-11-29T16:30:05.123Z"


def test_tables_that_are_damaged_are_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path, writes=True):
        pass
    db = sqlite3.connect(path)
    db.execute("DROP TABLE triggers")
    db.commit()
    db.close()
    with pytest.raises(EdgeADError, match="no such table"):
        Journal(path)


def test_damage_that_a_reader_meets_later(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", writes=True):
        pass
    with pytest.raises(EdgeADError, match=r"cannot be used.*malformed"), Journal(tmp_path / "j"):
        raise sqlite3.DatabaseError("database disk image is malformed")


def test_a_journal_of_version_1_is_read_and_brought_up_to_date(tmp_path: Path) -> None:
    """As an edge-ad before the alarms left it."""
    path = tmp_path / "j"
    with Journal(path, writes=True) as journal, journal.transaction():
        journal.event(0, "top", EventKind.START, "x")
    db = sqlite3.connect(path)
    db.execute("DROP TABLE alarms")
    db.execute("PRAGMA user_version = 1")
    db.close()
    with Journal(path) as journal:
        assert journal.alarms() == []
        assert len(journal.events()) == 1
    with Journal(path, writes=True) as journal, journal.transaction():
        journal.latch("lost:top", "top", "lost", "x", 1)
    with Journal(path) as journal:
        assert journal.alarms() == [("lost:top", "top", "lost", "x", 1)]
        assert len(journal.events()) == 1


def test_a_query_that_takes_too_long_ends(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", writes=True):
        pass
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with Journal(tmp_path / "j") as journal:
        journal.give_up_after(0.05)
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            journal.one(slow)
