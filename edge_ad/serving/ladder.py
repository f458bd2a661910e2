"""The ladder of operating points: down one when misses of the deadline persist, up again when there is room.

A state machine over the frames served; it reads no clock. A rung is an operating point, the most faithful first.

Down: `DOWN_MISSES` of the last `WINDOW` frames missed the deadline. Where one frame in a hundred is late, as a p99 that
fits allows, chance alone brings that about once in millions of frames; where all are late it takes five.

Up: of `HOLD` frames in a row at most `UP_MISSES_PER_100` in a hundred would have missed it on the rung above, whose
time is predicted by the ratio of the two as measured at the start. The prediction can be wrong: a climb that fails
within as many frames as it waited for doubles the next wait, up to `HOLD` x `MOST_BACK_OFF`; one that holds resets it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

WINDOW = 20  # frames
DOWN_MISSES = 5
HOLD = 100  # frames
UP_MISSES_PER_100 = 2
MOST_BACK_OFF = 64


class Ladder:
    """Tells which rung serves the next frame. Thread-safe.

    Args:
        expected_ms: what a frame takes on each rung, at the same load; the ratios count.
        budget_ms: the deadline of a frame.
    """

    def __init__(self, expected_ms: Sequence[float], budget_ms: float) -> None:
        self._expected, self._budget = tuple(expected_ms), budget_ms
        self._lock = threading.Lock()
        self._rung = 0
        self._changes = 0
        self._misses: deque[bool] = deque(maxlen=WINDOW)  # of this rung
        self._seen = self._over = 0  # frames that could have let it climb, and those that spoke against it
        self._wait = HOLD
        self._on_trial = 0  # frames until a climb counts as held

    @property
    def rung(self) -> int:
        """Of the next frame; 0 is the most faithful."""
        return self._rung

    @property
    def changes(self) -> int:
        """How often it has stepped."""
        return self._changes

    def record(self, rung: int, latency_ms: float) -> None:
        """Counts a frame. One that began on another rung than the present one says nothing about it."""
        with self._lock:
            if rung != self._rung:
                return
            self._misses.append(latency_ms > self._budget)
            self._try_down()
            if rung == self._rung:
                self._try_up(latency_ms)

    def _try_down(self) -> None:
        if sum(self._misses) >= DOWN_MISSES and self._rung + 1 < len(self._expected):
            if self._on_trial:
                self._wait = min(2 * self._wait, HOLD * MOST_BACK_OFF)
            self._step(1)
        elif self._on_trial:
            self._on_trial -= 1
            if not self._on_trial:
                self._wait = HOLD

    def _try_up(self, latency_ms: float) -> None:
        if self._rung == 0:
            return
        ratio = self._expected[self._rung - 1] / self._expected[self._rung]
        self._seen += 1
        self._over += latency_ms * ratio > self._budget
        if self._over * 100 > self._wait * UP_MISSES_PER_100:
            self._seen = self._over = 0  # no room: the wait begins anew
        elif self._seen >= self._wait:
            self._step(-1)
            self._on_trial = self._wait

    def _step(self, by: int) -> None:
        self._rung += by
        self._changes += 1
        self._misses.clear()
        self._seen = self._over = self._on_trial = 0
