"""Tails of the rank sum: exact ones against counting, the bound against exact ones."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from edge_ad.monitor.ranks import critical, tail


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 2), (3, 5), (7, 3)])
def test_small_ones_by_counting(n: int, m: int) -> None:
    sums = [sum(chosen) - m * (m - 1) // 2 for chosen in itertools.combinations(range(n + m), m)]
    expected = [np.mean([each >= u for each in sums]) for u in range(n * m + 1)]
    np.testing.assert_allclose(tail(n, m), expected, rtol=1e-12)


def test_the_whole_block_above_is_one_order_of_many() -> None:
    assert tail(20, 8)[-1] == pytest.approx(1 / math.comb(28, 8))
    assert tail(200, 8)[-1] == pytest.approx(1 / math.comb(208, 8))


@pytest.mark.parametrize(("n", "m"), [(20, 8), (20, 128), (60, 32), (90, 32)])
def test_the_bound_for_many_errs_to_the_safe_side(n: int, m: int) -> None:
    spread = math.sqrt(n * m * (n + m + 1) / 12 * 2)
    bound = np.array([0.5 * math.erfc((u - 0.5 - n * m / 2) / spread) for u in range(n * m + 1)])
    exact = tail(n, m)
    far = bound <= 0.02  # alarms are far beyond
    assert (exact[far] <= bound[far]).all()


def test_the_critical_value() -> None:
    assert critical(20, 8, 1.0) == 0
    at = critical(20, 8, 1e-3)
    assert tail(20, 8)[at] <= 1e-3 < tail(20, 8)[at - 1]
    assert critical(3, 2, 0.01) == 7  # not one of the ten orders is so rare
