"""A whole station with a PLC of pymodbus: hundreds of parts in both books; a station that is killed at each state."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pymodbus", reason="pymodbus is not installed (the modbus extra)")

from edge_ad.station.config import load_config
from edge_ad.station.journal import Row
from edge_ad.station.outcomes import FAULT, GOOD
from edge_ad.station.station import Station
from tests.paths import ROOT
from tests.processes import child
from tests.station.making import RUN, rows, wait_for, write_config
from tests.station.plc.counterpart import HOLDS, ClientWires, Plc, ServerWires
from tests.station.plc.linked import logged, parts_of, plc, said

CAMERA = 'trigger = "software"\noptions = { rate = %d, bad = %g, seed = 5 }'
SERVER = '[[plc]]\nkind = "modbus-server"\ncamera = "top"\nbind = "127.0.0.1:%d"\nheartbeat_ms = 30000\n'
CLIENT = '[[plc]]\nkind = "modbus-client"\ncamera = "top"\nurl = "modbus://127.0.0.1:%d"\nheartbeat_ms = 30000\n'


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def station_of(config: Path) -> Iterator[Station]:
    station = Station(load_config(config))
    try:
        yield station
    finally:
        station.close()


def books_agree(config: Path, lines: list[dict[str, Any]]) -> dict[int, Row]:
    """Whatever the PLC was told with a number is the journal's outcome of that number, and of that part."""
    found = {row.number: row for row in rows(config) if row.number is not None}
    for line in lines:
        if line.get("number"):
            row = found[line["number"]]
            assert re.sub(r"~\d+$", "", row.part_id) == line["part"]
            assert row.outcome == line["result"]
            assert line["score"] == pytest.approx(row.score or 0.0, rel=1e-6)
        else:
            assert line["result"] != GOOD
    return found


def test_two_books_of_some_hundred_parts_with_the_controller_as_client(place: Path, tmp_path: Path) -> None:
    config, log = write_config(place, CAMERA % (200, 0.3), SERVER % 0, source="synthetic:64x64"), tmp_path / "log"
    with station_of(config) as station:
        port = int(station.links.states()["modbus-server"].text.split()[1].rstrip(","))
        with plc("client", port, log, "--parts", 300, "--poll-ms", 1) as process:
            said(process, "DONE")
    assert len(parts_of(log)) == 300
    found = books_agree(config, logged(log))
    assert [row.outcome for row in found.values()] == list(parts_of(log).values())
    assert {row.outcome for row in found.values()} == {"good", "reject"}


def test_two_books_with_the_controller_as_server(place: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with plc("server", 0, log, "--parts", 100, "--poll-ms", 1) as process:
        config = write_config(place, CAMERA % (200, 0.3), CLIENT % int(said(process, "PORT")), source="synthetic:64x64")
        with station_of(config):
            said(process, "DONE")
    assert len(parts_of(log)) == 100
    found = books_agree(config, logged(log))
    assert [row.outcome for row in found.values()] == list(parts_of(log).values())


class Killed:
    """`edge-ad run` as a process, that is killed and started again."""

    def __init__(self, config: Path) -> None:
        self._config, self._stack = config, contextlib.ExitStack()
        self.start()

    def start(self) -> None:
        self._process = self._stack.enter_context(child([*RUN, str(self._config)], cwd=ROOT, stderr=-3))

    def again(self) -> None:
        self._process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        self._process.wait()
        self.start()

    def close(self) -> None:
        self._stack.close()


@pytest.mark.skipif(sys.platform == "win32", reason="a process that is killed there leaves its lock for a moment")
@pytest.mark.parametrize("role", ["client", "server"])
def test_the_station_is_killed_at_each_state(place: Path, role: str) -> None:
    """And started again: never a good that is not of the part that stands, and the next part passes."""
    wires: ClientWires | ServerWires
    if role == "client":
        port = free_port()
        wires, link = ClientWires(port), SERVER % port
    else:
        wires = ServerWires()
        link = CLIENT % wires.port
    config = write_config(place, CAMERA % (2, 0), link, source="synthetic:64x64")
    lines: list[dict[str, Any]] = []
    station, controller = Killed(config), Plc(wires, lines.append, limit_s=100)

    def told() -> None:
        station.again()
        controller.go.set()

    parts = [f"part-{at}" for at in range(2 * len(HOLDS) + 1)]
    try:
        run(lambda: controller.run(parts, {2 * at + 1: state for at, state in enumerate(HOLDS)}, told))
    finally:
        controller.stop.set()
        station.close()
        wires.close()
    assert [line for line in lines if "violation" in line] == []
    books_agree(config, lines)
    results = {line["part"]: line["result"] for line in lines}
    assert [results[part] for part in parts[::2]] == [GOOD] * (len(HOLDS) + 1), lines  # the next part passes
    at = dict(zip(HOLDS, parts[1::2], strict=True))
    (busy,) = (line for line in lines if line["part"] == at["busy"])
    assert (busy["result"], busy["code"]) == ((FAULT, 5) if busy["held_busy"] else (GOOD, 0))  # the one in hand
    assert results[at["ready"]] == GOOD
    assert results[at["result"]] == results[at["clear"]] == GOOD  # they were told before
    asked = [row.part_id for row in rows(config)]
    assert len({*asked}) == len(asked)  # none was inspected twice
    assert {*parts} - {*asked} <= {at["busy"]}  # it may have been killed before the trigger was durable


def run(program: Callable[[], None]) -> None:
    """In a thread, as the test must not hang."""
    failed: list[BaseException] = []

    def whole() -> None:
        try:
            program()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=whole, daemon=True)
    thread.start()
    wait_for(lambda: not thread.is_alive())
    assert not failed, failed


def test_the_recipe_of_the_controller(place: Path, tmp_path: Path, golden: Path) -> None:
    """It is selected with the first part, which is a fault; from then on parts are inspected with its bundle."""
    from tests.edited import edited
    from tests.station.test_swap import id_of

    edited(golden, place / "cup.bundle", name="cup")
    camera = CAMERA % (200, 0) + '\nrecipes = ["cup.bundle"]'
    config, log = write_config(place, camera, SERVER % 0, source="synthetic:64x64"), tmp_path / "log"
    with station_of(config) as station:
        port = int(station.links.states()["modbus-server"].text.split()[1].rstrip(","))
        with plc("client", port, log, "--parts", 30, "--recipe", 1) as process:
            said(process, "DONE")
        assert station.links.recipe("top") == 1
    lines = logged(log)
    books_agree(config, lines)
    cup = id_of(place / "cup.bundle")
    by_part = {row.part_id: row for row in rows(config)}
    for line in lines:
        row = by_part[line["part"]]
        assert (line["result"], line["recipe"], row.bundle) == ("good", 1, cup) or line["code"] == 10, json.dumps(line)
    assert lines[-1]["result"] == "good"
