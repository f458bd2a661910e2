"""What n good images can promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.calibration.promise import asked_rate, describe_odd, promise, upper_bound
from edge_ad.calibration.rules import choose_threshold


def said(n: int, *, rule: str = "percentile", value: float = 99.5, above: int = 0) -> str:
    """With a threshold that `above` of n scores reach."""
    scores = [float(v) for v in range(1, n + 1)]
    return promise(rule, value, n + 0.5 - above, scores)


@pytest.mark.parametrize(
    ("n", "expected", "bound"), [(50, "2%", "5.8%"), (100, "0.99%", "3%"), (299, "0.33%", "1%"), (3, "25%", "63%")]
)
def test_above_all_good_images(n: int, expected: str, bound: str) -> None:
    text = said(n)
    assert text.startswith(f"the threshold is above all {n} held-out good images: of new good parts like these, expect")
    assert f"expect {expected} rejected, at most {bound} (95% confidence)" in text


def test_below_some_good_images() -> None:
    assert "rejects 2 of 60 held-out good images: " in said(60, above=2)
    assert "expect 4.9% rejected, at most 10% (95% confidence)" in said(60, above=2)


def test_how_many_images_a_rate_needs() -> None:
    assert "; 199 good images are needed to promise 0.5%" in said(60)
    assert "; 99 good images are needed to promise 1%" in said(60, rule="tail", value=0.01)
    assert "needed" not in said(99, rule="tail", value=0.01)
    assert "needed" not in said(60, rule="sigma", value=3)
    assert "needed" not in said(60, rule="false-reject", value=0)


@pytest.mark.parametrize("n", [2, 3, 9])
def test_few_scores_are_a_guess(n: int) -> None:
    assert f"a threshold from {n} scores is hardly more than a guess" in said(n)
    assert "guess" not in said(10)


def test_a_threshold_below_all() -> None:
    assert "expect 100% rejected, at most 100%" in said(20, above=20)


@given(st.integers(1, 600), st.integers(0, 600))
def test_the_bound_is_that_of_clopper_and_pearson(n: int, m: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")
    if m >= n:
        assert upper_bound(m, n) == 1
    else:
        assert upper_bound(m, n) == pytest.approx(stats.beta.ppf(0.95, m + 1, n - m), rel=1e-6)


def test_the_promise_is_kept() -> None:
    """Expected rate and bound, for the highest of n scores, over many sets of good parts."""
    rng = np.random.default_rng(0)
    real = [0.0] * 500
    for at in range(500):
        threshold = choose_threshold("percentile", 99.5, 1 + rng.random(40), resamples=2)[0]
        real[at] = max(0.0, 2 - threshold)
    assert np.mean(real) == pytest.approx(1 / 41, rel=0.15)
    assert np.mean(np.array(real) <= upper_bound(0, 40)) == pytest.approx(0.95, abs=0.03)


def test_the_rates_that_rules_ask_for() -> None:
    assert asked_rate("percentile", 99) == pytest.approx(0.01)
    assert (asked_rate("tail", 0.02), asked_rate("false-reject", 0.1)) == (0.02, 0.1)
    assert (asked_rate("sigma", 3), asked_rate("f1", 0)) == (None, None)


def test_odd_images_in_words() -> None:
    odd = {Path("d/a.png"): 3.25, Path("d/b.png"): 2.0}
    assert describe_odd(odd, 60) == (
        "2 of 60 good images score far above the tail of the others: a.png (3.25), b.png (2)"
    )
    assert describe_odd([3.25], 60) == "1 of 60 good image scores far above the tail of the others: 3.25"
