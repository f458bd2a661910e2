"""What tests of sinks set up and wait for."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from edge_ad.station.config import load_config
from edge_ad.station.journal import Journal, Row
from edge_ad.station.sinks.base import Message, Sink, SinkOpening
from edge_ad.station.sinks.table import SINKS
from edge_ad.system.keys import read_table


def message(number: int, part_id: str = "part", camera: str = "top", outcome: str = "good") -> Message:
    row = Row(
        id=number,
        camera=camera,
        part_id=part_id,
        source="test:",
        sequence=number,
        time_ns=10**18,
        number=number,
        outcome=outcome,
        reason="",
        score=0.5,
        threshold=1.0,
        p_value=None,
        bundle="b",
        point="f32",
        engine="e",
        threads=1,
        roi="",
        latency_ms=5.0,
        picture="",
        kept=0,
        bytes=0,
        label="",
    )
    return Message(f"journal-{number}", row)


def messages(*numbers: int) -> list[Message]:
    return [message(number) for number in numbers]


class Opened:
    """A sink by itself, and what it told."""

    def __init__(self, kind: str, data: Path, given: dict[str, Any]) -> None:
        values, problems = read_table(given, SINKS.keys_of(kind))
        assert not problems
        self.told: list[str] = []
        self.stopping = threading.Event()
        self.sink: Sink = SINKS.open(kind, SinkOpening("Line 1", data, values, self.stopping, self.told.append))

    def deliver(self, *numbers: int) -> int | None:
        return self.sink.deliver(messages(*numbers))

    def close(self) -> None:
        self.sink.close()
        self.sink.close()


def write_config(place: Path, sink: str, count: int = 0, rate: float = 0) -> Path:
    """A station of drawn frames with a sink."""
    options = f"{{ count = {count}, rate = {rate}, bad = 0.3 }}"
    camera = f'name = "top"\nsource = "synthetic:64x64"\noptions = {options}\nbundle = "part.bundle"\nthreads = 1\n'
    path = place / "station.toml"
    text = f'[station]\nname = "Line 1"\n[[camera]]\n{camera}deadline_ms = 60000\n[[sink]]\n{sink}\n'
    path.write_text(text, encoding="utf-8")
    return path


def keys_of(config: Path) -> list[str]:
    """Keys of all outcomes of a station, in order."""
    with Journal(load_config(config, files=False).journal) as journal:
        return [f"{journal.id}-{row.number}" for row in journal.rows("number IS NOT NULL", order="number")]


def first_arrivals(arrived: Iterable[str]) -> list[str]:
    return [*dict.fromkeys(arrived)]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of a host name that is its own authority, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    what = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = f"subjectAltName=DNS:{name}" if name != "127.0.0.1" else "subjectAltName=IP:127.0.0.1"
    files = ["-keyout", key, "-out", cert]
    subprocess.run(
        ["openssl", *what, "-subj", f"/CN={name}", "-addext", names, *files], check=True, capture_output=True
    )
    return cert, key
