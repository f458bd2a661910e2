"""Thresholds: each rule against what it promises, by brute force."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.calibration import rules as calibration
from edge_ad.calibration.rules import RESAMPLES, RULES, calibrate, choose_threshold, rule_of, usual_rules, usual_value
from edge_ad.errors import DatasetError, SpecError

score = st.floats(0, 1000, width=32)
tied = st.integers(0, 6).map(float)
goods_lists = st.one_of(st.lists(score, min_size=2, max_size=300), st.lists(tied, min_size=2, max_size=60)).filter(any)
defect_lists = st.one_of(st.lists(score, min_size=1, max_size=40), st.lists(tied, min_size=1, max_size=40))


BY_GOOD = ["percentile", "sigma", "tail", "false-reject"]  # rules that need good images only


def threshold(rule: str, value: float, goods: list[float], defects: list[float] | None = None) -> float:
    return choose_threshold(rule, value, goods, defects or [], resamples=10)[0]


def rejected(goods: list[float], at: float) -> Fraction:
    return Fraction(sum(s >= at for s in goods), len(goods))


@given(goods_lists, st.integers(1, 1000))
def test_percentile_accepts_its_share(goods: list[float], permille: int) -> None:
    at = threshold("percentile", permille / 10, goods)
    assert 1 - rejected(goods, at) >= Fraction(permille, 1000)
    assert at >= np.percentile(goods, permille / 10)


@given(goods_lists, st.floats(0.1, 99.9))
def test_percentile_goes_no_further_than_it_must(goods: list[float], value: float) -> None:
    """It lies at the linear percentile, or one float32 above a good that it has to accept."""
    at = threshold("percentile", value, goods)
    just_above = np.nextafter(np.array(goods, np.float32), np.float32(np.inf)).astype(float)
    assert at == np.percentile(goods, value) or at in just_above


def test_percentile_of_many_goods_is_the_usual_one() -> None:
    goods = np.random.default_rng(0).gamma(9, 1, 1000).astype(np.float32)
    assert threshold("percentile", 99.5, goods) == pytest.approx(np.percentile(goods, 99.5), rel=1e-12)


@pytest.mark.parametrize("n", [2, 10, 199])
def test_percentile_of_few_goods_lies_just_above_the_highest(n: int) -> None:
    goods = [float(v) for v in range(1, n + 1)]
    assert threshold("percentile", 99.5, goods) == np.nextafter(np.float32(n), np.float32(np.inf))


@given(goods_lists, st.integers(0, 999))
def test_false_reject_is_the_lowest_threshold_that_keeps_the_rate(goods: list[float], permille: int) -> None:
    at = threshold("false-reject", permille / 1000, goods)
    rate = Fraction(permille, 1000)
    assert rejected(goods, at) <= rate
    # every lower threshold (one at each good below it) breaks the rate
    lower = [s for s in goods if s < at]
    assert lower, "no threshold rejects everything"
    assert rejected(goods, max(lower)) > rate


@pytest.mark.parametrize("percent", [7, 29, 57, 58])
def test_a_rate_that_floats_do_not_hold_exactly(percent: int) -> None:
    """0.29 x 100 is 28.999999999999996, and yet 29 of 100 are 29%."""
    goods = [float(v) for v in range(1, 101)]
    assert rejected(goods, threshold("false-reject", percent / 100, goods)) == Fraction(percent, 100)


@given(goods_lists, st.sampled_from(BY_GOOD), st.data())
def test_thresholds_are_monotone_in_the_value(goods: list[float], rule: str, data: st.DataObject) -> None:
    rates = st.floats(0, 0.99)
    values = {"percentile": st.floats(0.1, 100), "sigma": st.floats(0.1, 50), "tail": rates, "false-reject": rates}
    low, high = sorted(data.draw(st.tuples(values[rule], values[rule])))
    first, second = threshold(rule, low, goods), threshold(rule, high, goods)
    tolerance = 1e-9 * max(first, second)
    assert (first >= second) if rule in ("tail", "false-reject") else (second >= first - tolerance)


@given(goods_lists, st.floats(0.1, 10), st.sampled_from(BY_GOOD))
def test_the_order_of_the_scores_is_no_matter(goods: list[float], k: float, rule: str) -> None:
    value = {"percentile": 10 * k, "sigma": k, "tail": k / 11, "false-reject": k / 11}[rule]
    assert threshold(rule, value, goods) == pytest.approx(threshold(rule, value, goods[::-1]), rel=1e-12)


def test_sigma() -> None:
    goods = [1.0, 2.0, 3.0, 6.0]
    assert threshold("sigma", 3, goods) == pytest.approx(3 + 3 * math.sqrt(14 / 3))


@pytest.mark.parametrize("rule", BY_GOOD)
@given(st.floats(1e-30, 1e6), st.integers(2, 50))
def test_goods_that_are_all_alike_are_accepted(rule: str, value: float, n: int) -> None:
    """In float32 too, which a camera's PC may compare in, and for scores that no float32 holds."""
    at = threshold(rule, {"percentile": 99.5, "sigma": 3, "tail": 0.01, "false-reject": 0.4}[rule], [value] * n)
    assert value < at <= value * (1 + 1e-6) + 1e-44
    assert not np.float32(value) >= np.float32(at)


