"""Links of Modbus on a scripted station, and the counterpart as a process."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from edge_ad.station.plc import modbus_client, modbus_server
from edge_ad.station.plc.base import LinkOpening
from edge_ad.station.plc.modbus_client import ModbusClient
from edge_ad.station.plc.modbus_server import ModbusServer
from edge_ad.system.keys import options_of
from tests.paths import ROOT
from tests.processes import child
from tests.station.plc.made import ScriptedHost

PLC = [sys.executable, "-m", "tests.station.plc.counterpart"]


@contextlib.contextmanager
def serving(host: ScriptedHost, **options: Any) -> Iterator[ModbusServer]:
    """A link of `modbus-server` at a free port."""
    given = {"camera": "top", "bind": "127.0.0.1:0", "heartbeat_ms": 30_000, **options}
    keys = options_of(given, modbus_server.KEYS, "the link")
    link = cast(ModbusServer, modbus_server.open_link(LinkOpening("line 1", "station", host, keys)))
    try:
        yield link
    finally:
        link.close()


@contextlib.contextmanager
def polling(host: ScriptedHost, port: int, **options: Any) -> Iterator[ModbusClient]:
    """A link of `modbus-client`."""
    given = {"camera": "top", "url": f"modbus://127.0.0.1:{port}", "heartbeat_ms": 30_000, "poll_ms": 2, **options}
    keys = options_of(given, modbus_client.KEYS, "the link")
    link = cast(ModbusClient, modbus_client.open_link(LinkOpening("line 1", "station", host, keys)))
    try:
        yield link
    finally:
        link.close()


@contextlib.contextmanager
def plc(role: str, port: int, log: Path, *options: str | int) -> Iterator[Any]:
    """The counterpart as a process; what it prints comes by its stdout."""
    command = [*PLC, "--role", role, "--port", str(port), "--log", str(log), *map(str, options)]
    with child(command, stdout=-1, cwd=ROOT) as process:
        yield process


def said(process: Any, word: str) -> str:
    """Waits until the counterpart says a word; the rest of its line."""
    for line in process.stdout:
        if line.startswith(word):
            return str(line[len(word) :].strip())
    raise AssertionError(f"it ended without {word}")


def logged(log: Path) -> list[dict[str, Any]]:
    """The lines of a counterpart's log."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def parts_of(log: Path) -> dict[str, str]:
    """The result of each part; there must be no violation."""
    lines = logged(log)
    assert [line for line in lines if "violation" in line] == []
    return {line["part"]: line["result"] for line in lines}
