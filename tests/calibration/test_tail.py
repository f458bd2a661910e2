"""The tail of the good scores: against scipy, and that no single image owns it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_ad.calibration.tail import FEWEST, fit_tail, just_above, odd_images, tail_threshold

Scores = NDArray[np.float64]

score = st.floats(0.5, 1000, width=32)
samples = st.lists(score, min_size=FEWEST, max_size=80).map(np.array)
tied = st.lists(st.integers(0, 4).map(float), min_size=FEWEST, max_size=80).map(np.array)
rates = st.floats(0.0005, 0.9)


def threshold(rate: float, scores: Scores) -> float:
    return float(tail_threshold(rate, np.sort(scores)[None])[0])


def drawn(n: int, seed: int = 0) -> Scores:
    return np.random.default_rng(seed).gamma(60, 1 / 60, n)


def test_the_fit_is_that_of_an_exponential() -> None:
    """Of a large sample. scipy fits the generalised Pareto distribution to the same excesses by maximum likelihood."""
    stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")
    scores = 3 + np.random.default_rng(0).exponential(2, 20_000)
    tail = fit_tail(np.sort(scores)[None])
    shape, _, scale = stats.genpareto.fit(scores[scores > tail.level[0]] - tail.level[0], floc=0)
    assert shape == pytest.approx(0, abs=0.05)
    assert tail.scale[0] == pytest.approx(scale, rel=0.05) == pytest.approx(2, rel=0.05)
    assert tail.quantile(0.01)[0] == pytest.approx(3 + stats.expon.ppf(0.99, scale=2), rel=0.02)


def test_the_scale_is_twice_the_mean_of_the_smaller_of_two() -> None:
    """By brute force over all pairs of the excesses."""
    scores = np.sort(drawn(30))
    tail = fit_tail(scores[None])
    excess = scores[scores > tail.level[0]] - tail.level[0]
    assert len(excess) == 6
    smaller = [min(excess[i], excess[j]) for i in range(6) for j in range(i)]
    assert tail.scale[0] == pytest.approx(2 * np.mean(smaller), rel=1e-12)
    assert tail.share == 0.2


def test_by_hand() -> None:
    """Of 10 scores the upper five: excesses 1 1 2 2 9 over 5; the smaller of two is 1 in 7 pairs of 10, and else 2."""
    scores = np.array([1.0, 2, 3, 4, 5, 6, 6, 7, 7, 14])
    tail = fit_tail(scores[None])
    assert (tail.level[0], tail.share) == (5, 0.5)
    assert tail.scale[0] == pytest.approx(2 * 1.3)
    assert threshold(0.05, scores) == pytest.approx(5 + 2.6 * np.log(10))


@given(samples, rates, rates)
def test_monotone_in_the_rate(scores: Scores, a: float, b: float) -> None:
    assert threshold(min(a, b), scores) >= threshold(max(a, b), scores)


@given(samples, rates, st.floats(0.01, 100))
def test_follows_the_scale_of_the_scores(scores: Scores, rate: float, scale: float) -> None:
    assert threshold(rate, scale * scores) == pytest.approx(scale * threshold(rate, scores), rel=1e-5)


@given(st.one_of(samples, tied), rates)
def test_lies_in_the_upper_part_of_the_scores(scores: Scores, rate: float) -> None:
    found = threshold(rate, scores)
    assert np.median(scores) < found or rate > 0.2
    assert scores.min() < found <= just_above(scores.max())


@given(samples, rates, st.floats(1, 1e6))
def test_one_odd_image_does_not_own_it(scores: Scores, rate: float, farther: float) -> None:
    """However far the highest score is moved up, the threshold stays, unless it was held down by that score."""
    moved = np.sort(scores)
    moved[-1] = moved[-1] * (1 + farther)
    before, after = threshold(rate, scores), threshold(rate, moved)
    fitted = fit_tail(np.sort(scores)[None]).quantile(min(rate, 0.2))[0]
    assert before <= after <= max(before, fitted)


def test_one_odd_image_moves_it_less_than_the_highest_score() -> None:
    scores = drawn(60)
    odd = np.append(scores[1:], 10.0)
    moved = odd.max() - scores.max()
    assert abs(threshold(0.005, odd) - threshold(0.005, scores)) < 0.05 * moved
    assert abs(threshold(0.02, odd) - threshold(0.02, scores)) < 0.02 * moved


def test_samples_are_independent() -> None:
    many = np.stack([np.sort(drawn(40, seed)) for seed in range(5)])
    assert tail_threshold(0.01, many).tolist() == [threshold(0.01, one) for one in many]


@pytest.mark.parametrize("n", [2, 3, FEWEST - 1])
def test_from_few_scores_it_is_just_above_the_highest(n: int) -> None:
    scores = np.append(drawn(n - 1), 7.0)
    assert threshold(0.3, scores) == just_above(np.array(7.0))


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.1, 0.5])
def test_scores_that_are_alike_are_accepted(rate: float) -> None:
    scores = np.full(30, 0.1)
    assert 0.1 < threshold(rate, scores) == just_above(scores)[0]


def test_a_rate_beyond_the_tail_is_counted_off() -> None:
    scores = np.arange(1.0, 41)
    assert threshold(0.5, scores) == just_above(np.array(20.0))  # rejects 21 to 40
    assert threshold(0.2, scores) == just_above(np.array(32.0))


def test_real_rates_are_those_asked_for() -> None:
    """Of many samples of 100 and of 300 good scores: the share of other good parts that the threshold rejects."""
    rng = np.random.default_rng(0)
    parts = np.sort(rng.gamma(60, 1 / 60, 10**6))
    for n, rate in ((100, 0.05), (100, 0.02), (300, 0.01)):
        at = tail_threshold(rate, np.sort(rng.gamma(60, 1 / 60, (1000, n)), axis=1))
        real = 1 - np.searchsorted(parts, at) / len(parts)
        assert 0.6 * rate < real.mean() < 1.4 * rate


# ------------------------------------------------------------------------------------------------- odd images


def test_odd_images_are_named_the_highest_first() -> None:
    scores = drawn(60)
    scores[[7, 31, 44, 59]] = 2.5, 4.0, 3.0, 2.4  # the lower two are hidden by the higher ones at first
    assert odd_images(scores).tolist() == [31, 44, 7, 59]


def test_few_sets_without_an_odd_image_have_one_named() -> None:
    """Near one in twenty, if scores fall off like an exponential; fewer if they fall off faster."""
    rng = np.random.default_rng(0)
    for draw, most in ((rng.standard_exponential, 0.15), (lambda size: 10 + rng.standard_normal(size), 0.12)):
        named = sum(len(odd_images(draw(60))) > 0 for _ in range(400))
        assert named / 400 < most


@pytest.mark.parametrize("scores", [np.full(40, 2.0), np.append(np.full(39, 2.0), 2.1), np.array([1.0, 2.0, 99.0])])
def test_without_a_spread_or_with_few_scores_none_is_named(scores: Scores) -> None:
    assert len(odd_images(scores)) == 0


@given(st.one_of(samples, tied))
def test_odd_images_are_the_highest_and_few(scores: Scores) -> None:
    odd = odd_images(scores)
    assert len(odd) <= len(scores) // 10
    rest = np.delete(scores, odd)
    assert not len(odd) or scores[odd].min() >= rest.max()
    assert scores[odd].tolist() == sorted(scores[odd], reverse=True)
