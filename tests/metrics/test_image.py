"""Metrics of images: against scikit-learn and cases worked by hand."""

from __future__ import annotations

import math
from dataclasses import astuple
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_curve, roc_auc_score

from edge_ad.errors import DatasetError, SpecError
from edge_ad.metrics import Confusion, PixelSample, binary_auroc, finite_scores, image_metrics, pixel_metrics, wilson

score = st.floats(-1000, 1000, width=32)


tied = st.integers(0, 6).map(float)


lists = st.one_of(st.lists(score, min_size=1, max_size=100), st.lists(tied, min_size=1, max_size=60))


def labelled(goods: list[float], defects: list[float]) -> tuple[list[float], list[int]]:
    return goods + defects, [0] * len(goods) + [1] * len(defects)


@given(lists, lists)
def test_auroc_and_ap_equal_scikit_learn(goods: list[float], defects: list[float]) -> None:
    scores, labels = labelled(goods, defects)
    found = image_metrics(scores, labels, 0)
    assert found.auroc == binary_auroc(goods, defects)
    assert found.auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert found.ap == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


@given(lists, lists)
def test_auroc_is_exact(goods: list[float], defects: list[float]) -> None:
    assume(len(goods) * len(defects) < 2000)
    wins = sum(Fraction(2 * (d > g) + (d == g), 2) for g in goods for d in defects)
    assert binary_auroc(goods, defects) == float(wins / (len(goods) * len(defects)))


@given(lists, lists)
def test_f1_max_is_the_best_of_all_and_its_threshold_the_lowest(goods: list[float], defects: list[float]) -> None:
    scores, labels = labelled(goods, defects)
    found = image_metrics(scores, labels, 0)

    def f1(at: float) -> Fraction:
        tp, fp = sum(s >= at for s in defects), sum(s >= at for s in goods)
        return Fraction(2 * tp, tp + fp + len(defects))

    best = max(f1(at) for at in scores)
    assert found.f1_max == float(best)
    assert found.f1_threshold == min(at for at in scores if f1(at) == best)
    precision, recall, _ = precision_recall_curve(labels, scores)
    with np.errstate(invalid="ignore"):
        assert found.f1_max == pytest.approx(np.nanmax(2 * precision * recall / (precision + recall)), abs=1e-12)


@given(lists, lists, st.one_of(score, tied))
def test_confusion_and_rates_at_the_threshold(goods: list[float], defects: list[float], at: float) -> None:
    scores, labels = labelled(goods, defects)
    found = image_metrics(scores, labels, at)
    [[tn, fp], [fn, tp]] = confusion_matrix(labels, [s >= at for s in scores], labels=[0, 1]).tolist()
    assert found.confusion == Confusion(tp=tp, fn=fn, fp=fp, tn=tn)
    assert found.threshold == at
    assert found.false_reject == wilson(fp, len(goods))
    assert found.miss == wilson(fn, len(defects))


def test_images_by_hand() -> None:
    """Descending: D9 G8 D7 D5 G5 G1. Of 9 pairs the defects win 3 + 2 + 1.5."""
    found = image_metrics([8, 5, 1, 9, 7, 5], [False, False, False, True, True, True], 5)
    assert found.auroc == 6.5 / 9
    assert found.ap == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert (found.f1_max, found.f1_threshold) == (0.75, 5)  # all 3 caught with 2 goods: 6 / 8; at 7 it is 4 / 6
    assert found.confusion == Confusion(tp=3, fn=0, fp=2, tn=1)
    assert found.false_reject is not None
    assert found.false_reject.value == 2 / 3
    assert (found.goods, found.defects) == (3, 3)


def test_the_threshold_itself_is_anomalous() -> None:
    assert image_metrics([2.0], [True], 2.0).confusion.tp == 1
    assert image_metrics([2.0], [True], np.nextafter(2.0, 3)).confusion.tp == 0


