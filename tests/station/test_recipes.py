"""Recipes: another bundle is selected while the station runs, and no part is judged by the wrong one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edge_ad.station.swap as swap
from edge_ad.cli import main
from edge_ad.errors import SpecError
from edge_ad.station.alarms import BUNDLE
from edge_ad.station.config import load_config
from edge_ad.station.doctor import BAD, OK, examine
from edge_ad.station.journal import Journal
from edge_ad.station.outcomes import FAULT, GOOD
from edge_ad.station.plc.base import Answer
from edge_ad.station.station import Station
from edge_ad.system.files import write_file
from tests.edited import edited
from tests.station.making import rows, wait_for, write_config
from tests.station.test_swap import events, id_of

KEYS = 'trigger = "software"\noptions = { rate = 200 }\nrecipes = ["cup.bundle", "lid.bundle"]'


@pytest.fixture
def recipes(place: Path, golden: Path) -> list[str]:
    """Ids of the bundles of three recipes."""
    for name in ("cup", "lid"):
        edited(golden, place / f"{name}.bundle", name=name)
    write_config(place, KEYS, source="synthetic:64x64")
    return [id_of(place / f"{name}.bundle") for name in ("part", "cup", "lid")]


@pytest.fixture
def station(recipes: list[str], place: Path) -> Iterator[Station]:
    station = Station(load_config(place / "station.toml"))
    wait_for(lambda: station.links.not_ready("top") == "")
    yield station
    station.close()


def ask(station: Station, part: str, recipe: int | None = None) -> Answer:
    heard: list[Answer] = []
    station.links.ask("top", part, heard.append, recipe)
    return wait_for(lambda: heard)[0]


def is_used(station: Station, number: int) -> None:
    wait_for(lambda: station.links.recipe("top") == number and station.links.not_ready("top") == "")


class Slowly:
    """Bundles are opened when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.goes, self.began = threading.Event(), threading.Event()
        inner = swap.open_bundle

        def opened(*given: Any) -> swap.InUse:
            self.began.set()
            assert self.goes.wait(60)
            return inner(*given)

        monkeypatch.setattr(swap, "open_bundle", opened)


def test_each_recipe_has_its_bundle(station: Station, recipes: list[str]) -> None:
    for number in (0, 1, 2, 1, 0):
        station.links.select_recipe("top", number)
        is_used(station, number)
        told = ask(station, f"of {number}", number)
        assert (told.outcome, told.decision.bundle) == (GOOD, recipes[number])
    assert [text.partition(":")[0] for text in reversed(events(station.config.path, "recipe"))] == [
        "0 -> 1",
        "1 -> 2",
        "2 -> 1",
        "1 -> 0",
    ]


