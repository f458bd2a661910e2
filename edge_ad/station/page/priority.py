"""Processes that get what the inspection leaves."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Sequence
from typing import Any

NICE = 15  # of 19: beside an inspection that takes all cores, some hundredths of one


def start_lowly(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Starts a process of low priority; `options` are those of Popen.

    It stays in the session of its parent: on Linux, priorities count within one (autogroup).

    Raises:
        OSError: it cannot be started.
    """
    flags = getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
    process = subprocess.Popen(command, creationflags=flags, **options)
    if hasattr(os, "setpriority"):  # at once: threads that it starts later have the same
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
    return process


def end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Waits for a process that was told to end, and kills it where it does not."""
    until = time.monotonic() + patience_s
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    if process.poll() is None:
        process.kill()
    process.wait()
