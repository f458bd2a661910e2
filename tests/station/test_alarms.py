"""Alarms stay until a person has seen them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_ad.errors import SpecError
from edge_ad.station import alarms as module
from edge_ad.station.alarms import BUNDLE, HEALTH, LOST, PAGE, Alarms
from edge_ad.station.config import load_config
from edge_ad.station.desk import Desk
from edge_ad.station.events import AGAIN, EventKind
from edge_ad.station.journal import Journal
from edge_ad.station.plc.base import LinkState
from edge_ad.station.station import Station
from edge_ad.system.files import write_file
from tests.station.making import wait_for, write_config


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "journal.sqlite")
    yield desk
    desk.close()


def shown(alarms: Alarms) -> list[tuple[str, bool, bool]]:
    return [(alarm.key, alarm.active, alarm.acknowledged) for alarm in alarms.all()]


def latched(desk: Desk) -> list[str]:
    assert desk.flush(60)
    with Journal(desk._journal.path) as journal:
        return [alarm[0] for alarm in journal.alarms()]


def test_an_alarm_stays_until_it_is_acknowledged(desk: Desk) -> None:
    alarms = Alarms(desk)
    desk.event("top", "lost", "the cable\nis out")
    assert alarms.all()[0].text == "the cable is out"
    desk.event("top", "connected", "it is back")
    assert shown(alarms) == [("lost:top", False, False)]
    alarms.acknowledge("lost:top", "operator at x")
    assert shown(alarms) == []
    assert latched(desk) == []
    with Journal(desk._journal.path) as journal:
        events = journal.events()
    assert events[0][1:3] == ("top", "acknowledged")
    assert "operator at x" in events[0][3]
    with pytest.raises(SpecError, match="no such alarm"):
        alarms.acknowledge("lost:top", "x")


def test_one_that_is_acknowledged_first_goes_with_its_cause(desk: Desk) -> None:
    alarms = Alarms(desk)
    desk.event("top", "dark", "it is dark")
    alarms.acknowledge("health:top", "x")
    alarms.acknowledge("health:top", "x")  # again: nothing more
    desk.event("top", "frozen", "it is frozen")  # of the same kind: it is known
    assert shown(alarms) == [("health:top", True, True)]
    desk.event("top", "live", "it is live")
    assert shown(alarms) == []
    desk.event("top", "dark", "again")
    assert shown(alarms) == [("health:top", True, False)]


def test_alarms_outlive_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        desk = Desk(tmp_path / "journal.sqlite")
        with Journal(tmp_path / "journal.sqlite") as journal:
            alarms = Alarms(desk, journal.alarms())
        found = shown(alarms)
        desk.event("top", "refused", "a bundle is refused")
        desk.close()
    assert found == [("bundle:top", False, False)]


RAISES = {  # of each kind of event, the alarm; None of one that nobody must look at
    EventKind.START: None,
    EventKind.RESTART: None,
    EventKind.RELOAD: None,
    EventKind.PAGE: PAGE,
    EventKind.SINK: None,  # a sink is looked at: it may fail once, and take the next
    EventKind.CLOCK: None,
    EventKind.CONNECTED: None,
    EventKind.LOST: LOST,
    EventKind.LIVE: None,
    EventKind.SILENT: HEALTH,
    EventKind.FROZEN: HEALTH,
    EventKind.DARK: HEALTH,
    EventKind.BLINDED: HEALTH,
    EventKind.DROPS: None,
    EventKind.ENDED: None,
    EventKind.SOURCE: LOST,
    EventKind.BUNDLE: None,
    EventKind.REFUSED: BUNDLE,
    EventKind.RECIPE: None,
    EventKind.DRIFT: None,  # the lines are asked: there may be one a statistic
    EventKind.REFERENCE: None,
    EventKind.ACKNOWLEDGED: None,
    EventKind.LABEL: None,
    EventKind.ROLLBACK: None,
    EventKind.LEARN: None,
    EventKind.UNDO: None,
    EventKind.PLC: None,  # links are looked at
    EventKind.MQTT: None,
    EventKind.OPCUA: None,
}
ENDS = {
    EventKind.CONNECTED: LOST,
    EventKind.LIVE: HEALTH,
    EventKind.BUNDLE: BUNDLE,
}


@pytest.mark.parametrize("kind", EventKind)
def test_each_kind_of_event_raises_its_alarm_or_none(desk: Desk, kind: EventKind) -> None:
    """A new kind must say here which."""
    alarms = Alarms(desk)
    desk.event("top", kind, "what happened")
    keys = [] if RAISES[kind] is None else [f"{RAISES[kind]}:top"]
    assert [alarm.key for alarm in alarms.all()] == keys
    assert latched(desk) == keys


@pytest.mark.parametrize("kind", EventKind)
def test_each_kind_of_event_ends_its_alarm_or_none(desk: Desk, kind: EventKind) -> None:
    alarms = Alarms(desk)
    for each in (LOST, HEALTH, BUNDLE, PAGE):
        alarms.set(each, "top", "")
    desk.event("top", kind, "what happened")
    assert [alarm.kind for alarm in alarms.all() if not alarm.active] == ([ENDS[kind]] if kind in ENDS else [])


@pytest.mark.parametrize("kind", [EventKind.SOURCE, EventKind.PAGE])
def test_what_is_there_again_ends_its_alarm(desk: Desk, kind: EventKind) -> None:
    alarms = Alarms(desk)
    desk.event("top", kind, AGAIN)
    assert shown(alarms) == []
    desk.event("top", kind, "it is gone")
    desk.event("top", kind, AGAIN)
    assert [alarm.active for alarm in alarms.all()] == [False]


def test_known_alarms_are_those_that_are_raised() -> None:
    assert {raised for raised in RAISES.values() if raised is not None} < set(module.KINDS)
    assert len(set(module.KINDS)) == len(module.KINDS)


def test_many_faults(desk: Desk) -> None:
    alarms = Alarms(desk)
    for _ in range(4):
        alarms.ended("top", "fault")
    assert shown(alarms) == []
    alarms.ended("top", "fault")
    assert shown(alarms) == [("faults:top", True, False)]
    for _ in range(20):
        alarms.ended("top", "good")
    assert shown(alarms) == [("faults:top", False, False)]


def test_drift(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    alarms = Alarms(desk)
    keeper: Any = SimpleNamespace(has_reserve=True)
    drift = SimpleNamespace(alarms=(SimpleNamespace(statistic="brightness", text="it is dark"),))
    lines: Any = {"to:p": SimpleNamespace(drift=drift)}
    alarms.look(lines, {}, keeper, {})
    (alarm,) = alarms.all()
    assert (alarm.key, alarm.camera, alarm.text, alarm.active) == ("drift:to:p:brightness", "to:p", "it is dark", True)
    drift.alarms, now[0] = (), 2.0
    alarms.look(lines, {}, keeper, {})
    assert shown(alarms) == [("drift:to:p:brightness", False, False)]
    alarms.acknowledge("drift:to:p:brightness", "me")
    assert shown(alarms) == []


def test_causes_that_are_looked_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    alarms = Alarms(desk)
    keeper: Any = SimpleNamespace(has_reserve=False)
    boxes: Any = {"csv-1": SimpleNamespace(fails="the disk is gone")}
    links = {"plc": LinkState(False, "no answer")}
    alarms.look({}, boxes, keeper, links)
    assert {alarm.key for alarm in alarms.all()} == {"disk", "sink:csv-1"}  # a link may take its time
    now[0] = 6.0
    alarms.look({}, boxes, keeper, links)
    assert {alarm.key for alarm in alarms.all()} == {"disk", "sink:csv-1", "link:plc"}
    keeper.has_reserve = True
    now[0] = 12.0
    alarms.look({}, {}, keeper, {})  # neither sink nor link are in the configuration any more
    assert [active for _, active, _ in shown(alarms)] == [False, False, False]


def test_alarms_of_a_camera_that_the_configuration_has_no_more(desk: Desk) -> None:
    alarms = Alarms(desk)
    for kind in ("lost", "dark", "refused"):
        desk.event("top", kind, "")
    for _ in range(5):
        alarms.ended("top", "fault")
    alarms.look({}, {}, SimpleNamespace(has_reserve=True), {})  # type: ignore[arg-type]
    assert {key: active for key, active, _ in shown(alarms)} == {
        "bundle:top": False,
        "faults:top": False,
        "health:top": False,
        "lost:top": False,
    }


def test_a_reload_that_mends_a_camera_ends_its_alarms(place: Path, golden: Path) -> None:
    (place / "elsewhere").mkdir()
    shutil.copy(golden, place / "other.bundle")
    config = write_config(place)
    station = Station(load_config(config))
    try:
        (place / "frames").rename(place / "away")
        write_file(place / "part.bundle", [b"no bundle"])
        wait_for(lambda: {alarm.key for alarm in station.alarms.all()} == {"lost:top", "bundle:top"})
        text = config.read_text(encoding="utf-8").replace("folder:frames", "folder:elsewhere")
        config.write_text(text.replace("part.bundle", "other.bundle"), encoding="utf-8")
        station.reload()
        assert not [alarm.key for alarm in station.alarms.all() if alarm.active]
    finally:
        station.close()
