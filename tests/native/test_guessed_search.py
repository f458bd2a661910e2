"""Search from guesses gives what exact search gives, whatever the guesses."""

from __future__ import annotations

import numpy as np
import pytest

from edge_ad import native
from edge_ad.errors import NativeError
from edge_ad.native import reference
from tests.native.made import clusters, integers, misaligned


def guess(seed: int, coreset: native.Coreset, nearest: np.ndarray) -> np.ndarray:
    """The nearest rows for most queries, for the others any row or none."""
    generator = np.random.default_rng(seed)
    others = generator.integers(-1, coreset.size, len(nearest))
    return np.where(generator.random(len(nearest)) < 0.7, nearest, others).astype(np.int32)


def check(coreset: native.Coreset, queries: np.ndarray, guesses: np.ndarray, count: int, pool: native.Pool) -> None:
    wanted = native.exact_search(coreset, queries, pool)
    neighbours = native.knn_search(coreset, coreset.vectors, min(count, coreset.size), pool)
    found = native.guessed_search(coreset, queries, guesses, neighbours, pool)
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])
    assert (found[0].dtype, found[1].dtype) == (np.float32, np.int32)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 32])
@pytest.mark.parametrize("dim", [1, 7, 16, 33, 200])
def test_answers_of_exact_search(each_isa: str, pool: native.Pool, dim: int, count: int) -> None:
    vectors, queries = clusters(1, 400, dim, 0.3), misaligned(clusters(2, 700, dim, 0.3))
    coreset = native.Coreset(vectors)
    nearest = native.exact_search(coreset, queries, pool)[1]
    check(coreset, queries, guess(3, coreset, nearest), count, pool)
    check(coreset, queries, np.full(len(queries), -1, np.int32), count, pool)


@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_ties_go_to_the_lowest_row(each_isa: str, pool: native.Pool, size: int) -> None:
    """Small numbers: many rows are as near as the nearest, stand at the border of the proof, or are the same."""
    for dim in (1, 2, 3, 17):
        vectors, queries = integers(dim, size, dim), integers(dim + 1, 300, dim)
        wanted, rows = reference.exact_search(vectors, queries)
        coreset = native.Coreset(vectors)
        neighbours = native.knn_search(coreset, vectors, min(8, size), pool)
        found = native.guessed_search(coreset, queries, guess(dim, coreset, rows), neighbours, pool)
        np.testing.assert_array_equal(found[1], rows)
        np.testing.assert_allclose(found[0], wanted, rtol=1e-6)


def test_a_row_as_near_as_the_guess_on_the_other_side(each_isa: str, pool: native.Pool) -> None:
    """The query stands half way, so that the rounding of a root decides whether the row is looked at."""
    line = np.array(
        [2, *(-k / 8 for k in range(1, 8)), 0], np.float32
    )  # the other row, some that are nearer, the guess
    for dim in range(1, 12):
        for step in range(1, 40):
            vectors = np.ascontiguousarray(line[:, None] * np.full(dim, step, np.float32))
            check(native.Coreset(vectors), np.full((1, dim), step, np.float32), np.array([8], np.int32), 9, pool)


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e-12, 1e15])
def test_tiny_and_huge_distances(each_isa: str, pool: native.Pool, scale: float) -> None:
    vectors, queries = (clusters(seed, 300, 24) * np.float32(scale) for seed in (4, 5))
    coreset = native.Coreset(vectors)
    check(coreset, queries, guess(6, coreset, native.exact_search(coreset, queries, pool)[1]), 16, pool)


def test_queries_and_rows_that_are_not_finite(each_isa: str, pool: native.Pool) -> None:
    vectors, queries = clusters(7, 100, 12), clusters(8, 200, 12)
    vectors[[3, 50], 4] = np.nan, np.inf
    queries[[0, 7, 90], 2] = np.nan, np.inf, 1e30
    coreset = native.Coreset(vectors)
    guesses = guess(9, coreset, native.exact_search(coreset, queries, pool)[1])
    guesses[::5] = 3  # a row that is none
    check(coreset, queries, guesses, 32, pool)
    check(coreset, queries, guesses, 100, pool)  # more than there are usable rows


def test_with_bounds_and_some_of_the_queries(each_isa: str, pool: native.Pool) -> None:
    vectors, queries = clusters(10, 900, 96), clusters(11, 500, 96)
    basis = np.ascontiguousarray(np.linalg.qr(np.random.default_rng(0).standard_normal((96, 60)))[0].T, np.float32)
    coreset, rows = native.Coreset(vectors, basis), np.array([400, 3, 3, 499, 0], np.int32)
    wanted = native.exact_search(coreset, queries, pool, rows)
    neighbours = native.knn_search(coreset, vectors, 32, pool)
    found = native.guessed_search(coreset, queries, np.array([1, -1, 5, 7, 899], np.int32), neighbours, pool, rows)
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])
    none = native.guessed_search(coreset, queries[:0], np.empty(0, np.int32), neighbours, pool)
    assert [len(part) for part in none] == [0, 0]


def test_arguments_are_checked(pool: native.Pool) -> None:
    coreset, queries = native.Coreset(clusters(12, 50, 6)), clusters(13, 20, 6)
    neighbours, guesses = native.knn_search(coreset, coreset.vectors, 4, pool), np.zeros(20, np.int32)
    with pytest.raises(NativeError, match="guesses"):
        native.guessed_search(coreset, queries, guesses[:19], neighbours, pool)
    with pytest.raises(NativeError, match="guesses"):
        native.guessed_search(coreset, queries, guesses.astype(np.int64), neighbours, pool)
    with pytest.raises(NativeError, match="no row of the coreset"):
        native.guessed_search(coreset, queries, guesses + 50, neighbours, pool)
    with pytest.raises(NativeError, match="no row of the coreset"):
        native.guessed_search(coreset, queries, guesses, (neighbours[0], neighbours[1] - 2), pool)
    for wrong in ((neighbours[0][:49], neighbours[1]), (neighbours[0], neighbours[1][:, :3].copy())):
        with pytest.raises(NativeError, match="neighbours"):
            native.guessed_search(coreset, queries, guesses, wrong, pool)
    with pytest.raises(NativeError, match="neighbours"):
        native.guessed_search(coreset, queries, guesses, (neighbours[0][:, :0], neighbours[1][:, :0]), pool)