@given(lists, st.booleans())
def test_images_of_one_label_rank_nothing(scores: list[float], defect: bool) -> None:
    found = image_metrics(scores, [defect] * len(scores), 0)
    assert (found.auroc, found.ap, found.f1_max, found.f1_threshold) == (None, None, None, None)
    assert (found.false_reject if defect else found.miss) is None
    assert (found.miss if defect else found.false_reject) is not None
    assert sum(astuple(found.confusion)) == len(scores)


def test_no_images() -> None:
    found = image_metrics([], [], 1)
    assert found.confusion == Confusion(0, 0, 0, 0)
    assert (found.auroc, found.false_reject, found.miss) == (None, None, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3e38])
def test_scores_that_are_no_numbers_fail_closed(bad: float) -> None:
    for label_ in (0, 1):
        with pytest.raises(SpecError, match=r"score is NaN or Inf.*1 such"):
            image_metrics([1.0, bad, 2.0], [0, label_, 1], 1)
    for pair in (([1.0], [bad]), ([bad], [1.0])):
        with pytest.raises(SpecError, match="NaN or Inf"):
            binary_auroc(*pair)
    with pytest.raises(SpecError, match="the threshold is NaN or Inf"):
        image_metrics([1.0], [0], bad)
    with pytest.raises(SpecError, match="the threshold is NaN or Inf"):
        pixel_metrics([], bad)
    with pytest.raises(SpecError, match="a test score is NaN"):
        finite_scores([bad], "test")


@pytest.mark.parametrize(("goods", "defects"), [([], [1.0]), ([1.0], [])])
def test_auroc_needs_both(goods: list[float], defects: list[float]) -> None:
    with pytest.raises(DatasetError, match="both labels"):
        binary_auroc(goods, defects)


@pytest.mark.parametrize(
    ("scores", "labels", "match"),
    [
        ([1.0, 2.0], [0], "do not belong together"),
        ([[1.0], [2.0]], [[0], [1]], "do not belong together"),
        ([1.0, 2.0], [0, 2], "a label is not valid"),
        ([1.0, 2.0], ["0", "1"], "a label is not valid"),
        ([1.0, 2.0], [0, math.nan], "a label is not valid"),
    ],
)
def test_labels_that_do_not_fit(scores: list[float], labels: list[int], match: str) -> None:
    with pytest.raises(SpecError, match=match):
        image_metrics(scores, labels, 1)


def test_what_is_given_stays_as_it_is() -> None:
    goods, defects, labels = np.array([3.0, 1.0, 2.0]), np.array([5.0, 4.0]), np.array([0, 0, 1])
    binary_auroc(goods, defects)
    image_metrics(goods, labels, 1)
    assert goods.tolist() == [3, 1, 2]
    assert defects.tolist() == [5, 4]
    amap = np.array([[3, 1, 2]], np.float32)
    pixel_metrics(
        [PixelSample("a", amap, np.array([[False, True, False]]), True), PixelSample("b", amap, None, False)], 1
    )
    assert amap.tolist() == [[3, 1, 2]]


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_equals_published_values(count: int, of: int, low: float, high: float) -> None:
    """Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3."""
    rate = wilson(count, of)
    assert rate is not None
    assert (rate.count, rate.of, rate.value) == (count, of, count / of)
    assert (round(rate.low, 4), round(rate.high, 4)) == (low, high)


@given(st.integers(1, 500), st.data())
def test_wilson_is_a_symmetric_interval_around_the_rate(of: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, of))
    rate, other = wilson(count, of), wilson(of - count, of)
    assert rate is not None
    assert other is not None
    assert 0 <= rate.low <= rate.value <= rate.high <= 1
    assert rate.low < rate.high
    assert (rate.low, rate.high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-12)


def test_wilson_without_a_whole() -> None:
    assert wilson(0, 0) is None
    for count, of in ((1, 0), (3, 2), (-1, 5)):
        with pytest.raises(SpecError, match="more than there is"):
            wilson(count, of)
