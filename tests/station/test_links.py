"""The links of a station: opened, exchanged, closed; what they may ask; and their tables in the configuration."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from edge_ad.errors import EdgeADError, SourceError, SpecError
from edge_ad.station.config import load_config
from edge_ad.station.outcomes import FAULT, GOOD, LATE, REJECT
from edge_ad.station.plc import base
from edge_ad.station.plc.base import Answer, LinkOpening, LinkState, Sparing
from edge_ad.station.plc.table import LINKS, is_alone
from edge_ad.station.station import Station
from edge_ad.system.keys import Key, text, whole
from tests.station.making import rows, wait_for, write_config
from tests.station.plc.made import answer

SOFTWARE = 'trigger = "software"\noptions = { rate = 200 }'
TEST_LINK = '[[plc]]\nkind = "test"\ncamera = "top"\nport = {port}\n'


class Recorded:
    """A kind of link for tests; each that was opened is in `opened`."""

    opened: ClassVar[list[Recorded]] = []

    def __init__(self, opening: LinkOpening) -> None:
        if opening.options["port"] == 9:
            raise EdgeADError("the port is in use")
        self.opening, self.closed = opening, False
        Recorded.opened.append(self)

    def state(self) -> LinkState:
        return LinkState(not self.closed, "fine")

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LINKS, "test", __name__)
    Recorded.opened = []


# What a module of a kind has; this one is registered as one.
KEYS = {"camera": Key(text, "of it"), "port": Key(whole(0, 9), "of it", 0)}
ALONE = True


def open_link(opening: LinkOpening) -> Recorded:
    return Recorded(opening)


@pytest.fixture
def station(place: Path) -> Iterator[Station]:
    config = write_config(place, SOFTWARE, TEST_LINK.format(port=1), source="synthetic:64x64")
    station = Station(load_config(config))
    yield station
    station.close()


def test_a_part_is_asked_for_and_answered(station: Station, place: Path) -> None:
    (link,) = Recorded.opened
    host = link.opening.host
    assert (link.opening.id, link.opening.station) == ("test", "station")
    assert host.deadline_ms("top") == 60_000
    wait_for(lambda: host.not_ready("top") == "")
    heard: list[Answer] = []
    all_heard: list[Answer] = []
    end = host.listen(all_heard.append)
    host.ask("top", "a", heard.append)
    host.ask("top", "a", heard.append, 0)
    wait_for(lambda: len(all_heard) == 2)
    assert [(each.part_id, each.journal_id, each.outcome) for each in heard] == [("a", "a", GOOD), ("a", "a~2", GOOD)]
    assert heard == all_heard
    found = {row.number: row for row in rows(station.config.path)}
    for each in heard:
        row = found[each.number]
        assert (row.part_id, row.outcome, row.score) == (each.journal_id, each.decision.outcome, each.decision.score)
    end()
    host.ask("top", "b", heard.append)
    wait_for(lambda: len(heard) == 3)
    assert len(all_heard) == 2
    host.tell("top", "plc", "it is there")


def test_what_cannot_be_asked(station: Station) -> None:
    host = Recorded.opened[0].opening.host
    with pytest.raises(SpecError, match=r"no camera of that name.*expected top"):
        host.ask("side", "a", print)
    with pytest.raises(SpecError, match="part id is empty"):
        host.ask("top", "", print)
    assert "no camera" in host.not_ready("side")
    with pytest.raises(SpecError, match=r"no recipe 1.*the camera has no recipes"):
        host.select_recipe("top", 1)
    assert host.recipe("top") == 0
    station._lines["top"].stop()
    with pytest.raises(SourceError, match="the station stops"):
        host.ask("top", "a", print)


def test_a_camera_that_takes_no_triggers(place: Path) -> None:
    config = write_config(place, 'trigger = "every"\nevery_ms = 1000', source="synthetic:64x64")
    station = Station(load_config(config))
    try:
        with pytest.raises(SourceError, match="takes no triggers"):
            station.links.ask("top", "a", print)
    finally:
        station.close()


def test_a_listener_that_fails_stops_nobody(station: Station, place: Path) -> None:
    host, heard = Recorded.opened[0].opening.host, []

    def fails(answer: Answer) -> None:
        raise RuntimeError("a bug of a link")

    host.listen(fails)
    host.ask("top", "a", fails)
    host.ask("top", "b", heard.append)
    wait_for(lambda: heard)
    assert [row.outcome for row in rows(station.config.path)] == [GOOD, GOOD]


def test_links_are_exchanged_by_a_reload(station: Station, place: Path) -> None:
    (first,) = Recorded.opened
    station.reload()
    assert Recorded.opened == [first]
    write_config(place, SOFTWARE, TEST_LINK.format(port=2), source="synthetic:64x64")
    station.reload()
    assert first.closed
    second = Recorded.opened[1]
    assert station.links.states() == {"test": LinkState(True, "fine")}
    write_config(place, SOFTWARE, TEST_LINK.format(port=9), source="synthetic:64x64")
    with pytest.raises(EdgeADError, match="port is in use"):
        station.reload()
    assert second.closed
    assert Recorded.opened[2].opening.options["port"] == 2  # as it was before
    assert station.links.states()["test"].well
    write_config(place, SOFTWARE, source="synthetic:64x64")
    station.reload()
    assert station.links.states() == {}
    assert all(link.closed for link in Recorded.opened)


def test_links_are_closed_after_the_last_answer(place: Path) -> None:
    config = write_config(place, SOFTWARE, TEST_LINK.format(port=1), source="synthetic:64x64")
    station = Station(load_config(config))
    link, heard = Recorded.opened[0], []
    link.opening.host.ask("top", "a", lambda told: heard.append((told.part_id, link.closed)))
    wait_for(lambda: rows(config))
    station.close()
    station.close()
    assert heard == [("a", False)]
    assert link.closed


def test_good_is_no_answer_after_the_deadline() -> None:
    late = answer("a", GOOD, deadline_ns=time.monotonic_ns() - 1)
    assert not late.in_time
    assert late.outcome == FAULT
    assert late.reason.startswith(f"{LATE}: ")
    reject = answer("a", REJECT, "score", deadline_ns=0)
    assert (reject.in_time, reject.outcome, reject.reason) == (True, REJECT, "score")
    assert answer("a").outcome == GOOD


# ------------------------------------------------------------------------------------------------ configuration

MODBUS = '[[plc]]\nkind = "modbus-server"\ncamera = "top"\n'


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ('[[plc]]\nkind = "modbus"\ncamera = "top"', "did you mean|Did you mean modbus-"),
        ('[[plc]]\nkind = "test"\ncamera = "side"', "there is no camera 'side'"),
        (TEST_LINK.format(port=1) + TEST_LINK.format(port=2), "two links 'test'"),
        (TEST_LINK.format(port=1) + MODBUS, "another link asks for the parts of camera top"),
        (TEST_LINK.format(port=10), "port: it is out of range"),
        (MODBUS + 'bind = "plc:5020"', "ADDRESS:PORT"),
        (MODBUS + "unti = 1", "did you mean unit"),
        ('[[plc]]\nkind = "modbus-server"', "camera is missing"),
        ('[[plc]]\nkind = "modbus-client"\ncamera = "top"', "url is missing"),
        ('[[plc]]\nkind = "modbus-client"\ncamera = "top"\nurl = "tcp://a:5"', "modbus://HOST"),
    ],
)
def test_what_is_wrong_in_a_table(place: Path, rest: str, told: str) -> None:
    config = write_config(place, SOFTWARE, rest, source="synthetic:64x64")
    with pytest.raises(SpecError, match=told) as caught:
        load_config(config)
    assert "station.toml:" in str(caught.value)


OPCUA = '[[plc]]\nkind = "opcua"\n'
SIDE = '[[camera]]\nname = "side"\nsource = "synthetic:64x64"\nbundle = "part.bundle"\n'


@pytest.mark.parametrize(
    "rest",
    [
        TEST_LINK.format(port=1) + OPCUA,
        OPCUA + TEST_LINK.format(port=1),
        TEST_LINK.format(port=1) + OPCUA + 'camera = "top"',
        OPCUA + f'camera = "top"\n{OPCUA}name = "other"\nport = 4841',
        TEST_LINK.format(port=1) + SIDE + OPCUA,
    ],
)
def test_opcua_is_the_only_one_that_triggers_its_cameras(place: Path, rest: str) -> None:
    pytest.importorskip("asyncua", reason="asyncua is not installed (the opcua extra)")
    config = write_config(place, SOFTWARE, rest, source="synthetic:64x64")
    with pytest.raises(SpecError, match=r"parts of camera top.*expected one link.*got .* and .*Remove one") as caught:
        load_config(config)
    assert f"{config}:" in str(caught.value)


@pytest.mark.parametrize(
    "rest",
    [
        OPCUA + '[[plc]]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1"',  # commands of MQTT wait in a queue
        TEST_LINK.format(port=1) + SIDE + OPCUA + 'camera = "side"',  # which runs freely
        SIDE + OPCUA,
    ],
)
def test_what_goes_with_opcua(place: Path, rest: str) -> None:
    pytest.importorskip("asyncua", reason="asyncua is not installed (the opcua extra)")
    config = write_config(place, SOFTWARE, rest, source="synthetic:64x64")
    assert "opcua" in [link.kind for link in load_config(config).links]


def test_a_link_asks_for_parts_of_a_camera_that_takes_triggers(place: Path) -> None:
    config = write_config(place, "options = { rate = 200 }", TEST_LINK.format(port=1), source="synthetic:64x64")
    with pytest.raises(SpecError, match='camera: camera top takes no triggers: give it trigger = "software"'):
        load_config(config)


def test_pymodbus_that_is_not_there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pymodbus" else real(name))
    config = write_config(place, SOFTWARE, MODBUS, source="synthetic:64x64")
    with pytest.raises(SpecError, match=r"pip install 'edge-ad\[modbus\]'"):
        load_config(config)


def test_links_that_ask_alone_for_the_parts_of_a_camera() -> None:
    assert [is_alone(kind) for kind in ("modbus-server", "modbus-client", "opcua", "mqtt")] == [True] * 3 + [False]


def test_the_same_is_told_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = [0.0], list[str]()
    monkeypatch.setattr(base.time, "monotonic", lambda: now[0])
    tell = Sparing(told.append)
    for what, mark in (("a", ""), ("a", ""), ("b", ""), ("c", "stranger"), ("d", "stranger")):
        tell(what, mark)
    assert told == ["a", "b", "c"]
    now[0] = 61.0
    tell("d", "stranger")
    assert told[3:] == ["d"]
