"""How unlikely the ranks of a block of new values are among a reference: the rank sum test of Wilcoxon, one-sided.

Of n reference values and m new ones, U counts the pairs in which the new value is the larger one. If all n + m are
exchangeable, every order of them is equally likely, whatever the distribution. So the tail of U is known: exactly for
few pairs, and by a bound for many. (Wilcoxon 1945; Mann & Whitney 1947.)
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

_EXACT = 3000  # pairs; beyond, and with more than a few new values, the bound is nearly as good


@functools.lru_cache(maxsize=64)
def tail(n: int, m: int) -> NDArray[np.float64]:
    """(n m + 1,) probabilities that U is at least 0, 1, ... n m.

    Beyond some thousand pairs it is that of a normal distribution of the same mean and variance, from half a step
    before. U lies closer to its mean than that: its fourth cumulant is negative. So where alarms are, the bound errs
    to the safe side.
    """
    pairs = n * m
    if pairs <= _EXACT or m <= 8:
        return _exact(n, m)
    spread = math.sqrt(pairs * (n + m + 1) / 12)
    z = (np.arange(pairs + 1) - 0.5 - pairs / 2) / (spread * math.sqrt(2))
    found: NDArray[np.float64] = np.array([0.5 * math.erfc(each) for each in z])
    return found


def _exact(n: int, m: int) -> NDArray[np.float64]:
    """By counting: of a new and a reference value that are the largest of all, one is drawn after the other.

    counts[j] is, for j new values among those placed so far, the distribution of U, weighted by the chance of it.
    """
    counts = np.zeros((m + 1, n * m + 1))
    counts[0, 0] = 1.0
    for i in range(1, n + m + 1):  # the i-th smallest value is a new one, or one of the reference
        before = counts.copy()
        counts[:] = 0.0
        for j in range(max(0, i - n), min(i, m) + 1):
            below = i - j  # reference values among the i smallest
            if below > 0:  # the i-th is one of the reference
                counts[j] += before[j] * ((n - below + 1) / (n + m - i + 1))
            if j > 0:  # it is new, and larger than `below` of the reference
                counts[j, below:] += before[j - 1, : n * m + 1 - below] * ((m - j + 1) / (n + m - i + 1))
    return np.minimum(np.cumsum(counts[m][::-1])[::-1], 1.0)


def critical(n: int, m: int, level: float) -> int:
    """The least U whose tail is within `level`; n m + 1 where none is."""
    return int(np.argmax(np.append(tail(n, m) <= level, True)))
