"""Runs several commands in parallel, and leaves no process behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_ad.errors import EdgeADError
from edge_ad.system.cpu import default_threads
from edge_ad.system.files import open_log

# Bounds of what takes threads beside our own: NumPy's products, torch, OpenCV.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
_LOOK_S = 0.1  # between two looks at the children
_PATIENCE_S = 30.0  # for a child that was told to stop: a long kernel is not interrupted


@dataclass(frozen=True)
class Task:
    """A command.

    Attributes:
        log: file for all that it prints.
        environment: what differs from this process's.
    """

    command: Sequence[str]
    log: Path
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Ended:
    """A task that has ended.

    Attributes:
        number: of the task.
        error: why it failed, for a reader; None where it did not.
        seconds: that it took.
    """

    number: int
    error: str | None
    seconds: float


def run_all(tasks: Sequence[Task], jobs: int, tick: Callable[[], object]) -> Iterator[Ended]:
    """Runs the tasks in their order, `jobs` at a time, and yields each when it has ended.

    A child has a session of its own, so that Ctrl-C reaches this process alone: however the iteration ends, the
    children that still run are told to stop, and it waits for them.

    Args:
        tick: called some times a second.

    Raises:
        EdgeADError: a command or its log cannot be opened.
    """
    waiting = list(enumerate(tasks))[::-1]
    running: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                number, task = waiting.pop()
                running[number] = (_start(task), time.monotonic())
            for number, (child, began) in list(running.items()):
                if child.poll() is not None:
                    del running[number]
                    yield Ended(number, why_it_failed(child.returncode, tasks[number].log), time.monotonic() - began)
            tick()
            if running:
                time.sleep(_LOOK_S)
    finally:
        _stop([child for child, _ in running.values()])


def threads_of(jobs: int) -> int:
    """Threads for each of so many jobs."""
    return max(1, default_threads() // jobs)


def _start(task: Task) -> subprocess.Popen[bytes]:
    try:
        task.log.parent.mkdir(parents=True, exist_ok=True)
        with open_log(task.log) as log:
            return subprocess.Popen(
                task.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **task.environment},
                start_new_session=True,
            )
    except OSError as error:
        raise EdgeADError(f"cannot run {task.command[0]}", got=error, remedy=f"Its log is {task.log}.") from error


def _stop(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        _interrupt_child(child)
    deadline = time.monotonic() + _PATIENCE_S
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _interrupt_child(child: subprocess.Popen[bytes]) -> None:
    if os.name == "nt":
        child.terminate()  # Windows can press Ctrl-C for all processes of a console, and for no single one
    else:
        child.send_signal(signal.SIGINT)


def why_it_failed(code: int, log: Path) -> str | None:
    """Why a command with this exit code failed: the last line of its log, which is the error; of one that was killed,
    the signal. None if it did not fail."""
    if code == 0:
        return None
    if code < 0:
        killed = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{killed}; log: {log}"
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    said = next((line for line in reversed(lines) if line), f"exit code {code}")
    return f"{said.removeprefix('error: ')} (log: {log})"


@contextlib.contextmanager
def children_can_be_stopped() -> Iterator[None]:
    """Signals that this process ignores (SIGHUP under nohup, SIGINT in the background of a script) stay ignored, but by
    a handler: a command inherits what is ignored and no handler, and children are told to stop by SIGINT.

    That SIGTERM and SIGHUP leave no children behind is the work of `edge_ad.system.entry`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda number, frame: None)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
