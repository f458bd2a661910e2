"""Many small images by `edge-ad fleet inspect`, with workers and drivers killed again and again; and how it scales.

    python -m bench.fleet [--images 20000] [--ways pool ray] [--bundle FILE]
    python -m bench.fleet --scaling [--bundle FILE] [--size 64] [--images 3000]
    python -m bench.fleet --driver

The first kills (SIGKILL) a worker after every second Parquet file and the driver after every tenth, and starts it again
until it ends by itself. Then every path must be there exactly once, in order, and every score must have the bits
that one Runtime gives, which inspects all images once, by itself. The second measures frames a second of 2 workers with
1 thread each, and of 1 worker with 2 threads. The third measures how many rows a second the driver takes, from a crew
that answers at once: the plan, the Parquet files and the disk, without inspection or messages.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from edge_ad import FrameError, Runtime, build_info
from edge_ad.fleet.crew import Answer, Answered, Event
from edge_ad.fleet.driver import Driver
from edge_ad.fleet.inspector import failed_columns
from edge_ad.fleet.plan import Piece
from edge_ad.fleet.results import Identity, Results
from edge_ad.fleet.worklist import WorkList
from edge_ad.system.progress import Progress

BUNDLE = Path(__file__).parents[1] / "tests" / "data" / "format-1.bundle"
PARTS_A_WORKER, PARTS_A_DRIVER = 2, 10  # new parts after which one is killed
_DISTINCT = 400  # images that are drawn; the others differ from them by a pixel


def draw(seed: int, size: int) -> np.ndarray:
    """(size, size, 3) u8 BGR: a disc on a noisy ground; every fifth has a scratch."""
    dice = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    frame = np.where((np.hypot(y - 0.5, x - 0.5) < 0.3)[..., None], (60, 120, 180), (90, 72, 99))
    frame = np.clip(frame * dice.uniform(0.95, 1.05) + dice.normal(0, 3, frame.shape), 0, 255).astype(np.uint8)
    if seed % 5 == 0:
        cv2.line(frame, (size * 2 // 5, size * 2 // 5), (size * 3 // 5, size // 2), (250, 250, 250), max(1, size // 16))
    return frame


def write_images(folder: Path, count: int, size: int) -> list[Path]:
    """Small PNG files, one in five with a defect, one in 500 that is no image."""
    folder.mkdir(parents=True)
    drawn = [draw(i, size) for i in range(min(count, _DISTINCT))]
    paths = []
    for i in range(count):
        frame = drawn[i % len(drawn)].copy()
        frame[i % size, i // size % size] = i % 256
        path = folder / f"{i // 1000:03d}" / f"{i:06d}.png"
        path.parent.mkdir(exist_ok=True)
        data = b"no image" if i % 500 == 499 else cv2.imencode(".png", frame)[1].tobytes()
        path.write_bytes(data)
        paths.append(path)
    return paths


def workers_of(driver: int, word: bytes) -> list[int]:
    """The processes below a driver whose command holds a word."""
    parents: dict[int, int] = {}
    named = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if word in (folder / "cmdline").read_bytes():
                named.append(int(folder.name))

    def is_below(pid: int) -> bool:
        return pid == driver or (pid in parents and is_below(parents[pid]))

    return [pid for pid in named if is_below(pid)]


def survive(command: list[str], word: bytes, out: Path) -> dict[str, float]:
    """Runs the command to its end, however often it is killed; counts of kills, and seconds."""
    dice, began = random.Random(0), time.monotonic()
    kills = {"workers": 0, "drivers": 0}
    while True:
        driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        parts = at_worker = at_driver = parts_in(out)
        while (code := driver.poll()) is None:
            time.sleep(0.1)
            parts = parts_in(out)
            if parts >= at_worker + PARTS_A_WORKER and (pids := workers_of(driver.pid, word)):
                os.kill(dice.choice(pids), signal.SIGKILL)
                kills["workers"] += 1
                at_worker = parts
            if parts >= at_driver + PARTS_A_DRIVER:
                driver.kill()
                kills["drivers"] += 1
                at_driver = parts
        if code >= 0:
            return {**kills, "code": code, "seconds": time.monotonic() - began}


def parts_in(out: Path) -> int:
    """How many parts are there."""
    return len(list(out.glob("parts/part-*.parquet")))


def check(out: Path, paths: list[Path], bundle: Path) -> int:
    """Every path once and in order, every score with the bits of one Runtime; how many rows were compared."""
    rows = [row for part in sorted(out.glob("parts/*.parquet")) for row in pq.read_table(part).to_pylist()]
    assert [row["path"] for row in rows] == [str(path) for path in paths], "a row is lost, doubled or moved"
    runtime = Runtime(bundle)
    for row, path in zip(rows, paths, strict=True):
        score, error = inspected(runtime, path)
        assert (struct.pack("d", row["score"]), row["error"]) == (struct.pack("d", score), error), path
    return len(rows)


def inspected(runtime: Runtime, path: Path) -> tuple[float, str]:
    """Score and error of an image by itself."""
    try:
        return runtime.inspect(path).score, ""
    except FrameError as error:
        return float("nan"), str(error)


def survival(options: argparse.Namespace, scratch: Path) -> None:
    """Runs each way with kills, and checks what is left."""
    paths = write_images(scratch / "in", options.images, options.size)
    for way in options.ways:
        out = scratch / f"out-{way}"
        command = [sys.executable, "-m", "edge_ad.cli", "fleet", "inspect", str(options.bundle), str(scratch / "in")]
        command += ["--out", str(out), "--workers", "2", *(["--ray", "local"] if way == "ray" else [])]
        word = b"ray::Worker" if way == "ray" else b"spawn_main"
        found = survive(command, word, out)
        compared = check(out, paths, options.bundle)
        summary = json.loads((out / "summary.json").read_text())
        print(
            f"{way}: {compared} of {len(paths)} rows, each once, equal to the bit; {found['workers']:.0f} workers and "
            f" {found['drivers']:.0f} drivers killed, {summary['retries']} tried again, {summary['errors']} errors; "
            f"{found['seconds']:.0f} s in all",
            flush=True,
        )


def scaling(options: argparse.Namespace, scratch: Path) -> None:
    """Frames a second of 2 x 1 and 1 x 2, in turn, three times each: the median."""
    write_images(scratch / "in", options.images, options.size)
    found: dict[tuple[int, int], list[float]] = {(2, 1): [], (1, 2): [], (1, 1): []}
    for turn in range(3):
        for workers, threads in found:
            out = scratch / f"out-{workers}-{threads}-{turn}"
            command = [
                sys.executable,
                "-m",
                "edge_ad.cli",
                "fleet",
                "inspect",
                str(options.bundle),
                str(scratch / "in"),
            ]
            command += ["--out", str(out), "--workers", str(workers), "--threads", str(threads)]
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            found[workers, threads].append(json.loads((out / "summary.json").read_text())["this_run"]["images_per_s"])
    print("| workers x threads | images a second, median | of 3 |")
    print("|---|---|---|")
    for (workers, threads), rates in found.items():
        print(f"| {workers} x {threads} | {np.median(rates):.0f} | {min(rates):.0f}-{max(rates):.0f} |")


class Instant:
    """A crew whose images take no time."""

    size = 100

    def __init__(self) -> None:
        self._answers: list[Event] = []

    def wants(self) -> int | None:
        return 0 if len(self._answers) < 2 * self.size else None

    def give(self, worker: int, piece: Piece, paths: list[str]) -> None:
        columns = failed_columns(len(paths), 0.5, "f32", "")
        columns["sha256"][:] = "0" * 64
        self._answers.append(Answered(piece, Answer(columns, {})))

    def wait(self, timeout_s: float) -> list[Event]:
        answers, self._answers = self._answers, []
        return answers

    def close(self) -> None:
        self._answers.clear()


def driver(options: argparse.Namespace, scratch: Path) -> None:
    """Rows a second of a driver, by the size of a shard."""
    count = max(options.images, 100_000)
    work = WorkList(tuple(f"s3://bucket/night/camera-1/{i:08d}.png" for i in range(count)), (None,) * count)
    for shard_size in (500, 5000):
        identity = Identity("bundle", {}, count, work.digest(), shard_size)
        results = Results(str(scratch / f"out-{shard_size}"))
        with results.claimed(identity):
            began = time.monotonic()
            Driver(work, identity, results, print).run(Instant(), Progress("driver", count))
            seconds = time.monotonic() - began
        print(f"driver, shards of {shard_size}: {count} rows in {seconds:.2f} s, {count / seconds:.0f} a second")


def main() -> None:
    """Measures, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=64, help="of the images, pixels")
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--ways", nargs="+", choices=("pool", "ray"), default=["pool", "ray"])
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--driver", action="store_true")
    options = parser.parse_args()
    options.bundle = options.bundle.absolute()
    facts = build_info()
    print(", ".join(f"{name} {value}" for name, value in facts.items() if isinstance(value, str)), flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as scratch:
        (scaling if options.scaling else driver if options.driver else survival)(options, Path(scratch).resolve())


if __name__ == "__main__":
    main()
