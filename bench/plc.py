"""`python -m bench.plc`: how long after a verdict a controller sees the result in its registers, by Modbus TCP.

A station inspects drawn frames of 64 x 64. A PLC of pymodbus in a process of its own (tests/station/plc/counterpart.py)
triggers a part, reads the registers each millisecond until the result is valid, and acknowledges. Times are those of
the monotonic clock, which the two processes share (Linux). Times of each part:

    verdict to durable    from the decision until the journal has the outcome on the disk
    durable to register   from there until the result is in the registers (client: until it is sent to the PLC)
    verdict to register   both
    verdict to seen       until the controller, which polls, has read it

And, for the disk: as many bare writes of 4 kB with fsync into the same folder, which bound the first.

What the PLC was told and what the journal says are compared too: they must be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from edge_ad.station.config import load_config
from edge_ad.station.journal import Journal
from edge_ad.station.plc.base import Answer
from edge_ad.station.plc.dialogue import Dialogue
from edge_ad.station.plc.handshake import Shown
from edge_ad.station.process import share_interpreter
from edge_ad.station.station import Station

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "tests/data/format-1.bundle"
_DEADLINE_MS = 5000.0
Durable = dict[str, tuple[float, float]]
_CONFIG = """
[[camera]]
name = "top"
source = "synthetic:64x64"
options = {{ rate = 100, bad = 0.1 }}
bundle = "part.bundle"
trigger = "software"
deadline_ms = {deadline}
threads = 1
[[plc]]
kind = "modbus-{role}"
camera = "top"
name = "line"
heartbeat_ms = 10000
{where}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", type=int, default=1000)
    parser.add_argument("--role", choices=("server", "client", "both"), default="both", help="of the station")
    parser.add_argument("--poll-ms", type=float, default=1.0, help="of the PLC")
    parser.add_argument("--folder", type=Path, help="where the journal is written; default: the system's folder")
    options = parser.parse_args(arguments)
    share_interpreter()  # as `edge-ad run` does
    roles = ("server", "client") if options.role == "both" else (options.role,)
    print(f"load {' '.join(f'{each:.1f}' for each in os.getloadavg())}, {os.cpu_count()} cores, {options.parts} parts")
    print("| the station is | | p50 ms | p99 ms | largest ms |\n|---|---|---|---|---|")
    wrong = 0
    for role in roles:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            times, unequal = measure(role, options.parts, options.poll_ms, Path(folder))
            times["a write with fsync"] = synced(Path(folder), options.parts)
        wrong += unequal
        for what, values in times.items():
            p50, p99, most = (*np.percentile(values, (50, 99)), max(values))
            print(f"| {role} | {what} | {p50:.2f} | {p99:.2f} | {most:.2f} |")
        print(f"| {role} | results that differ from the journal's | {unequal} | | |")
    return 1 if wrong else 0


def measure(role: str, parts: int, poll_ms: float, folder: Path) -> tuple[dict[str, list[float]], int]:
    """Milliseconds of each part, and how many results differ from the journal's."""
    shutil.copy(BUNDLE, folder / "part.bundle")
    log = folder / "plc.jsonl"
    command = [sys.executable, "-m", "tests.station.plc.counterpart", "--log", str(log)]
    command += ["--parts", str(parts), "--poll-ms", str(poll_ms), "--port"]
    if role == "server":
        station, durable, registered = start(folder, role, 'bind = "127.0.0.1:0"')
        port = station.links.states()["line"].text.split()[1].rstrip(",")
        plc = subprocess.Popen([*command, port, "--role", "client"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    else:
        plc = subprocess.Popen([*command, "0", "--role", "server"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        where = f'url = "modbus://127.0.0.1:{word(plc.stdout, "PORT")}"\npoll_ms = 10'
        station, durable, registered = start(folder, role, where)
    try:
        word(plc.stdout, "DONE")
    finally:
        plc.kill()
        plc.communicate()
        station.close()
    return compare(folder, log, durable, registered)


def start(folder: Path, role: str, where: str) -> tuple[Station, Durable, dict[str, float]]:
    """A station; by part id when the decision fell and when it was durable (ns), and when its result was shown; both to
    be filled."""
    path = folder / "station.toml"
    path.write_text(_CONFIG.format(deadline=_DEADLINE_MS, role=role, where=where), encoding="utf-8")
    station = Station(load_config(path))
    durable: Durable = {}
    registered: dict[str, float] = {}
    links, ask = station.links, station.links.ask

    def timed(camera: str, part_id: str, answered: Callable[[Answer], None], recipe: int | None = None) -> None:
        def heard(answer: Answer) -> None:
            now = clock()
            decided = answer.deadline_ns - 1e6 * (_DEADLINE_MS - answer.latency_ms)
            durable[answer.part_id] = decided, now
            answered(answer)

        ask(camera, part_id, heard, recipe)

    links.ask = timed  # type: ignore[method-assign]
    show = Dialogue.show

    def shown(dialogue: Dialogue) -> Shown:
        found = show(dialogue)
        if found.valid:
            registered.setdefault(found.part.id, clock())
        return found

    Dialogue.show = shown  # type: ignore[method-assign]
    threading.Thread(target=turn, args=(station,), daemon=True).start()
    return station, durable, registered


def synced(folder: Path, count: int) -> list[float]:
    """Milliseconds of writes of a page, each with fsync."""
    times = []
    with open(folder / "page", "wb") as file:
        for _ in range(count):
            began = clock()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            times.append((clock() - began) / 1e6)
    return times


def clock() -> float:
    """Of the system, in ns."""
    return float(time.monotonic_ns())


def turn(station: Station) -> None:
    """What `edge-ad run` does meanwhile."""
    while station.desk.failed is None and station.links.states():
        station.turn()
        time.sleep(0.1)


def word(pipe: IO[str] | None, wanted: str) -> str:
    """Waits for a line of the PLC; its rest."""
    assert pipe is not None
    for line in pipe:
        if line.startswith(wanted):
            return line[len(wanted) :].strip()
    raise SystemExit(f"the PLC ended without {wanted}")


def compare(
    folder: Path, log: Path, durable: Durable, registered: dict[str, float]
) -> tuple[dict[str, list[float]], int]:
    """The times of all parts, and how many results are not the journal's."""
    with Journal(folder / "var/journal.sqlite") as journal:
        rows = {row.number: row for row in journal.rows()}
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    names = ("verdict to durable", "durable to register", "verdict to register", "verdict to seen")
    times: dict[str, list[float]] = {name: [] for name in names}
    unequal = 0
    for line in lines:
        row = rows.get(line.get("number"))
        if row is None or (row.part_id, row.outcome) != (line["part"], line["result"]):
            unequal += 1
            continue
        decided, written = durable[line["part"]]
        shown = registered[line["part"]]
        spans = (written - decided, shown - written, shown - decided, line["seen_ns"] - decided)
        for what, span in zip(names, spans, strict=True):
            times[what].append(span / 1e6)
    return times, unequal


if __name__ == "__main__":
    sys.exit(main())
