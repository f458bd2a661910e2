"""Children of a test: signals reach them however the tests were started, and none outlives its test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def signals_as_from_a_terminal() -> Iterator[None]:
    """Children that are started meanwhile take Ctrl-C and SIGHUP, also where the tests themselves ignore them.

    Under nohup, cron and many CI runners the tests are started with these signals ignored. A child inherits what is
    ignored, and a Python that starts with SIGINT ignored raises no KeyboardInterrupt. A child does not inherit a
    handler: it gets the default. So we install one while the child starts. Another thread than the main one cannot, and
    need not where the child is killed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = [number for number in _numbers() if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def child(command: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process as one that is started from a terminal; text pipes. `options` go to Popen.

    At the end it is killed with all that it started, if it still runs, and its pipes are closed.
    """
    with signals_as_from_a_terminal():
        process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            for number in (process.pid, *descendants(process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, getattr(signal, "SIGKILL", signal.SIGTERM))
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what was still to be written
                    pipe.close()
        process.wait()


def descendants(parent: int) -> list[int]:
    """Ids of the processes that a process has started, and of theirs; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            status = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            children.setdefault(int(status[1]), []).append(int(folder.name))
    found, waiting = [], [parent]
    while waiting:
        started = children.get(waiting.pop(), [])
        found += started
        waiting += started
    return found


def _numbers() -> list[signal.Signals]:
    return [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


_SLOW = """
import importlib, sys, time
stage, entry = sys.argv[1:3]
del sys.argv[1:3]
name, _, function = stage.rpartition(".")
module, main = importlib.import_module(name), importlib.import_module(entry).main
inner = getattr(module, function)
def slowly(*args, **kwargs):
    print("NOW", flush=True)
    time.sleep(30)
    return inner(*args, **kwargs)
setattr(module, function, slowly)
sys.exit(main(sys.argv[1:]))
"""


def slowed(stage: str, entry: str) -> list[str]:
    """A command, before its arguments, that prints NOW at a stage and waits there, so that it can be stopped.

    Args:
        stage: a function as its caller knows it, such as "export.finish.write_bundle".
        entry: the module whose `main` is run.
    """
    return [sys.executable, "-c", _SLOW, stage, entry]
