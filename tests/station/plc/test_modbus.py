"""Both roles of Modbus TCP against a PLC of pymodbus in another process, which is killed at each state."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pymodbus", reason="pymodbus is not installed (the modbus extra)")

from edge_ad.station.outcomes import FAULT, GOOD, NO_PART, REJECT
from tests.station.making import wait_for
from tests.station.plc.counterpart import HOLDS, ServerWires
from tests.station.plc.linked import logged, parts_of, plc, polling, said, serving
from tests.station.plc.made import ScriptedHost, answer


@pytest.mark.parametrize("outcome", [GOOD, REJECT, NO_PART, FAULT])
def test_the_controller_is_the_client(tmp_path: Path, outcome: str) -> None:
    host, log = ScriptedHost(by_itself=outcome), tmp_path / "plc.jsonl"
    with serving(host, base=100) as link, plc("client", link.port, log, "--parts", 5, "--base", 100) as process:
        said(process, "DONE")
    assert parts_of(log) == {f"part-{at}": outcome for at in range(1, 6)}
    assert [part for part, _ in host.asked] == [f"part-{at}" for at in range(1, 6)]
    assert {line["code"] for line in logged(log)} == {4 if outcome == FAULT else 0}
    assert {(line["number"], line["score"]) for line in logged(log)} == {(7, 1.5)}


@pytest.mark.parametrize("outcome", [GOOD, REJECT])
def test_the_controller_is_the_server(tmp_path: Path, outcome: str) -> None:
    host, log = ScriptedHost(by_itself=outcome), tmp_path / "plc.jsonl"
    with plc("server", 0, log, "--parts", 5, "--base", 10) as process:
        port = int(said(process, "PORT"))
        with polling(host, port, base=10):
            said(process, "DONE")
    assert parts_of(log) == {f"part-{at}": outcome for at in range(1, 6)}
    assert [part for part, _ in host.asked] == [f"part-{at}" for at in range(1, 6)]


def give_second(host: ScriptedHost, state: str) -> None:
    """A good, where the controller is to be killed with a result."""
    if state in ("result", "clear"):
        wait_for(lambda: len(host.asked) == 2)
        host.give(GOOD)


@pytest.mark.parametrize("is_seen", [True, False], ids=["seen", "unseen"])
@pytest.mark.parametrize("state", HOLDS)
def test_a_controller_that_is_the_client_is_killed(tmp_path: Path, state: str, is_seen: bool) -> None:
    """At each state of its second part; with a heartbeat whose end is seen, and one whose end is not. The next
    controller begins with parts of the same numbers, and never sees the good of the dead one."""
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    host = ScriptedHost(by_itself=REJECT, keeps=1)
    with serving(host) as link:
        with plc("client", link.port, before, "--parts", 2, "--hold", state, "--hold-at", 1) as process:
            give_second(host, state)
            said(process, "HELD")
            process.kill()
            process.wait()
        if is_seen:
            shake, link._dialogue._shake._timeout_ns = link._dialogue._shake, 10**7
            wait_for(lambda: not link.state().well)
            shake._timeout_ns = 30 * 10**9
            assert any("heartbeat has stood still" in told for told in host.told)
        host.keeps = None
        with plc("client", link.port, after, "--parts", 3) as process:
            if state == "busy":
                host.asked[1][1](answer("part-2"))  # the answer of the dead one's part, while the new one works
            said(process, "DONE")
    assert parts_of(before) == {"part-1": REJECT}
    assert parts_of(after) == {f"part-{at}": REJECT for at in (1, 2, 3)}


@pytest.mark.parametrize("state", HOLDS)
def test_a_controller_that_is_the_server_is_killed(tmp_path: Path, state: str) -> None:
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    host = ScriptedHost(by_itself=REJECT, keeps=1)
    with plc("server", 0, before, "--parts", 2, "--hold", state, "--hold-at", 1) as process:
        port = int(said(process, "PORT"))
        with polling(host, port) as link:
            give_second(host, state)
            said(process, "HELD")
            process.kill()
            process.wait()
            wait_for(lambda: not link.state().well)
            if state == "busy":
                host.give(GOOD)
            host.keeps = None
            with plc("server", port, after, "--parts", 3) as again:
                said(again, "DONE")
    assert parts_of(before) == {"part-1": REJECT}
    assert parts_of(after) == {f"part-{at}": REJECT for at in (1, 2, 3)}


def test_the_station_ends_while_a_result_stands() -> None:
    """The registers of a controller that is the server hold nothing valid then."""
    host, wires = ScriptedHost(by_itself=GOOD), ServerWires()
    try:
        with polling(host, wires.port):
            wires.write(0, [1])
            wait_for(lambda: wires.status()[1])
            wires.write(0, [2])
            wait_for(lambda: wires.status()[3])
            wires.write(4, [0, 5])
            wires.write(38, [1])
            wait_for(lambda: wires.status()[50])
            assert wires.status()[5] == 1
        status = wires.status()
        assert (status[5], status[50], status[2]) == (0, 0, 0)
    finally:
        wires.close()
