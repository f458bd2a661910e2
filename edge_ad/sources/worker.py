"""Starts a process that captures (`edge_ad.sources.child`), talks to it, and ends it."""

from __future__ import annotations

import contextlib
import io
import json
import mmap
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from edge_ad.errors import SourceError
from edge_ad.sources.child import BOOT
from edge_ad.system.processes import THREAD_VARIABLES
from edge_ad.system.shared import Memory, nameless_file

_PATIENCE_S = 3.0  # for a process that was told to end: then it is killed


class Worker:
    """One process. Its standard output is read by a thread, which calls `heard` for each answer and `ended` at the end.

    It is no child of `multiprocessing`: that would run the main module of the program again, and needs a program that
    allows for it. The address goes through the pipe, so that no list of processes shows a password.

    Args:
        settings: for `edge_ad.sources.child.main`.
        environment: what differs from this process's.
        heard: called with each answer.
        ended: called once, with the exit code in words, after the last answer.

    Raises:
        SourceError: the process cannot be started.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
        heard: Callable[[Worker, dict[str, Any]], None],
        ended: Callable[[Worker, str], None],
    ) -> None:
        self._memory, self._words = Memory(), nameless_file()
        self._heard, self._ended = heard, ended
        self.map: mmap.mmap | bytes = b""
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", BOOT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                bufsize=0,
                env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1"), **environment},
                pass_fds=self._memory.inherited,
                start_new_session=os.name != "nt",  # Ctrl-C is for the station, which then ends its cameras
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            self._memory.close()
            self._words.close()
            raise SourceError("cannot start a process for a camera", got=error) from error
        self.pid = self._process.pid
        self.send(path=sys.path, memory=self._memory.ticket, **settings)
        self._thread = threading.Thread(target=self._read, name="edge-ad-camera", daemon=True)
        self._thread.start()

    def send(self, **order: Any) -> None:
        """An order. One that no longer arrives is not missed: the end is told by `ended`."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # ended, or closed
            self._process.stdin.write(json.dumps(order).encode() + b"\n")

    def look(self, size: int) -> None:
        """Maps the memory anew, after the process has given it this size in bytes."""
        self.map = self._memory.look(size)

    def kill(self) -> None:
        """Ends the process at once, whatever it does. `ended` follows."""
        self._process.kill()

    def close(self) -> None:
        """Ends the process, and waits for it and for the thread."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self.map = b""
        self._memory.close()
        self._words.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        broken = ""
        try:
            with io.BufferedReader(self._process.stdout) as lines:  # type: ignore[type-var]  # it is raw: bufsize=0
                for line in lines:
                    if line.endswith(b"\n"):  # the last one of a process that was killed may be cut
                        self._heard(self, json.loads(line))
        except Exception as error:  # a camera whose thread ended would be gone for good, and nobody told
            broken = f"an answer of its process cannot be used: {type(error).__name__}: {error}"
            self.kill()
        code = self._process.wait()
        self._ended(self, broken or self._why(code))

    def _why(self, code: int) -> str:
        words = ""
        with contextlib.suppress(OSError, ValueError):
            self._words.seek(0)
            lines = [line.strip() for line in self._words.read().decode(errors="replace").splitlines() if line.strip()]
            words = f" ({'; '.join(lines[-3:])})" if lines else ""
        if code < 0:
            names = {each.value: each.name for each in signal.Signals}  # a real-time signal has none
            return f"its process was killed by {names.get(-code, f'signal {-code}')}{words}"
        return f"its process ended with exit code {code}{words}"
