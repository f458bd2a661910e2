"""The ladder of operating points: one step down when frames keep missing the deadline, one step up when there is time.

It is a state machine over the frames served; it reads no clock. A rung is an operating point, the best first.

Down: `DOWN_MISSES` of the last `WINDOW` frames missed the deadline. If one frame in a hundred is late, as a fitting p99
allows, this happens by chance once in millions of frames. If all frames are late, it takes five frames.

Up: of `HOLD` frames in a row, at most `UP_MISSES_PER_100` in a hundred would have missed it on the rung above.
The time on that rung is predicted from the ratio of the two times measured at the start. The prediction can be wrong.
If a step up fails within as many frames as the ladder had waited for it, the next wait is twice as long, up to `HOLD` x
`MOST_BACK_OFF`. A step up that succeeds resets the wait.
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
        expected_ms: milliseconds of a frame on each rung, measured at the same load; only the ratios are used.
        budget_ms: the deadline of a frame.
    """

    def __init__(self, expected_ms: Sequence[float], budget_ms: float) -> None:
        self._expected, self._budget = tuple(expected_ms), budget_ms
        self._lock = threading.Lock()
        self._rung = 0
        self._changes = 0
        self._misses: deque[bool] = deque(maxlen=WINDOW)  # of this rung
        self._seen = self._over = 0  # frames since the wait began, and how many of them would have missed
        self._wait = HOLD
        self._on_trial = 0  # frames until a step up counts as a success

    @property
    def rung(self) -> int:
        """The rung of the next frame; 0 is the one that sees most."""
        return self._rung

    @property
    def changes(self) -> int:
        """How many steps it has made."""
        return self._changes

    def record(self, rung: int, latency_ms: float) -> None:
        """Counts a frame. A frame that began on another rung is ignored."""
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
            self._seen = self._over = 0  # not enough time: the wait begins again
        elif self._seen >= self._wait:
            self._step(-1)
            self._on_trial = self._wait

    def _step(self, by: int) -> None:
        self._rung += by
        self._changes += 1
        self._misses.clear()
        self._seen = self._over = self._on_trial = 0
