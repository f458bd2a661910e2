"""What goes first: good parts, the oldest; rejects last; labelled ones never."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_ad.station import retention
from edge_ad.station.config import Retention
from edge_ad.station.desk import Desk, Ticket
from edge_ad.station.journal import Journal, Row
from edge_ad.station.outcomes import Decision
from edge_ad.station.retention import Keeper
from tests.station.making import capture, wait_for

DAY_NS = 86400 * 10**9


class Kept:
    """A data folder with ten pictures of 1 MB: four good, four rejects, two faults; 1 good is labelled."""

    def __init__(self, folder: Path, **settings: float) -> None:
        self.data = folder
        values: dict[str, object] = {"max_gb": 1.0, "min_free_gb": 0.0, "good_sample": 1.0, "days": None, **settings}
        self.keeper = Keeper(folder, Retention(**values))  # type: ignore[arg-type]
        self.desk = Desk(folder / "journal.sqlite", lambda ticket: f"pictures/{ticket.part_id}.png")
        done: list[Ticket] = []
        for at, outcome in enumerate(["good", "reject", "fault", "good", "reject"] * 2):
            part = f"{outcome}-{at}"
            ticket = self.desk.accept(capture(part), 6e5, done.append)
            assert ticket is not None
            self.desk.decide(ticket, Decision(outcome))
            wait_for(lambda ticket=ticket: ticket.number)
            (folder / "pictures").mkdir(exist_ok=True)
            (folder / "pictures" / f"{part}.png").write_bytes(b"x" * 1000)
            number = ticket.number
            self.desk.write(lambda journal, number=number: journal.picture_done(number, 2, 10**6))
        self.desk.write(lambda journal: journal.label("top", "good-0", "good") and None)
        assert self.desk.flush(60)

    def left(self) -> list[str]:
        assert self.desk.flush(60)
        found = sorted(path.stem for path in (self.data / "pictures").rglob("*.png"))
        with Journal(self.data / "journal.sqlite") as journal:
            assert sorted(row.part_id for row in journal.rows("kept = 2")) == found
        return found

    def rows(self) -> list[Row]:
        assert self.desk.flush(60)
        with Journal(self.data / "journal.sqlite") as journal:
            return list(journal.rows())

    def look(self) -> None:
        self.keeper._desk, self.keeper._journal = self.desk, Journal(self.data / "journal.sqlite")
        self.keeper.look()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(retention, "RESERVE_BYTES", 10**5)
    monkeypatch.setattr(retention, "_BATCH", 1)
    return tmp_path


@pytest.mark.parametrize(
    ("most", "left"),
    [
        (10, 10),
        (9, ["fault-2", "fault-7", "good-0", "good-5", "good-8", "reject-1", "reject-4", "reject-6", "reject-9"]),
        (6, ["fault-7", "good-0", "reject-1", "reject-4", "reject-6", "reject-9"]),
        (2, ["good-0", "reject-9"]),
        (0.5, ["good-0"]),
    ],
)
def test_the_order(folder: Path, most: float, left: object) -> None:
    kept = Kept(folder, max_gb=most / 1000)
    kept.look()
    found = kept.left()
    kept.keeper.close()
    kept.desk.close()
    assert (len(found) if isinstance(left, int) else found) == left


def test_what_is_to_stay_free(folder: Path) -> None:
    kept = Kept(folder, min_free_gb=1e5)
    kept.look()
    assert kept.left() == ["good-0"]
    kept.keeper.close()
    kept.desk.close()


def later(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """So many days go by."""
    now, running = time.time_ns(), retention._running_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + round(days * DAY_NS))
    monkeypatch.setattr(retention, "_running_ns", lambda: running + round(days * DAY_NS))


def test_age(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(folder, days=2.0)
    kept.look()
    assert len(kept.left()) == 10
    later(monkeypatch, 3)
    kept.desk.write(lambda journal: journal.delivered("slow", 5))
    kept.look()
    assert kept.left() == ["good-0"]
    kept.look()  # the rows, once they say that their pictures are gone
    kept.look()
    assert [row.number for row in kept.rows()] == [1, 6, 7, 8, 9, 10]  # what the sink has not got stays
    kept.keeper.close()
    kept.desk.close()


def test_a_clock_that_is_set_removes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(folder, days=2.0)
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 3000 * DAY_NS)
    kept.look()
    kept.look()
    assert len(kept.left()) == 10
    with Journal(folder / "journal.sqlite") as journal:
        ((_, _, kind, text),) = journal.events()
    assert (kind, "+72000.0 hours" in text) == ("clock", True)
    monkeypatch.setattr(time, "time_ns", lambda: now)  # it is right again
    later(monkeypatch, 3)
    kept.look()
    assert kept.left() == ["good-0"]
    kept.keeper.close()
    kept.desk.close()


def test_bundles_that_no_row_names_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(folder, days=2.0)
    bundles = folder / "bundles"
    bundles.mkdir()
    monkeypatch.setattr(retention, "_BUNDLES", 2)
    for at, name in enumerate(("first", "named", "before", "now")):
        (bundles / f"{name}.bundle").write_bytes(b"")
        kept.desk.write(lambda journal, name=name, at=at: journal.adopted("top", name, at))
    (bundles / "new.bundle").write_bytes(b"")
    ticket = kept.desk.accept(capture("n"), 6e5, lambda ticket: None)
    assert ticket is not None
    kept.desk.decide(ticket, Decision("reject", bundle="named"))
    assert kept.desk.flush(60)
    old = time.time() - 2 * 86400
    for name in ("first", "named", "before", "now"):
        os.utime(bundles / f"{name}.bundle", (old, old))
    kept.look()
    assert sorted(path.stem for path in bundles.iterdir()) == ["before", "named", "new", "now"]
    kept.keeper.close()
    kept.desk.close()


def test_the_reserve(folder: Path) -> None:
    kept = Kept(folder)
    kept.look()
    assert (folder / "reserve").stat().st_size == 10**5
    assert kept.keeper.make_room_for_journal()
    assert not (folder / "reserve").exists()
    assert not kept.keeper.make_room_for_journal()
    assert not kept.keeper.make_room_for_picture()
    kept.look()
    assert kept.keeper.has_reserve
    assert (folder / "reserve").stat().st_size == 10**5
    assert kept.keeper.make_room_for_picture()
    kept.keeper.close()
    kept.desk.close()


def test_events_do_not_fill_the_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_EVENTS", 10)
    kept = Kept(folder)
    for at in range(40):
        kept.desk.event("top", "drops", str(at))
    assert kept.desk.flush(60)
    kept.look()
    assert kept.desk.flush(60)
    with Journal(folder / "journal.sqlite") as journal:
        assert [text for *_, text in journal.events()] == [str(at) for at in range(39, 29, -1)]
    kept.keeper.close()
    kept.desk.close()
