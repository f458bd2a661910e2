"""Chooses the thresholds from the scores of held-out good images, and of labelled defects if there are some.

The export uses the good images that it holds out (`export/held_out.py`). `edge-ad calibrate` uses the images that it is
given (`edge_ad/calibration/recalibrate.py`). Both call `calibrate` here.

A frame is anomalous when its score is at least the threshold. Scores are distances, 0 or more, float32 at
their source. A rule that promises to accept a good image puts the threshold strictly above its score, by one step of
float32. So neither rounding nor a comparison in float32 rejects the image that gave the threshold.

Every rule is written for B samples at once, (B, n) sorted scores or (B, m) counts. The threshold is the answer for the
given sample. Its 95% interval comes from the same function on seeded bootstrap resamples (Efron 1979, the percentile
method). Where the threshold is above all the given scores, no resample of them reaches beyond it, and the interval
would be far too short (Bickel & Freedman 1981): it held the median threshold of such samples half the time. There the
highest scores of a resample are drawn from the fitted tail (`edge_ad/calibration/tail.py`). `promise.py` says what a
threshold can promise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_ad.calibration.tail import just_above, redrawn, tail_threshold
from edge_ad.errors import DatasetError, SpecError
from edge_ad.metrics import binary_auroc, finite_scores
from edge_ad.registry import METHODS
from edge_ad.spec import CalibrationSourceSpec, CalibrationSpec

__all__ = [
    "LABELLED",
    "PLAIN",
    "RATE_HELP",
    "RULES",
    "calibrate",
    "check_rule",
    "choose_threshold",
    "describe_rule",
    "rule_of",
    "usual_rules",
    "usual_value",
    "usual_values",
]

Scores = NDArray[np.float64]

# rule -> its usual value
RULES = {"percentile": 99.5, "sigma": 3.0, "tail": 0.01, "false-reject": 0.01, "f1": 0.0, "youden": 0.0}
PLAIN = "percentile"  # the default of most methods, and of pixels where the rule of the images needs labels
RATE_HELP = "share of good parts that may be rejected, such as 0.01; chooses rule and value"  # of --false-reject
LABELLED = ("f1", "youden")  # need labelled defects
RESAMPLES = 2000
_CHUNK = 4_000_000  # numbers in one block of resamples
_COUNTED = 10  # good images that a wanted false reject rate must be, to be counted off
_VALUES: dict[str, tuple[str, Callable[[float], bool]]] = {  # rule -> (what its value may be, the test)
    "percentile": ("above 0 and at most 100", lambda v: 0 < v <= 100),
    "sigma": ("above 0 and at most 100", lambda v: 0 < v <= 100),
    "tail": ("0 or more and below 1", lambda v: 0 <= v < 1),
    "false-reject": ("0 or more and below 1", lambda v: 0 <= v < 1),
    "f1": ("0: the rule has no parameter", lambda v: v == 0),
    "youden": ("0: the rule has no parameter", lambda v: v == 0),
}
_RATES = ("tail", "false-reject")  # their value is a rate
_RATE_REMEDY = "Give a rate, such as 0.01; for a percentile, such as 99.5, choose the rule percentile too."


def usual_value(rule: str, method: str) -> float:
    """The default parameter of a rule: the method's own, or that of `RULES`.

    Raises:
        SpecError: there is no such rule.
    """
    if rule not in RULES:
        raise _no_such_rule(rule)
    return METHODS[method].usual.get(rule, RULES[rule]) if method in METHODS else RULES[rule]


def usual_rules() -> str:
    """In words: the rules that the methods take by default."""
    own = [f"{name}: {method.rule}" for name, method in METHODS.items() if method.rule != PLAIN]
    return "; ".join([PLAIN, *own])


def usual_values() -> str:
    """In words: the default parameters of the rules, and those of methods with their own defaults."""
    values = ", ".join(f"{rule} {value:g}" for rule, value in RULES.items() if value)
    own = [f"{name}: {rule} {value:g}" for name, method in METHODS.items() for rule, value in method.usual.items()]
    return "; ".join([values, *own])


def check_rule(rule: str, value: float) -> None:
    """Refuses a rule or a value that is not allowed.

    Raises:
        SpecError: there is no such rule, or the value is out of its range.
    """
    if rule not in RULES:
        raise _no_such_rule(rule)
    expected, fits = _VALUES[rule]
    if not fits(value):  # NaN fits nowhere
        raise SpecError(
            f"the value of the threshold rule {rule} is out of range",
            expected=expected,
            got=value,
            remedy=_RATE_REMEDY if rule in _RATES and value >= 1 else None,
        )


def describe_rule(rule: str, value: float) -> str:
    """The rule in words, such as "percentile 99.5" or "youden"."""
    return rule if rule in LABELLED else f"{rule} {value:g}"


def calibrate(
    rule: str,
    value: float,
    scores: Sequence[float],
    peaks: Sequence[float],
    defects: Sequence[float],
    split: str,
    source: CalibrationSourceSpec | None = None,
    left_out: int = 0,
) -> CalibrationSpec:
    """Both thresholds, with the scores that they were chosen from.

    Defects have labelled scores but no labelled pixels. With f1 and youden the pixel threshold is therefore the usual
    percentile of the good images' peaks.

    Args:
        rule, value: see `choose_threshold`.
        scores: scores of held-out good images.
        peaks: peaks of their maps (`edge_ad.verdict.anomaly_map.map_peak`); empty if the method gives no map.
        defects: scores of labelled defects; stored only if the rule uses them.
        split, source, left_out: see `CalibrationSpec`.

    Raises:
        SpecError, DatasetError: as `choose_threshold` does, for the scores or the peaks.
    """
    threshold, interval = choose_threshold(rule, value, scores, defects)
    pixel_threshold = None
    if len(peaks):
        of_pixels = (PLAIN, RULES[PLAIN]) if rule in LABELLED else (rule, value)
        pixel_threshold = choose_threshold(*of_pixels, peaks)[0]
    return CalibrationSpec(
        rule=rule,  # type: ignore[arg-type]
        value=float(value),
        threshold=threshold,
        pixel_threshold=pixel_threshold,
        interval=interval,
        split=split,
        good_scores=tuple(map(float, scores)),
        good_peaks=tuple(map(float, peaks)),
        defect_scores=tuple(map(float, defects)) if rule in LABELLED else (),
        source=source,
        left_out=left_out,
    )


def choose_threshold(
    rule: str,
    value: float,
    good_scores: ArrayLike,
    defect_scores: ArrayLike = (),
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, tuple[float, float]]:
    """The threshold, and its 95% bootstrap interval.

    Rules:
        percentile: the value-th percentile of the good scores, linear between neighbours (Hyndman & Fan 1996, type
            7), but above the share of good images that it promises to accept: with fewer than 200 good images the
            99.5th percentile is just above the highest score.
        sigma: mean + value x standard deviation (n - 1). It promises no share, as scores are skewed.
        tail: the score that a good part should reach at this rate, by the tail of the good scores, which one odd image
            does not change; at most just above the highest score. See `edge_ad.calibration.tail.tail_threshold`.
        false-reject: the lowest threshold that rejects at most this share of the given good images.
        f1: the threshold with the highest F1 score, midway between two neighbouring scores.
        youden: the threshold with the highest true positive rate minus false positive rate (Youden 1950), also midway.
        If several thresholds are equally good by f1 or youden, the lowest is taken: it misses the fewest defects. Their
        interval comes from the same thresholds, with good images and defects resampled separately.

    Args:
        value: the rule's parameter; 0 for f1 and youden.
        good_scores: (n,) scores of held-out good images.
        defect_scores: (k,) scores of labelled defects; only f1 and youden use them.
        seed, resamples: of the bootstrap.

    Raises:
        SpecError: the rule is unknown, the value is out of range, or a score is NaN, Inf or negative.
        DatasetError: there are fewer than 2 good scores, all of them are 0, a rule that needs defects has none, or no
            threshold separates the defects from the good images.
    """
    check_rule(rule, value)
    good = _scores(good_scores, "good")
    _require_good(good)
    rng = np.random.default_rng(seed)
    if rule in LABELLED:
        defects = _scores(defect_scores, "defect")
        threshold, found = _by_labels(rule, good, defects, rng, resamples)
    else:
        threshold = float(_by_good(rule, value, good[None])[0])
        beyond = rule != "sigma" and threshold > good.max()  # sigma follows the spread, and not the highest score
        found = _resampled(rule, value, good, rng, resamples, beyond=beyond)
    low, high = np.percentile(found, (2.5, 97.5))
    return threshold, (float(low), float(high))


def rule_of(
    rule: str | None, value: float | None, false_reject: float | None, method: str, n: int | None = None
) -> tuple[str, float]:
    """The rule and its value, from what a user asked for.

    Args:
        rule, value: None for the default ones.
        false_reject: a false reject rate that is asked for instead. It is counted off where at least `_COUNTED` of the
            n good images may be rejected (rule false-reject); fewer say too little, so the tail is fitted (rule tail).
        method: has its own usual values.
        n: number of held-out good images; None if it is not known yet.

    Raises:
        SpecError: no such rule; a value out of range; a rate and a rule are both given.
    """
    if false_reject is None:
        rule = (METHODS[method].rule if method in METHODS else PLAIN) if rule is None else rule
        value = usual_value(rule, method) if value is None else value
    else:
        if rule is not None or value is not None:
            given = f"--threshold-rule {rule}" if rule is not None else f"--threshold-value {value:g}"
            raise SpecError(
                "--false-reject chooses the rule and its value itself",
                expected="--false-reject alone, or --threshold-rule and --threshold-value",
                got=f"--false-reject {false_reject:g} and {given}",
                remedy="Leave one of them out.",
            )
        if not 0 < false_reject < 1:
            raise SpecError("--false-reject is no rate", expected="above 0 and below 1", got=false_reject)
        counted = n is not None and false_reject * n >= _COUNTED
        rule, value = "false-reject" if counted else "tail", false_reject
    check_rule(rule, value)
    return rule, value


def _no_such_rule(rule: str) -> SpecError:
    return SpecError("there is no such threshold rule", expected=", ".join(RULES), got=repr(rule))


def _scores(scores: ArrayLike, of: str) -> Scores:
    array = finite_scores(scores, of)
    odd = array[array < 0]
    if len(odd):
        raise SpecError(
            f"a {of} score is negative", expected="distances, 0 or more", got=f"{odd[0]} ({len(odd)} such scores)"
        )
    return array


def _require_good(good: Scores) -> None:
    if len(good) < 2:
        raise DatasetError(
            "a threshold needs the scores of held-out good images",
            expected="2 or more",
            got=len(good),
            remedy="Give more good images: 50 or more.",
        )
    if not good.any():
        raise DatasetError(
            "every held-out good image scores 0, so no threshold can be set",
            expected="images of different parts",
            got=f"{len(good)} good images that look like copies of one another",
            remedy="Photograph different good parts instead of copying an image.",
        )


def _by_good(rule: str, value: float, samples: Scores) -> Scores:
    """(B,) thresholds of (B, n) good scores."""
    ordered = np.sort(samples, axis=1)
    if rule == "sigma":
        spread = ordered.mean(axis=1) + value * ordered.std(axis=1, ddof=1)
        alike = ordered[:, 0] == ordered[:, -1]
        return np.where(alike, just_above(ordered[:, -1]), spread)
    if rule == "tail":
        return tail_threshold(value, ordered)
    n = ordered.shape[1]
    rate = 1 - value / 100 if rule == "percentile" else value
    promised = just_above(ordered[:, n - 1 - _allowed(rate, n)])
    if rule == "false-reject":
        return promised
    return np.maximum(np.percentile(ordered, value, axis=1), promised)


def _allowed(rate: float, n: int) -> int:
    """How many of n good images may be rejected: the largest number that is at most this share."""
    return min(n - 1, math.floor(rate * n + 1e-9))  # 0.07 x 100 is 7.000000000000001, and 0.29 x 100 below 29


def _blocks(resamples: int, width: int) -> Sequence[int]:
    step = max(1, _CHUNK // max(1, width))
    return [min(step, resamples - start) for start in range(0, resamples, step)]


def _resampled(
    rule: str, value: float, good: Scores, rng: np.random.Generator, resamples: int, *, beyond: bool
) -> Scores:
    """(resamples,) thresholds; `beyond`: the threshold of the scores themselves is above all of them."""
    n, found = len(good), []
    for b in _blocks(resamples, n):
        samples = good[rng.integers(0, n, (b, n))]
        found.append(_by_good(rule, value, redrawn(samples, good, rng) if beyond else samples))
    return np.concatenate(found)


def _by_labels(
    rule: str, good: Scores, defects: Scores, rng: np.random.Generator, resamples: int
) -> tuple[float, Scores]:
    """Threshold, and (resamples,) thresholds of resamples, from good and defect scores."""
    if not len(defects):
        raise DatasetError(
            f"the threshold rule {rule} needs labelled defects",
            expected="scores of 1 or more defects",
            got="none",
            remedy="Use percentile, sigma or tail, which need good images only.",
        )
    values, which = np.unique(np.concatenate([good, defects]), return_inverse=True)
    which = which.reshape(-1)
    good_counts = np.bincount(which[: len(good)], minlength=len(values))
    defect_counts = np.bincount(which[len(good) :], minlength=len(values))
    merit = _merit(rule, good_counts[None], defect_counts[None])[0]
    # Cut i rejects values[i:]. Cut 0 rejects every frame, so it is of no use; a cut must be better than that.
    if len(values) < 2 or not merit[1:].max() > 0 or merit[0] > merit[1:].max():
        raise DatasetError(
            "no threshold separates the defects from the good images",
            expected="defects that score higher",
            got=f"AUROC {binary_auroc(good, defects):.3f}",
            remedy="Check the labels, or use percentile, sigma or tail, which need good images only.",
        )
    low, high = values[:-1], values[1:]
    cuts = low + (high - low) / 2
    cuts = np.where(cuts > low, cuts, high)  # neighbours without a number between them
    found = []
    for b in _blocks(resamples, len(values)):  # the counts of a resample with replacement are multinomial
        good_b = rng.multinomial(len(good), good_counts / len(good), size=b)
        defect_b = rng.multinomial(len(defects), defect_counts / len(defects), size=b)
        found.append(cuts[_merit(rule, good_b, defect_b)[:, 1:].argmax(axis=1)])
    return float(cuts[merit[1:].argmax()]), np.concatenate(found)


def _merit(rule: str, good: NDArray[np.int64], defects: NDArray[np.int64]) -> Scores:
    """(B, m) F1 or Youden's J if value i and all above it are rejected, from (B, m) counts at each value."""
    false = good[:, ::-1].cumsum(axis=1)[:, ::-1]
    true = defects[:, ::-1].cumsum(axis=1)[:, ::-1]
    found: Scores
    if rule == "f1":
        found = 2 * true / (true + false + true[:, :1])  # 2 TP / (2 TP + FP + FN)
    else:  # J times both counts: whole numbers, so that equal cuts compare equal
        found = (true * false[:, :1] - false * true[:, :1]).astype(np.float64)
    return found
