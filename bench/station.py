"""`python -m bench.station`: a station under load that is killed again and again, and what its journal says at the end.

Three cameras at once: a hot folder, drawn frames, and drawn frames that are triggered from outside. Every few thousand
outcomes the process is killed (SIGKILL) and started again. Then the books are compared:

    lost        triggers that were asked for and have no outcome
    twice       part ids with more than one outcome
    unequal     outcomes that a sink lacks, has twice, or has otherwise

All must be 0. Printed too: outcomes a second over the whole time, and the latency from trigger to decision.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edge_ad.sources.registry import open_source
from edge_ad.station.config import load_config
from edge_ad.station.journal import Journal, Row
from edge_ad.station.outcomes import RESTART
from edge_ad.station.triggers import write_requests

BUNDLE = Path(__file__).parents[1] / "tests/data/format-1.bundle"
_MOVED_S = 60.0  # for files whose outcome is durable to be moved
_AHEAD, _ASKED = 2000, 50  # files that lie in the hot folder at most; part ids of a request
_CONFIG = """
[station]
name = "soak"
[[camera]]
name = "hot"
source = "folder:hot folder"
options = {{ still_ms = 0, poll_ms = 10 }}
bundle = "part.bundle"
deadline_ms = {deadline}
threads = 1
[[camera]]
name = "drawn"
source = "synthetic:64x64"
options = {{ count = {count}, bad = 0.02, broken = 0.005 }}
bundle = "part.bundle"
deadline_ms = {deadline}
threads = 1
[[camera]]
name = "asked"
source = "synthetic:64x64"
options = {{ seed = 7, bad = 0.02 }}
trigger = "software"
bundle = "part.bundle"
deadline_ms = {deadline}
threads = 1
[[sink]]
kind = "jsonl"
path = "out/all.jsonl"
[[sink]]
kind = "csv"
path = "out/bad.csv"
what = ["reject", "no_part", "fault"]
[retention]
good_sample = 0.001
"""


@dataclass
class Books:
    """What came out of a soak.

    Attributes:
        asked: triggers that were asked for, by camera.
        outcomes: how many there are of each.
        restarted: faults of triggers that were in hand when the process was killed.
        lost, twice, unequal: see the module; with some examples.
        kills: how often it was killed.
        seconds: in all.
        latency_ms: p50, p99 and largest of those that were not in hand at a kill.
    """

    asked: dict[str, int]
    outcomes: dict[str, int] = field(default_factory=dict)
    restarted: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    kills: int = 0
    seconds: float = 0.0
    latency_ms: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def balanced(self) -> bool:
        """Whether nothing is lost, twice or unequal."""
        return not (self.lost or self.twice or self.unequal)


def soak(folder: Path, triggers: int, kill_every: int, bundle: Path = BUNDLE, deadline_ms: float = 5000.0) -> Books:
    """Runs a station in an empty folder and kills it after about so many outcomes each time."""
    counts = {"hot": triggers // 2, "drawn": triggers // 4, "asked": triggers - triggers // 2 - triggers // 4}
    shutil.copy(bundle, folder / "part.bundle")
    (folder / "hot folder").mkdir()
    config = folder / "station.toml"
    config.write_text(_CONFIG.format(count=counts["drawn"], deadline=deadline_ms), encoding="utf-8")
    books, began = Books(counts), time.monotonic()
    done = threading.Event()
    feeders = [
        threading.Thread(target=_feed_folder, args=(folder / "hot folder", counts["hot"], done)),
        threading.Thread(target=_ask, args=(config, counts["asked"], done)),
    ]
    for feeder in feeders:
        feeder.start()
    try:
        _run(config, sum(counts.values()), kill_every, books)
    finally:
        done.set()
        for feeder in feeders:
            feeder.join()
    books.seconds = time.monotonic() - began
    _compare(folder, config, books)
    return books


def _feed_folder(folder: Path, count: int, done: threading.Event) -> None:
    """Renames files into a hot folder, a few of them with a name that was there before."""
    source = open_source("synthetic:64x64", "hot", {"seed": 3, "bad": 0.02})
    for at in range(count):
        while at % 100 == 0 and len(os.listdir(folder)) > _AHEAD and not done.wait(0.05):
            pass
        if done.is_set():
            return
        capture = source.read(1.0)
        assert capture is not None
        assert capture.frame is not None
        data = cv2.imencode(".png", capture.frame)[1].tobytes()
        (folder / f"{at}.tmp").write_bytes(data)
        target = folder / f"part {at % (count * 9 // 10 + 1)}.png"
        while target.exists() and not done.wait(0.01):  # its namesake has not been taken yet
            pass
        os.replace(folder / f"{at}.tmp", target)


def _ask(config: Path, count: int, done: threading.Event) -> None:
    """Asks for inspections as `edge-ad trigger` does."""
    data = load_config(config).data
    for at in range(0, count, _ASKED):
        if done.is_set():
            return
        write_requests(data, "asked", [f"asked/{number}" for number in range(at, min(at + _ASKED, count))])
        if at % (20 * _ASKED) == 0:
            done.wait(0.2)


@contextlib.contextmanager
def _child(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "edge_ad.cli", "run", str(config), "--log-level", "error"]
    process = subprocess.Popen(command, env={**os.environ, "EDGE_AD_NO_PROFILE": "1"})
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _run(config: Path, wanted: int, kill_every: int, books: Books) -> None:
    """Until there are so many outcomes: starts the station, waits, kills it."""
    journal, chance, last = load_config(config).journal, random.Random(1), 0
    while True:
        with _child(config) as process:
            until = last + round(kill_every * chance.uniform(0.7, 1.3))
            while True:
                if process.poll() is not None:
                    raise RuntimeError(f"the station ended by itself with {process.returncode}")
                time.sleep(0.05)
                last = _count(journal)
                if last >= wanted:
                    _wait_until_moved(config.parent / "hot folder")
                    process.send_signal(signal.SIGTERM)
                    process.wait(120)
                    return
                if last >= until:
                    break
            time.sleep(chance.uniform(0, 0.05))
            process.kill()
        books.kills += 1


def _wait_until_moved(folder: Path) -> None:
    """Files whose outcome was durable when the process before was killed are moved by this one, once it sees them."""
    until = time.monotonic() + _MOVED_S
    while _left(folder) and time.monotonic() < until:
        time.sleep(0.05)


def _left(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".png")]


def _count(journal: Path) -> int:
    if not journal.is_file():
        return 0
    try:
        with Journal(journal) as opened:
            return opened.number
    except Exception:  # it is being made
        return 0


def _compare(folder: Path, config: Path, books: Books) -> None:
    with Journal(load_config(config).journal) as journal:
        rows = list(journal.rows(order="number"))
    books.outcomes = dict(Counter(str(row.outcome) for row in rows))
    books.restarted = sum(row.reason.startswith(RESTART) for row in rows)
    seen = Counter((row.camera, row.part_id) for row in rows)
    books.twice = [f"{camera} {part}" for (camera, part), count in seen.items() if count > 1]
    books.lost = [f"{row.camera} {row.part_id}" for row in rows if row.outcome is None]
    found = Counter(row.camera for row in rows)
    for camera, count in books.asked.items():
        if found[camera] < count:
            books.lost.append(f"{camera}: {count - found[camera]} of {count}")
        if found[camera] > count:
            books.twice.append(f"{camera}: {found[camera] - count} more than {count}")
    if [row.number for row in rows] != list(range(1, len(rows) + 1)):
        books.unequal.append("the numbers of the journal have gaps")
    books.lost += [f"hot folder/{name}" for name in _left(folder / "hot folder")]
    with open(folder / "out/all.jsonl", encoding="utf-8") as file:
        _compare_sink("jsonl", [json.loads(line) for line in file], rows, books)
    with open(folder / "out/bad.csv", encoding="utf-8", newline="") as file:
        told = [{**line, "number": int(line["number"])} for line in csv.DictReader(file)]
    _compare_sink("csv", told, [row for row in rows if row.outcome != "good"], books)
    times = np.array([row.latency_ms for row in rows if row.latency_ms is not None])
    books.latency_ms = tuple(float(value) for value in np.percentile(times, (50, 99, 100)))  # type: ignore[assignment]


def _compare_sink(name: str, told: list[dict[str, object]], rows: list[Row], books: Books) -> None:
    """Each outcome once, in order, and with the same content."""
    got = [(line["number"], line["camera"], line["outcome"]) for line in told]
    expected = [(row.number, row.camera, row.outcome) for row in rows]
    if got != expected:
        missing, more = [*{*expected} - {*got}][:3], [*{*got} - {*expected}][:3]
        books.unequal.append(f"{name}: {len(got)} lines for {len(expected)}; missing {missing}, more {more}")


def main() -> int:
    """Prints the books; returns 0 if they are balanced."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--triggers", type=int, default=100_000)
    parser.add_argument("--kill-every", type=int, default=4000, metavar="OUTCOMES")
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--folder", type=Path, help="work there, and leave everything; it must be empty")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-ad-soak", ignore_cleanup_errors=True))
        )
        folder.mkdir(parents=True, exist_ok=True)
        books = soak(folder, options.triggers, options.kill_every, options.bundle)
    total = sum(books.outcomes.values())
    print(f"triggers   {sum(books.asked.values())}: {books.asked}")
    print(f"outcomes   {total}: {books.outcomes}")
    print(f"kills      {books.kills}; {books.restarted} triggers were in hand then, and are faults")
    print(f"rate       {total / books.seconds:.0f} a second over {books.seconds:.0f} s, restarts and feeding included")
    print("latency    {:.1f} ms p50, {:.1f} ms p99, {:.1f} ms at most".format(*books.latency_ms))
    for what in ("lost", "twice", "unequal"):
        found = getattr(books, what)
        print(f"{what:10} {len(found)} {found[:5] if found else ''}")
    return 0 if books.balanced else 1


if __name__ == "__main__":
    sys.exit(main())
