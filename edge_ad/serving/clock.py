"""The clock for all times that are measured while frames are served."""

from __future__ import annotations

import time
from collections.abc import Callable

now: Callable[[], float] = time.perf_counter  # seconds from any origin; a test may put its own here


class Stopwatch:
    """Measures the milliseconds of each stage."""

    def __init__(self) -> None:
        self._laps: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """Starts the next lap now."""
        self._last = now()

    def lap(self, stage: str) -> None:
        """Ends the current lap, which belongs to this stage. Laps of one stage are added."""
        ended = now()
        self._laps[stage] = self._laps.get(stage, 0.0) + 1e3 * (ended - self._last)
        self._last = ended

    def total(self) -> dict[str, float]:
        """Milliseconds by stage, and their sum as "total"."""
        return {**self._laps, "total": sum(self._laps.values())}
