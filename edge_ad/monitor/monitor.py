"""Watches all statistics of a camera: takes what it has no reference of from the first good parts, and keeps alarms."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.monitor.causes import Alarm
from edge_ad.monitor.sequential import BLOCKS, LEAST, Rate, Sequential
from edge_ad.monitor.statistics import STATISTICS

Values = NDArray[np.float64]


@dataclass
class _Watched:
    """A statistic: its test, or the values that will make its reference."""

    test: Sequential | None = None
    taken: list[float] = field(default_factory=list)
    times_ns: deque[int] = field(default_factory=lambda: deque(maxlen=max(BLOCKS)))
    alarm: Alarm | None = None


class Monitor:
    """See the module. Not thread-safe.

    Args:
        names: the statistics that are watched, of `STATISTICS`.
        known: references. One with too few values is none.
        rate: that all of them share.
        learn: good parts that make a reference where there is none.
    """

    def __init__(self, names: Sequence[str], known: Mapping[str, Values], rate: Rate, learn: int) -> None:
        self._rate, self._learn = rate, learn
        self._tests = sum(STATISTICS[name].up + STATISTICS[name].down for name in names)
        self._watched = {name: _Watched() for name in names}
        for name in names:
            values = known.get(name, np.zeros(0))
            if np.isfinite(values).sum() >= LEAST:
                self._watched[name].test = self._test(name, values)

    def _test(self, name: str, values: Values) -> Sequential:
        return Sequential(STATISTICS[name], np.asarray(values, np.float64), self._rate, self._tests)

    @property
    def learning(self) -> int | None:
        """How many parts the youngest reference has taken, while one is made; None where all are there."""
        counts = [len(each.taken) for each in self._watched.values() if each.test is None]
        return min(counts, default=None)

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Those that nobody has acknowledged."""
        return tuple(each.alarm for each in self._watched.values() if each.alarm is not None)

    def add(self, values: Mapping[str, float], good: bool, time_ns: int) -> tuple[list[Alarm], dict[str, Values]]:
        """Takes what was measured of a part that was found.

        Args:
            values: by name; what could not be measured is left out.
            good: whether the part is good: a reference is made of good ones alone, and some statistics are of them.

        Returns:
            new alarms, and references that are now complete.
        """
        alarms: list[Alarm] = []
        complete: dict[str, Values] = {}
        for name, value in values.items():
            own = self._watched.get(name)
            if own is None or not np.isfinite(value) or (STATISTICS[name].good_only and not good):
                continue
            if own.test is None:
                if good:
                    own.taken.append(float(value))
                if len(own.taken) >= self._learn:
                    complete[name] = np.array(own.taken)
                    own.test, own.taken = self._test(name, complete[name]), []
                continue
            own.times_ns.append(time_ns)
            found = own.test.add(float(value))
            if found is not None and own.alarm is None:
                side, band = "up" if found.side > 0 else "down", own.test.band
                since_ns = own.times_ns[-found.values]
                own.alarm = Alarm(name, side, band.middle, band.low, band.high, found.value, since_ns, time_ns)
                alarms.append(own.alarm)
        return alarms, complete

    def replace(self, alarm: Alarm) -> None:
        """Keeps this one in place of the alarm of the same statistic, if it is still there."""
        if self._watched[alarm.statistic].alarm is not None:
            self._watched[alarm.statistic].alarm = alarm

    def acknowledge(self, statistic: str) -> bool:
        """Ends an alarm; the next one needs new blocks. Whether there was one."""
        own = self._watched.get(statistic)
        if own is None or own.alarm is None:
            return False
        own.alarm = None
        if own.test is not None:
            own.test.forget()
        return True

    def state(self) -> dict[str, dict[str, Any]]:
        """Of each statistic, ready for JSON: the band of the reference (null while it is made), the latest value, the
        evidence (0..1, where 1 is an alarm), and the alarm."""
        return {name: _state(own) for name, own in self._watched.items()}


def _state(own: _Watched) -> dict[str, Any]:
    test, alarm = own.test, own.alarm
    return {
        "low": None if test is None else test.band.low,
        "middle": None if test is None else test.band.middle,
        "high": None if test is None else test.band.high,
        "latest": own.taken[-1] if own.taken else None if test is None else test.latest,
        "evidence": 1.0 if alarm is not None else 0.0 if test is None else test.evidence,
        "alarm": None if alarm is None else alarm.key,
        "since_ns": None if alarm is None else alarm.since_ns,
        "text": "" if alarm is None else alarm.text,
        "picture": "" if alarm is None else alarm.picture,
    }
