"""Recipes by OPC UA: a client prepares another one, and no part is inspected with any other than that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_ad.station.plc.opcua_recipes import Recipe, Recipes
from edge_ad.system.files import write_file
from tests.edited import edited
from tests.station.making import rows, wait_for
from tests.station.plc.hosts import FakeHost
from tests.station.test_swap import id_of

MACHINE = "VisionStateMachine.AutomaticModeStateMachine"
MANAGEMENT = "RecipeManagement"
IN_USE = f"top.{MANAGEMENT}.Recipes.InUse"
STATE = ("top.VisionStateMachine.CurrentState", f"top.{MACHINE}.CurrentState", "top.Outcome.Ready")
PREPARED, ERROR, RESOLVED, RESULT = 1022, 1019, 1020, 1024  # types of events
CAMERA = 'trigger = "software"\noptions = { rate = 100 }\nrecipes = ["cup.bundle"]'


def ids(name: str = "", bundle: str = "") -> list[list[str]]:
    return [["RecipeIdExternalDataType", name], ["RecipeIdInternalDataType", bundle]]


def prepare(plc: Any, name: str = "", bundle: str = "") -> tuple[str, bool]:
    """The internal id and IsCompleted."""
    internal, done, error = plc.do("call", "top", MANAGEMENT, "PrepareRecipe", *ids(name, bundle))
    assert error == 0
    return internal["Id"], done


def listed(plc: Any, name: str = "", prepared: int = 2) -> list[tuple[str, str]]:
    """Name and bundle of each."""
    given = ["RecipeIdExternalDataType", name], ["ProductIdDataType", ""], ["Int32", prepared]
    page = ["UInt32", 0], ["UInt32", 0], ["Int32", 0]
    found = plc.do("call", "top", MANAGEMENT, "GetRecipeListFiltered", *given, *page)[3]
    return [(each["Description"], each["Id"]) for each in found]


def told(plc: Any, kind: int, has: str) -> dict[str, Any]:
    """Waits for an event of a kind with this text."""

    def found() -> list[dict[str, Any]]:
        return [event for event in plc.do("heard", kind) if has in event["Message"]]

    return dict(wait_for(found)[-1])


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["part.bundle"], ["part"]),
        (["a/part.bundle", "a/cup.bundle", "b/part.bundle"], ["0", "cup", "2"]),
        (["1.bundle", "a/x.bundle", "b/x.bundle"], ["0", "1", "2"]),  # "1" would be of two
        (["a\nb.bundle", " c .bundle"], ["0", "c"]),
    ],
)
def test_each_recipe_has_a_name_of_its_own(paths: list[str], names: list[str]) -> None:
    host = FakeHost()
    host.paths = [Path(path) for path in paths]
    recipes = Recipes(host, "top")
    assert [each.name for each in recipes.known()] == names
    assert [recipes.find(name, "") for name in names] == [*recipes.known()]


def test_what_is_found() -> None:
    host = FakeHost()
    host.paths = [Path("part.bundle"), Path("cup.bundle"), Path("lid.bundle")]
    host.bundles = {0: "b1", 1: "b2"}
    recipes = Recipes(host, "top")
    part, cup, lid = Recipe("part", "b1", 0), Recipe("cup", "b2", 1), Recipe("lid", "", 2)
    assert recipes.known() == (part, cup, lid)
    assert recipes.in_use() == recipes.find("", "") == part
    assert recipes.find("cup", "") == recipes.find("", "b2") == recipes.find("cup", "b2") == cup
    assert recipes.find("lid", "b9") == lid  # nobody knows its bundle yet
    assert recipes.find("cup", "b1") is recipes.find("", "b9") is recipes.find("bowl", "") is None
    gone = Recipes(host, "side")
    assert (gone.known(), gone.in_use(), gone.are_opened()) == ((), Recipe("", ""), False)


# ------------------------------------------------------------------------------------------------ a real station


@pytest.fixture
def bundles(place: Path, golden: Path) -> list[str]:
    pytest.importorskip("asyncua", reason="asyncua is not installed (the opcua extra)")
    edited(golden, place / "cup.bundle", name="cup")
    return [id_of(place / f"{name}.bundle") for name in ("part", "cup")]


@pytest.fixture
def made(place: Path, bundles: list[str]) -> Iterator[tuple[Any, Any]]:
    """A station with two recipes, and a client."""
    from tests.station.plc.opcua_making import client, free_port, running, url, write_station

    port = free_port()
    config = write_station(place, port, "insecure = true", CAMERA)
    with running(config) as station, client() as plc:
        plc.do("connect", url(port), "None")
        plc.do("listen", "top")
        wait_for(lambda: plc.do("read", "top.Outcome.Ready") == [True])
        yield station, plc


def test_parts_are_inspected_with_the_recipe_that_was_prepared(made: tuple[Any, Any], bundles: list[str]) -> None:
    station, plc = made
    assert listed(plc) == [("part", bundles[0]), ("cup", "")]
    plc.do("jobs", "top", "a")
    prepare(plc, "cup")
    event = told(plc, PREPARED, "recipe cup")
    assert (event["ExternalId"]["Id"], event["InternalId"]["Id"]) == ("cup", bundles[1])
    assert plc.do("read", *STATE, f"{IN_USE}.IsPrepared") == ["Operational", "Ready", True, True]
    assert [each["Outcome"] for each in plc.do("jobs", "top", "b", "c")] == ["good", "good"]
    assert plc.refused("job", "top", "d", "part") == "BadInvalidArgument"
    assert listed(plc) == [("part", bundles[0]), ("cup", bundles[1])]
    assert (listed(plc, prepared=1), listed(plc, "part", 0)) == ([("cup", bundles[1])], [("part", bundles[0])])
    prepare(plc, bundle=bundles[0])  # by its internal id
    wait_for(lambda: plc.do("read", *STATE) == ["Operational", "Ready", True])
    plc.do("jobs", "top", "d")
    wanted = dict(zip("abcd", (bundles[0], bundles[1], bundles[1], bundles[0]), strict=True))
    assert {row.part_id: row.bundle for row in rows(station.config.path)} == wanted
    results = plc.do("heard", RESULT, 4)
    assert {each["PartId"]["Id"]: each["InternalRecipeId"]["Id"] for each in results} == wanted
    assert [each["ExternalRecipeId"]["Id"] for each in results] == ["part", "cup", "cup", "part"]


def test_a_recipe_that_cannot_be_opened(made: tuple[Any, Any], bundles: list[str], place: Path) -> None:
    """It is an error that says why; another recipe, or the file repaired, ends it."""
    station, plc = made
    whole = (place / "cup.bundle").read_bytes()
    (place / "cup.bundle").write_bytes(whole[:-100])
    assert prepare(plc, "cup")[1] is False
    told(plc, ERROR, "recipe 1 cannot be opened")
    assert plc.do("read", *STATE, f"{IN_USE}.IsPrepared") == ["Error", None, False, False]
    assert "cannot be opened" in plc.do("read", "top.Outcome.NotReady")[0]
    assert plc.refused("job", "top", "a") == "BadInvalidState"
    assert prepare(plc, "part") == (bundles[0], True)
    assert plc.do("heard", RESOLVED)
    assert plc.do("jobs", "top", "b")[0]["Good"]
    prepare(plc, "cup")
    wait_for(lambda: plc.do("read", *STATE) == ["Error", None, False])
    write_file(place / "cup.bundle", [whole])
    told(plc, PREPARED, "recipe cup")
    assert plc.do("jobs", "top", "c", "d")[1]["Good"]
    assert [(row.part_id, row.bundle) for row in rows(station.config.path)] == [
        ("b", bundles[0]),
        ("c", bundles[1]),
        ("d", bundles[1]),
    ]


# ------------------------------------------------------------------------------------------------ step by step


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("asyncua", reason="asyncua is not installed (the opcua extra)")
    from tests.station.plc.opcua_making import Served

    made = Served(Path(tmp_path_factory.mktemp("served")), insecure=True)
    yield made
    made.link.close()


@pytest.fixture
def plc(served: Any) -> Iterator[Any]:
    """A client of a host whose recipe "part" is prepared; the host opens others when the test says so."""
    from tests.station.plc.opcua_making import client

    host = served.host
    host.paths = [Path("part.bundle"), Path("cup.bundle"), Path("lid.bundle")]
    host.opens = True
    with client() as made:
        made.do("connect", served.url, "None")
        prepare(made, "part")
        wait_for(lambda: made.do("read", *STATE) == ["Operational", "Ready", True])
        host.opens, host.bundles = False, {0: "b1"}
        host.recipes_asked.clear()
        made.do("listen", "top")
        yield made


def test_while_a_recipe_is_opened_jobs_are_refused(served: Any, plc: Any) -> None:
    host = served.host
    assert prepare(plc, "cup") == ("", False)
    assert plc.do("read", *STATE) == ["Operational", "Initialized", False]
    assert plc.do("read", f"top.{MACHINE}.LastTransition") == ["ReadyToInitializedRecipe"]
    assert plc.refused("job", "top", "a") == "BadInvalidState"
    assert prepare(plc, "part") == ("b1", True)  # back: that one is open
    plc.do("jobs", "top", "b")
    prepare(plc, "cup")
    host.opened("b2")
    event = told(plc, PREPARED, "recipe cup")
    assert event["InternalId"]["Id"] == "b2"
    plc.do("jobs", "top", "c")
    assert host.recipes_asked == [0, 1]


def test_a_recipe_that_takes_too_long(served: Any, plc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import edge_ad.station.plc.opcua_prepared as opcua_prepared

    monkeypatch.setattr(opcua_prepared, "OPEN_S", 0.05)
    assert prepare(plc, "cup") == ("", False)
    told(plc, ERROR, "is not open after 0.05 s")
    assert plc.do("read", *STATE) == ["Error", None, False]
    served.host.opened("b2")  # late, but there
    told(plc, PREPARED, "recipe cup")
    wait_for(lambda: plc.do("read", *STATE) == ["Operational", "Ready", True])


def test_another_recipe_than_the_prepared_one_is_an_error(served: Any, plc: Any) -> None:
    """Somebody selects it at the station: no part of the client is inspected with it."""
    host = served.host
    host.select_recipe("top", 2)
    wait_for(lambda: plc.do("read", *STATE) == ["Operational", "Initialized", False])
    host.opened("b3")
    told(plc, ERROR, "recipe lid (b3) is in use, and a client prepared recipe part")
    assert plc.refused("job", "top", "a") == "BadInvalidState"
    assert prepare(plc, "lid") == ("b3", True)
    plc.do("jobs", "top", "b")
    assert host.recipes_asked == [2]


def test_the_bundle_must_be_the_one_that_was_asked_for(served: Any, plc: Any) -> None:
    host = served.host
    refused = plc.refused("call", "top", MANAGEMENT, "PrepareRecipe", *ids("part", "b9"))
    assert refused == "BadInvalidArgument"
    known = "known are part (b1), cup (not used yet), lid (not used yet)"
    assert plc.do("read", "top.Outcome.Refusal") == [f"there is no recipe 'part of bundle b9'; {known}"]
    assert prepare(plc, "cup", "b9") == ("", False)
    host.opened("b2")
    told(plc, ERROR, "recipe cup (b2) is in use, and a client prepared recipe cup (b9)")
    assert prepare(plc, "cup") == ("b2", True)
    assert plc.do("jobs", "top", "a")[0]["Good"]


def test_what_is_unprepared(served: Any, plc: Any) -> None:
    plc.do("call", "top", MANAGEMENT, "UnprepareRecipe", *ids("lid"))  # it is not prepared: nothing changes
    assert plc.do("read", *STATE) == ["Operational", "Ready", True]
    prepare(plc, "cup")
    plc.do("call", "top", MANAGEMENT, "UnprepareRecipe", *ids("cup"))
    served.host.opened("b2")
    wait_for(lambda: plc.do("read", f"{IN_USE}.ExternalId")[0]["Id"] == "cup")
    assert plc.do("read", *STATE, f"{IN_USE}.IsPrepared") == ["Operational", "Initialized", False, False]
    assert prepare(plc, "cup") == ("b2", True)


def test_a_recipe_that_is_prepared_while_the_camera_is_away(served: Any, plc: Any) -> None:
    host = served.host
    host.why = "the camera is not connected"
    wait_for(lambda: plc.do("read", *STATE) == ["Error", None, False])
    assert prepare(plc, "cup") == ("", False)
    host.opened("b2")
    wait_for(lambda: plc.do("read", f"{IN_USE}.ExternalId")[0]["Id"] == "cup")
    assert plc.do("read", *STATE, f"{IN_USE}.IsPrepared") == ["Error", None, False, False]
    host.why = ""
    told(plc, PREPARED, "recipe cup")
    assert plc.do("jobs", "top", "a")[0]["Good"]
