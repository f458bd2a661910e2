"""Chooses the thresholds from the scores of held-out goods, and of labelled defects where there are some.

The export does so with the goods that it holds out (`export/held_out.py`), `edge-ad calibrate` with images that it is
given (`edge_ad/calibration/recalibrate.py`): both by `calibrate` here.

A frame is anomalous when its score is at least the threshold. Scores are distances, 0 or more, float32 at
their source. A rule that promises to accept a good puts the threshold strictly above it: one step of float32,
so that neither rounding nor a comparison in float32 rejects the very image that it was chosen by.

Every rule is written for B samples at once, (B, n) sorted scores or (B, m) counts: the threshold is the
answer for the one sample that there is, and its 95% interval comes from the same function on seeded bootstrap
resamples (Efron 1979, the percentile method). Near the maximum a bootstrap is too narrow above (Bickel &
Freedman 1981): it never sees a good that scores higher than all of those that there are.
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
    """The parameter that a rule has where none is given: the method's own, or that of `RULES`.

    Raises:
        SpecError: there is no such rule.
    """
    if rule not in RULES:
        raise _no_such_rule(rule)
    return METHODS[method].usual.get(rule, RULES[rule]) if method in METHODS else RULES[rule]


def usual_values() -> str:
    """In words: the parameters of the rules where none is given, and those of the methods that have their own."""
    values = ", ".join(f"{rule} {value:g}" for rule, value in RULES.items() if value)
    own = [f"{name}: {rule} {value:g}" for name, method in METHODS.items() for rule, value in method.usual.items()]
    return "; ".join([values, *own])


def check_rule(rule: str, value: float) -> None:
    """Refuses what no threshold can be chosen by.

    Raises:
        SpecError: there is no such rule, or the value is out of its range.
    """
    if rule not in RULES:
        raise _no_such_rule(rule)
    expected, fits = _VALUES[rule]
    if not fits(value):  # NaN fits nowhere
        raise SpecError(f"the value of the threshold rule {rule} is out of range", expected=expected, got=value)


def describe_rule(rule: str, value: float) -> str:
    """percentile 99.5; youden."""
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
    """Both thresholds, with all that they were chosen from.

    Defects have labelled scores and no labelled pixels: by f1 and youden the threshold of the map is the usual
    percentile of the goods' peaks.

    Args:
        rule, value: see `choose_threshold`.
        scores: of held-out goods.
        peaks: of the goods' maps (`edge_ad.verdict.anomaly_map.map_peak`); none where the method gives no map.
        defects: scores of labelled defects; kept where the rule looks at them.
        split, source: see `CalibrationSpec`.

    Raises:
        SpecError, DatasetError: as `choose_threshold`, of the scores and of the peaks.
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
        percentile: the value-th percentile of the goods, linear between neighbours (Hyndman & Fan 1996, type
            7), but above the share of goods that it promises to accept: with fewer than 200 goods the 99.5th
            lies just above the highest of them. See `resolution`.
        sigma: mean + value x standard deviation (n - 1). No share is promised: scores are skewed.
        false-reject: the lowest threshold that rejects at most this share of the goods.
        f1: the highest F1 score on goods and defects, midway between the neighbouring scores.
        youden: the highest true positive less false positive rate (Youden 1950), midway likewise.
        Of several cuts that are equally good by f1 or youden the lowest is taken, which misses the fewest
        defects. Their interval comes from the same cuts, goods and defects resampled apart.

    Args:
        value: the rule's parameter; 0 for f1 and youden.
        good_scores: (n,) of held-out goods.
        defect_scores: (k,) of labelled defects; f1 and youden alone look at them.
        seed, resamples: of the bootstrap.

    Raises:
        SpecError: unknown rule, value out of range, or a score that is NaN, Inf or negative.
        DatasetError: fewer than 2 goods, all of them 0, no defects for a rule that needs them, or defects
            that no threshold tells from the goods.
    """
    check_rule(rule, value)
    goods = _scores(good_scores, "good")
    _require_goods(goods)
    rng = np.random.default_rng(seed)
    if rule in LABELLED:
        defects = _scores(defect_scores, "defect")
        threshold, found = _by_labels(rule, goods, defects, rng, resamples)
    else:
        threshold = float(_by_goods(rule, value, goods[None])[0])
        found = _resampled(rule, value, goods, rng, resamples)
    low, high = np.percentile(found, (2.5, 97.5))
    return threshold, (float(low), float(high))


def resolution(rule: str, value: float, n: int) -> str | None:
    """What n held-out goods cannot tell of the false reject rate asked for, for a reader; None where they
    suffice.

    n goods resolve a rate in steps of 1/n. When the threshold lies above all of them, the true rate is, with
    95% confidence, at most 1 - 0.05^(1/n) (Wilks 1941), about 3/n.
    """
    rate = {"percentile": 1 - value / 100, "false-reject": value}.get(rule)
    if rate is None or _allowed(rate, n) > 0:
        return None
    enough = f"; {math.ceil(1 / rate - 1e-9)} goods are needed to resolve {rate:.3g}" if rate > 1e-9 else ""
    return (
        f"the threshold lies just above the highest of {n} held-out goods: the false reject rate is at most "
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


def _require_goods(goods: Scores) -> None:
    if len(goods) < 2:
        raise DatasetError(
            "a threshold needs the scores of held-out goods",
            expected="2 or more",
            got=len(goods),
            remedy="Give more good images: 50 or more.",
        )
    if not goods.any():
        raise DatasetError(
            "every held-out good scores 0, so no threshold can be set",
            expected="images of different parts",
            got=f"{len(goods)} goods that look like copies of one another",
            remedy="Photograph different good parts instead of copying an image.",
        )


def _by_goods(rule: str, value: float, samples: Scores) -> Scores:
    """(B,) thresholds of (B, n) scores of goods."""
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
    """How many of n goods may be rejected: the most that are at most this share of them."""
    return min(n - 1, math.floor(rate * n + 1e-9))  # 0.07 x 100 is 7.000000000000001, and 0.29 x 100 below 29


def _just_above(scores: Scores) -> Scores:
    """The next float32 above the scores."""
    above: Scores = np.nextafter(scores.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    return above


def _blocks(resamples: int, width: int) -> Sequence[int]:
    step = max(1, _CHUNK // max(1, width))
    return [min(step, resamples - start) for start in range(0, resamples, step)]


def _resampled(rule: str, value: float, goods: Scores, rng: np.random.Generator, resamples: int) -> Scores:
    n = len(goods)
    found = [_by_goods(rule, value, goods[rng.integers(0, n, (b, n))]) for b in _blocks(resamples, n)]
    return np.concatenate(found)


def _by_labels(
    rule: str, goods: Scores, defects: Scores, rng: np.random.Generator, resamples: int
) -> tuple[float, Scores]:
    """Threshold, and (resamples,) thresholds of resamples, from goods and defects."""
    if not len(defects):
        raise DatasetError(
            f"the threshold rule {rule} needs labelled defects",
            expected="scores of 1 or more defects",
            got="none",
            remedy="Use percentile, sigma or false-reject, which need good images only.",
        )
    values, which = np.unique(np.concatenate([goods, defects]), return_inverse=True)
    which = which.reshape(-1)
    good = np.bincount(which[: len(goods)], minlength=len(values))
    defect = np.bincount(which[len(goods) :], minlength=len(values))
    merit = _merit(rule, good[None], defect[None])[0]
    # Cut i rejects values[i:]. Cut 0 rejects every frame: no use, and neither is what does not beat it.
    if len(values) < 2 or not merit[1:].max() > 0 or merit[0] > merit[1:].max():
        raise DatasetError(
            "no threshold tells the defects from the goods",
            expected="defects that score higher",
            got=f"AUROC {binary_auroc(goods, defects):.3f}",
            remedy="Check the labels, or use percentile, sigma or false-reject, which need good images only.",
        )
    low, high = values[:-1], values[1:]
    cuts = low + (high - low) / 2
    cuts = np.where(cuts > low, cuts, high)  # neighbours without a number between them
    found = []
    for b in _blocks(resamples, len(values)):  # the counts of a resample with replacement are multinomial
        goods_b = rng.multinomial(len(goods), good / len(goods), size=b)
        defects_b = rng.multinomial(len(defects), defect / len(defects), size=b)
        found.append(cuts[_merit(rule, goods_b, defects_b)[:, 1:].argmax(axis=1)])
    return float(cuts[merit[1:].argmax()]), np.concatenate(found)


def _merit(rule: str, goods: NDArray[np.int64], defects: NDArray[np.int64]) -> Scores:
    """(B, m) F1 or Youden's J of rejecting value i and all above it, from (B, m) counts at each value."""
    false = goods[:, ::-1].cumsum(axis=1)[:, ::-1]
    true = defects[:, ::-1].cumsum(axis=1)[:, ::-1]
    found: Scores
    if rule == "f1":
        found = 2 * true / (true + false + true[:, :1])  # 2 TP / (2 TP + FP + FN)
    else:  # J times both counts: whole numbers, in which equal cuts are equal
        found = (true * false[:, :1] - false * true[:, :1]).astype(np.float64)
    return found
