"""Children of a command: side by side, with errors that say why, and none left behind."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_ad.errors import EdgeADError
from edge_ad.system.processes import Task, run_all
from tests.processes import signals_as_from_a_terminal


def task(folder: Path, name: str, code: str) -> Task:
    return Task([sys.executable, "-c", code], folder / f"{name}.log", {"NAME": name})


def test_children_side_by_side(tmp_path: Path) -> None:
    """Two wait for each other: they end only if they run at the same time. A third fails, a fourth is killed."""
    meet = (
        "import os, pathlib, time; own = os.environ['NAME']; other = {'a': 'b', 'b': 'a'}[own]; "
        f"folder = pathlib.Path({str(tmp_path)!r}); (folder / own).touch(); "
        "end = time.monotonic() + 30\n"
        "while not (folder / other).exists() and time.monotonic() < end: time.sleep(0.01)\n"
        "assert (folder / other).exists()"
    )
    tasks = [
        task(tmp_path, "a", meet),
        task(tmp_path, "b", meet),
        task(tmp_path, "c", "import sys; print('so far'); sys.exit('error: it is broken')"),
        task(tmp_path, "d", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
        task(tmp_path, "e", "import sys; sys.exit(3)"),
    ]
    ticks: list[int] = []
    found = {ended.number: ended.error for ended in run_all(tasks, 2, lambda: ticks.append(1))}
    assert ticks
    assert found[0] is found[1] is None
    assert found[2] == f"it is broken (log: {tmp_path / 'c.log'})"
    assert found[3] is not None
    assert "killed by SIGKILL (out of memory?)" in found[3]
    assert found[4] is not None
    assert "exit code 3" in found[4]
    with pytest.raises(EdgeADError, match="cannot run /no/such"):
        next(run_all([Task(["/no/such"], tmp_path / "f.log", {})], 1, lambda: None))


def test_no_child_is_left(tmp_path: Path) -> None:
    began, told = tmp_path / "began", tmp_path / "told"
    code = (
        f"import pathlib, time\ntry:\n  pathlib.Path({str(began)!r}).touch()\n  time.sleep(600)\n"
        f"except KeyboardInterrupt:\n  pathlib.Path({str(told)!r}).touch()"
    )
    running = run_all([task(tmp_path, "a", code), task(tmp_path, "b", "pass")], 2, lambda: None)
    with signals_as_from_a_terminal():
        assert next(running).number == 1
    while not began.exists():
        time.sleep(0.01)
    running.close()  # as an exception in the loop over it would do
    assert told.exists(), "it was told to stop, and waited for"


_SIGNALS = """
import signal
from edge_ad.system.processes import children_can_be_stopped
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
before = [signal.getsignal(number) for number in NUMBERS]
with children_can_be_stopped():
    assert [signal.getsignal(number) for number in NUMBERS] == before
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
with children_can_be_stopped():
    assert signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN, "children would inherit it"
    signal.raise_signal(signal.SIGHUP)
assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
"""


def test_signals_are_as_before() -> None:
    """In a process of its own: what is tested is what is done to a whole process."""
    with signals_as_from_a_terminal():
        done = subprocess.run([sys.executable, "-c", _SIGNALS], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
