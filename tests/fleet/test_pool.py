"""Workers as processes: rows equal to those of `edge-ad inspect`, and what happens when something is killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="Parquet needs pyarrow (the extra fleet)")
if sys.platform == "win32":
    pytest.skip("these tests kill by signals, and stop a run by a pipe", allow_module_level=True)

from edge_ad.cli import main
from edge_ad.errors import BundleError, EdgeADError
from edge_ad.fleet import crew
from edge_ad.fleet.inspector import Inspector
from edge_ad.fleet.pool import Pool
from tests.fleet.made import (
    Deadly,
    assert_equal_to_inspect,
    drive,
    let_go,
    parts_in,
    rows_of,
    until,
    write_images,
    write_manifest,
)
from tests.processes import child, descendants


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_equal_those_of_inspect(golden: Path, tmp_path: Path, threads: int) -> None:
    paths = write_images(tmp_path / "in", 90)
    inspector = Inspector(golden, threads)
    with Pool(inspector, 2, threads) as pool:
        driver, said = drive(pool, inspector.bundle_id, paths, tmp_path / "out", shard_size=40)
    assert_equal_to_inspect(rows_of(tmp_path / "out"), golden, paths)
    assert parts_in(tmp_path / "out") == 3
    assert driver.images_left == 90, "it counts what was left at its start"
    summary = driver.summary()
    assert (summary["images"], summary["errors"], summary["retries"]) == (90, 2, 0)
    assert summary["good"] + summary["anomalous"] == 88
    assert [kind["images"] for kind in summary["error_kinds"]] == [1, 1]
    assert len(said) == 2
    assert descendants_of_pool() == []


def descendants_of_pool() -> list[int]:
    """Children of these tests that are workers; the tracker of multiprocessing stays."""
    return [pid for pid in descendants(os.getpid()) if b"spawn_main" in command_of(pid)]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_an_image_that_kills_its_workers_is_a_row(golden: Path, tmp_path: Path) -> None:
    paths = write_images(tmp_path / "in", 40)
    for i, word in ((11, "deadly"), (25, "once")):
        paths[i] = paths[i].rename(paths[i].with_name(f"{word}.png"))
    inspector = Deadly(golden, readers=0)
    with Pool(inspector, 2, 1) as pool:
        driver, said = drive(pool, inspector.bundle_id, paths, tmp_path / "out", shard_size=20)
    rows = rows_of(tmp_path / "out")
    killed = rows.pop(11)
    assert killed["path"] == str(paths.pop(11))
    assert "2 workers died at this image" in killed["error"]
    assert "SIGKILL" in killed["error"]
    assert killed["is_anomalous"]
    assert_equal_to_inspect(rows, golden, paths)
    assert driver.tally.deaths == 5, "two with the piece, two with the image alone, one more"
    assert driver.summary()["retries"] == 1 + 20 + 1 + 1
    assert any("tried again" in line for line in said)


def test_a_bundle_that_a_worker_cannot_open(bundle: Path, golden_roi: Path, tmp_path: Path) -> None:
    paths = write_images(tmp_path / "in", 8)
    inspector = Inspector(bundle)
    bundle.write_bytes(golden_roi.read_bytes())
    with Pool(inspector, 2, 1) as pool, pytest.raises(BundleError, match="another bundle"):
        drive(pool, inspector.bundle_id, paths, tmp_path / "out", shard_size=4)


class Stillborn(Inspector):
    def open(self) -> dict[str, object]:
        os._exit(3)


def test_workers_that_die_at_once(golden: Path, tmp_path: Path) -> None:
    paths = write_images(tmp_path / "in", 8)
    with Pool(Stillborn(golden), 1, 1) as pool, pytest.raises(EdgeADError, match=r"die when they open.*exit code 3"):
        drive(pool, "x", paths, tmp_path / "out", shard_size=4)


class Stopped(Inspector):
    """Its process stops at an image whose name says so, and does not end."""

    def _read(self, name: str) -> bytes | str | Exception:
        if "stops" in name:
            os.kill(os.getpid(), signal.SIGSTOP)
        return super()._read(name)


def test_a_worker_that_hangs_is_replaced(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_images(tmp_path / "in", 12)
    paths[7] = paths[7].rename(tmp_path / "in" / "stops.png")
    monkeypatch.setattr(crew, "PATIENCE_S", 5.0)
    monkeypatch.setattr(crew, "PATIENCE_PER_IMAGE_S", 0.0)
    with Pool(Stopped(golden, readers=0), 1, 1) as pool:
        drive(pool, Inspector(golden).bundle_id, paths, tmp_path / "out", shard_size=3)
    rows = rows_of(tmp_path / "out")
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    assert "no answer for too long" in rows[7]["error"]
    assert [bool(row["error"]) for row in rows].count(True) == 3, "and the two that are no images"


def test_long_paths_and_long_errors_do_not_block(golden: Path, tmp_path: Path) -> None:
    """Driver and worker send more than a pipe holds, at the same time."""
    paths = [Path(f"/{i:04d}" + "/none" * 20_000) for i in range(200)]
    with Pool(Inspector(golden), 1, 1) as pool:
        drive(pool, Inspector(golden).bundle_id, paths, tmp_path / "out", shard_size=100)
    rows = rows_of(tmp_path / "out")
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    assert all(row["error"] for row in rows)


def test_a_run_that_is_killed_again_and_again(golden: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C, a worker killed, the driver killed; then the rest is done, and no row is lost or doubled."""
    paths = write_images(tmp_path / "in", 60)
    manifest, out = write_manifest(tmp_path / "list.txt", paths, stop=31), tmp_path / "out"
    arguments = ["fleet", "inspect", str(golden), str(manifest), "--out", str(out), "--shard-size", "10"]
    arguments += ["--workers", "2"]
    command: list[str | Path] = [sys.executable, "-m", "edge_ad.cli", *arguments]
    # all but the shard with the pipe can be done, and perhaps the piece that waits behind it
    with child(command) as driver:
        until(lambda: parts_in(out) >= 4, "four parts")
        workers = [pid for pid in descendants(driver.pid) if b"spawn_main" in command_of(pid)]
        assert len(workers) == 2
        assert main(arguments) == 2, "one driver at a time"
        assert "another edge-ad fleet writes" in capfd.readouterr().err
        driver.send_signal(signal.SIGINT)
        assert driver.wait(60) == 130
        until(gone(workers), "workers end")
    with child(command) as driver:
        workers = started_workers(driver.pid)
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: [pid for pid in started_workers(driver.pid) if pid not in workers], "another worker")
        driver.kill()
        driver.wait(60)
        until(gone(workers), "workers end with their driver")
    let_go(paths[31])
    before = parts_in(out)
    assert main(arguments) == 2, "two images are none"
    said = capfd.readouterr()
    assert f"{before * 10} of 60 images were done before" in said.err
    assert_equal_to_inspect(rows_of(out), golden, paths)
    assert main(arguments) == 2
    assert "60 of 60 images were done before" in capfd.readouterr().err


def started_workers(driver: int) -> list[int]:
    found: list[int] = []

    def two() -> bool:
        found[:] = [pid for pid in descendants(driver) if b"spawn_main" in command_of(pid)]
        return len(found) == 2

    until(two, "two workers")
    return found


def gone(pids: list[int]) -> Callable[[], bool]:
    return lambda: not any(command_of(pid) for pid in pids)
