"""The state machine alone, and what a vision system does when the station is late, silent or not ready."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_ad.station.plc import opcua_model as model
from edge_ad.station.plc.opcua_states import NotNow, States, Step
from tests.station.making import wait_for

AUTOMATIC = "VisionStateMachine.AutomaticModeStateMachine"
CAUSE = ["Int32", 0], "a test"


def test_the_ways_of_the_specification_and_no_others() -> None:
    steps: list[Step] = []
    states = States(steps.append)
    with pytest.raises(NotNow, match="no way from the state Preoperational to Ready"):
        states.go(model.READY, "Auto")
    states.go(model.OPERATIONAL)
    assert (states.top, states.inner, states.now) == ("Operational", "Initialized", "Initialized")
    with pytest.raises(NotNow, match="no way from the state Initialized to SingleExecution"):
        states.go(model.SINGLE)
    states.go(model.READY, "Recipe")
    assert states.is_ready
    states.go(model.SINGLE)
    with pytest.raises(NotNow, match="is in the state SingleExecution; this needs Ready"):
        states.need(model.READY)
    states.go(model.READY, "Stop")
    states.go(model.ERROR, "Auto")
    assert (states.inner, states.now) == ("", "Error")
    assert [step.name for step in steps] == [
        "PreoperationalToOperational",
        "InitializedToReadyRecipe",
        "ReadyToSingleExecution",
        "SingleExecutionToReadyStop",
        "OperationalToErrorAuto",
    ]


def test_numbers_are_those_of_the_states() -> None:
    """A transition's number is made of the numbers of its states (OPC 40100-1, tables of transitions)."""
    for name, (_, number) in model.TRANSITIONS.items():
        before, _, after = name.partition("To")
        state = max((each for each in model.STATES if after.startswith(each)), key=len)
        assert number // 10 == 10 * model.STATES[before][1] + model.STATES[state][1]
    ids = [*model.STATES.values(), *model.TRANSITIONS.values()]
    assert len({number for number, _ in ids}) == len(ids)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("asyncua", reason="asyncua is not installed (the opcua extra)")
    from tests.station.plc.opcua_making import Served

    made = Served(Path(tmp_path_factory.mktemp("served")), insecure=True)
    yield made
    made.link.close()


@pytest.fixture
def plc(served: Any) -> Iterator[Any]:
    from tests.station.plc.opcua_making import client

    served.host.deadline, served.host.decides = 60_000.0, lambda part_id: "good"
    with client() as made:
        made.do("connect", served.url, "None")
        made.do("listen", "top", "top.Outcome.Good", "top.Outcome.Valid")
        yield made


def test_good_is_not_said_after_the_deadline(served: Any, plc: Any) -> None:
    """The answer comes with the last of the time; the link's own clock ends a job that has none."""
    served.host.decides = lambda part_id: None
    served.host.deadline = 300.0
    job = plc.do("job", "top", "late")
    told = plc.do("outcome", "top", job)  # nothing came
    assert (told["Outcome"], told["Good"], told["ResultId"]) == ("fault", False, job)
    assert told["Reason"].startswith("late")
    served.host.settle("good")  # too late, and of no job any more
    assert plc.do("read", "top.Outcome.Good", "top.Outcome.JobId") == [False, job]
    event = plc.do("heard", 1024)[-1]
    assert (event["ResultState"], event["ResultContent"][0]) == (4, "fault")
    assert True not in [value for path, value in plc.do("changed") if path == "top.Outcome.Good"]


def test_an_aborted_job_is_a_fault_whatever_comes(served: Any, plc: Any) -> None:
    served.host.decides = lambda part_id: None
    job = plc.do("job", "top", "a")
    assert plc.refused("job", "top", "b") == "BadInvalidState"  # one after the other
    plc.do("call", "top", AUTOMATIC, "Abort", *CAUSE)
    told = plc.do("outcome", "top", job)
    assert (told["Outcome"], told["Good"]) == ("fault", False)
    assert told["Reason"].startswith("aborted")
    assert plc.do("heard", 1024)[-1]["ResultState"] == 3
    served.host.decides = lambda part_id: "reject"
    served.host.settle("good")
    other = plc.do("jobs", "top", "b")[0]
    assert (other["Outcome"], other["PartId"]) == ("reject", "b")


def test_stop_lets_the_part_have_its_outcome(served: Any, plc: Any) -> None:
    served.host.decides = lambda part_id: None
    job = plc.do("job", "top", "a")
    plc.do("call", "top", AUTOMATIC, "Stop", *CAUSE)
    served.host.settle("good")
    assert plc.do("outcome", "top", job)["Good"]
    assert plc.do("read", f"top.{AUTOMATIC}.LastTransition") == ["SingleExecutionToReadyStop"]


def test_a_camera_that_goes_away_and_comes_back(served: Any, plc: Any) -> None:
    served.host.decides = lambda part_id: None
    job = plc.do("job", "top", "a")
    served.host.why = "the camera is not connected"
    error = plc.do("heard", 1019)[-1]
    assert "not connected" in error["Message"]
    names = ("top.VisionStateMachine.CurrentState", "top.Outcome.Ready", "top.Outcome.NotReady")
    assert plc.do("read", *names) == ["Error", False, "the camera is not connected"]
    assert plc.refused("job", "top", "b") == "BadInvalidState"
    served.host.settle("fault")
    assert plc.do("outcome", "top", job)["Outcome"] == "fault"
    served.host.why = ""
    assert plc.do("heard", 1020)[-1]["ToState"] == "Operational"
    wait_for(lambda: plc.do("read", *names) == ["Operational", True, ""])
    served.host.decides = lambda part_id: "good"
    assert plc.do("jobs", "top", "c")[0]["Good"]


def test_nodes_and_types_have_the_ids_of_the_specification(plc: Any) -> None:
    found = {name for _, name in plc.do("browse", "top")}
    assert found == {"2:VisionStateMachine", "2:ResultManagement", "2:RecipeManagement", "1:Outcome"}
    methods = {name for _, name in plc.do("browse", f"top.{AUTOMATIC}")}
    assert {"2:StartSingleJob", "2:StartContinuous", "2:Stop", "2:Abort", "0:CurrentState"} <= methods
    assert plc.do("read", "top.RecipeManagement.Recipes.InUse.InternalId")[0]["Id"] == "b1"
