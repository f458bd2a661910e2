"""What starts an inspection: each frame of the source, a clock, or a request from outside.

Requests come by `edge-ad trigger` from other processes. They lie as files in the data folder until they are accepted,
so none is lost while the station is down.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from edge_ad.errors import SpecError
from edge_ad.sources.base import Capture
from edge_ad.station.config import Camera
from edge_ad.station.desk import Ticket
from edge_ad.station.journal import iso
from edge_ad.station.pictures import folder_name
from edge_ad.station.swap import InUse
from edge_ad.system.files import write_output

_log = logging.getLogger("edge_ad.station")
_POLL_S = 0.02
_REMEMBERED = 10_000  # part ids of this run; older ones are durable, and the journal knows them


@dataclass(frozen=True)
class Request:
    """A trigger from outside.

    Attributes:
        part_id: the part in front of the camera; "" where nothing is asked for, and only `accepted` is to be called
            once all that was asked for before is durable.
        time_ns, clock_ns: as in `Capture`.
        accepted: called when its row is durable.
        answered: called with its ticket when the outcome is durable, by the desk's thread.
        use: what it is to be inspected with, as `Slot.use` gave it; None where whatever is in use then will do.
    """

    part_id: str
    time_ns: int
    clock_ns: int
    accepted: Callable[[], None] = field(default=lambda: None)
    answered: Callable[[Ticket], None] | None = None
    use: InUse | str | None = None


def request_folder(data: Path, camera: str) -> Path:
    """Where the requests of a camera lie until they are accepted."""
    return data / "triggers" / folder_name(camera)


def write_requests(data: Path, camera: str, part_ids: Sequence[str]) -> Path:
    """Asks for an inspection of each part, in this order. The file is there whole or not at all.

    Raises:
        EdgeADError: it cannot be written.
    """
    path = request_folder(data, camera) / f"{time.time_ns():020d}-{os.getpid()}.requests"
    write_output(path, ["".join(json.dumps(part_id) + "\n" for part_id in part_ids).encode()])
    return path


class Requests:
    """Triggers from outside, in the order in which they come.

    Args:
        known: whether the journal has a part id already: the file was not removed in time, and it is not asked again.
    """

    def __init__(self, data: Path, camera: str, known: Callable[[str], bool]) -> None:
        self._folder, self._known = request_folder(data, camera), known
        self._calls: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._files: deque[Path] = deque()
        self._lines: deque[tuple[str, Path | None]] = deque()  # with the file that a last line ends
        self._recent: dict[str, None] = {}
        self._told: set[Path] = set()  # cannot be read

    def call(
        self, part_id: str, answered: Callable[[Ticket], None] | None = None, use: InUse | str | None = None
    ) -> None:
        """A trigger from within this process. Thread-safe.

        Args:
            answered, use: as in `Request`.

        Raises:
            SpecError: the part id is empty.
        """
        if not part_id:
            raise SpecError("a part id is empty", expected="any text")
        self._calls.put(Request(part_id, time.time_ns(), time.monotonic_ns(), answered=answered, use=use))

    def next(self, timeout_s: float) -> Request | None:
        """The next request; None where none comes within the time."""
        until = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(queue.Empty):
                return self._calls.get_nowait()
            if (request := self._from_files()) is not None:
                return request
            left = until - time.monotonic()
            if left <= 0:
                return None
            with contextlib.suppress(queue.Empty):
                return self._calls.get(timeout=min(left, _POLL_S))

    def _from_files(self) -> Request | None:
        while True:
            if not self._lines and not self._read():
                return None
            part_id, ends = self._lines.popleft()
            again = not part_id or part_id in self._recent or self._known(part_id)
            if again and ends is None:
                continue
            self._recent[part_id] = None
            if len(self._recent) > _REMEMBERED:
                del self._recent[next(iter(self._recent))]
            done = _nothing if ends is None else partial(_remove, ends)
            return Request("" if again else part_id, time.time_ns(), time.monotonic_ns(), done)

    def _read(self) -> bool:
        """Takes the lines of the next file; False where there is none."""
        if not self._files:
            with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
                names = sorted(entry.name for entry in entries if entry.name.endswith(".requests"))
                self._files += (self._folder / name for name in names)
        if not self._files:
            return False
        path = self._files.popleft()
        part_ids = []
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # its triggers are durable, and it was removed since it was listed
            return bool(self._files) and self._read()
        except OSError as error:  # it stays, and is looked at again
            if path not in self._told:
                self._told.add(path)
                _log.error("the triggers in %s cannot be read: %s", path, error.strerror or error)
            return bool(self._files) and self._read()
        for line in content.splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                part_ids.append(str(json.loads(line)))
        self._lines += ((part_id, None) for part_id in part_ids[:-1])
        self._lines.append((part_ids[-1] if part_ids else "", path))
        return True


def _nothing() -> None:
    """Nothing is to be removed."""


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


class Clock:
    """`trigger = "every"`: a request at each tick. One that is missed, as the part before took longer, is left out."""

    def __init__(self, every_ms: float) -> None:
        self._every_s = every_ms / 1e3
        self._due = time.monotonic()

    def next(self, timeout_s: float) -> Request | None:
        """The request of the next tick; None where it does not come within the time."""
        left = self._due - time.monotonic()
        if left > 0:
            time.sleep(min(left, timeout_s))
        if time.monotonic() < self._due:
            return None
        behind = time.monotonic() - self._due
        self._due += self._every_s * (1 + behind // self._every_s)
        time_ns = time.time_ns()
        return Request(iso(time_ns), time_ns, time.monotonic_ns())


def requests_of(camera: Camera, data: Path, known: Callable[[str], bool]) -> Requests | Clock | None:
    """What asks for the inspections of a camera; None where each frame of its source is a trigger."""
    if camera.trigger == "every":
        assert camera.every_ms is not None  # the configuration says so
        return Clock(camera.every_ms)
    return Requests(data, camera.name, known) if camera.trigger == "software" else None


def capture_of(request: Request, camera: Camera) -> Capture:
    """The trigger of a request, before there is a frame. The number is that of the frame, which is not known yet."""
    return Capture(camera.name, -1, request.part_id, camera.address, request.time_ns, request.clock_ns)
