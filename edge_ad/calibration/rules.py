"""Chooses the thresholds from the scores of held-out good images, and of labelled defects if there are some.

The export uses the good images that it holds out (`export/held_out.py`). `edge-ad calibrate` uses the images that it is
given (`edge_ad/calibration/recalibrate.py`). Both call `calibrate` here.

A frame is anomalous when its score is at least the threshold. Scores are distances, 0 or more, float32 at
their source. A rule that promises to accept a good image puts the threshold strictly above its score, by one step of
float32. So neither rounding nor a comparison in float32 rejects the image that gave the threshold.

Every rule is written for B samples at once, (B, n) sorted scores or (B, m) counts. The threshold is the answer for the
given sample. Its 95% interval comes from the same function on seeded bootstrap resamples (Efron 1979, the percentile
method). Near the maximum the upper end of such an interval is too low (Bickel & Freedman 1981): no resample has a good
image that scores higher than all the given ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_ad.errors import DatasetError, SpecError
from edge_ad.metrics import binary_auroc, finite_scores
from edge_ad.registry import METHODS
from edge_ad.spec import CalibrationSourceSpec, CalibrationSpec

__all__ = [
    "LABELLED",
    "RULES",
    "calibrate",
    "check_rule",
    "choose_threshold",
    "describe_rule",
    "resolution",
    "usual_value",
    "usual_values",
]

Scores = NDArray[np.float64]

RULES = {"percentile": 99.5, "sigma": 3.0, "false-reject": 0.01, "f1": 0.0, "youden": 0.0}  # rule -> its usual value
LABELLED = ("f1", "youden")  # need labelled defects
RESAMPLES = 2000
_CHUNK = 4_000_000  # numbers in one block of resamples
_VALUES: dict[str, tuple[str, Callable[[float], bool]]] = {  # rule -> (what its value may be, the test)
    "percentile": ("above 0 and at most 100", lambda v: 0 < v <= 100),
    "sigma": ("above 0 and at most 100", lambda v: 0 < v <= 100),
    "false-reject": ("0 or more and below 1", lambda v: 0 <= v < 1),
    "f1": ("0: the rule has no parameter", lambda v: v == 0),
    "youden": ("0: the rule has no parameter", lambda v: v == 0),
}


def usual_value(rule: str, method: str) -> float:
    """The default parameter of a rule: the method's own, or that of `RULES`.

    Raises:
        SpecError: there is no such rule.
    """
    if rule not in RULES:
        raise _no_such_rule(rule)
    return METHODS[method].usual.get(rule, RULES[rule]) if method in METHODS else RULES[rule]


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
        raise SpecError(f"the value of the threshold rule {rule} is out of range", expected=expected, got=value)


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
) -> CalibrationSpec:
    """Both thresholds, with the scores that they were chosen from.

    Defects have labelled scores but no labelled pixels. With f1 and youden the pixel threshold is therefore the usual
    percentile of the good images' peaks.

    Args:
        rule, value: see `choose_threshold`.
        scores: scores of held-out good images.
        peaks: peaks of their maps (`edge_ad.verdict.anomaly_map.map_peak`); empty if the method gives no map.
        defects: scores of labelled defects; stored only if the rule uses them.
        split, source: see `CalibrationSpec`.

    Raises:
        SpecError, DatasetError: as `choose_threshold` does, for the scores or the peaks.
    """
    threshold, interval = choose_threshold(rule, value, scores, defects)
    pixel_threshold = None
    if len(peaks):
        of_pixels = ("percentile", RULES["percentile"]) if rule in LABELLED else (rule, value)
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
            99.5th percentile is just above the highest score. See `resolution`.
        sigma: mean + value x standard deviation (n - 1). It promises no share, as scores are skewed.
        false-reject: the lowest threshold that rejects at most this share of the good images.
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
        found = _resampled(rule, value, good, rng, resamples)
    low, high = np.percentile(found, (2.5, 97.5))
    return threshold, (float(low), float(high))


def resolution(rule: str, value: float, n: int) -> str | None:
    """A note if n held-out good images are too few for the wanted false reject rate; None if they suffice.

    n good images resolve a rate in steps of 1/n. If the threshold is above all of them, the true rate is at most
    1 - 0.05^(1/n), about 3/n, with 95% confidence (Wilks 1941).
    """
    rate = {"percentile": 1 - value / 100, "false-reject": value}.get(rule)
    if rate is None or _allowed(rate, n) > 0:
        return None
    enough = f"; {math.ceil(1 / rate - 1e-9)} good images are needed to resolve {rate:.3g}" if rate > 1e-9 else ""
    return (
        f"the threshold is just above the highest score of {n} held-out good images: the false reject rate is at most "
        f"{1 - 0.05 ** (1 / n):.2g} (95% confidence){enough}"
    )


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
        return np.where(alike, _just_above(ordered[:, -1]), spread)
    n = ordered.shape[1]
    rate = 1 - value / 100 if rule == "percentile" else value
    promised = _just_above(ordered[:, n - 1 - _allowed(rate, n)])
    if rule == "false-reject":
        return promised
    return np.maximum(np.percentile(ordered, value, axis=1), promised)


def _allowed(rate: float, n: int) -> int:
    """How many of n good images may be rejected: the largest number that is at most this share."""
    return min(n - 1, math.floor(rate * n + 1e-9))  # 0.07 x 100 is 7.000000000000001, and 0.29 x 100 below 29


def _just_above(scores: Scores) -> Scores:
    """The next float32 above the scores."""
    above: Scores = np.nextafter(scores.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    return above


def _blocks(resamples: int, width: int) -> Sequence[int]:
    step = max(1, _CHUNK // max(1, width))
    return [min(step, resamples - start) for start in range(0, resamples, step)]


def _resampled(rule: str, value: float, good: Scores, rng: np.random.Generator, resamples: int) -> Scores:
    n = len(good)
    found = [_by_good(rule, value, good[rng.integers(0, n, (b, n))]) for b in _blocks(resamples, n)]
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
            remedy="Use percentile, sigma or false-reject, which need good images only.",
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
            remedy="Check the labels, or use percentile, sigma or false-reject, which need good images only.",
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
