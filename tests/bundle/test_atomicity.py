"""A bundle is written whole or not at all, whenever its writer ends."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_ad.bundle.file import Bundle
from edge_ad.errors import BundleError
from tests.bundle.handmade import posix, write
from tests.paths import ROOT
from tests.processes import child


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failure_leaves_the_old_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    path = tmp_path / "a.bundle"
    old = write(path)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, where, fail)
    with pytest.raises((BundleError, KeyboardInterrupt)) as caught:
        write(path, coreset=np.zeros(5, np.float32))
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert "Free some space" in str(caught.value)
        assert caught.value.__cause__ is error
    assert Bundle.open(path).id == old
    assert [*tmp_path.iterdir()] == [path]


CHILD = """
import os, resource, signal, sys
sys.path.insert(0, sys.argv[3])
import numpy as np
from edge_ad.bundle import file as bundle
from tests import bundle_maker

moment, path = sys.argv[1], sys.argv[2]
def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
def after(real):
    def wrapped(*args):
        real(*args)
        kill()
    return wrapped
parts = bundle._file_parts
def cut(*args):
    for number, part in enumerate(parts(*args)):
        if number == int(moment[5:]): kill()
        yield part
if moment.startswith("part"): bundle._file_parts = cut
elif moment == "fsync": os.fsync = kill
elif moment == "replace": os.replace = kill
elif moment == "after replace": os.replace = after(os.replace)
elif moment == "limit": resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
print("ready", flush=True)
while True:
    members = {"coreset": np.full((300, 300), 7, np.float32)}
    bundle.write_bundle(path, bundle_maker.example_manifest("new"), members)
    if moment == "once": break
"""


@contextlib.contextmanager
def writer(moment: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes the bundle "new" to `path` until it is killed at `moment`."""
    command = [sys.executable, "-c", CHILD, moment, path, ROOT]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
        yield process


@posix
@pytest.mark.parametrize("moment", [f"part {n}" for n in range(5)] + ["fsync", "replace", "after replace"])
def test_a_killed_writer_leaves_the_old_or_the_new(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "a.bundle"
    write(path)
    with writer(moment, path) as process:
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    name = Bundle.open(path).manifest.name
    assert name == ("new" if moment == "after replace" else "cable")
    rest = [other.name for other in tmp_path.iterdir() if other != path]
    assert all(other.startswith(".a.bundle.") and other.endswith(".tmp") for other in rest)
    write(path)  # what the killed one left is in nobody's way
    assert Bundle.open(path).manifest.name == "cable"


@posix
def test_readers_see_only_whole_bundles_while_one_writes_and_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.bundle"
    write(path)
    with writer("loop", path) as process:
        names = [Bundle.open(path).manifest.name for _ in range(300)]
        end = time.monotonic() + 60
        while names[-1] != "new" and time.monotonic() < end:  # a crowded machine may not have run the writer yet
            names.append(Bundle.open(path).manifest.name)
        process.kill()
    assert {*names} <= {"cable", "new"}
    assert Bundle.open(path).manifest.name == "new"


@posix
def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """RLIMIT_FSIZE gives a real error from the kernel in the middle of the largest member."""
    path = tmp_path / "a.bundle"
    old = write(path)
    with writer("limit", path) as process:
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "BundleError" in stderr.splitlines()[-1]
    assert "File too large" in stderr
    assert Bundle.open(path).id == old
    assert [*tmp_path.iterdir()] == [path]
