"""How a camera is: the same word from its source, from the journal, on the page and from the doctor."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_ad.errors import SourceError
from edge_ad.sources.options import CameraOptions
from edge_ad.sources.record import Record
from edge_ad.sources.state import BLINDED, DARK, ENDED, FROZEN, LIVE, LOST, SILENT
from edge_ad.sources.watch import Marks
from edge_ad.station import alarms
from edge_ad.station.config import load_config
from edge_ad.station.doctor import BAD, OK, examine
from edge_ad.station.events import AGAIN, EventKind
from edge_ad.station.health import Health, health_after, health_of
from edge_ad.station.page.commands import Commands
from edge_ad.station.page.metrics import METRICS
from edge_ad.station.station import Station
from tests.station.making import wait_for, write_config
from tests.station.test_alarms import RAISES


def source(ended: bool = False, **state: Any) -> Any:
    """One that is watched, where it has a state."""
    watched = {"state": lambda: SimpleNamespace(**state)} if state else {}
    return SimpleNamespace(ended=ended, **watched)


@pytest.mark.parametrize(
    ("given", "error", "word", "why"),
    [
        (None, SourceError("the folder is gone"), LOST, "the folder is gone"),
        (None, None, LOST, "the camera is not there"),
        (source(), None, LIVE, ""),
        (source(ended=True), None, ENDED, "the camera is at its end"),
        (source(ended=True, connected=False, health=SILENT), None, ENDED, "the camera is at its end"),
        (source(connected=False, health=LIVE), None, LOST, "the camera is not connected"),
        (source(connected=True, health=LIVE), None, LIVE, ""),
        (source(connected=True, health=DARK), None, DARK, "the camera is dark"),
    ],
)
def test_of_a_source(given: Any, error: Exception | None, word: str, why: str) -> None:
    health = health_of(given, error)
    assert health == Health(word, why)
    assert health.is_well == (word in (LIVE, ENDED))
    assert health.is_there == (word in (LIVE, DARK))


TELLS = {
    EventKind.LOST: LOST,
    EventKind.SOURCE: LOST,
    EventKind.CONNECTED: SILENT,  # no picture has come yet
    EventKind.LIVE: LIVE,
    EventKind.SILENT: LOST,  # nothing is connected yet
    EventKind.FROZEN: FROZEN,
    EventKind.DARK: DARK,
    EventKind.BLINDED: BLINDED,
    EventKind.ENDED: ENDED,
}


@pytest.mark.parametrize("kind", EventKind)
def test_of_the_first_event(kind: EventKind) -> None:
    health = health_after(None, kind, "why")
    assert (None if health is None else health.word) == TELLS.get(kind)
    assert health is None or (health.why == "") == (health.word == LIVE)


@pytest.mark.parametrize("kind", EventKind)
def test_of_an_event_while_all_was_well(kind: EventKind) -> None:
    """What is not well afterwards has raised an alarm."""
    health = health_after(Health(), kind, "why")
    assert health is not None
    assert health.word == {**TELLS, EventKind.SILENT: SILENT}.get(kind, LIVE)
    alarm = alarms.LOST if health.word == LOST else alarms.HEALTH
    assert RAISES[kind] == alarm or health.is_well or kind == EventKind.CONNECTED


def test_what_the_journal_of_a_newer_edge_ad_has() -> None:
    assert health_after(None, "moved", "by a fork lift") is None
    assert health_after(Health(DARK, "why"), "moved", "by a fork lift") == Health(DARK, "why")


def test_a_source_that_is_there_again_is_live() -> None:
    assert health_after(Health(LOST, "the folder is gone"), EventKind.SOURCE, AGAIN) == Health()


def test_the_events_of_a_camera_say_what_its_state_says() -> None:
    record = Record("top", "rtsp://camera", CameraOptions(dark_s=0.1))
    plain, dark = Marks(False, False, False), Marks(False, True, False)
    clock = iter(range(10**9, 10**12, 10**8))

    def come(marks: Marks) -> None:
        for _ in range(20):
            record.came(marks, next(clock), 0)

    def lose() -> None:
        record.disconnect()
        record.lose("the cable is out")
        record.turn(SILENT, "it is not connected")

    told, words = None, []
    for step in (
        lambda: record.turn(SILENT, "no frame for 3.0 s"),
        lambda: record.connect("it is there"),
        lambda: come(plain),
        lambda: come(dark),
        lambda: come(plain),
        lambda: record.turn(SILENT, "no frame for 3.0 s"),
        lambda: come(plain),
        lose,
        lambda: record.connect("it is there"),
        lambda: come(plain),
    ):
        step()
        for event in record.events:
            told = health_after(told, event.kind, event.text)
        record.events.clear()
        assert told is not None
        assert told.word == health_of(source(**vars(record.state(None))), None).word
        words.append(told.word)
    assert words == [LOST, SILENT, LIVE, DARK, LIVE, SILENT, LIVE, LOST, SILENT, LIVE]


def state_of(station: Station) -> dict[str, Any]:
    state, _ = Commands(station).run("state", {})
    return state


def test_all_who_tell_of_it_say_the_same(place: Path) -> None:
    """The page, whether it is ready, the metrics, links, and the doctor."""
    config = write_config(place)
    station = Station(load_config(config))
    try:
        for word in (LIVE, LOST, LIVE):
            if word == LOST:
                (place / "frames").rename(place / "away")
            elif not (place / "frames").exists():
                (place / "away").rename(place / "frames")
            wait_for(lambda word=word: station.lines["top"].health.word == word)
            assert station.desk.flush(60)
            state = state_of(station)
            (camera,) = state["cameras"]
            assert (camera["health"], camera["ready"]) == (word, word == LIVE)
            assert (camera["why"] == "") == (station.links.not_ready("top") == "") == (word == LIVE)
            (ready,) = (metric for metric in METRICS if metric.name == "edge_ad_camera_ready")
            assert list(ready.samples(state)) == [(("top",), float(word == LIVE))]
            marks = {found.what: found for found in examine(load_config(config, files=False))}
            told = marks["camera top, source"]
            assert (told.mark, "; lost: " in told.told) == ((OK, False) if word == LIVE else (BAD, True))
    finally:
        station.close()


def test_one_that_is_at_its_end_is_neither_lost_nor_ready(place: Path) -> None:
    config = write_config(place, "options = { count = 2, rate = 0 }", source="synthetic:64x64")
    station = Station(load_config(config))
    try:
        wait_for(lambda: station.lines["top"].health.word == ENDED)
        (camera,) = state_of(station)["cameras"]
        assert (camera["health"], camera["ready"], camera["why"]) == (ENDED, False, "the camera is at its end")
    finally:
        station.close()
