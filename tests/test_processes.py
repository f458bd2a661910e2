"""The helper that starts children of tests, and that every test which sends a signal uses it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import child, descendants

NUMBERS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
WAITS = "import sys, time; print('ready', flush=True); time.sleep(600)"


@pytest.fixture
def ignored() -> Iterator[None]:
    """The tests as under `nohup make test &`."""
    before = [signal.signal(number, signal.SIG_IGN) for number in NUMBERS]
    yield
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)


def runs(number: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.usefixtures("ignored")
def test_ctrl_c_reaches_a_child_though_the_tests_ignore_it() -> None:
    with child([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert errors.endswith("KeyboardInterrupt\n")
    assert [signal.getsignal(number) for number in NUMBERS] == [signal.SIG_IGN] * 3


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_nothing_is_left_of_a_child_that_hangs() -> None:
    """Neither it, nor what it started in a session of its own, nor a pipe."""
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WAITS!r}], start_new_session=True)"
    with child([sys.executable, "-c", starts], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (other,) = descendants(process.pid)
    assert process.returncode == -signal.SIGKILL
    assert process.stdout.closed
    deadline = time.monotonic() + 60
    while runs(other):
        assert time.monotonic() < deadline, "what the child had started goes on"
        time.sleep(0.01)


def test_signals_are_sent_to_such_children_only() -> None:
    """A process that a test starts by itself takes no Ctrl-C under nohup, and stays when the test fails."""
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path != Path(__file__) and ".send_signal(" in text:
            assert "Popen(" not in text, f"{path.name} sends a signal: start its process by tests.processes.child"
