"""After a fork a Runtime says that it cannot be used, and the child can exit: no hang, whatever it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

# Forks while frames are inspected and captured ahead; the child tries all calls and ends as it is told.
FORK = """
import gc, os, signal, sys, threading, warnings
import numpy as np
from edge_ad import ForkError, Runtime
warnings.simplefilter("ignore", DeprecationWarning)
path, engine, end = sys.argv[1:4]
frame = np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)
runtime = Runtime(path, engine=engine, threads=2)
score = runtime.inspect(frame).score
verdict = runtime.inspect(frame)
stopped = threading.Event()
def camera():
    while not stopped.is_set():
        yield frame
ahead = runtime.inspect_many(camera())
next(ahead)
unread = runtime.inspect_many([frame])
def work():
    while not stopped.is_set():
        runtime.inspect(frame)
busy = threading.Thread(target=work, daemon=True)
busy.start()
def refused(call):
    try:
        call()
    except ForkError as error:
        return "spawn" in error.remedy
    return False
child = os.fork()
if child == 0:
    signal.alarm(60)
    calls = {
        "inspect": lambda: runtime.inspect(frame), "inspect_many": lambda: runtime.inspect_many([frame]),
        "ahead": lambda: next(ahead), "unread": lambda: next(unread), "probe": lambda: runtime.probe(frame),
        "check": runtime.check, "stats": runtime.stats,
    }
    failed = [name for name, call in calls.items() if not refused(call)]
    if end == "reopen":
        again = Runtime(path, engine=engine, threads=2)
        failed += [] if again.inspect(frame).score == score else ["reopen"]
    print("failed", failed, flush=True)
    if end == "os._exit":
        os._exit(7)
    if end == "drop":
        del runtime, ahead, unread, calls
        gc.collect()
    sys.exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
stopped.set()
busy.join()
ahead.close()
print("child", code, "parent", runtime.inspect(frame).score == score, flush=True)
"""


@pytest.mark.parametrize("end", ["sys.exit", "os._exit", "drop", "reopen"])
def test_a_forked_child_says_so_and_exits(golden: Path, engine: str, end: str) -> None:
    command = [sys.executable, "-c", FORK, str(golden), engine, end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["failed []", "child 7 parent True"], done.stderr
    assert done.returncode == 0
