"""The counts behind every ranking metric: how many good scores are above, or equal to, each score of a defect."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_ad.errors import SpecError

Scores = NDArray[np.float64]
Counts = NDArray[np.int64]

_MAX_SCORE = float(np.finfo(np.float32).max) / 2  # so that the middle of two scores is finite in float32 too


@dataclass(frozen=True)
class Ranks:
    """Counts of good scores at each of the (K,) distinct scores of the defects, ascending."""

    values: NDArray[Any]
    defects: Counts  # defects with this score
    above: Counts  # good scores above it
    at_least: Counts  # good scores equal to it or above
    good: int

    def auroc(self) -> float:
        """See `edge_ad.metrics.binary_auroc`. Counted in whole numbers: exact."""
        twice = self.defects @ (2 * self.good - self.above - self.at_least)
        return int(twice) / (2 * self.good * int(self.defects.sum()))

    def average_precision(self) -> float:
        """See `edge_ad.metrics.image_metrics`."""
        caught = self._caught()
        return float(self.defects @ (caught / (caught + self.at_least)) / caught[0])

    def f1_max(self) -> tuple[float, float]:
        """Highest F1, and the lowest score that reaches it. It is a defect's score, as a good image only adds a false
        reject."""
        caught = self._caught()
        f1 = 2 * caught / (caught + self.at_least + caught[0])
        best = int(f1.argmax())
        return float(f1[best]), float(self.values[best])

    def step_areas(self, limit: float) -> Scores:
        """(K,) areas, up to `limit` false positives, under the curve that rises from 0 to 1 at the k-th value only.

        The curve rises in a straight line over the good scores that are equal to the value.
        """
        start, end = self.above.astype(np.float64), self.at_least.astype(np.float64)
        inside = limit - (start + end) / 2
        cut = np.maximum(limit - start, 0) ** 2 / (2 * np.maximum(end - start, 1))
        return np.where(end <= limit, inside, cut)

    def _caught(self) -> Counts:
        return self.defects[::-1].cumsum()[::-1]


def rank(defects: NDArray[Any], good_blocks: Iterable[NDArray[Any]]) -> Ranks:
    """Counts blocks of good scores, which are sorted in place, against one or more scores of defects."""
    ordered = np.sort(defects)
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    values, counts = ordered[first], np.diff(first, append=len(ordered))
    del ordered, first
    above, at_least, good = np.zeros(len(values), np.int64), np.zeros(len(values), np.int64), 0
    for block in good_blocks:
        block.sort()
        good += len(block)
        above += len(block) - np.searchsorted(block, values, "right")
        at_least += len(block) - np.searchsorted(block, values, "left")
    return Ranks(values, counts, above, at_least, good)


def finite_scores(scores: ArrayLike, of: str) -> Scores:
    """The scores as (n,) float64.

    Args:
        of: "good" or "defect", for the message.

    Raises:
        SpecError: a score is NaN, Inf, or beyond half of what float32 holds.
    """
    array = np.asarray(scores, np.float64).reshape(-1)
    odd = array[~(np.abs(array) <= _MAX_SCORE)]  # NaN compares false
    if len(odd):
        got = f"{odd[0]} ({len(odd)} such scores)"
        raise SpecError(f"a {of} score is NaN or Inf", expected="finite scores", got=got)
    return array


def check_threshold(threshold: float) -> None:
    """Raises SpecError for a threshold that is NaN or Inf."""
    if not abs(threshold) <= _MAX_SCORE:
        raise SpecError("the threshold is NaN or Inf", expected="a finite number", got=threshold)
