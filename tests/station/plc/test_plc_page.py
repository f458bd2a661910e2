"""What docs/plc.md shows: its configuration runs, its tables and drawings are those of the code."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_ad.station.config import load_config
from edge_ad.station.plc.registers import WORDS, tables
from edge_ad.station.plc.table import LINKS
from edge_ad.station.station import Station
from tests.paths import ROOT
from tests.station.making import wait_for

PAGE = (ROOT / "docs/plc.md").read_text(encoding="utf-8")


def test_its_configuration_runs(place: Path) -> None:
    """And a PLC has a part inspected as the page says."""
    pytest.importorskip("pymodbus", reason="pymodbus is not installed (the modbus extra)")
    from tests.station.plc.counterpart import ClientWires, Plc

    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert "127.0.0.1:5020" in text
    text = text.replace("127.0.0.1:5020", "127.0.0.1:0").replace("deadline_ms = 400", "deadline_ms = 60000")
    (place / "station.toml").write_text(text, encoding="utf-8")
    station = Station(load_config(place / "station.toml"))
    try:
        port = wait_for(lambda: re.search(r"port (\d+)", station.links.states()["line-1"].text))[1]
        wires, lines = ClientWires(int(port)), []
        Plc(wires, lines.append).run(["part-1"])
        wires.close()
        assert [line["result"] for line in lines] == ["good"]
    finally:
        station.close()


def test_its_program(place: Path) -> None:
    """It has a part inspected by the configuration that stands before it."""
    pytest.importorskip("pymodbus", reason="pymodbus is not installed (the modbus extra)")
    (text,), (program,) = (re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for kind in ("toml", "python"))
    text = text.replace("127.0.0.1:5020", "127.0.0.1:0").replace("deadline_ms = 400", "deadline_ms = 60000")
    (place / "station.toml").write_text(text, encoding="utf-8")
    station = Station(load_config(place / "station.toml"))
    try:
        port = wait_for(lambda: re.search(r"port (\d+)", station.links.states()["line-1"].text))[1]
        (place / "try_plc.py").write_text(program.replace("port=5020", f"port={port}"), encoding="utf-8")
        ran = subprocess.run(
            [sys.executable, "try_plc.py", "part-1", "part-1"], cwd=place, capture_output=True, text=True, check=False
        )
        told = [re.sub(" score .*", "", line) for line in ran.stdout.splitlines()]
        assert told == ["part-1 good fault code 0"] * 2, ran.stderr
    finally:
        station.close()


@pytest.mark.parametrize("name", tables())
def test_its_tables(name: str) -> None:
    """`edge_ad.station.plc.registers.tables` gives what belongs there."""
    assert f"\n{tables()[name]}\n" in PAGE, tables()[name]


@pytest.mark.parametrize("kind", ["modbus-server", "modbus-client"])
def test_a_table_of_the_keys(kind: str) -> None:
    rows = [
        f"| `{name}` | {key.help} | {'required' if key.required else _default(key.default)} |"
        for name, key in LINKS.keys_of(kind).items()
        if name != "name"
    ]
    assert "\n".join(["| key | what it is | without it |", "|---|---|---|", *rows, ""]) in PAGE, "\n".join(rows)


def _default(value: object) -> str:
    return "" if value is None else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def test_its_numbers() -> None:
    assert f"all {WORDS} in one request" in PAGE


def test_its_drawings() -> None:
    """`python docs/drawings.py` draws them again."""
    spec = importlib.util.spec_from_file_location("drawings", ROOT / "docs/drawings.py")
    assert spec is not None
    assert spec.loader is not None
    drawings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawings)
    for name, draw in drawings.DRAWINGS.items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == draw()
        assert f"]({name})" in PAGE
