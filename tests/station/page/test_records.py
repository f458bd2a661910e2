"""What the page asks the journal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edge_ad.errors import SpecError
from edge_ad.sources.base import Capture
from edge_ad.station.journal import Journal
from edge_ad.station.outcomes import Decision, fault
from edge_ad.station.page import records
from edge_ad.station.page.records import Filter

NOON = int(datetime(2026, 3, 29, 12).timestamp() * 1e9)  # of a day with 23 hours, where clocks change


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """100 outcomes of two cameras in turn, one in five a reject, one a fault; a trigger without an outcome."""
    with Journal(tmp_path / "journal.sqlite", writes=True) as journal:
        with journal.transaction():
            for at in range(100):
                camera = ("top", "side")[at % 2]
                capture = Capture(camera, at // 2, f"Part_{at:03d}%", "test:", NOON + at * 10**9, 0, None)
                journal.accept(capture)
                score = 3.0 if at % 5 == 0 else 1.0
                decision = Decision("reject" if at % 5 == 0 else "good", "", score, 2.0, bundle="b")
                journal.decide(camera, capture.part_id, capture, decision if at != 99 else fault("late", "x"), 5.0, "")
            journal.accept(Capture("top", 50, "open", "test:", NOON, 0, None))
            journal.label("top", "Part_000%", "good")
            journal.label("side", "Part_005%", "defect")
        yield journal


def numbers(found: records.Found) -> list[int]:
    return [row.number or 0 for row in found.rows]


def asked(journal: Journal, wanted: Filter, before: int | None = None, after: int | None = None, most: int = 8) -> list:
    found = records.gallery(journal, wanted, ["top", "side"], before, after, most)
    return [numbers(found), found.newer, found.older]


def test_pages_of_rejects_there_and_back(journal: Journal) -> None:
    rejects = list(range(96, 0, -5))  # numbers from 1
    first, none, older = asked(journal, Filter())
    assert (first, none) == (rejects[:8], None)
    second, newer, further = asked(journal, Filter(), before=older)
    assert (second, newer) == (rejects[8:16], rejects[8])
    last, newer, end = asked(journal, Filter(), before=further)
    assert (last, end) == (rejects[16:], None)
    assert asked(journal, Filter(), after=newer) == [rejects[8:16], rejects[8], rejects[15]]
    assert asked(journal, Filter(), after=rejects[8]) == [rejects[:8], None, rejects[7]]
    assert asked(journal, Filter(), before=1) == [[], None, None]


def test_filters(journal: Journal) -> None:
    assert asked(journal, Filter(label="good"))[0] == [1]
    assert asked(journal, Filter(label="defect", camera="top"))[0] == []
    assert asked(journal, Filter(outcome="fault"))[0] == [100]
    assert len(asked(journal, Filter(outcome="all", label="none"), most=200)[0]) == 98
    assert asked(journal, Filter(outcome="all", camera="side"), most=3)[0] == [100, 98, 96]
    assert len(asked(journal, Filter(day="2026-03-29"), most=200)[0]) == 20
    assert asked(journal, Filter(day="2026-03-30"))[0] == []


def test_search_by_part_id(journal: Journal) -> None:
    everything = {"outcome": "all"}
    assert asked(journal, Filter(part="part_09", **everything))[0] == list(range(100, 92, -1))
    assert asked(journal, Filter(part="Part_042%", **everything))[0] == [43]
    for nothing in ("a_0", "0%0", "\\", "'; DROP TABLE triggers; --", "open"):
        assert asked(journal, Filter(part=nothing, **everything))[0] == []
    assert asked(journal, Filter(part="Part_042%"))[0] == []  # it was good


def test_older_parts_are_found_by_their_whole_id(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "FAR", 10)
    found = records.gallery(journal, Filter(), ["top", "side"])
    assert numbers(found) == [96, 91]
    assert found.far
    assert asked(journal, Filter(part="Part_005"))[0] == []
    assert asked(journal, Filter(part="Part_005%"))[0] == [6]


def test_a_part_and_those_beside_it(journal: Journal) -> None:
    row = records.part(journal, "side", 6)
    assert row is not None
    assert row.part_id == "Part_005%"
    assert [records.part(journal, *each) for each in (("top", 6), ("side", 10**6), ("side", 2**70))] == [None] * 3
    newer, older = records.beside(journal, Filter(), 6)
    assert [newer and newer.number, older and older.number] == [11, 1]
    newer, older = records.beside(journal, Filter(), 96)
    assert [newer, older and older.number] == [None, 91]


def test_scores_and_what_can_be_learned(journal: Journal) -> None:
    assert [row.number for row in records.scores(journal, "top", 3)] == [95, 97, 99]
    assert [row.number for row in records.confirmed(journal, "top", 9)] == [1]
    assert records.confirmed(journal, "side", 9) == []


@pytest.mark.parametrize(
    "given", [{"outcome": "x"}, {"label": "x"}, {"day": "29.3.2026"}, {"day": "9999-12-31"}, {"day": "0001-01-01"}]
)
def test_a_filter_that_is_none(given: dict[str, str]) -> None:
    try:
        wanted = Filter(**given)
    except SpecError:
        return
    start, end = wanted.span()  # some systems know times so far away
    assert timedelta(hours=22) < timedelta(seconds=(end - start) / 1e9) < timedelta(hours=26)


def test_the_query_of_a_filter() -> None:
    assert Filter().query() == ""
    assert Filter(camera="a&b", part="\udc80").query(before=7) == "camera=a%26b&part=%5Cudc80&before=7"
