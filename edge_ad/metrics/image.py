"""Metrics of image scores, and rates with their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from edge_ad.errors import DatasetError, SpecError
from edge_ad.metrics.ranking import check_threshold, finite_scores, rank

_Z95 = 1.959963984540054  # the 97.5th percentile of the normal distribution


@dataclass(frozen=True)
class Rate:
    """`count` of `of` images, and the 95% interval (`low`, `high`) of the true rate."""

    count: int
    of: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Confusion:
    """Images by label and verdict at a threshold; an image is anomalous when its score is at least the threshold.

    Attributes:
        tp: defects that are anomalous.
        fn: defects that pass: misses.
        fp: good images that are anomalous: false rejects.
        tn: good images that pass.
    """

    tp: int
    fn: int
    fp: int
    tn: int


@dataclass(frozen=True)
class ImageMetrics:
    """The result of `image_metrics`. A value that these images cannot give is None.

    Attributes:
        goods, defects: how many images of each.
        auroc: area under the ROC curve.
        ap: average precision.
        f1_max: the highest F1 score over all thresholds.
        f1_threshold: the lowest score that reaches it.
        threshold: threshold of the confusion matrix and the rates, in units of the scores.
        confusion: confusion matrix at the threshold.
        false_reject: rate of good images that are anomalous.
        miss: rate of defects that are not.
    """

    goods: int
    defects: int
    auroc: float | None
    ap: float | None
    f1_max: float | None
    f1_threshold: float | None
    threshold: float
    confusion: Confusion
    false_reject: Rate | None
    miss: Rate | None


def image_metrics(scores: ArrayLike, labels: ArrayLike, threshold: float) -> ImageMetrics:
    """The metrics of image scores.

    AUROC as in `binary_auroc`; average precision is the sum of (R_n - R_(n-1)) P_n over distinct scores, without
    interpolation (as scikit-learn's `average_precision_score`).

    Args:
        scores: (n,) of the images.
        labels: (n,) bool or 0 and 1, True for a defect.
        threshold: of the bundle; an image is anomalous when its score is at least that.

    Raises:
        SpecError: a score or the threshold is NaN or Inf, a label is not 0 or 1, or the lengths differ.
    """
    values, truth = np.asarray(scores), np.asarray(labels)
    if values.ndim != 1 or values.shape != truth.shape:
        got = (values.shape, truth.shape)
        raise SpecError("scores and labels do not belong together", expected="(n,) of each", got=got)
    if truth.dtype.kind not in "buif" or not np.isin(truth, (0, 1)).all():
        raise SpecError("a label is not valid", expected="False or 0 for a good image, True or 1 for a defect")
    check_threshold(threshold)
    truth = truth.astype(np.bool_)
    good, defects = finite_scores(values[~truth], "good"), finite_scores(values[truth], "defect")
    fp, tp = int(np.count_nonzero(good >= threshold)), int(np.count_nonzero(defects >= threshold))
    confusion = Confusion(tp=tp, fn=len(defects) - tp, fp=fp, tn=len(good) - fp)
    auroc = ap = f1_max = f1_threshold = None
    if len(good) and len(defects):
        ranks = rank(defects, [good])
        auroc, ap = ranks.auroc(), ranks.average_precision()
        f1_max, f1_threshold = ranks.f1_max()
    return ImageMetrics(
        goods=len(good),
        defects=len(defects),
        auroc=auroc,
        ap=ap,
        f1_max=f1_max,
        f1_threshold=f1_threshold,
        threshold=float(threshold),
        confusion=confusion,
        false_reject=wilson(fp, len(good)),
        miss=wilson(confusion.fn, len(defects)),
    )


def binary_auroc(good: ArrayLike, defect: ArrayLike) -> float:
    """Area under the ROC curve: how often a defect scores above a good image; a tie counts a half (Mann & Whitney
    1947).

    Raises:
        SpecError: a score is NaN or Inf.
        DatasetError: there are no good scores, or no defect scores.
    """
    good, defects = finite_scores(good, "good"), finite_scores(defect, "defect")
    if not len(good) or not len(defects):
        raise DatasetError("AUROC needs both labels", expected="good images and defects", got=(len(good), len(defects)))
    return rank(defects, [good.copy()]).auroc()


def wilson(count: int, of: int) -> Rate | None:
    """The rate `count / of` with its 95% score interval (Wilson 1927); None if `of` is 0.

    The interval is valid also for few images and for rates of 0 and 1.

    Raises:
        SpecError: not 0 <= count <= of.
    """
    if not 0 <= count <= of:
        raise SpecError("a rate counts more than there is", expected=f"0 to {of}", got=count)
    if of == 0:
        return None
    p, z2 = count / of, _Z95 * _Z95
    centre = (p + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z95 * math.sqrt(p * (1 - p) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == of else centre + half
    return Rate(count, of, p, low, high)
