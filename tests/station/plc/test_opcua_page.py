"""What docs/opcua.md and docs/mqtt.md show: tables of the code, configurations that run, and a client that does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_ad.station.config import load_config
from edge_ad.station.plc import opcua_model as model
from edge_ad.station.plc.opcua_plain import PLAIN
from edge_ad.station.plc.table import LINKS
from tests.paths import ROOT

PAGES = {kind: (ROOT / f"docs/{kind}.md").read_text(encoding="utf-8") for kind in ("opcua", "mqtt")}


def block(kind: str, language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[kind], re.DOTALL)[0]


@pytest.mark.parametrize("kind", PAGES)
def test_a_table_of_the_keys(kind: str) -> None:
    rows = [
        f"| `{name}` | {key.help} | {'required' if key.required else _default(key.default)} |"
        for name, key in LINKS.keys_of(kind).items()
    ]
    assert "\n".join(["| key | what it is | without it |", "|---|---|---|", *rows, ""]) in PAGES[kind], "\n".join(rows)


def _default(value: object) -> str:
    return "" if value is None else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def test_a_table_of_the_nodes() -> None:
    kinds = {model.BOOLEAN: "Boolean", model.STRING: "String", model.DOUBLE: "Double"}
    rows = [f"| `Outcome.{name}` | {kinds[each.kind]} | {each.help} |" for name, each in PLAIN.items()]
    assert "\n".join(["| node | type | what it says |", "|---|---|---|", *rows, ""]) in PAGES["opcua"], "\n".join(rows)


def test_methods_and_events_that_are_there() -> None:
    for place in dict.fromkeys(method.object for method in model.METHODS.values()):
        names = ", ".join(name for name, method in model.METHODS.items() if method.object == place)
        assert f"| `{place}` | {names} |" in PAGES["opcua"]
    assert all(f"`{name}`" in PAGES["opcua"] for name in model.EVENTS)


@pytest.mark.parametrize("kind", PAGES)
def test_its_configuration_is_right(place: Path, kind: str) -> None:
    pytest.importorskip("asyncua")
    pytest.importorskip("paho.mqtt.client")
    (place / "station.toml").write_text(block(kind, "toml"), encoding="utf-8")
    assert [link.kind for link in load_config(place / "station.toml").links] == [kind]


def test_its_client_does_a_job(place: Path) -> None:
    pytest.importorskip("asyncua", reason="asyncua is not installed (the opcua extra)")
    from tests.station.plc.opcua_making import certificate, free_port, running, trust, url

    port = free_port()
    text = block("opcua", "toml").replace("port = 4840", f"port = {port}").replace("= 2000", "= 60000")
    (place / "station.toml").write_text(text, encoding="utf-8")
    (place / "client.py").write_text(block("opcua", "python"), encoding="utf-8")
    known = certificate(place, "plc")
    trust(place, known)
    command = [sys.executable, place / "client.py", url(port), known["cert"], known["key"], known["uri"], "A17"]
    with running(place / "station.toml"):
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert re.match(r"A17 (good open the gate|reject score )", told)
