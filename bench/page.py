"""`python -m bench.page`: what strangers do to the page of a station, and what that does to its inspection.

A station with one camera is asked for a part again and again; each fault comes in turn with quiet (ABAB), so both see
the same machine. Printed for each fault: the p50 and p99 of the time from the trigger to the outcome, quiet and beside
the fault, the ratio of the p99s, and how many requests were made (of `upload`: MiB that were sent). At the end, how
many triggers had no outcome.

    flood     200 requests a second of all kinds, with a token
    upload    100 MB to /inspect, again and again, with its length told and without
    loris     300 connections that send the head of a request byte by byte
    guess     50 wrong tokens a second
    plc       a link to a controller that is not there, of a second camera, which it alone may trigger

The load comes from this PC. On Linux it takes only what is left of the cores, as it stands for other PCs; the kernel's
work for both ends of each connection is there all the same.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_ad.station.journal import Journal
from edge_ad.station.page.auth import read_token
from edge_ad.system.percentiles import percentiles

BUNDLE = Path(__file__).parents[1] / "tests/data/format-1.bundle"
LOADS = ("flood", "upload", "loris", "guess")
FAULTS = (*LOADS, "plc")
_PATHS = ("/api/state", "/metrics", "/api/journal", "/api/live/top/frame.jpg", "/api/live/top/heat.png", "/health")
_CONFIG = """
[station]
http = "127.0.0.1:{port}"
[[camera]]
name = "top"
source = "synthetic:{size}"
bundle = "part.bundle"
trigger = "every"
every_ms = {every}
deadline_ms = {deadline}
threads = {threads}
{more}
"""
_ASKED = """
[[camera]]
name = "side"
source = "synthetic:{size}"
bundle = "part.bundle"
trigger = "software"
deadline_ms = {deadline}
threads = {threads}
"""
_LINK = """
[[plc]]
kind = "modbus-client"
name = "line"
camera = "side"
url = "modbus://127.0.0.1:{port}"
"""


# ------------------------------------------------------------------------------------------------ the load


async def _ask(port: int, token: str, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
    writer.write(head.encode())
    while await reader.read(65536):
        pass
    writer.close()


async def _at_rate(port: int, token: str, rate: float, paths: tuple[str, ...]) -> None:
    due, at, running = time.monotonic(), 0, set[asyncio.Task[None]]()
    while True:
        task = asyncio.create_task(_quietly(_ask(port, token, paths[at % len(paths)])))
        running.add(task)
        task.add_done_callback(running.discard)
        at, due = at + 1, due + 1 / rate
        print(at, flush=True)
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _quietly(work: object) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await work  # type: ignore[misc]


async def _upload(port: int, token: str) -> None:
    count, sent, part = 0, 0, b"x" * 2**20
    while True:
        told = "content-length: 100000000" if count % 2 else "transfer-encoding: chunked"
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"POST /inspect HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
            writer.write(f"{head}content-type: image/png\r\n{told}\r\n\r\n".encode())
            for _ in range(100):
                writer.write(part if count % 2 else b"%x\r\n%s\r\n" % (len(part), part))
                await writer.drain()
                sent += 1
                print(sent, flush=True)
            while await reader.read(65536):
                pass
            writer.close()
        count += 1


async def _loris(port: int, token: str) -> None:
    made = 0

    async def one() -> None:
        nonlocal made
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                made += 1
                print(made, flush=True)
                for sign in b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + b"y" * 1000:
                    writer.write(bytes([sign]))
                    await writer.drain()
                    await asyncio.sleep(1.0)
            await asyncio.sleep(0.2)

    await asyncio.gather(*(one() for _ in range(300)))


def load(fault: str, port: int, token: str) -> None:
    """Makes the load of a fault until it is killed."""
    if hasattr(os, "SCHED_IDLE"):  # only what the station and its page leave of the cores: it stands for other PCs
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    work = {
        "flood": lambda: _at_rate(port, token, 200.0, _PATHS),
        "upload": lambda: _upload(port, token),
        "loris": lambda: _loris(port, token),
        "guess": lambda: _at_rate(port, "wrong" * 8, 50.0, ("/api/state",)),
    }[fault]
    asyncio.run(work())


# ------------------------------------------------------------------------------------------------ the station


@dataclass
class Phase:
    """What is known of a fault, or of the quiet before it: the latencies of its parts, in ms."""

    quiet: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    requests: int = 0


@contextlib.contextmanager
def station(folder: Path, options: argparse.Namespace, more: str = "") -> Iterator[tuple[Path, int]]:
    """A station of its own process; its journal, and the port of its page."""
    shutil.copy(options.bundle, folder / "part.bundle")
    told = {
        "size": options.size,
        "every": options.every_ms,
        "threads": options.threads,
        "deadline": options.deadline_ms,
    }
    config = folder / "station.toml"
    config.write_text((_CONFIG.replace("{more}", more)).format(port=0, **told), encoding="utf-8")
    command = [sys.executable, "-m", "edge_ad.cli", "run", str(config)]
    log = folder / "log"
    with open(log, "wb") as lines, subprocess.Popen(command, stderr=lines) as process:
        try:
            port = 0
            while not port:
                found = re.search(r"the operator page is at http://127\.0\.0\.1:(\d+)/", log.read_text())
                port = int(found[1]) if found else 0
                if process.poll() is not None:
                    raise SystemExit(log.read_text())
                time.sleep(0.1)
            yield folder / "var/journal.sqlite", port
        finally:
            process.terminate()


def measured(journal_path: Path, seconds: float) -> list[float]:
    """The latencies of the parts of the next seconds; the first of them are left out."""
    time.sleep(0.15 * seconds)
    with Journal(journal_path) as journal:
        first = journal.number
        time.sleep(0.85 * seconds)
        return [row.latency_ms for row in journal.rows("number > ?", (first,)) if row.latency_ms is not None]


def beside(fault: str, port: int, token: str, journal: Path, seconds: float) -> tuple[list[float], int]:
    """The same while a load is made; and how many requests that was."""
    command = [sys.executable, "-m", "bench.page", "--load", fault, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "BENCH_TOKEN": token}) as process:
        assert process.stdout is not None
        counted = [0]

        def count() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                counted[0] = int(line)

        reader = threading.Thread(target=count, daemon=True)
        reader.start()
        try:
            found = measured(journal, seconds)
        finally:
            process.kill()
        reader.join()
    return found, counted[0]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--size", default="64x64", help="of the frames that are drawn")
    parser.add_argument("--every-ms", type=float, default=40.0)
    parser.add_argument("--deadline-ms", type=float, default=2000.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS)
    parser.add_argument("--load", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        load(options.load[0], int(options.load[1]), os.environ["BENCH_TOKEN"])
        return
    phases: dict[str, Phase] = {fault: Phase() for fault in LOADS if fault in options.faults}
    with tempfile.TemporaryDirectory() as folder, station(Path(folder), options) as (journal, port):
        token = read_token(Path(folder, "var/tokens/operator"))
        measured(journal, 5.0)
        for _ in range(options.turns):
            for fault, phase in phases.items():
                phase.quiet += measured(journal, options.seconds)
                found, requests = beside(fault, port, token, journal, options.seconds)
                phase.beside += found
                phase.requests += requests
        with Journal(journal) as books:
            without = books.one(
                "SELECT count(*) FROM triggers WHERE outcome IS NULL AND id < (SELECT max(id) FROM triggers)"
            )
            faults = books.one("SELECT count(*) FROM triggers WHERE outcome = 'fault'")
    if "plc" in options.faults:
        phases["plc"] = _plc(options)
    _tell(phases)
    print(
        f"triggers without an outcome {without}, faults {faults}; load {', '.join(f'{x:.1f}' for x in os.getloadavg())}"
    )


def _plc(options: argparse.Namespace) -> Phase:
    """Stations without a link and with one to nobody, in turn."""
    phase = Phase()
    for _ in range(options.turns):
        link = _LINK.replace("{port}", str(_nobody()))
        for more, into in ((_ASKED, phase.quiet), (_ASKED + link, phase.beside)):
            with tempfile.TemporaryDirectory() as folder, station(Path(folder), options, more) as (journal, _):
                measured(journal, 3.0)
                into += measured(journal, options.seconds)
    return phase


def _nobody() -> int:
    """A port where nobody listens."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def _tell(phases: dict[str, Phase]) -> None:
    print("| fault | parts quiet, beside | p50 quiet | p50 beside | p99 quiet | p99 beside | ratio | requests |")
    print("|---|---|---|---|---|---|---|---|")
    for fault, phase in phases.items():
        a50, a99 = percentiles(np.asarray(phase.quiet), (50, 99))
        b50, b99 = percentiles(np.asarray(phase.beside), (50, 99))
        parts = f"{len(phase.quiet)}, {len(phase.beside)}"
        times = f"{a50:.2f} | {b50:.2f} | {a99:.2f} | {b99:.2f} | {b99 / a99:.2f}"
        print(f"| {fault} | {parts} | {times} | {phase.requests} |")


if __name__ == "__main__":
    main()
