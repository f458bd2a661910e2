"""Statistics of the frames that a Runtime has served, in fixed memory."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_ad.system.percentiles import percentiles

WINDOW = 1024  # percentiles are over the last frames, this many


@dataclass(frozen=True)
class Stats:
    """The statistics of `Runtime.stats`. Times are from the frame in memory to the verdict, without reading files.

    Attributes:
        frames: number of verdicts since the Runtime was opened.
        window: the times are over this many of the last frames; 1024 at most.
        p50_ms, p95_ms, p99_ms, max_ms: each is a latency that was measured (`edge_ad.system.percentiles`); None before
            the first frame.
        frames_per_second: from the first to the last verdict of the window, with waiting; None before the second.
        budget_ms: time limit of a frame; None without a budget.
        misses: number of verdicts after their deadline since the Runtime was opened; None without a budget.
        point: the operating point in use.
        point_changes: number of steps down and up.
        points: operating point -> number of its verdicts.
    """

    frames: int
    window: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    frames_per_second: float | None
    budget_ms: float | None
    misses: int | None
    point: str
    point_changes: int
    points: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)


class Meter:
    """Counts verdicts. Thread-safe; memory does not grow.

    Args:
        points: names of the operating points that may serve.
        budget_ms: time limit of a frame; None without a budget.
    """

    def __init__(self, points: Sequence[str], budget_ms: float | None) -> None:
        self._lock = threading.Lock()
        self._budget = budget_ms
        self._latencies = np.zeros(WINDOW)
        self._times = np.zeros(WINDOW)
        self._frames = self._misses = 0
        self._points = dict.fromkeys(points, 0)

    def record(self, point: str, latency_ms: float, at_s: float) -> None:
        """Counts a verdict given at `at_s`, in seconds from any origin."""
        with self._lock:
            self._latencies[self._frames % WINDOW] = latency_ms
            self._times[self._frames % WINDOW] = at_s
            self._frames += 1
            self._points[point] += 1
            if self._budget is not None:
                self._misses += latency_ms > self._budget

    def stats(self, point: str, changes: int) -> Stats:
        """The statistics so far, with `point` and `changes` put in."""
        with self._lock:
            frames, misses, points = self._frames, self._misses, dict(self._points)
            count = min(frames, WINDOW)
            latencies, times = self._latencies[:count].copy(), self._times[:count].copy()
        p50, p95, p99, most = percentiles(latencies, (50, 95, 99, 100)) if count else (None,) * 4
        span = float(times.max() - times.min()) if count else 0.0
        return Stats(
            frames=frames,
            window=count,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            max_ms=most,
            frames_per_second=(count - 1) / span if span > 0 else None,
            budget_ms=self._budget,
            misses=None if self._budget is None else misses,
            point=point,
            point_changes=changes,
            points=points,
        )
