"""What docs/sinks.md shows: its configuration runs, its five lines verify, and its tables have every key."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edge_ad.station.config import load_config
from edge_ad.station.sinks.table import SINKS
from tests.paths import ROOT
from tests.station.making import RUN
from tests.station.sinks.broker import brokers, keys_in, watching
from tests.station.sinks.making import first_arrivals, keys_of
from tests.station.sinks.receiver import receiving

PAGE = (ROOT / "docs/sinks.md").read_text(encoding="utf-8")


def block(language: str, at: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[at]


def test_its_configuration_runs(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed (the mqtt extra)")
    environment = {**os.environ, "MES_SECRET": "s3cret", "BROKER_PASSWORD": "pw"}
    with brokers(tmp_path) as make, receiving() as receiver:
        broker = make()
        broker.start()
        text = block("toml").replace("http://mes.example/outcomes", f"{receiver.url}/outcomes")
        text = text.replace("mqtt://broker.example", f"mqtt://127.0.0.1:{broker.port}")
        assert "example" not in text
        (place / "station.toml").write_text(text, encoding="utf-8")
        with watching(broker) as found:
            run = [*RUN, place / "station.toml", "--until-idle"]
            subprocess.run(run, check=True, env=environment, stderr=subprocess.DEVNULL)
            wanted = keys_of(place / "station.toml")
            assert len(wanted) == 20
            assert first_arrivals(keys_in(found)) == wanted
        bad = [taken for taken in receiver.taken if taken.told["outcome"] in ("reject", "no_part", "fault")]
        assert bad == receiver.taken
        assert receiver.taken
        assert len((place / "outcomes.csv").read_text(encoding="utf-8").splitlines()) == 21
        for taken in receiver.taken:
            assert verified(taken.headers, taken.body)
            assert not verified(taken.headers, taken.body + b" ")
            assert not verified({**taken.headers, "Edge-AD-Time": "1"}, taken.body)


def verified(headers: dict[str, str], body: bytes) -> bool:
    names: dict[str, Any] = {}
    exec(block("python"), names)
    return bool(names["verified"](headers, body, b"s3cret"))


def test_its_sinks_with_tls_are_right(place: Path) -> None:
    pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed (the mqtt extra)")
    for name in ("plant-ca.pem", "line1.pem", "line1.key", "mes-token"):
        (place / name).touch()
    camera = block("toml").partition("[[sink]]")[0]
    (place / "station.toml").write_text(camera + block("toml", 1), encoding="utf-8")
    assert {sink.id for sink in load_config(place / "station.toml").sinks} == {"webhook-mes", "mqtt-broker"}


@pytest.mark.parametrize("kind", SINKS)
def test_a_table_of_the_keys(kind: str) -> None:
    own = {name: key for name, key in SINKS.keys_of(kind).items() if name not in ("what", "name")}
    rows = [
        f"| `{name}` | {key.help} | {'required' if key.required else _default(key.default)} |"
        for name, key in own.items()
    ]
    assert "\n".join(["| key | what it is | without it |", "|---|---|---|", *rows, ""]) in PAGE, "\n".join(rows)


def _default(value: object) -> str:
    return "" if value is None else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
