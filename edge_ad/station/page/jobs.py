"""Commands that take long, in processes of their own that give way to the inspection: learning, and undoing it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import Any, BinaryIO

from edge_ad.errors import EdgeADError
from edge_ad.station.events import EventKind, Tell
from edge_ad.station.page.channel import CONFLICT, UNKNOWN, RefusedError
from edge_ad.station.page.priority import start_lowly

_log = logging.getLogger("edge_ad.station")
RUNNING, DONE, FAILED = "running", "done", "failed"
_KEPT = 20  # jobs that are remembered
_MOST = 2**20  # bytes of a report


class Jobs:
    """Thread-safe.

    Args:
        tell: journals an event.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._jobs: dict[str, dict[str, Any]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._threads: list[threading.Thread] = []
        self._count = 0

    def start(self, kind: EventKind, camera: str, arguments: Sequence[str]) -> dict[str, Any]:
        """Runs `edge-ad` with these arguments. What it prints is the report, as JSON. Its end is an event of this kind.

        Raises:
            RefusedError: a job of the camera runs.
            EdgeADError: it cannot be started.
        """
        with self._lock:
            busy = [job for job in self._jobs.values() if job["state"] == RUNNING and job["camera"] == camera]
            if busy:
                raise RefusedError(f"a job of camera {camera} runs: {busy[0]['id']} ({busy[0]['kind']})", CONFLICT)
            output, errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  # `_wait` closes them
            command = [sys.executable, "-m", "edge_ad.cli", *arguments]
            try:
                process = start_lowly(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
            except OSError as error:
                output.close()
                errors.close()
                raise EdgeADError(f"the job {kind} cannot be started", got=error) from error
            self._count += 1
            job: dict[str, Any] = {"id": f"{kind}-{self._count}", "kind": kind.value, "camera": camera}
            job |= {"state": RUNNING, "text": "", "report": {}}
            self._jobs[job["id"]] = job
            while len(self._jobs) > _KEPT and (ended := self._ended()):
                del self._jobs[ended]
            self._running[job["id"]] = process
            thread = threading.Thread(
                target=self._wait, args=(job["id"], process, output, errors), name="edge-ad-job", daemon=True
            )
            self._threads = [each for each in self._threads if each.is_alive()] + [thread]
            thread.start()
            return dict(job)

    def _ended(self) -> str:
        return next((name for name, job in self._jobs.items() if job["state"] != RUNNING), "")

    def all(self) -> list[dict[str, Any]]:
        """What is known of each, the oldest first."""
        with self._lock:
            return [dict(job) for job in self._jobs.values()]

    def get(self, identity: str) -> dict[str, Any]:
        """What is known of one.

        Raises:
            RefusedError: there is none.
        """
        with self._lock:
            job = self._jobs.get(identity)
            if job is None:
                raise RefusedError(f"there is no such job; got {identity!r}", UNKNOWN)
            return dict(job)

    def close(self) -> None:
        """Ends those that run. May be called twice."""
        with self._lock:
            running = list(self._running.values())
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(3.0)
            except subprocess.TimeoutExpired:
                process.kill()
        for thread in self._threads:
            thread.join()

    def _wait(self, identity: str, process: subprocess.Popen[bytes], output: BinaryIO, errors: BinaryIO) -> None:
        code = process.wait()
        with output, errors:
            report, words = _report(output), _words(errors)
        failed = code != 0 or report is None
        text = (words or f"it ended with exit code {code} and no report") if failed else "it is done"
        with self._lock:
            job = self._jobs[identity]
            job |= {"state": FAILED if failed else DONE, "text": text, "report": report or {}}
            del self._running[identity]
            told = dict(job)
        level = logging.ERROR if failed else logging.INFO
        _log.log(level, "camera %s: %s: %s", told["camera"], identity, text)
        self._tell(told["camera"], EventKind(told["kind"]), f"{told['state']}: {text}")


def _read(file: BinaryIO, most: int) -> bytes:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - most))
    return file.read(most)


def _report(file: BinaryIO) -> dict[str, Any] | None:
    """The JSON object that was printed; its last line, where there is more."""
    text = _read(file, _MOST).decode(errors="replace").strip()
    for candidate in (text, text.rpartition("\n")[2]):
        try:
            found = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    return None


def _words(file: BinaryIO) -> str:
    """The last line of what it complained about."""
    lines = [line for line in _read(file, 4096).decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
