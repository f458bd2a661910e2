"""A configuration that is read again is taken over as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edge_ad.errors import EdgeADError
from edge_ad.station.config import load_config
from edge_ad.station.events import EventKind
from edge_ad.station.journal import Journal
from edge_ad.station.line import Line
from edge_ad.station.links import Links
from edge_ad.station.outbox import Outbox
from edge_ad.station.page import host
from edge_ad.station.plc.base import LinkOpening, LinkState
from edge_ad.station.plc.table import LINKS
from edge_ad.station.station import Station
from edge_ad.system.keys import Key, whole
from tests.station.making import lines, rows, wait_for, write_config, write_frames

KEYS = {"port": Key(whole(0, 9), "of it", 0)}  # what the module of a kind of link has: this one is registered as one

BEFORE = """
[station]
http = "127.0.0.1:1"
[[plc]]
kind = "test"
port = 1
[[sink]]
kind = "jsonl"
path = "out.jsonl"
name = "lines"
"""
AFTER = """
[station]
http = "127.0.0.1:2"
[[camera]]
name = "side"
source = "folder:more"
bundle = "part.bundle"
threads = 1
[[plc]]
kind = "test"
port = 2
[[sink]]
kind = "csv"
path = "out.csv"
name = "table"
[retention]
good_sample = 1
"""


class Opened:
    """A link or a page that is counted while it is open."""

    there: ClassVar[list[object]] = []
    gone = ""

    def __init__(self, what: object) -> None:
        self.what = what
        Opened.there.append(what)

    def state(self) -> LinkState:
        return LinkState(True, "fine")

    def close(self) -> None:
        if self.what in Opened.there:
            Opened.there.remove(self.what)


def open_link(opening: LinkOpening) -> Opened:
    return Opened(opening.options["port"])


@pytest.fixture
def station(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Station]:
    """With a page and a link that only say that they are open."""
    Opened.there = []
    (place / "more").mkdir()
    monkeypatch.setitem(LINKS, "test", __name__)
    monkeypatch.setattr(host.extra, "missing", lambda: "")
    monkeypatch.setattr(host, "Host", lambda station, settings, *given: Opened(f"page at {settings.port}"))
    station = Station(load_config(write_config(place, rest=BEFORE)))
    yield station
    station.close()
    assert Opened.there == []


def known(station: Station) -> dict[str, int | None]:
    """The places of the sinks in the journal."""
    assert station.desk.flush(60)
    with Journal(station.config.journal) as journal:
        return {name: journal.position(name) for name in ("jsonl-lines", "csv-table")}


def test_it_is_taken_over_as_a_whole(station: Station, place: Path) -> None:
    write_config(place, "deadline_ms = 50000", AFTER)
    station.reload()
    assert sorted(station.lines) == ["side", "top"]
    assert Opened.there == [2, "page at 2"]
    assert [*station.outboxes] == ["csv-table"]
    assert station.pictures.good_sample == 1
    assert known(station)["jsonl-lines"] is None


@pytest.mark.parametrize(
    ("owner", "name"),
    [(host.Page, "check"), (Line, "__init__"), (Links, "_opened"), (Outbox, "__init__"), (host, "Host")],
    ids=["tokens", "camera", "link", "sink", "page"],
)
def test_one_that_fails_changes_nothing(
    station: Station, place: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    """Wherever it fails: at the tokens, and at the last step, the page itself."""
    wait_for(lambda: len(rows(station.config.path, "outcome IS NOT NULL")) == 4)
    wait_for(lambda: not station.outboxes["jsonl-lines"].behind)
    config, before, places = station.config, dict(station.lines), known(station)
    joined: list[str] = []
    inner, join = getattr(owner, name), Line.join
    monkeypatch.setattr(Line, "join", lambda line: joined.append(line.camera.name) or join(line))

    def once(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(owner, name, inner)
        raise EdgeADError("there is no more of it")

    monkeypatch.setattr(owner, name, once)
    write_config(place, rest=AFTER)
    with pytest.raises(EdgeADError, match="no more of it"):
        station.reload()
    assert station.config is config
    assert station.lines == before
    assert joined == (["side"] if owner not in (host.Page, Line) else [])  # it was made, and is given back
    assert sorted(map(str, Opened.there)) == ["1", "page at 1"]
    assert [*station.outboxes] == ["jsonl-lines"]
    assert known(station) == places
    assert station.pictures.good_sample == config.retention.good_sample
    write_frames(place / "frames", 1, 0, first=10)
    wait_for(lambda: len(lines(place / "out.jsonl")) == 5)
    assert known(station)["csv-table"] is None  # else its place would hold up what retention may remove
    station.reload()
    assert Opened.there == [2, "page at 2"]


def test_what_cannot_be_taken_back_hides_no_cause(
    station: Station, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page fails, and then the one before cannot be opened again either."""
    causes = iter(["the new one fails", "its port was taken meanwhile"])

    def fails(*given: Any) -> None:
        raise EdgeADError(next(causes))

    monkeypatch.setattr(host, "Host", fails)
    write_config(place, rest=AFTER)
    with pytest.raises(EdgeADError, match="the new one fails"):
        station.reload()
    assert [*station.outboxes] == ["jsonl-lines"]
    assert station.desk.flush(60)
    with Journal(station.config.journal) as journal:
        told = [text for _, _, kind, text in journal.events() if kind == EventKind.RELOAD]
    assert any("not in use again: its port was taken meanwhile" in text for text in told)
