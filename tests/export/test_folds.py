"""Held-out good images: nothing is learnt from what it is judged by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.errors import DatasetError, SpecError
from export.folds import around, folds


@given(st.integers(2, 1200), st.sampled_from(["auto", "split", "crossfit"]), st.integers(0, 5))
def test_folds_hold_out_what_they_do_not_learn_from(n: int, rule: str, seed: int) -> None:
    splits = folds(n, rule, seed)
    held = np.concatenate([out for _, out in splits.pairs])
    for train, out in splits.pairs:
        assert len(train) > 0
        assert len(out) > 0
        assert train.dtype == out.dtype == np.int64
        assert sorted([*train, *out]) == list(range(n))
    assert len(set(held)) == len(held)
    crossfit = rule == "crossfit" or (rule == "auto" and n < 500)
    if crossfit:
        assert len(splits.pairs) == min(4, n)
        assert splits.text == f"{min(4, n)}-fold"
        assert sorted(held) == list(range(n)) == list(splits.final)
        assert max(len(out) for _, out in splits.pairs) - min(len(out) for _, out in splits.pairs) <= 1
    else:
        assert len(held) == max(1, round(n / 5))
        assert np.array_equal(splits.final, splits.pairs[0][0])


def test_a_split_is_capped_and_says_so() -> None:
    splits = folds(10_000)
    assert len(splits.pairs[0][1]) == 500
    assert splits.text == "split 5%"
    assert folds(500).text == "split 20%"
    assert folds(499).text == "4-fold"


def test_folds_are_seeded_and_shuffled() -> None:
    first, again, other = (folds(40, seed=seed).pairs[0][1] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, np.arange(10))


@pytest.mark.parametrize("n", [0, 1])
def test_folds_of_too_few(n: int) -> None:
    with pytest.raises(DatasetError, match=f"got {n}"):
        folds(n)


def test_folds_by_an_unknown_rule() -> None:
    with pytest.raises(SpecError, match="auto, split or crossfit; got 'loo'"):
        folds(10, "loo")


def test_around_what_a_network_has_learned_from() -> None:
    paths = [Path(f"{number}.png") for number in range(5)]
    splits = around(paths, frozenset([paths[0], paths[3], paths[4], Path("gone.png")]))
    ((train, held),) = splits.pairs
    assert (train.tolist(), held.tolist()) == ([0, 3, 4], [1, 2])
    assert splits.final.tolist() == [0, 3, 4]
    assert splits.text == "split 40%"
    for learned in (frozenset(paths), frozenset([Path("gone.png")])):
        with pytest.raises(DatasetError, match="too few good images to hold one out"):
            around(paths, learned)
