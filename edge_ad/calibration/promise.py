"""What a threshold can promise about false rejects, in one sentence, whatever rule chose it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_ad.calibration.tail import FEWEST
from edge_ad.system.names import listed

__all__ = ["asked_rate", "describe_odd", "promise", "upper_bound"]

_LISTED = 20  # odd images in a message


def asked_rate(rule: str, value: float) -> float | None:
    """The false reject rate that a rule with this value asks for; None if it asks for none."""
    return {"percentile": 1 - value / 100, "false-reject": value, "tail": value}.get(rule)


def promise(rule: str, value: float, threshold: float, scores: Sequence[float]) -> str:
    """What n held-out good images can promise for a threshold that m of them reach.

    A new good part is as likely to lie between any two neighbours of the n scores. So m + 1 of n + 1 are to be expected
    at or above the threshold, and the rate is at most `upper_bound` with 95% confidence. That holds for parts, camera
    and light like those of the images. No rule can promise more.

    Args:
        rule, value: those of the threshold.
        threshold: m of the scores are at least this.
        scores: of n held-out good images.
    """
    n = len(scores)
    m = sum(score >= threshold for score in scores)
    text = (
        f"{_rejected(m, n)}: of new good parts like these, expect {_percent((m + 1) / (n + 1))} rejected, at most "
        f"{_percent(upper_bound(m, n))} (95% confidence)"
    )
    rate = asked_rate(rule, value)
    if rate is not None and 1e-9 < rate < 1 / (n + 1) - 1e-9:
        text += f"; {_enough(rate)} good images are needed to promise {_percent(rate)}"
    if n < FEWEST:
        text += f"; a threshold from {n} scores is hardly more than a guess, so give 20 good images or more"
    return text


def describe_odd(odd: Mapping[Path, float] | Sequence[float], n: int) -> str:
    """In words: the odd ones of n good images, with the file names if they are known (`edge_ad.calibration.tail`).

    Args:
        odd: image -> score, or the scores alone.
    """
    names = [f"{path.name} ({score:.4g})" for path, score in odd.items()] if isinstance(odd, Mapping) else None
    known = [f"{score:.4g}" for score in odd] if names is None else names
    what = "good image scores" if len(odd) == 1 else "good images score"
    return f"{len(odd)} of {n} {what} far above the tail of the others: {listed(known, _LISTED)}"


def upper_bound(m: int, n: int) -> float:
    """The largest rate at which at most m of n is not rarer than 1 in 20 (Clopper & Pearson 1934, one-sided).

    With m = 0 it is 1 - 0.05^(1/n), about 3/n (Wilks 1941).
    """
    if m >= n:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(m, n, middle) > 0.05 else (low, middle)
    return high


def _at_most(m: int, n: int, rate: float) -> float:
    """Probability of at most m successes in n."""
    if rate >= 1:
        return 0.0
    logs = (
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(rate)
        + (n - k) * math.log1p(-rate)
        for k in range(m + 1)
    )
    return math.fsum(map(math.exp, logs))


def _enough(rate: float) -> int:
    """How many good images it takes, so that above all of them this rate is to be expected."""
    return math.ceil(1 / rate - 1e-9) - 1


def _rejected(m: int, n: int) -> str:
    if m == 0:
        return f"the threshold is above all {n} held-out good images"
    return f"the threshold rejects {m} of {n} held-out good images"


def _percent(rate: float) -> str:
    return f"{100 * rate:.2g}%" if rate < 0.1 else f"{rate:.0%}"
