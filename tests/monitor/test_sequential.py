"""The sequential test: the rate of false alarms that it states, and what it finds."""

from __future__ import annotations

import numpy as np
import pytest

from edge_ad.errors import SpecError
from edge_ad.monitor.sequential import BLOCKS, Rate, Sequential
from edge_ad.monitor.statistics import Statistic

BOTH = Statistic()


def alarms(
    values: np.ndarray, reference: np.ndarray, rate: Rate, tests: int = 2, tolerance: float | None = None
) -> int:
    own = Sequential(BOTH, reference, rate, tests)
    own.tolerance = own.tolerance if tolerance is None else tolerance
    count = 0
    for value in values:
        if own.add(float(value)) is not None:
            count += 1
            own.forget()
    return count


@pytest.mark.parametrize("size", [20, 60])
@pytest.mark.parametrize("kind", ["normal", "cauchy", "levels"])
def test_the_rate_holds_whatever_the_distribution(kind: str, size: int) -> None:
    """At a rate 200 times as high, so that alarms are there to be counted, and without a tolerance that helps."""
    generator = np.random.default_rng(5)
    draw = {"normal": generator.normal, "cauchy": generator.standard_cauchy, "levels": generator.normal}[kind]
    runs, frames, per_frames = 30, 600, 50
    count = 0
    for _ in range(runs):
        values = draw(size=size + frames)
        values = np.rint(values * 2) if kind == "levels" else values
        count += alarms(values[size:], values[:size], Rate(per_frames, 1), tolerance=0.0)
    promised = runs * frames / per_frames
    assert count <= promised
    assert count > 0 or kind == "levels"


def test_thousands_of_frames_are_quiet() -> None:
    generator = np.random.default_rng(1)
    for size in (20, 200):
        values = generator.lognormal(0, 0.3, size + 3000)
        assert alarms(values[size:], values[:size], Rate(10_000, 5), tests=14) == 0


def test_a_shift_is_found_soon_and_named() -> None:
    generator = np.random.default_rng(2)
    own = Sequential(BOTH, generator.normal(size=20), Rate(10_000, 5), 14)
    found = [own.add(value) for value in generator.normal(4, 1, 16)]
    first = next(each for each in found if each is not None)
    assert (first.side, first.values) == (1, BLOCKS[0])
    assert first.value == pytest.approx(4, abs=1)
    assert own.evidence == 1.0
    own.forget()
    assert own.evidence == 0.0
    assert [each.side for each in map(own.add, [-6.0] * 8) if each is not None] == [-1]


def test_a_drift_that_is_too_slow_to_be_seen_from_day_to_day_is_found() -> None:
    """A thousandth of the spread from one value to the next."""
    generator = np.random.default_rng(4)
    values = generator.normal(size=4000) - np.arange(4000) / 1000
    assert alarms(values, generator.normal(size=60), Rate(10_000, 5), tests=14) > 0


def test_one_side_alone() -> None:
    own = Sequential(Statistic(down=False), np.arange(20.0), Rate(10_000, 1), 1)
    assert [each for each in map(own.add, [-100.0] * 300) if each is not None] == []
    assert [each.side for each in map(own.add, [100.0] * 16) if each is not None][:1] == [1]


def test_what_does_not_matter_is_no_drift() -> None:
    still = np.full(30, 0.5)
    own = Sequential(Statistic(least=0.01), still, Rate(10_000, 1), 2)
    assert [each for each in map(own.add, [0.509] * 500) if each is not None] == []
    assert [each for each in map(own.add, [0.511] * 200) if each is not None] != []
    shared = Sequential(Statistic(share=0.1), still, Rate(10_000, 1), 2)
    assert shared.tolerance == pytest.approx(0.05)


def test_what_is_no_number_is_passed_over() -> None:
    own = Sequential(BOTH, np.array([*np.arange(20.0), np.nan]), Rate(), 2)
    assert own.add(float("nan")) is None
    assert own.latest is None
    with pytest.raises(SpecError, match="too few values"):
        Sequential(BOTH, np.full(40, np.nan), Rate(), 2)


def test_the_bound_of_the_rate() -> None:
    """All tests of one length together may alarm once in 2 N frames, three lengths share that."""
    rate = Rate(10_000, 5)
    for block in BLOCKS:
        a_frame = rate.level(block, 14) * 14 / (block * rate.every)
        assert a_frame * len(BLOCKS) == pytest.approx(1 / 20_000)
