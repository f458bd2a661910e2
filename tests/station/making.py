"""What tests of the station set up and wait for."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.sources.base import Capture
from edge_ad.station.config import load_config
from edge_ad.station.journal import Journal, Row
from edge_ad.station.station import Station
from tests.tiny import bad_frame, good_frame, picture

RUN = [sys.executable, "-m", "edge_ad.cli", "run"]
QUICK = "options = { still_ms = 0, poll_ms = 5 }"
_PATIENCE_S = 120.0  # a busy machine stalls for seconds


def write_frames(folder: Path, goods: int = 2, bads: int = 2, first: int = 0) -> None:
    for at in range(first, first + goods):
        picture(folder / f"good_{at}.png", good_frame(1000 + at))
    for at in range(first, first + bads):
        picture(folder / f"bad_{at}.png", bad_frame(2000 + at))


def write_config(place: Path, camera: str = "", rest: str = "", source: str = "folder:frames") -> Path:
    """A configuration with a camera "top"; `camera` are further keys of it, `rest` is what follows."""
    options = QUICK if source.startswith("folder:") and "options" not in camera else ""
    text = f'[[camera]]\nname = "top"\nsource = "{source}"\nbundle = "part.bundle"\nthreads = 1\n'
    if "deadline_ms" not in camera:
        text += "deadline_ms = 60000\n"
    path = place / "station.toml"
    path.write_text(f"{text}{options}\n{camera}\n{rest}\n", encoding="utf-8")
    return path


def wait_for(what: Callable[[], Any]) -> Any:
    """What it gives once that is true."""
    until = time.monotonic() + _PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)
    return found


def rows(config: Path, where: str = "1") -> list[Row]:
    with Journal(load_config(config, files=False).journal) as journal:
        return list(journal.rows(where))


def run_batch(config: Path) -> list[Row]:
    """Runs a station in this process until it is idle."""
    station = Station(load_config(config), batch=True)
    try:
        wait_for(lambda: not station.turn())
    finally:
        station.close()
    return rows(config)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def capture(part_id: str = "a", frame: np.ndarray | None = None, camera: str = "top", sequence: int = 0) -> Capture:
    return Capture(camera, sequence, part_id, "test:", time.time_ns(), time.monotonic_ns(), frame)
