"""The books of a run: every image once, whatever dies."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.errors import EdgeADError
from edge_ad.fleet.plan import Finished, Piece, Plan, shards_of


def columns(piece: Piece) -> dict[str, np.ndarray]:
    return {"place": np.arange(piece.start, piece.stop)}


def test_shards_are_slices() -> None:
    assert shards_of(0, 5) == []
    assert shards_of(11, 5) == [(0, 5), (5, 10), (10, 11)]


@given(
    count=st.integers(0, 60),
    shard=st.integers(1, 20),
    piece=st.integers(1, 9),
    workers=st.integers(1, 4),
    seed=st.integers(0, 2**20),
    chance=st.floats(0, 0.4),
)
def test_every_image_once_whatever_dies(
    count: int, shard: int, piece: int, workers: int, seed: int, chance: float
) -> None:
    dice = random.Random(seed)
    deadly = {i for i in range(count) if dice.random() < chance / 8}
    bounds = shards_of(count, shard)
    plan = Plan(count, shard, range(len(bounds)), piece, ahead=workers + 2)
    flying: list[Piece] = []
    finished: dict[int, Finished] = {}
    given_up: set[int] = set()
    while not plan.is_done:
        while len(flying) < 2 * workers and (following := plan.next()) is not None:
            flying.append(following)
        at = flying.pop(dice.randrange(len(flying)))
        if set(range(at.start, at.stop)) & deadly or dice.random() < chance / 4:
            try:
                again = plan.died(at)
            except EdgeADError:
                return  # it gave up image after image
            if dice.random() < 0.5 and flying:  # the other piece of that worker, which it had not begun
                plan.put_back(flying.pop())
            done = None if again else plan.gave_up(at, columns(at))
            given_up |= set() if again else {at.start}
        else:
            done = plan.answered(at, columns(at))
        if done is not None:
            assert done.shard not in finished
            finished[done.shard] = done
    assert sorted(finished) == list(range(len(bounds)))
    for number, (start, stop) in enumerate(bounds):
        assert finished[number].columns["place"].tolist() == list(range(start, stop))
    assert deadly <= given_up


def test_an_image_that_kills_is_found() -> None:
    plan = Plan(8, 8, [0], 8, ahead=1)
    whole = plan.next()
    assert whole == Piece(0, 0, 8)
    assert plan.next() is None
    assert plan.died(whole)
    second = plan.next()
    assert second == Piece(0, 0, 8, deaths=1)
    assert plan.died(second)
    for i in range(8):
        one = plan.next()
        assert one == Piece(0, i, i + 1)
        if i == 5:
            assert plan.died(one)
            one = plan.next()
            assert one == Piece(0, 5, 6, deaths=1)
            assert not plan.died(one)
            assert plan.gave_up(one, columns(one)) is None
        else:
            done = plan.answered(one, columns(one))
    assert done is not None
    assert done.retries == 1 + 8 + 1
    assert plan.is_done


def test_few_shards_are_open_at_once() -> None:
    plan = Plan(100, 10, range(10), 5, ahead=2)
    pieces = [plan.next() for _ in range(5)]
    assert pieces[-1] is None
    assert [piece.shard for piece in pieces if piece is not None] == [0, 0, 1, 1]


def test_workers_that_die_at_every_image_end_the_run() -> None:
    plan = Plan(20, 20, [0], 1, ahead=1)
    given_up = 0
    while given_up < 7:
        piece = plan.next()
        assert piece is not None
        if not plan.died(piece):
            plan.gave_up(piece, columns(piece))
            given_up += 1
    last = plan.next()
    assert last is not None
    assert plan.died(last)
    last = plan.next()
    assert last is not None
    with pytest.raises(EdgeADError, match="die at every image"):
        plan.died(last)
