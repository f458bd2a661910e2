"""Workers as actors of a Ray that runs here: the same rows, and what happens when something is killed.

One Ray serves all of these tests, as starting one takes seconds.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="Parquet needs pyarrow (the extra fleet)")
if sys.platform == "win32":
    pytest.skip("these tests kill by signals, and stop a run by a pipe", allow_module_level=True)

from edge_ad.cli import main
from edge_ad.errors import EdgeADError
from edge_ad.fleet.rays import Actors, connected, run_all_on_ray
from edge_ad.system.processes import Task
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
from tests.paths import ROOT
from tests.processes import child, descendants


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray with two CPUs."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, of what is deprecated in it
        path = os.environ.get("PYTHONPATH", "")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), path])))  # for its workers
        before = signal.getsignal(signal.SIGTERM)
        try:
            import ray
        except ModuleNotFoundError:
            pytest.skip("ray is not installed (the extra ray)")
        with connected("local", 2) as cpus:
            assert cpus == 2
            assert signal.getsignal(signal.SIGTERM) is before
            assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
            yield str(ray.get_runtime_context().gcs_address)
    assert not ray.is_initialized()


def actors() -> list[int]:
    """Processes of actors: Ray names them so."""
    found = []
    for pid in descendants(os.getpid()):
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Worker"):
                found.append(pid)
        except OSError:
            continue
    return found


def test_rows_equal_those_of_inspect(cluster: str, golden: Path, tmp_path: Path) -> None:
    """Also when an actor is killed at an image."""
    paths = write_images(tmp_path / "in", 50)
    paths[25] = paths[25].rename(paths[25].with_name("once.png"))
    inspector = Deadly(golden, readers=0)
    with Actors(inspector, golden, 2, 1) as crew:
        driver, _ = drive(crew, inspector.bundle_id, paths, tmp_path / "out", shard_size=16)
    assert_equal_to_inspect(rows_of(tmp_path / "out"), golden, paths)
    assert (driver.tally.deaths, driver.summary()["retries"]) == (1, 1)
    assert driver.tally.facts[0]["threads"] == 1


def test_a_driver_that_was_killed(
    cluster: str, golden: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its actors end with it; what it left is done by a pool, and no row is lost or doubled."""
    paths = write_images(tmp_path / "in", 60)
    manifest, out = write_manifest(tmp_path / "list.txt", paths, stop=31), tmp_path / "out"
    arguments = ["fleet", "inspect", str(golden), str(manifest), "--out", str(out), "--shard-size", "10"]
    command: list[str | Path] = [sys.executable, "-m", "edge_ad.cli", *arguments, "--ray", cluster]
    with child(command) as driver:
        until(lambda: parts_in(out) >= 4, "four parts")
        assert len(actors()) == 2
        driver.kill()
        driver.wait(60)
        until(lambda: not actors(), "actors end with their driver")
    let_go(paths[31])
    before = parts_in(out)
    assert main([*arguments, "--workers", "1"]) == 2
    assert f"{before * 10} of 60 images were done before" in capfd.readouterr().err
    assert_equal_to_inspect(rows_of(out), golden, paths)


def test_commands_on_the_cluster(cluster: str, tmp_path: Path) -> None:
    script = "import os, sys; print('it is', os.environ['WORD']); sys.exit(int(sys.argv[1]))"
    tasks = [
        Task([sys.executable, "-c", script, code], tmp_path / "logs" / f"{code}.log", {"WORD": "so"}) for code in "012"
    ]
    ended = {each.number: each for each in run_all_on_ray(tasks, 2, lambda: None, threads=1)}
    assert [ended[i].error is None for i in range(3)] == [True, False, False]
    assert "it is so" in str(ended[2].error)
    assert (tmp_path / "logs" / "0.log").read_text() == "it is so\n"


def test_no_cluster_there() -> None:
    pytest.importorskip("ray", reason="ray is not installed (the extra ray)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and nobody listens: Ray itself would wait for minutes
        for there in (f"127.0.0.1:{free.getsockname()[1]}", f"ray://localhost:{free.getsockname()[1]}"):
            with pytest.raises(EdgeADError, match=f"no Ray cluster at {there}; got .*refused"), connected(there, 1):
                pass
    with pytest.raises(EdgeADError, match="no Ray cluster at nowhere"), connected("nowhere", 1):
        pass
