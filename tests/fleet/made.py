"""What several tests of the fleet need: images, a manifest that stops a run in the middle, and rows compared."""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pyarrow.parquet as pq

from edge_ad import FrameError, Runtime, Verdict
from edge_ad.fleet.crew import Crew
from edge_ad.fleet.driver import Driver
from edge_ad.fleet.inspector import Inspector
from edge_ad.fleet.results import Identity, Results
from edge_ad.fleet.worklist import WorkList
from tests.tiny import bad_frame, good_frame

PATIENCE_S = 120.0


def write_images(folder: Path, count: int) -> list[Path]:
    """Images, every fifth with a defect, and two that are none."""
    folder.mkdir(parents=True)
    paths = [folder / f"{i:04d}.png" for i in range(count)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), (bad_frame if i % 5 == 0 else good_frame)(i))
    paths[3].write_bytes(b"no image")
    paths[count // 2].write_bytes(paths[0].read_bytes()[:200])
    return paths


def work_of(paths: list[Path]) -> WorkList:
    return WorkList(tuple(map(str, paths)), (None,) * len(paths))


class Quiet:
    """A progress bar that shows nothing."""

    def __init__(self) -> None:
        self.count = 0

    def update(self, n: int = 1, /) -> None:
        self.count += n


def drive(crew: Crew, bundle_id: str, paths: list[Path], out: Path, shard_size: int) -> tuple[Driver, list[str]]:
    """Inspects the paths into `out`; the driver afterwards, and what it said."""
    work, said = work_of(paths), list[str]()
    identity = Identity(bundle_id, {}, len(paths), work.digest(), shard_size)
    results = Results(str(out))
    with results.claimed(identity):
        driver = Driver(work, identity, results, said.append)
        left, progress = driver.images_left, Quiet()
        driver.wait_for(crew)
        driver.run(crew, progress)
        assert progress.count == left
        results.write_summary(driver.summary())
    return driver, said


def rows_of(out: Path) -> list[dict[str, Any]]:
    """All rows, in the order of the parts."""
    return [row for part in sorted((out / "parts").glob("*.parquet")) for row in pq.read_table(part).to_pylist()]


def assert_equal_to_inspect(rows: list[dict[str, Any]], bundle: Path, paths: list[Path]) -> None:
    """Every path once and in order, with the bits that one Runtime with all threads gives, or its error."""
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    runtime = Runtime(bundle)
    for row, path in zip(rows, paths, strict=True):
        verdict = inspected(runtime, path)
        if isinstance(verdict, str):
            assert row["error"] == verdict
            assert row["is_anomalous"], "what failed is never good"
            assert row["score"] != row["score"]
        else:
            assert struct.pack("d", row["score"]) == struct.pack("d", verdict.score), path
            assert row["is_anomalous"] == verdict.is_anomalous
            assert (row["threshold"], row["found"], row["point"]) == (verdict.threshold, verdict.found, verdict.point)
            assert row["error"] == ""
            assert row["ms"] > 0


def inspected(runtime: Runtime, path: Path) -> Verdict | str:
    try:
        return runtime.inspect(path)
    except FrameError as error:
        return str(error)


class Deadly(Inspector):
    """Its process is killed at an image whose name says so; at one that says "once", only the first time."""

    def _read(self, name: str) -> bytes | str | Exception:
        if "deadly" in name or ("once" in name and not os.path.exists(f"{name}.died")):
            Path(f"{name}.died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._read(name)


def until(condition: Callable[[], object], what: str) -> None:
    """Waits until it holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"not in {PATIENCE_S} s: {what}"
        time.sleep(0.02)


def parts_in(out: Path) -> int:
    """How many parts there are."""
    return len(list(out.glob("parts/part-*.parquet")))


def write_manifest(path: Path, images: list[Path], stop: int) -> Path:
    """A manifest of the images, in which number `stop` is a pipe that nobody writes into: a run comes no further."""
    images[stop].unlink()
    os.mkfifo(images[stop])
    path.write_text("".join(f"{image}\n" for image in images))
    return path


def let_go(image: Path) -> None:
    """Puts an image in the place of the pipe."""
    image.unlink()
    cv2.imwrite(str(image), good_frame(7))
