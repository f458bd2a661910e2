"""Jobs by OPC UA: asyncua's own client, in another process, is told the outcome of each part."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_ad.errors import EdgeADError, SpecError
from edge_ad.station.config import load_config
from edge_ad.station.station import Station
from tests.processes import child
from tests.station.making import RUN, rows, wait_for

pytest.importorskip("asyncua", reason="asyncua is not installed (the opcua extra)")

from tests.station.plc.opcua_making import Client, certificate, client, free_port, running, trust, url, write_station

AUTOMATIC = "VisionStateMachine.AutomaticModeStateMachine"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return certificate(tmp_path_factory.mktemp("certificates"), "plc")


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def folder(golden: Path, tmp_path_factory: pytest.TempPathFactory, known: dict[str, str]) -> Path:
    folder = tmp_path_factory.mktemp("station")
    shutil.copy(golden, folder / "part.bundle")
    trust(folder, known)
    return folder


@pytest.fixture(scope="module")
def station(folder: Path, port: int) -> Iterator[Station]:
    """One for all tests that leave it as it was: it takes seconds to start."""
    with running(write_station(folder, port)) as made:
        yield made


@pytest.fixture
def plc(station: Station, port: int, known: dict[str, str]) -> Iterator[Client]:
    with client() as made:
        made.do("connect", url(port), "SignAndEncrypt", **known)
        yield made


def test_the_outcome_of_each_part_is_the_journals(plc: Client, folder: Path) -> None:
    plc.do("listen", "top")
    parts = [f"part {at}" for at in range(30)]
    found = plc.do("jobs", "top", *parts)
    wanted = {row.part_id: row for row in rows(folder / "station.toml")}
    assert [*wanted] == parts
    for part, told in zip(parts, found, strict=True):
        row = wanted[part]
        assert (told["PartId"], told["ResultId"]) == (part, str(row.number))
        assert (told["Outcome"], told["Good"]) == (row.outcome, row.outcome == "good")
        assert told["Score"] == row.score
    assert {told["Outcome"] for told in found} == {"good", "reject"}
    events = plc.do("heard", 1024, 30)
    assert [event["PartId"]["Id"] for event in events] == parts
    assert [event["ResultContent"][0] for event in events] == [told["Outcome"] for told in found]
    assert [event["JobId"] for event in plc.do("heard", 1013, 30)] == [event["JobId"] for event in events]


def test_what_a_job_empties_and_who_is_refused(plc: Client, station: Station) -> None:
    """A controller that polls reads nothing of the part before; refusals have a status code and a text."""
    part = plc.do("jobs", "top", "a")[0]
    assert part["Valid"]
    names = [f"top.Outcome.{name}" for name in ("Ready", "Refusal", "JobId")]
    assert plc.do("read", *names) == [True, "", part["JobId"]]
    refusals = [
        ("x" * 300, "", "300 characters"),
        ("a\nb", "", r"'a\nb'"),
        ("b", "another", "the recipe in use is 'part', and not 'another'"),
    ]
    for given, recipe, told in refusals:
        assert plc.refused("job", "top", given, recipe) == "BadInvalidArgument"
        ready, refusal, job = plc.do("read", *names)
        assert ready
        assert job == part["JobId"]  # what was there stays
        assert told in refusal
    assert plc.refused("call", "top", AUTOMATIC, "StartSingleJob", 1) == "BadArgumentsMissing"
    wrong = ["MeasIdDataType", ""], ["MeasIdDataType", "a"], ["RecipeIdExternalDataType", ""]
    more = ["ProductIdDataType", ""], ["list"]
    assert plc.refused("call", "top", AUTOMATIC, "StartSingleJob", *wrong, *more) == "BadTypeMismatch"
    assert plc.refused("call", "top", AUTOMATIC, "Stop", ["Int32", 0], "") == "BadInvalidState"
    assert plc.do("jobs", "top", "b", "")[1]["PartId"]  # an empty part id: the job's


def test_states_by_methods(plc: Client) -> None:
    cause = ["Int32", 0], "a test"
    path = ("top.VisionStateMachine.CurrentState", f"top.{AUTOMATIC}.CurrentState", "top.Outcome.Ready")
    assert plc.do("read", *path) == ["Operational", "Ready", True]
    recipe = ["RecipeIdExternalDataType", "part"], ["RecipeIdInternalDataType", ""]
    plc.do("call", "top", "RecipeManagement", "UnprepareRecipe", *recipe)
    assert plc.do("read", *path) == ["Operational", "Initialized", False]
    assert plc.refused("job", "top", "a") == "BadInvalidState"
    unknown = ["RecipeIdExternalDataType", "other"], ["RecipeIdInternalDataType", ""]
    assert plc.refused("call", "top", "RecipeManagement", "PrepareRecipe", *unknown) == "BadInvalidArgument"
    internal, done, error = plc.do("call", "top", "RecipeManagement", "PrepareRecipe", *recipe)
    assert (done, error) == (True, 0)
    every = ["RecipeIdExternalDataType", ""], ["ProductIdDataType", ""], ["Int32", 2]
    page = ["UInt32", 0], ["UInt32", 0], ["Int32", 0]
    known = plc.do("call", "top", "RecipeManagement", "GetRecipeListFiltered", *every, *page)
    assert known[3] == [internal]
    assert plc.do("read", *path) == ["Operational", "Ready", True]
    plc.do("call", "top", "VisionStateMachine", "Halt", *cause)
    assert plc.do("read", *path) == ["Halted", None, False]
    assert plc.refused("job", "top", "a") == "BadInvalidState"
    plc.do("call", "top", "VisionStateMachine", "Reset", *cause)
    assert plc.do("read", *path) == ["Preoperational", None, False]
    plc.do("call", "top", "VisionStateMachine", "SelectModeAutomatic")
    assert plc.do("read", *path) == ["Operational", "Ready", True]
    assert plc.do("jobs", "top", "a")[0]["PartId"] == "a"


def test_results_may_be_asked_for_again(plc: Client) -> None:
    jobs = plc.do("jobs", "top", "first", "second", "third")
    result = plc.do("call", "top", "ResultManagement", "GetResultById", ["ResultIdDataType", jobs[1]["ResultId"]], 0)
    assert result[1]["PartId"]["Id"] == "second"
    assert result[1]["ResultContent"][0] == jobs[1]["Outcome"]
    wrong = ["ResultIdDataType", "no such"]
    assert plc.refused("call", "top", "ResultManagement", "GetResultById", wrong, 0) == "BadNotFound"

    def listed(part: str, most: int, start: int) -> tuple[bool, list[str]]:
        kinds = ["Meas", "Part", "RecipeIdExternal", "RecipeIdInternal", "Configuration", "Configuration", "Product"]
        names = [f"{kind}{'' if kind.startswith('Recipe') else 'Id'}DataType" for kind in [*kinds, "Job"]]
        ids = [[name, part if name == "PartIdDataType" else ""] for name in names]
        page = ["UInt32", most], ["UInt32", start], ["Int32", 0]
        found = plc.do("call", "top", "ResultManagement", "GetResultListFiltered", ["Int32", 0], *ids, *page)
        assert found[1] == len(found[3])
        return found[0], [each["PartId"]["Id"] for each in found[3]]

    assert listed("", 3, 0)[1] == ["third", "second", "first"]
    assert listed("", 1, 1) == (False, ["second"])
    assert listed("first", 0, 0) == (True, ["first"])


def test_a_client_that_is_killed_in_a_job(plc: Client, station: Station, port: int, known: dict[str, str]) -> None:
    """The part has its outcome all the same, and the next client goes on."""
    plc.do("listen", "top")
    plc.send("job", "top", "a")
    plc.process.kill()
    with client() as other:
        other.do("connect", url(port), "Sign", **known)
        assert other.do("jobs", "top", "b")[0]["PartId"] == "b"


def test_after_a_restart_nothing_of_before_is_there(place: Path, known: dict[str, str]) -> None:
    port = free_port()
    trust(place, known)
    config = write_station(place, port)
    for _ in range(2):
        with running(config), client() as plc:
            plc.do("connect", url(port), "SignAndEncrypt", **known)
            names = [f"top.Outcome.{name}" for name in ("Valid", "Good", "Outcome", "PartId", "JobId", "ResultId")]
            assert plc.do("read", *names) == [False, False, "", "", "", ""]
            assert plc.do("read", "top.ResultManagement.Results.Latest.ResultState") == [0]
            plc.do("jobs", "top", "a", "b")
    assert [row.part_id for row in rows(config)] == ["a", "b", "a~2", "b~2"]


def test_a_free_running_camera(place: Path, known: dict[str, str]) -> None:
    port = free_port()
    trust(place, known)
    with running(write_station(place, port, camera="options = { rate = 20 }")), client() as plc:
        plc.do("connect", url(port), "SignAndEncrypt", **known)
        assert plc.do("read", f"top.{AUTOMATIC}.CurrentState") == ["ContinuousExecution"]
        plc.do("listen", "top")
        events = plc.do("heard", 1024, 3)
        assert len({event["PartId"]["Id"] for event in events}) == len(events)
        assert plc.refused("job", "top", "a") == "BadNotSupported"
        plc.do("call", "top", AUTOMATIC, "Stop", ["Int32", 0], "")
        names = ("top.Outcome.Ready", "top.Outcome.Valid", "top.Outcome.Good", "top.Outcome.PartId")
        assert plc.do("read", *names) == [True, False, False, ""]
        nothing = [[name, ""] for name in ("MeasIdDataType", "PartIdDataType", "RecipeIdExternalDataType")]
        job = plc.do("call", "top", AUTOMATIC, "StartContinuous", *nothing, ["ProductIdDataType", ""], ["list"])[0]
        assert plc.do("heard", 1013)[-1]["JobId"] == job
    wanted = {row.part_id: row.outcome for row in rows(place / "station.toml")}
    assert all(wanted[event["PartId"]["Id"]] == event["ResultContent"][0] for event in events)


def test_a_port_that_is_in_use(place: Path) -> None:
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        config = load_config(write_station(place, port))
        with pytest.raises(EdgeADError, match=f"cannot listen at 127.0.0.1:{port}.*change host or port"):
            Station(config)


def test_without_asyncua(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "asyncua" else find(name))
    with pytest.raises(SpecError, match=r"pip install 'edge-ad\[opcua\]'"):
        load_config(write_station(place, 4840))


def test_a_station_that_is_killed_in_a_job(place: Path, known: dict[str, str]) -> None:
    """The part is a fault in the journal, and nothing of it is shown as an outcome afterwards."""
    port = free_port()
    trust(place, known)
    slow = 'trigger = "software"\noptions = { rate = 0.01 }'  # a frame at once, and none for the next part
    config = write_station(place, port, camera=slow)
    with client() as plc, child([*RUN, config], stderr=subprocess.DEVNULL):
        wait_for(lambda: "ok" in _answer(plc, "connect", url(port), "Sign", **known))
        wait_for(lambda: plc.do("read", "top.Outcome.Ready") == [True])
        plc.do("jobs", "top", "a")
        plc.do("job", "top", "b")
        wait_for(lambda: len(rows(config)) == 2)  # accepted
    with running(config), client() as plc:
        row = rows(config)[1]
        assert (row.part_id, row.outcome, row.reason.partition(":")[0]) == ("b", "fault", "restart")
        plc.do("connect", url(port), "Sign", **known)
        assert plc.do("read", "top.Outcome.Valid", "top.Outcome.PartId") == [False, ""]


def _answer(plc: Client, do: str, *args: str, **more: str) -> dict[str, object]:
    plc.send(do, *args, **more)
    return plc.answer()
