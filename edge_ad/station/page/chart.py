"""The score chart: where its marks and lines stand. The template draws them as SVG, so it needs no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_ad.station.journal import Row
from edge_ad.station.outcomes import GOOD, REJECT

WIDTH, HEIGHT = 860, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 30  # margins
_TICKS = 5


@dataclass(frozen=True)
class Mark:
    """A part: `kind` is "good", "reject" or "other"."""

    x: float
    y: float
    kind: str
    row: Row


@dataclass(frozen=True)
class Tick:
    """A line of the scale."""

    y: float
    value: float


@dataclass(frozen=True)
class Chart:
    """What to draw, in pixels of a WIDTH x HEIGHT picture.

    Attributes:
        marks: the parts, the oldest first.
        line: the threshold, as points "x,y x,y"; it has steps where the threshold changed.
        ticks: of the scale of scores.
        low, high: smallest and largest score.
        threshold: the latest.
    """

    marks: tuple[Mark, ...]
    line: str
    ticks: tuple[Tick, ...]
    low: float
    high: float
    threshold: float

    @property
    def rejects(self) -> int:
        """How many parts were rejected."""
        return sum(mark.kind == "reject" for mark in self.marks)


def chart_of(rows: Sequence[Row], *, log: bool = False) -> Chart | None:
    """The chart of outcomes, the oldest first; None where none has a score.

    Args:
        log: whether the scale is logarithmic. Scores of 0 or less then stand on its lower end.
    """
    told = [row for row in rows if row.score is not None and row.threshold is not None]
    if not told:
        return None
    values = [float(row.score or 0) for row in told]
    limits = [float(row.threshold or 0) for row in told]
    scale = _Scale([*values, *limits], log=log)
    wide = (WIDTH - LEFT - RIGHT) / len(told)
    marks, line = [], []
    for at, row in enumerate(told):
        kind = row.outcome if row.outcome in (GOOD, REJECT) else "other"
        marks.append(Mark(round(LEFT + (at + 0.5) * wide, 1), scale.place(values[at]), str(kind), row))
        y = scale.place(limits[at])
        line += [f"{LEFT + at * wide:.1f},{y}", f"{LEFT + (at + 1) * wide:.1f},{y}"]
    ticks = tuple(Tick(scale.place(value), value) for value in scale.ticks())
    return Chart(tuple(marks), " ".join(line), ticks, min(values), max(values), limits[-1])


class _Scale:
    """From a score to a height."""

    def __init__(self, values: Sequence[float], *, log: bool) -> None:
        above = [value for value in values if value > 0]
        self._log = log and bool(above)
        if self._log:
            low, high = math.log10(min(above)), math.log10(max(above))
        else:
            low, high = min(0.0, *values), max(values)
        room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        self._low, self._high = (low - room if self._log or low < 0 else low), high + room

    def place(self, value: float) -> float:
        """Pixels from the top."""
        if self._log:
            value = math.log10(value) if value > 0 else self._low
        share = (value - self._low) / (self._high - self._low)
        return round(TOP + (1 - min(max(share, 0.0), 1.0)) * (HEIGHT - TOP - BOTTOM), 1)

    def ticks(self) -> list[float]:
        """Round values, a handful."""
        if self._log:
            firsts = (1, 2, 5) if self._high - self._low < 3 else (1,)
            whole = range(math.floor(self._low), math.ceil(self._high) + 1)
            found = [first * 10.0**power for power in whole for first in firsts]
            return [value for value in found if self._low <= math.log10(value) <= self._high]
        step = 10.0 ** math.floor(math.log10((self._high - self._low) / _TICKS))
        step *= next(many for many in (1, 2, 5, 10) if (self._high - self._low) / (step * many) <= _TICKS)
        return [at * step for at in range(math.ceil(self._low / step), math.floor(self._high / step) + 1)]
