from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad import native
from edge_ad.native import reference
from tests.native.made import clusters, integers, misaligned

DIMS = [1, 3, 8, 15, 16, 17, 100, 384]
# Around the sizes of the lanes, tiles and groups of all instruction sets.
QUERIES = [0, 1, 6, 7, 8, 9, 15, 16, 17, 31, 33, 47, 48, 49, 97]
SIZES = [1, 3, 4, 5, 6, 7, 8, 9, 17, 100]


def assert_nearest(vectors: np.ndarray, queries: np.ndarray, got: tuple[np.ndarray, np.ndarray]) -> None:
    """The distances are the least there are, and the indices are rows at those distances."""
    distances, indices = got
    wanted, _ = reference.exact_search(vectors, queries)
    np.testing.assert_allclose(distances, wanted, rtol=1e-5, atol=1e-6)
    of_index = np.sqrt(((vectors[indices].astype(np.float64) - queries) ** 2).sum(1))
    np.testing.assert_allclose(of_index, wanted, rtol=1e-5, atol=1e-6)
    assert distances.dtype == np.float32
    assert indices.dtype == np.int32


@pytest.mark.parametrize("dim", DIMS)
def test_equals_the_twin_at_every_size(each_isa: str, pool: native.Pool, dim: int) -> None:
    for count in QUERIES:
        for size in SIZES:
            vectors, queries = integers(size, size, dim), integers(1000 + count, count, dim)
            distances, indices = native.exact_search(native.Coreset(vectors), queries, pool)
            wanted, nearest = reference.exact_search(vectors, queries)
            np.testing.assert_array_equal(indices, nearest)  # ties go to the lowest index
            np.testing.assert_array_equal(distances, wanted)


@pytest.mark.parametrize("dim", [*DIMS, 1536])
def test_finds_the_nearest_of_structured_data(each_isa: str, pool: native.Pool, dim: int) -> None:
    vectors, queries = clusters(1, 700, dim), clusters(2, 130, dim)
    assert_nearest(vectors, queries, native.exact_search(native.Coreset(vectors), queries, pool))


def test_more_rows_than_a_segment_holds(each_isa: str, pool: native.Pool) -> None:
    vectors, queries = clusters(3, 32768 + 13, 5), clusters(4, 60, 5)
    queries[0] = vectors[-1]
    queries[1] = vectors[32768]
    got = native.exact_search(native.Coreset(vectors), queries, pool)
    assert_nearest(vectors, queries, got)
    assert got[1][:2].tolist() == [len(vectors) - 1, 32768]