def merit(rule: str, goods: list[float], defects: list[float], at: float) -> Fraction:
    tp, fp = sum(s >= at for s in defects), sum(s >= at for s in goods)
    if rule == "f1":
        return Fraction(2 * tp, tp + fp + len(defects))
    return Fraction(tp, len(defects)) - Fraction(fp, len(goods))


@pytest.mark.parametrize("rule", ["f1", "youden"])
@given(goods_lists, defect_lists)
def test_labelled_rules_equal_brute_force(rule: str, goods: list[float], defects: list[float]) -> None:
    values = sorted({*goods, *defects})
    everything, best = merit(rule, goods, defects, values[0]), Fraction(0)
    if len(values) > 1:
        best = max(merit(rule, goods, defects, at) for at in values[1:])
    if best <= 0 or everything > best:
        with pytest.raises(DatasetError, match="no threshold separates"):
            threshold(rule, 0, goods, defects)
        return
    at = threshold(rule, 0, goods, defects)
    assert merit(rule, goods, defects, at) == best
    # of equal cuts the lowest, midway between its neighbours
    first = next(i for i in range(1, len(values)) if merit(rule, goods, defects, values[i]) == best)
    assert at == pytest.approx((values[first - 1] + values[first]) / 2, rel=1e-12)
    assert values[first - 1] < at <= values[first]


@pytest.mark.parametrize("rule", ["f1", "youden"])
def test_separated_labels_are_cut_midway(rule: str) -> None:
    at, (low, high) = choose_threshold(rule, 0, [1.0, 2.0, 3.0], [5.0, 9.0])
    assert at == 4.0
    assert low <= at <= high


@pytest.mark.parametrize("rule", ["f1", "youden"])
def test_neighbours_with_no_number_between_them(rule: str) -> None:
    good = 1.0
    defect = math.nextafter(good, 2)
    assert threshold(rule, 0, [good, good], [defect]) == defect


def test_defects_below_the_goods_give_no_threshold() -> None:
    with pytest.raises(DatasetError, match=r"AUROC 0\.000"):
        threshold("youden", 0, [5.0, 6.0], [1.0, 2.0])


def test_other_rules_do_not_look_at_the_defects() -> None:
    goods = [1.0, 2.0, 5.0]
    for rule, value in (("percentile", 90), ("sigma", 2), ("tail", 0.4), ("false-reject", 0.4)):
        assert threshold(rule, value, goods, [3.0]) == threshold(rule, value, goods, [])


def test_interval_is_seeded_and_covers() -> None:
    """Of 200 draws of 200 good scores, about 95% of the intervals hold the true 90th percentile."""
    rng = np.random.default_rng(0)
    true = np.percentile(rng.gamma(9, 1, 10**6), 90)
    hits = 0
    for _ in range(200):
        low, high = choose_threshold("percentile", 90, rng.gamma(9, 1, 200), resamples=300)[1]
        hits += low <= true <= high
    assert 0.88 <= hits / 200 <= 0.99
    goods = rng.gamma(9, 1, 50)
    assert choose_threshold("sigma", 3, goods) == choose_threshold("sigma", 3, goods)
    assert choose_threshold("sigma", 3, goods, seed=1)[1] != choose_threshold("sigma", 3, goods)[1]


