"""Which candidate is taken, and what a trial's numbers say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export needs onnx")

from export.choose.choice import SURE, SURE_LOCAL, SURE_NETWORK, USUAL_LOCAL, Candidate, candidates, choose, table
from export.choose.trial import Seen, joined

SMALL, MIDDLE, LARGE = (256, 256), (384, 384), (512, 512)


def candidate(
    *sizes: tuple[int, int],
    power: float,
    ms: float = 10.0,
    local: tuple[float, float] = USUAL_LOCAL,
    network: str = "own",
):
    return Candidate(network, sizes, *local, ms, power)


def seen(good: list[float], defects: list[float]) -> Seen:
    return Seen(np.array(good), np.array(defects))


def test_power_is_the_share_of_good_images_below_a_defect() -> None:
    assert seen([1, 2, 3, 4], [0, 2.5, 9]).power == pytest.approx((0 + 0.5 + 1) / 3)
    assert seen([1, 2], [2]).power == 0.5  # a tie is not below


def test_power_does_not_depend_on_units() -> None:
    one, thousand = seen([1, 2, 3], [2.5, 1.5]), seen([1000, 2000, 3000], [2500, 1500])
    assert one.power == thousand.power


def test_joined_takes_the_larger_score_in_units_of_the_median() -> None:
    first, second = seen([1, 2, 3], [4, 2]), seen([10, 20, 30], [20, 60])
    found = joined(first, second)
    assert found is not None
    np.testing.assert_allclose(found.good, [0.5, 1, 1.5])
    np.testing.assert_allclose(found.defects, [2, 3])


def test_joined_of_scores_without_a_scale() -> None:
    assert joined(seen([0, 0, 0], [1]), seen([1, 1, 1], [2])) is None
    none = {USUAL_LOCAL: seen([0, 0, 0], [1])}
    found = candidates("own", {SMALL: none, MIDDLE: none}, {SMALL: 5.0, MIDDLE: 11.0})
    assert [c.sizes for c in found] == [(SMALL,), (MIDDLE,)]


def test_without_trials_two_sizes_are_taken_if_the_budget_affords_them() -> None:
    nothing = {USUAL_LOCAL: None}
    found = candidates("own", {SMALL: nothing, MIDDLE: nothing}, {SMALL: 5.0, MIDDLE: 11.0})
    assert choose(found, 50).sizes == (SMALL, MIDDLE)
    assert choose(found, 12).sizes == (SMALL,)


def test_the_table_marks_the_choice_and_what_is_over_the_budget() -> None:
    pair, single = candidate(SMALL, MIDDLE, power=0.7, ms=60), candidate(SMALL, power=0.6, ms=10)
    lines = table([pair, single], pair, 50).splitlines()
    assert [line.split("256")[0].strip() for line in lines[2:]] == ["", "* over the budget"]


def test_candidates_are_each_size_and_each_pair() -> None:
    scores = {USUAL_LOCAL: seen([1, 2], [3])}
    found = candidates("own", {SMALL: scores, MIDDLE: scores, LARGE: scores}, {SMALL: 5.0, MIDDLE: 11.0, LARGE: 20.0})
    times = {c.sizes: c.ms for c in found}
    assert times == {
        (SMALL,): 5,
        (MIDDLE,): 11,
        (LARGE,): 20,
        (SMALL, MIDDLE): 16,
        (SMALL, LARGE): 25,
        (MIDDLE, LARGE): 31,
    }


def test_fixed_sizes_are_the_only_choice() -> None:
    scores = {local: seen([1, 2], [3]) for local in (USUAL_LOCAL, (0.0, 0.0))}
    found = candidates("own", {SMALL: scores, MIDDLE: scores}, {SMALL: 5.0, MIDDLE: 11.0}, fixed=True)
    assert [c.sizes for c in found] == [(SMALL, MIDDLE)] * 2


def test_two_sizes_are_taken_unless_one_sees_clearly_more() -> None:
    pair = candidate(SMALL, MIDDLE, power=0.70)
    near, clear = candidate(MIDDLE, power=0.70 + SURE - 0.001), candidate(MIDDLE, power=0.70 + SURE + 0.001)
    assert choose([near, pair], 50) == pair
    assert choose([clear, pair], 50) == clear


def test_the_usual_local_scale_is_taken_unless_another_sees_clearly_more() -> None:
    usual = candidate(SMALL, MIDDLE, power=0.70)
    near = candidate(SMALL, MIDDLE, power=0.70 + SURE_LOCAL - 0.001, local=(0.0, 0.0))
    clear = candidate(SMALL, MIDDLE, power=0.70 + SURE_LOCAL + 0.001, local=(0.75, 0.7))
    assert choose([usual, near], 50) == usual
    assert choose([usual, near, clear], 50) == clear


def test_nothing_above_the_budget_is_taken() -> None:
    slow, fast = candidate(LARGE, power=0.9, ms=60), candidate(SMALL, power=0.6, ms=10)
    assert choose([slow, fast], 50) == fast
    assert choose([slow, candidate(MIDDLE, power=0.7, ms=55)], 50).sizes == (MIDDLE,)  # the cheapest, where none fits


def test_the_preferred_network_is_taken_unless_another_sees_clearly_more() -> None:
    own = candidate(SMALL, MIDDLE, power=0.70)
    near = candidate(SMALL, MIDDLE, power=0.70 + SURE_NETWORK - 0.001, network="other")
    clear = candidate(SMALL, MIDDLE, power=0.70 + SURE_NETWORK + 0.001, network="other")
    assert choose([own, near], 50) == own
    assert choose([own, clear], 50) == clear
    assert choose([own, replace(clear, ms=60)], 50) == own  # over the budget
    assert choose([replace(own, ms=60), near], 50) == near


def test_the_table_names_networks_where_there_are_several() -> None:
    own, other = candidate(SMALL, power=0.7), candidate(SMALL, power=0.8, network="other")
    assert "network" not in table([own], own, 50)
    lines = table([own, other], other, 50).splitlines()
    assert "network" in lines[1]
    assert sorted(line.replace("*", "").split()[0] for line in lines[2:]) == ["other", "own"]
