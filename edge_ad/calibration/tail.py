"""The upper tail of the scores of good images, by a fit that no single image owns.

Peaks over threshold (Pickands 1975): what lies above a high level is taken as exponential, the generalised Pareto
distribution of shape 0. With some tens of scores a free shape costs more by its noise than it gains (bench/NOTES.md).
The scale comes from the probability-weighted moment of order 1 (Hosking & Wallis 1987): the smaller of two values of an
exponential has the mean scale / 2. In that moment the highest score has the weight 0 and the next one almost none. So
one odd image, however high, leaves the fit as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEWEST", "Tail", "fit_tail", "just_above", "odd_images", "redrawn", "tail_threshold"]

Scores = NDArray[np.float64]

FEWEST = 10  # scores: from fewer, no tail is fitted
SHARE = 0.2  # of the scores lie above the level
_ABOVE = 5  # at least
ODD = 0.05  # how often a set of good images without an odd one may have one named


@dataclass(frozen=True)
class Tail:
    """The fitted tails of B samples.

    Attributes:
        level: (B,) the scores above it are fitted.
        scale: (B,) mean excess over the level; 0 if all scores above it are alike.
        share: of the sample that lies above the level.
    """

    level: Scores
    scale: Scores
    share: float

    def quantile(self, rate: float) -> Scores:
        """(B,) scores that this share of good parts reaches; `rate` is at most `share`."""
        found: Scores = self.level + self.scale * math.log(self.share / rate)
        return found


def fit_tail(ordered: Scores) -> Tail:
    """Fits the tails of (B, n) scores in ascending order, n >= `FEWEST`."""
    n = ordered.shape[1]
    above = max(_ABOVE, math.ceil(SHARE * n))
    level = ordered[:, n - above - 1]
    excess = ordered[:, n - above :] - level[:, None]
    # of two drawn from the excesses, the smaller is the i-th (from 1) in (above - i) of all pairs
    pairs = np.arange(above - 1, -1, -1) / (above * (above - 1) / 2)
    return Tail(level, 2 * (excess @ pairs), above / n)


def tail_threshold(rate: float, ordered: Scores) -> Scores:
    """(B,) thresholds of (B, n) scores in ascending order that a good part should reach at this rate.

    Not above the next float32 after the highest score: nothing was measured beyond it. So an odd highest score does not
    raise the threshold, and a rate that the images cannot resolve gives what the highest score gives. A rate that is
    not in the tail is counted off. From fewer than `FEWEST` scores it is just above the highest.
    """
    n = ordered.shape[1]
    highest = just_above(ordered[:, -1])
    if n < FEWEST:
        return highest
    tail = fit_tail(ordered)
    if rate >= tail.share:
        return just_above(ordered[:, max(0, n - 1 - math.floor(rate * n + 1e-9))])
    found = highest if rate == 0 else np.minimum(tail.quantile(rate), highest)
    return np.maximum(found, just_above(tail.level))


def odd_images(scores: Scores) -> NDArray[np.int64]:
    """Positions of the odd scores among (n,) scores of good images, the highest first. Candidates for wrong labels.

    A score is odd if a good part would reach it in less than `ODD` of all sets of n images, by the tail of the others
    (`ODD` / n for each, after Bonferroni). What is left is fitted again, as several odd images hide one another. At
    most one in ten is named: more of them are no exception. Of fewer than `FEWEST` scores, none can be told.
    """
    n = len(scores)
    order = np.argsort(-scores, kind="stable")
    odd = 0
    while n - odd >= FEWEST and odd < n // 10:
        rest = scores[order[odd:]]
        tail = fit_tail(rest[::-1][None])
        if not tail.scale[0] > 0:
            break
        found = int((rest > tail.quantile(ODD / len(rest))[0]).sum())
        if not found:
            break
        odd = min(odd + found, n // 10)
    return order[:odd]


def redrawn(samples: Scores, good: Scores, rng: np.random.Generator) -> Scores:
    """Bootstrap resamples (B, n) of the (n,) good scores, with what lies above the level drawn from the fitted tail.

    No resample of the scores themselves exceeds the highest of them, so an interval of a threshold there would end at
    the threshold (Bickel & Freedman 1981).
    """
    ordered = np.sort(good)
    n = len(ordered)
    if n >= FEWEST:
        tail = fit_tail(ordered[None])
        level, scale = tail.level[0], tail.scale[0]
    else:  # the mean of the upper half, as too few are there to leave one out; and how far off that may be itself
        above = n // 2
        level = ordered[n - above - 1]
        scale = (ordered[n - above :] - level).mean() * above / rng.standard_gamma(above, (len(samples), 1))
    drawn: Scores = np.where(samples > level, level + scale * rng.standard_exponential(samples.shape), samples)
    return drawn


def just_above(scores: Scores) -> Scores:
    """The next float32 above the scores."""
    above: Scores = np.nextafter(scores.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    return above
