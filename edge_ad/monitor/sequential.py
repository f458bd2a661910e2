"""The sequential test: block by block, against a reference that stays, with a stated rate of false alarms.

The values of a statistic are taken in blocks of several lengths, side by side: short blocks find large changes soon,
long ones find small changes. Each full block is compared with the reference by the rank sum test (`ranks`), upwards and
downwards. The reference is never mixed with what came later, so no drift is too slow to be seen.

The rate. Under exchangeability (frames like those of the reference, in no order) the chance of an alarm at the end of a
block is at most the level of its test, whatever the distribution, and however few values the reference has. The levels
are such that the expected number of alarms of all tests of all statistics together is at most t / (2 N) in t frames.
By the union bound the first alarm comes within t frames with a chance of at most t / (2 N). So the mean number of
frames to the first false alarm is at least

    sum over t >= 0 of max(0, 1 - t / (2 N))  >=  N.

This holds although the blocks of a station are all compared with one reference, and so depend on one another.
Where neighbouring frames are alike, blocks differ more than such a test expects. Against this, one frame in `every` is
taken, and a shift within a `tolerance` (a part of the spread of the reference) counts as none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SpecError
from edge_ad.monitor.ranks import critical, tail
from edge_ad.monitor.statistics import Statistic

LEAST = 10  # values in a reference
MOST = 500  # values that are used of it
BLOCKS = (8, 32, 128)  # values; each length has a third of the alarms that are allowed
TOLERANCE = 0.5  # of the reference's spread
_MIDDLE = (0.1587, 0.8413)  # quantiles whose distance is two spreads: two standard deviations of normal values


@dataclass(frozen=True)
class Rate:
    """How often a false alarm may come.

    Attributes:
        per_frames: N, the mean number of frames from one false alarm to the next is at least this, over all statistics.
        every: one frame in so many is measured.
    """

    per_frames: float = 10_000
    every: int = 5

    def level(self, block: int, tests: int) -> float:
        """The level of a test of one statistic to one side, of blocks of that length, where `tests` such tests share
        the rate."""
        return min(1.0, block * self.every / (2 * self.per_frames * tests * len(BLOCKS)))


@dataclass(frozen=True)
class Band:
    """The reference in three numbers: 5%, 50% and 95% of its values are below."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Finding:
    """A block that is beyond the level.

    Attributes:
        side: +1 above the reference, -1 below it.
        value: median of the block.
        values: length of the block.
    """

    side: int
    value: float
    values: int


@dataclass
class _Open:
    """A block that is being filled."""

    length: int
    above: int
    below: int
    values: list[float] = field(default_factory=list)


class Sequential:
    """Watches one statistic. Not thread-safe.

    Args:
        statistic: to which sides a change is drift, and how small a change is none.
        reference: (n,) its values on good parts; NaN and Inf are left out.
        rate: that all statistics share.
        tests: how many tests share it: of each statistic one a side.

    Raises:
        SpecError: there are too few values.
    """

    def __init__(self, statistic: Statistic, reference: NDArray[np.float64], rate: Rate, tests: int) -> None:
        known = np.sort(np.asarray(reference, np.float64)[np.isfinite(reference)])
        if len(known) < LEAST:
            raise SpecError("a reference has too few values", expected=f"{LEAST} or more", got=len(known))
        if len(known) > MOST:
            known = known[np.linspace(0, len(known) - 1, MOST).round().astype(int)]
        self.band = Band(*(float(each) for each in np.quantile(known, (0.05, 0.5, 0.95))))
        low, high = np.quantile(known, _MIDDLE)
        least = max(statistic.least, statistic.share * abs(self.band.middle))
        self.tolerance = max(TOLERANCE * float(high - low) / 2, least)
        self._known, self._statistic = known, statistic
        self._levels = {length: rate.level(length, tests) for length in BLOCKS}
        self._critical = {length: critical(len(known), length, level) for length, level in self._levels.items()}
        self._blocks = [_Open(length, 0, 0) for length in BLOCKS]
        self._evidence = dict.fromkeys(BLOCKS, 0.0)
        self.latest: float | None = None

    @property
    def evidence(self) -> float:
        """How near the last full blocks are to an alarm: 0 for nothing, 1 for an alarm. The logarithm of the chance of
        such a block over that of the level."""
        return max(self._evidence.values())

    def forget(self) -> None:
        """Begins all blocks anew."""
        self._blocks = [_Open(length, 0, 0) for length in BLOCKS]
        self._evidence = dict.fromkeys(BLOCKS, 0.0)

    def add(self, value: float) -> Finding | None:
        """Takes a value; what a block says that it has filled, None for nothing. Not finite: it is passed over."""
        if not math.isfinite(value):
            return None
        self.latest = value
        # ties count for the reference, and so does what is within the tolerance
        above = int(np.searchsorted(self._known, value - self.tolerance, "left"))
        below = len(self._known) - int(np.searchsorted(self._known, value + self.tolerance, "right"))
        found: Finding | None = None
        for at, block in enumerate(self._blocks):
            block.above += above
            block.below += below
            block.values.append(value)
            if len(block.values) == block.length:
                found = self._judge(block) or found
                self._blocks[at] = _Open(block.length, 0, 0)
        return found

    def _judge(self, block: _Open) -> Finding | None:
        length, chances = block.length, tail(len(self._known), block.length)
        sides = [(1, block.above)] * self._statistic.up + [(-1, block.below)] * self._statistic.down
        side, pairs = max(sides, key=lambda each: each[1])
        floor = math.log(self._levels[length])
        chance = math.log(max(float(chances[pairs]), 1e-300))
        alarm = pairs >= self._critical[length]
        self._evidence[length] = 1.0 if alarm else min(max(chance / floor, 0.0), 0.99) if floor < 0 else 0.0
        return Finding(side, float(np.median(block.values)), length) if alarm else None
