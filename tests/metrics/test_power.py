"""Detection power, from the scores of synthetic defects."""

from __future__ import annotations

import numpy as np
import pytest

from edge_ad.metrics.power import (
    describe_power,
    describe_seen,
    detection_power,
    detection_rates,
    smallest_found,
)
from edge_ad.spec import PowerSpec

SIZES, CONTRASTS = (0.01, 0.05, 0.2), (0.05, 0.15, 0.4)


def power(scores: dict[tuple[int, int, int], list[float]], kinds: tuple[str, ...] = ("scratch", "spot")) -> PowerSpec:
    cells = [(k * 3 + s) * 3 + c for (k, s, c), found in scores.items() for _ in found]
    found = tuple(v for own in scores.values() for v in own)
    return PowerSpec(kinds, SIZES, CONTRASTS, tuple(cells), found, 1, 0)


def test_rates_by_kind_size_and_contrast() -> None:
    spec = power({(0, 0, 0): [1.0, 3.0], (1, 2, 1): [2.0]})
    rates = detection_rates(spec, 2.0)
    assert rates.shape == (2, 3, 3)
    assert rates[0, 0, 0] == 0.5
    assert rates[1, 2, 1] == 1.0
    assert np.isnan(rates).sum() == 18 - 2


def test_the_threshold_itself_is_found_as_a_verdict_has_it() -> None:
    assert detection_power(power({(0, 0, 0): [2.0]}), 2.0) == 1.0


def test_power_is_the_mean_of_cells_and_not_of_defects() -> None:
    spec = power({(0, 0, 0): [9.0], (1, 0, 0): [0.0] * 9})
    assert detection_power(spec, 1.0) == 0.5


def test_the_smallest_size_is_the_one_from_which_on_all_are_found() -> None:
    plain = {(0, 0, 1): [9.0], (0, 1, 1): [0.0], (0, 2, 1): [9.0]}  # the middle size is missed
    assert smallest_found(power(plain), 1.0) == {"scratch": 0.2}
    assert smallest_found(power({**plain, (0, 1, 1): [9.0]}), 1.0) == {"scratch": 0.01}
    assert smallest_found(power({**plain, (0, 2, 1): [0.0]}), 1.0) == {"scratch": None}


def test_barely_visible_defects_do_not_count_for_the_smallest_size() -> None:
    assert smallest_found(power({(0, 0, 0): [0.0], (0, 0, 1): [9.0]}), 1.0) == {"scratch": 0.01}


def test_nine_of_ten_are_enough() -> None:
    assert smallest_found(power({(0, 0, 2): [9.0] * 9 + [0.0]}), 1.0) == {"scratch": 0.01}
    assert smallest_found(power({(0, 0, 2): [9.0] * 8 + [0.0]}), 1.0) == {"scratch": None}


def test_in_words() -> None:
    spec = power({(0, 2, 1): [9.0], (1, 2, 1): [0.0]})
    assert describe_power(spec, 1.0) == "50.0% of 2 synthetic defects on 1 held-out good image"
    assert describe_seen(spec, 1.0) == "scratch from 20% of the shorter side; not reliably: spot"
    assert describe_seen(spec, 100.0) == "no kind reliably, at any size up to 20% of the shorter side"


@pytest.mark.parametrize("threshold", [0.5, 5.0, 50.0])
def test_a_higher_threshold_finds_no_more(threshold: float) -> None:
    generator = np.random.default_rng(0)
    spec = power({(0, s, c): generator.uniform(0, 60, 5).tolist() for s in range(3) for c in range(3)})
    assert detection_power(spec, threshold) >= detection_power(spec, threshold * 1.2)
