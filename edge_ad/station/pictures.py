"""Pictures of parts: the frame as PNG, which loses nothing, and beside it the overlay that people look at.

    pictures/2026-11-29/top/reject/cup_17-3f2a9c41be.png            the frame
    pictures/2026-11-29/top/reject/cup_17-3f2a9c41be.overlay.png    heat and outlines, where a verdict has a map

A thread of its own writes them, each whole or not at all, after the outcome is durable. Until then the row says that a
picture is planned, so a row never names one that is not there.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_ad.errors import EdgeADError
from edge_ad.station.desk import Desk, Drawing, Ticket
from edge_ad.station.journal import KEPT, LOST, iso
from edge_ad.station.outcomes import GOOD
from edge_ad.system.files import write_file

_log = logging.getLogger("edge_ad.station")
_WAITING = 32  # frames in memory, each perhaps some tens of megabytes
_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def overlay_of(picture: Path) -> Path:
    """The overlay beside a picture."""
    return picture.with_suffix(".overlay.png")


def safe_name(text: str, *more: str) -> str:
    """A file name for any text: what file systems take of it, and a mark of all of it, so that no two are one."""
    kept = "".join(c if c.isalnum() or c in "-_." else "_" for c in text)[:60].strip(".") or "_"
    while len(kept.encode()) > 120:
        kept = kept[:-1]
    mark = hashlib.sha256("\0".join((text, *more)).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{kept}-{mark[:10]}"


def folder_name(text: str) -> str:
    """A folder name for a camera: its name, where any file system takes it, else with a mark."""
    return text if text.isascii() and text.isalnum() else safe_name(text)


@dataclass(frozen=True)
class _Job:
    number: int
    path: Path
    frame: np.ndarray
    overlay: Drawing | None


class Pictures:
    """Plans and writes pictures.

    Args:
        data: the data folder.
        good_sample: share of the good parts whose pictures are kept.
        full: called when the disk is full; whether there may be room now.
    """

    def __init__(self, data: Path, good_sample: float, full: Callable[[], bool] = lambda: False) -> None:
        self._data, self.good_sample, self._full = data, good_sample, full
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._desk: Desk | None = None
        self._thread = threading.Thread(target=self._run, name="edge-ad-pictures", daemon=True)

    def start(self, desk: Desk) -> None:
        """Begins to write; `desk` is told what became of each picture."""
        self._desk = desk
        self._thread.start()

    def size_of(self, picture: str) -> int:
        """Bytes of a picture, with its overlay, that a process before was to write when it ended; 0 where it is not
        there. What it had half written beside it is removed."""
        path = self._data / picture
        for half in path.parent.glob(".*.tmp"):
            half.unlink(missing_ok=True)
        if not path.is_file():
            return 0
        return sum(each.stat().st_size for each in (path, overlay_of(path)) if each.is_file())

    def plan(self, ticket: Ticket) -> str:
        """Where the picture of a decided trigger goes, below the data folder; "" where none is kept."""
        decision, capture = ticket.decision, ticket.capture
        if decision is None or ticket.frame is None:
            return ""
        if decision.outcome == GOOD and not self._sampled(capture.camera, ticket.part_id):
            return ""
        name = safe_name(ticket.part_id, capture.camera)
        folder = f"pictures/{iso(capture.time_ns)[:10]}/{folder_name(capture.camera)}/{decision.outcome}"
        return f"{folder}/{name}.png"

    def _sampled(self, camera: str, part_id: str) -> bool:
        mark = hashlib.sha256(f"{camera}\0{part_id}".encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(mark[:8], "big") < self.good_sample * 2**64

    def keep(self, ticket: Ticket) -> None:
        """Writes the picture of a ticket that is done, if one is planned. Does not wait."""
        if not ticket.picture or ticket.number is None or ticket.frame is None:
            return
        if self._jobs.qsize() >= 4 * _WAITING:
            _log.error("the picture of part %s is lost: the disk is too slow", ticket.part_id)
            self._told(ticket.number, LOST)
            return
        self._jobs.put(_Job(ticket.number, self._data / ticket.picture, ticket.frame, ticket.overlay))

    @property
    def behind(self) -> bool:
        """Whether so many pictures wait that the next trigger should, if it can."""
        return self._jobs.qsize() >= _WAITING

    def close(self) -> None:
        """Writes what waits, and ends."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                size = self._write(job)
            except Exception as error:  # of OpenCV and of what draws, too; the next picture must be written
                _log.error("the picture %s is lost: %s", job.path, error)
                self._told(job.number, LOST)
            else:
                self._told(job.number, KEPT, size)

    def _told(self, number: int, kept: int, size: int = 0) -> None:
        assert self._desk is not None
        self._desk.write(lambda journal: journal.picture_done(number, kept, size))

    def _write(self, job: _Job) -> int:
        job.path.parent.mkdir(parents=True, exist_ok=True)
        size = self._store(job.path, to_png(job.frame))
        return size if job.overlay is None else size + self._store(overlay_of(job.path), to_png(job.overlay()))

    def _store(self, path: Path, data: bytes) -> int:
        try:
            write_file(path, [data])
        except OSError as error:
            if error.errno != errno.ENOSPC or not self._full():
                raise
            write_file(path, [data])
        return len(data)


def to_png(frame: np.ndarray) -> bytes:
    """A frame as PNG: (H, W) or (H, W, 3), u8 or u16. A stack's pictures lie below one another."""
    if frame.ndim == 4 or (frame.ndim == 3 and frame.shape[2] != 3):
        frame = frame.reshape(frame.shape[0] * frame.shape[1], *frame.shape[2:])
    done, data = cv2.imencode(".png", frame, _FAST)
    if not done:
        raise EdgeADError("a frame cannot be written as PNG", got=f"{frame.shape} {frame.dtype}")
    return data.tobytes()
