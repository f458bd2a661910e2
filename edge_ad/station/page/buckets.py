"""Buckets of tokens: so much at once, and so much a second, for each of many keys."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Hashable

_KEYS = 10_000  # that are remembered; those that were not seen for longest are forgotten first


class Buckets:
    """Thread-safe.

    Args:
        most: that may be taken at once.
        rate: that comes back a second.
    """

    def __init__(self, most: float, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._rate, self._clock = most, rate, clock
        self._levels: dict[Hashable, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def _level(self, key: Hashable) -> float:
        level, at = self._levels.get(key, (self._most, self._clock()))
        return min(self._most, level + (self._clock() - at) * self._rate)

    def take(self, key: Hashable) -> float:
        """Takes one. Returns 0, or the seconds until there is one: then nothing was taken."""
        with self._lock:
            wait = self._wait(key)
            if not wait:
                self._put(key, self._level(key) - 1)
            return wait

    def wait(self, key: Hashable) -> float:
        """Seconds until there is one; 0 where there is."""
        with self._lock:
            return self._wait(key)

    def _wait(self, key: Hashable) -> float:
        level = self._level(key)
        return 0.0 if level >= 1 else math.ceil((1 - level) / self._rate * 1000) / 1000

    def _put(self, key: Hashable, level: float) -> None:
        self._levels.pop(key, None)  # the newest stand last
        self._levels[key] = level, self._clock()
        while len(self._levels) > _KEYS:
            del self._levels[next(iter(self._levels))]
