"""Time: the one clock of all that is timed while frames are served."""

from __future__ import annotations

import time
from collections.abc import Callable

now: Callable[[], float] = time.perf_counter  # seconds from any origin; a test may put its own here


class Stopwatch:
    """Milliseconds of each stage."""

    def __init__(self) -> None:
        self._laps: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """The next lap begins now."""
        self._last = now()

    def lap(self, stage: str) -> None:
        """Ends the lap of a stage."""
        ended = now()
        self._laps[stage] = 1e3 * (ended - self._last)
        self._last = ended

    def total(self) -> dict[str, float]:
        """Milliseconds by stage, and their sum as "total"."""
        return {**self._laps, "total": sum(self._laps.values())}