@pytest.mark.parametrize(("n", "least"), [(2, 0.75), (3, 0.85), (5, 0.9), (12, 0.88), (60, 0.88)])
@pytest.mark.parametrize("rule", ["percentile", "tail"])
def test_interval_of_a_threshold_above_all_goods_is_honest(rule: str, n: int, least: float) -> None:
    """Another n good images would give another threshold. The interval holds the median of those, as 95% should; by
    resamples of the scores alone it did so in half of the draws.
    """
    rng = np.random.default_rng(n)
    value = {"percentile": 99.5, "tail": 0.001}[rule]
    others = [threshold(rule, value, list(rng.gamma(9, 1, n))) for _ in range(400)]
    middle, hits = np.median(others), 0
    for _ in range(150):
        low, high = choose_threshold(rule, value, rng.gamma(9, 1, n), resamples=300)[1]
        hits += low <= middle <= high
    assert hits / 150 >= least


def test_interval_narrows_with_goods() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n in (20, 200, 2000):
        low, high = choose_threshold("sigma", 3, rng.normal(10, 1, n))[1]
        widths.append(high - low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


@pytest.mark.parametrize("rule", ["f1", "youden"])
def test_interval_of_labelled_rules(rule: str) -> None:
    rng = np.random.default_rng(0)
    goods, defects = rng.normal(10, 1, 300), rng.normal(14, 1, 100)
    at, (low, high) = choose_threshold(rule, 0, goods, defects)
    assert 11 < low <= at <= high < 13.5
    assert low < high


def test_blocks_of_resamples_are_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    goods = np.random.default_rng(0).gamma(9, 1, 30)
    sizes: list[int] = []
    real = np.percentile
    monkeypatch.setattr(calibration, "_CHUNK", 30 * 7)
    monkeypatch.setattr(np, "percentile", lambda a, q, **k: (sizes.append(len(a)), real(a, q, **k))[1])
    choose_threshold("sigma", 3, goods)
    assert sizes == [RESAMPLES]


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("percentile", 0),
        ("percentile", 100.1),
        ("percentile", math.nan),
        ("sigma", 0),
        ("sigma", -1),
        ("sigma", math.inf),
        ("tail", 1),
        ("tail", -0.01),
        ("tail", math.nan),
        ("false-reject", 1),
        ("false-reject", -0.01),
        ("f1", 0.5),
        ("youden", 3),
    ],
)
def test_values_out_of_range(rule: str, value: float) -> None:
    with pytest.raises(SpecError, match=f"{rule} is out of range"):
        choose_threshold(rule, value, [1.0, 2.0, 3.0], [4.0])


@pytest.mark.parametrize("rule", ["tail", "false-reject"])
def test_a_percentile_for_a_rule_with_a_rate_names_the_way_out(rule: str) -> None:
    """Such as --threshold-value 99.5 alone, which PatchCore once took for its percentile."""
    with pytest.raises(SpecError, match=r"got 99\.5\. Give a rate, such as 0.01; .* choose the rule percentile too"):
        choose_threshold(rule, 99.5, [1.0, 2.0, 3.0])


def test_unknown_rule() -> None:
    with pytest.raises(SpecError, match="percentile, sigma, tail, false-reject, f1, youden; got 'otsu'"):
        choose_threshold("otsu", 0, [1.0, 2.0])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3e38])
def test_scores_that_are_no_numbers_fail_closed(bad: float) -> None:
    with pytest.raises(SpecError, match=r"good score is NaN or Inf.*1 such"):
        choose_threshold("percentile", 99, [1.0, 2.0, bad])
    with pytest.raises(SpecError, match="defect score is NaN or Inf"):
        choose_threshold("f1", 0, [1.0, 2.0], [3.0, bad])


def test_negative_scores() -> None:
    with pytest.raises(SpecError, match=r"negative.*-0\.5 \(1 such"):
        choose_threshold("percentile", 99, [1.0, -0.5])


@pytest.mark.parametrize("goods", [[], [1.0]])
def test_too_few_goods(goods: list[float]) -> None:
    with pytest.raises(DatasetError, match=f"got {len(goods)}"):
        choose_threshold("percentile", 99, goods)


@pytest.mark.parametrize("rule", ["percentile", "f1"])
def test_goods_that_all_score_nought(rule: str) -> None:
    with pytest.raises(DatasetError, match="every held-out good image scores 0"):
        choose_threshold(rule, 99 if rule == "percentile" else 0, [0.0, 0.0], [1.0])


@pytest.mark.parametrize("rule", ["f1", "youden"])
def test_labelled_rules_need_defects(rule: str) -> None:
    with pytest.raises(DatasetError, match="needs labelled defects"):
        choose_threshold(rule, 0, [1.0, 2.0])


# ------------------------------------------------------------------------------------------------- both thresholds


