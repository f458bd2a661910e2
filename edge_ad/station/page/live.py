"""The last part of a camera, for the page: kept by reference, and made small only when somebody looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edge_ad.station.desk import Ticket
from edge_ad.station.journal import iso
from edge_ad.station.outcomes import Decision
from edge_ad.station.swap import Seen

_SIDE = 1280  # pixels of the longest side


@dataclass(frozen=True)
class Last:
    """A ticket that is done, with what draws it."""

    number: int
    told: tuple[str, str, str, int, int]  # camera, part id, source, sequence, time_ns
    decision: Decision
    latency_ms: float | None
    frame: np.ndarray | None
    drawn: Seen | None

    def to_dict(self) -> dict[str, Any]:
        """As `Row.to_dict` gives it."""
        camera, part_id, source, sequence, time_ns = self.told
        decision = self.decision
        names = ("outcome", "reason", "score", "threshold", "p_value", "bundle", "point", "engine")
        return {
            "number": self.number,
            "part_id": part_id,
            "camera": camera,
            "source": source,
            "sequence": sequence,
            "time": iso(time_ns),
            **{name: getattr(decision, name) for name in names},
            "latency_ms": None if self.latency_ms is None else round(self.latency_ms, 3),
            "picture": "",
            "label": "",
        }


def last_of(ticket: Ticket) -> Last | None:
    """What is kept of a ticket; None while it is not durable. By the desk's thread, so it copies nothing."""
    if ticket.number is None or ticket.decision is None:
        return None
    capture = ticket.capture
    told = (capture.camera, ticket.part_id, capture.source, capture.sequence, capture.time_ns)
    drawn = ticket.overlay if isinstance(ticket.overlay, Seen) else None
    return Last(ticket.number, told, ticket.decision, ticket.latency_ms, ticket.frame, drawn)


def pictures_of(last: Last) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The frame as (h, w, 3) u8 BGR and its heat as (h, w) u8, both small; None where there is none."""
    if last.drawn is not None:
        picture: np.ndarray | None = last.drawn.verdict.picture(last.drawn.frame)
    else:
        picture = None if last.frame is None else _plain(last.frame)
    if picture is None:
        return None, None
    height, width = picture.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    heat = None if last.drawn is None else last.drawn.verdict.heat()
    small = np.ascontiguousarray(_resized(picture, size))
    if heat is None or heat.shape != (height, width):
        return small, None
    return small, np.ascontiguousarray((255 * _resized(heat, size) + 0.5).astype(np.uint8))


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if picture.shape[1::-1] == size:
        return picture
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _plain(frame: np.ndarray) -> np.ndarray:
    """A frame that no verdict draws, as people see it; of a stack, its first picture."""
    if frame.ndim == 4 or (frame.ndim == 3 and frame.shape[2] not in (1, 3)):
        frame = frame[0]
    if frame.dtype == np.uint16:
        frame = (frame >> 8).astype(np.uint8)
    if frame.ndim == 2 or frame.shape[2] == 1:
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
    return frame