def test_while_a_recipe_is_opened_parts_are_faults(
    station: Station, recipes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slowly = Slowly(monkeypatch)
    station.links.select_recipe("top", 1)
    assert station.links.not_ready("top") == "recipe: recipe 1 is being opened"
    assert slowly.began.wait(60)
    for recipe in (None, 0, 1):
        told = ask(station, "early", recipe)
        assert (told.outcome, told.reason, told.decision.bundle) == (FAULT, "recipe: recipe 1 is being opened", "")
    station.links.select_recipe("top", 0)  # back to the one that is in use
    assert station.links.not_ready("top") == ""
    assert ask(station, "back").decision.bundle == recipes[0]
    slowly.goes.set()
    station.links.select_recipe("top", 2)
    is_used(station, 2)
    assert ask(station, "other", 2).decision.bundle == recipes[2]
    told = ask(station, "wrong", 1)
    assert told.reason == "recipe: recipe 1 was asked for, and 2 is in use"
    reasons = [row.reason for row in rows(station.config.path) if row.outcome == FAULT]
    assert len(reasons) == 4
    assert all(reason.startswith("recipe: ") for reason in reasons)


def test_a_part_that_was_accepted_is_finished_with_its_recipe(
    station: Station, recipes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, goes = threading.Event(), threading.Event()
    inner = swap.InUse.inspect

    def inspect(self: swap.InUse, frame: Any) -> Any:
        waits.set()
        assert goes.wait(60)
        return inner(self, frame)

    monkeypatch.setattr(swap.InUse, "inspect", inspect)
    heard: list[Answer] = []
    for part in ("one", "two"):
        station.links.ask("top", part, heard.append, 0)
    assert waits.wait(60)
    station.links.select_recipe("top", 1)
    is_used(station, 1)
    goes.set()
    wait_for(lambda: len(heard) == 2)
    assert {(each.outcome, each.decision.bundle) for each in heard} == {(GOOD, recipes[0])}
    assert ask(station, "three", 1).decision.bundle == recipes[1]


def test_a_recipe_that_cannot_be_opened(station: Station, recipes: list[str], place: Path, golden: Path) -> None:
    whole = (place / "cup.bundle").read_bytes()
    (place / "cup.bundle").write_bytes(whole[:-100])
    station.links.select_recipe("top", 1)
    wait_for(lambda: "cannot be opened" in station.links.not_ready("top"))
    told = ask(station, "a", 1)
    assert told.reason.startswith("recipe: recipe 1 cannot be opened: ")
    assert ask(station, "b").outcome == FAULT  # whoever asks without a recipe gets none that was not selected
    assert any("No part is inspected until it can" in text for text in events(station.config.path, "recipe"))
    write_file(place / "cup.bundle", [whole])  # an engineer repairs it
    is_used(station, 1)
    assert ask(station, "c", 1).decision.bundle == recipes[1]


def is_alarmed(station: Station) -> bool:
    return any(alarm.kind == BUNDLE and alarm.active for alarm in station.alarms.all())


def test_the_alarm_of_a_refused_file_is_of_the_recipe_in_use(
    station: Station, recipes: list[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (place / "part.bundle").read_bytes()
    write_file(place / "part.bundle", [b"broken"])
    wait_for(lambda: is_alarmed(station))
    station.links.select_recipe("top", 1)
    is_used(station, 1)
    wait_for(lambda: not is_alarmed(station))
    (told,) = wait_for(lambda: events(station.config.path, "bundle"))
    assert "the file of recipe 0 is not asked for any more" in told
    station.links.select_recipe("top", 0)  # its copy goes on, and the file is as it was
    is_used(station, 0)
    wait_for(lambda: is_alarmed(station))
    assert ask(station, "a", 0).decision.bundle == recipes[0]
    slowly = Slowly(monkeypatch)
    station.links.select_recipe("top", 1)
    assert slowly.began.wait(60)
    station.links.select_recipe("top", 0)  # before the other one was in use
    slowly.goes.set()
    (place / "lid.bundle").write_bytes(b"broken")
    station.links.select_recipe("top", 2)
    wait_for(lambda: "recipe 2 cannot be opened" in station.links.not_ready("top"))
    station.links.select_recipe("top", 0)
    assert is_alarmed(station)
    write_file(place / "part.bundle", [whole])
    wait_for(lambda: not is_alarmed(station))


def test_a_refused_file_of_a_recipe_that_was_given_up_is_no_alarm(
    station: Station, recipes: list[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    station.links.select_recipe("top", 1)
    is_used(station, 1)
    station.links.select_recipe("top", 0)
    is_used(station, 0)
    (place / "cup.bundle").write_bytes(b"broken")
    slowly = Slowly(monkeypatch)
    station.links.select_recipe("top", 1)
    assert slowly.began.wait(60)
    station.links.select_recipe("top", 0)
    slowly.goes.set()
    station.links.select_recipe("top", 2)
    is_used(station, 2)
    assert station.alarms.all() == []
    assert events(station.config.path, "refused") == []


def test_the_choice_outlives_a_restart(station: Station, recipes: list[str], place: Path) -> None:
    station.links.select_recipe("top", 2)
    is_used(station, 2)
    station.close()
    again = Station(load_config(place / "station.toml"))
    try:
        is_used(again, 2)
        assert ask(again, "a", 2).decision.bundle == recipes[2]
        again.close()
        (place / "lid.bundle").write_bytes(b"broken")  # the copy that was in use before goes on
        again = Station(load_config(place / "station.toml"))
        is_used(again, 2)
        assert ask(again, "b", 2).decision.bundle == recipes[2]
    finally:
        again.close()


def test_a_start_with_a_recipe_that_was_never_used_and_is_broken(recipes: list[str], place: Path) -> None:
    config = place / "station.toml"
    Station(load_config(config)).close()
    with Journal(load_config(config).journal, writes=True) as journal, journal.transaction():
        journal.choose("top", 1)
    (place / "cup.bundle").write_bytes(b"broken")
    station = Station(load_config(config))
    try:
        assert "recipe 1 cannot be opened" in wait_for(lambda: station.links.not_ready("top"))
        wait_for(lambda: not station._lines["top"].away)
        assert ask(station, "a").outcome == FAULT
        station.links.select_recipe("top", 0)
        is_used(station, 0)
        assert ask(station, "b", 0).decision.bundle == recipes[0]
    finally:
        station.close()


@pytest.mark.parametrize("left", ['recipes = ["cup.bundle"]', ""])
def test_a_recipe_that_is_gone_from_the_configuration(recipes: list[str], place: Path, left: str) -> None:
    config = place / "station.toml"
    station = Station(load_config(config))
    station.links.select_recipe("top", 2)
    is_used(station, 2)
    station.close()
    write_config(place, KEYS.replace('recipes = ["cup.bundle", "lid.bundle"]', left), source="synthetic:64x64")
    station = Station(load_config(config))
    try:
        wait_for(lambda: "recipe 2 was selected" in events(config, "recipe")[0])
        if left:  # it might be any; nobody guesses
            assert "none of that number" in station.links.not_ready("top")
            station.links.select_recipe("top", 1)
            is_used(station, 1)
        else:
            is_used(station, 0)
    finally:
        station.close()


def test_the_file_of_a_recipe_is_swapped_and_rolled_back(
    station: Station, recipes: list[str], place: Path, golden: Path, tmp_path: Path
) -> None:
    station.links.select_recipe("top", 1)
    is_used(station, 1)
    new = edited(golden, tmp_path / "new.bundle", name="a better cup")
    write_file(place / "cup.bundle", [new.read_bytes()])
    wait_for(lambda: ask(station, "x", 1).decision.bundle == id_of(new))
    assert main(["rollback", str(station.config.path), "top"]) == 0  # of the recipe that is selected
    assert id_of(place / "cup.bundle") == recipes[1]
    wait_for(lambda: ask(station, "y", 1).decision.bundle == recipes[1])
    assert id_of(place / "part.bundle") == recipes[0]
    assert main(["rollback", str(station.config.path), "top", "--recipe", "0"]) == 2  # there was no other one
    assert main(["rollback", str(station.config.path), "top", "--recipe", "9"]) == 2


def test_what_is_wrong_with_recipes(place: Path, recipes: list[str]) -> None:
    for keys, told in [
        ('recipes = ["none.bundle"]', "there is no file"),
        ('recipes = "cup.bundle"', "no list of texts"),
        ("recipes = []", "no list of texts"),
        ("recipes = [1]", "no text"),
    ]:
        with pytest.raises(SpecError, match=told):
            load_config(write_config(place, keys, source="synthetic:64x64"))


def test_doctor_looks_at_each_recipe(place: Path, recipes: list[str]) -> None:
    (place / "lid.bundle").write_bytes(b"broken")
    config = load_config(place / "station.toml")
    found = {finding.what: finding.mark for finding in examine(config)}
    assert found["camera top, recipe 1"] == OK
    assert found["camera top, recipe 2"] == BAD