def above(score: float) -> float:
    return float(np.nextafter(np.float32(score), np.float32(np.inf)))


@pytest.mark.parametrize(
    ("rule", "value", "of_scores", "of_peaks"),
    [
        ("percentile", 50, 2.5, 1.5),
        ("percentile", 99.5, above(4), above(9)),
        ("sigma", 2, 2.5 + 2 * math.sqrt(5 / 3), 3.25 + 2 * math.sqrt((2 * 2.25**2 + 1.25**2 + 5.75**2) / 3)),
        ("tail", 0.01, above(4), above(9)),
        ("false-reject", 0.25, above(3), above(2)),
        ("false-reject", 0.24, above(4), above(9)),
        ("f1", 0, 3.25, above(9)),  # of 3.5 5: 2 hits and 1 false are .8, 1 hit and none false are .67
        ("youden", 0, 3.25, above(9)),
    ],
)
def test_both_thresholds_by_hand(rule: str, value: float, of_scores: float, of_peaks: float) -> None:
    scores, peaks, defects = [1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 2.0, 9.0], [3.5, 5.0]
    found = calibrate(rule, value, scores, peaks, defects, "by hand")
    assert found.threshold == pytest.approx(of_scores, rel=1e-12)
    assert found.pixel_threshold == pytest.approx(of_peaks, rel=1e-12)
    assert (found.good_scores, found.good_peaks, found.split) == (tuple(scores), tuple(peaks), "by hand")
    assert found.defect_scores == (tuple(defects) if rule in ("f1", "youden") else ())
    assert found.source is None


def test_no_peaks_give_no_threshold_of_pixels() -> None:
    assert calibrate("sigma", 3, [1.0, 2.0], [], [], "").pixel_threshold is None


@settings(max_examples=25)  # each chooses three times, with as many resamples as a user gets
@given(goods_lists, goods_lists, st.sampled_from(BY_GOOD))
def test_both_thresholds_are_those_of_the_rule(goods: list[float], peaks: list[float], rule: str) -> None:
    found = calibrate(rule, RULES[rule], goods, peaks, [1.0], "")
    assert (found.threshold, found.interval) == choose_threshold(rule, RULES[rule], goods)
    assert found.pixel_threshold == choose_threshold(rule, RULES[rule], peaks)[0]
    assert found.interval[0] <= found.interval[1]


def test_usual_rules() -> None:
    assert rule_of(None, None, None, "patchcore") == ("tail", 0.01)
    assert rule_of(None, None, None, "padim") == ("percentile", 99.5)
    assert rule_of(None, None, None, "centroid") == ("percentile", 99.7)
    assert usual_rules() == "percentile; patchcore: tail"


def test_usual_values() -> None:
    assert usual_value("percentile", "patchcore") == 99.5
    assert usual_value("percentile", "centroid") == 99.7
    assert usual_value("sigma", "centroid") == 3
    with pytest.raises(SpecError, match="got 'otsu'"):
        usual_value("otsu", "patchcore")


@pytest.mark.parametrize(
    ("given", "n", "chosen"),
    [
        ((None, None, None), None, ("tail", 0.01)),
        (("sigma", None, None), 50, ("sigma", 3.0)),
        (("tail", 0.2, None), 5000, ("tail", 0.2)),
        ((None, None, 0.01), None, ("tail", 0.01)),
        ((None, None, 0.01), 999, ("tail", 0.01)),
        ((None, None, 0.01), 1000, ("false-reject", 0.01)),  # ten of them may be rejected: that can be counted
        ((None, None, 0.2), 50, ("false-reject", 0.2)),
    ],
)
def test_the_rule_that_is_asked_for(
    given: tuple[str | None, float | None, float | None], n: int | None, chosen: tuple[str, float]
) -> None:
    assert rule_of(*given, "patchcore", n) == chosen


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, math.nan, math.inf])
def test_a_false_reject_rate_is_a_rate(rate: float) -> None:
    with pytest.raises(SpecError, match="--false-reject is no rate; expected above 0 and below 1"):
        rule_of(None, None, rate, "patchcore")


def test_a_rate_and_a_rule_are_not_both_asked_for() -> None:
    with pytest.raises(SpecError, match=r"--false-reject 0\.01 and --threshold-rule sigma"):
        rule_of("sigma", None, 0.01, "patchcore")
    with pytest.raises(SpecError, match=r"--false-reject 0\.01 and --threshold-value 3"):
        rule_of(None, 3.0, 0.01, "patchcore")