@pytest.mark.parametrize("offset", [0.0, 50.0, 1000.0])
def test_far_from_the_origin(each_isa: str, pool: native.Pool, offset: float) -> None:
    vectors, queries = clusters(5, 500, 100, 0.1, offset), clusters(5, 90, 100, 0.1, offset)
    wanted, nearest = reference.exact_search(vectors, queries)
    distances, indices = native.exact_search(native.Coreset(vectors), queries, pool)
    np.testing.assert_allclose(distances, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(indices, nearest)


def test_a_row_as_query_has_distance_zero(each_isa: str, pool: native.Pool) -> None:
    vectors = clusters(6, 200, 33)
    vectors[150] = vectors[20]
    distances, indices = native.exact_search(native.Coreset(vectors), vectors, pool)
    assert not distances.any()
    assert indices[150] == 20
    np.testing.assert_array_equal(np.delete(indices, 150), np.delete(np.arange(200), 150))


def test_misaligned_and_read_only_arrays(each_isa: str, pool: native.Pool) -> None:
    vectors, queries = clusters(7, 130, 17), clusters(8, 70, 17)
    wanted = native.exact_search(native.Coreset(vectors), queries, pool)
    moved_vectors, moved_queries = misaligned(vectors), misaligned(queries)
    moved_vectors.flags.writeable = moved_queries.flags.writeable = False
    got = native.exact_search(native.Coreset(moved_vectors), moved_queries, pool)
    np.testing.assert_array_equal(got[0], wanted[0])
    np.testing.assert_array_equal(got[1], wanted[1])


@pytest.mark.parametrize("count", [3, 100])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_a_query_that_is_not_finite_has_no_neighbour(each_isa: str, pool: native.Pool, bad: float, count: int) -> None:
    vectors, queries = clusters(9, 90, 20), clusters(10, count, 20)
    clean = native.exact_search(native.Coreset(vectors), queries, pool)
    queries[1, 7] = bad
    distances, indices = native.exact_search(native.Coreset(vectors), queries, pool)
    assert indices[1] == -1
    assert distances[1] == np.inf
    others = np.arange(count) != 1
    np.testing.assert_array_equal(distances[others], clean[0][others])
    np.testing.assert_array_equal(indices[others], clean[1][others])


@pytest.mark.parametrize("count", [2, 60])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_never_the_nearest(
    each_isa: str, pool: native.Pool, bad: float, count: int
) -> None:
    vectors = clusters(11, 100, 20)
    queries = np.ascontiguousarray(vectors[:count])
    vectors[0, 3] = vectors[50, 19] = bad
    distances, indices = native.exact_search(native.Coreset(vectors), queries, pool)
    wanted, nearest = reference.exact_search(vectors, queries)
    np.testing.assert_array_equal(indices, nearest)
    np.testing.assert_allclose(distances, wanted, rtol=1e-5, atol=1e-6)
    vectors[:] = bad
    distances, indices = native.exact_search(native.Coreset(vectors), queries, pool)
    assert np.isinf(distances).all()
    assert (indices == -1).all()


@pytest.mark.parametrize("count", [2, 60])
def test_a_row_whose_norm_overflows_is_never_the_nearest(each_isa: str, pool: native.Pool, count: int) -> None:
    vectors = np.array([[1.9e19], [0.0], [0.0], *[[1.0]] * 10], np.float32)
    queries = np.full((count, 1), 1.8e19, np.float32)
    _, indices = native.exact_search(native.Coreset(vectors), queries, pool)
    assert (indices != 0).all()


@given(
    seed=st.integers(0, 2**16),
    size=st.integers(1, 200),
    dim=st.integers(1, 40),
    data=st.data(),
)
def test_a_query_gets_the_same_in_any_company(seed: int, size: int, dim: int, data: st.DataObject) -> None:
    vectors, queries = clusters(seed, size, dim), clusters(seed + 1, 80, dim)
    coreset, one, three = native.Coreset(vectors), native.Pool(1), native.Pool(3)
    distances, indices = native.exact_search(coreset, queries, one)
    chosen = data.draw(st.lists(st.integers(0, 79), max_size=80))
    rows = np.array(chosen, np.int32)
    for pool in (one, three):
        some = native.exact_search(coreset, queries, pool, rows)
        np.testing.assert_array_equal(some[0], distances[rows])
        np.testing.assert_array_equal(some[1], indices[rows])
    assert_nearest(vectors, queries, (distances, indices))


def test_threads_do_not_change_a_bit(each_isa: str) -> None:
    vectors, queries = clusters(12, 3000, 64), clusters(13, 500, 64)
    coreset = native.Coreset(vectors)
    results = [native.exact_search(coreset, queries, native.Pool(threads)) for threads in (1, 2, 3)]
    for distances, indices in results[1:]:
        np.testing.assert_array_equal(distances, results[0][0])
        np.testing.assert_array_equal(indices, results[0][1])


def test_a_long_call_is_cut_without_a_seam(monkeypatch: pytest.MonkeyPatch, pool: native.Pool) -> None:
    vectors, queries = clusters(14, 300, 16), clusters(15, 1000, 16)
    coreset, rows = native.Coreset(vectors), np.arange(999, -1, -1, dtype=np.int32)
    whole = native.exact_search(coreset, queries, pool)
    monkeypatch.setattr(native, "_CALL_MULTIPLY_ADDS", 1.0)
    np.testing.assert_array_equal(native.exact_search(coreset, queries, pool)[0], whole[0])
    np.testing.assert_array_equal(native.exact_search(coreset, queries, pool, rows)[1], whole[1][::-1])
