from __future__ import annotations

import numpy as np
import pytest

from edge_ad import native
from edge_ad.errors import NativeError
from edge_ad.native import _core, reference
from tests.native.made import clusters, integers, misaligned

DIMS = [1, 3, 8, 15, 16, 17, 100]
QUERIES = [0, 1, 6, 7, 15, 16, 17, 49, 97]
SIZES = [1, 3, 4, 5, 7, 8, 9, 17, 100]


@pytest.mark.parametrize("dim", DIMS)
def test_equals_the_twin_at_every_size(each_isa: str, pool: native.Pool, dim: int) -> None:
    for count in QUERIES:
        for size in SIZES:
            vectors, queries = integers(size, size, dim), integers(1000 + count, count, dim)
            for k in {1, min(2, size), min(5, size), size}:
                distances, indices = native.knn_search(native.Coreset(vectors), queries, k, pool)
                wanted, nearest = reference.knn_search(vectors, queries, k)
                np.testing.assert_array_equal(indices, nearest)  # ties go to the lowest index
                np.testing.assert_array_equal(distances, wanted)


@pytest.mark.parametrize("k", [1, 2, 9, 60])
def test_structured_data_and_unaligned(each_isa: str, pool: native.Pool, k: int) -> None:
    vectors, queries = misaligned(clusters(1, 700, 33)), misaligned(clusters(2, 130, 33))
    distances, indices = native.knn_search(native.Coreset(vectors), queries, k, pool)
    wanted, _ = reference.knn_search(vectors, queries, k)
    np.testing.assert_allclose(distances, wanted, rtol=1e-5, atol=1e-6)
    assert all(len(set(row)) == k for row in indices.tolist())  # no row twice


def test_more_rows_than_a_segment_holds(each_isa: str, pool: native.Pool) -> None:
    vectors, queries = integers(3, 32768 + 13, 5), integers(4, 60, 5)
    for k in (2, 40):  # 40 is more than the groups of the second segment
        got, wanted = (
            native.knn_search(native.Coreset(vectors), queries, k, pool),
            reference.knn_search(vectors, queries, k),
        )
        np.testing.assert_array_equal(got[0], wanted[0])
        np.testing.assert_array_equal(got[1], wanted[1])


def test_rows_and_bad_values(each_isa: str, pool: native.Pool) -> None:
    vectors, queries = clusters(5, 90, 12), clusters(6, 40, 12)
    vectors[7] = np.nan
    vectors[8, 3] = np.inf
    queries[3, 1] = np.nan
    rows = np.array([39, 3, 0], np.int32)
    for k in (3, 90):
        distances, indices = native.knn_search(native.Coreset(vectors), queries, k, pool, rows)
        wanted, nearest = reference.knn_search(vectors, queries, k, rows)
        np.testing.assert_allclose(distances, wanted, rtol=1e-5)
        np.testing.assert_array_equal(indices, nearest)
        assert (indices[1] == -1).all()
    assert (indices[0, 88:] == -1).all()  # of 90 rows two cannot be used


def test_bad_k(pool: native.Pool) -> None:
    coreset, queries = native.Coreset(clusters(1, 20, 4)), clusters(2, 9, 4)
    for k in (0, 21, -1, 2.0, True):
        with pytest.raises(NativeError, match="k is out of its range"):
            native.knn_search(coreset, queries, k, pool)  # type: ignore[arg-type]
    distances, indices = np.empty(18, np.float32), np.empty(18, np.int32)
    with pytest.raises(NativeError, match="do not match"):
        _core.exact_search(coreset._core, queries, None, None, 3, pool._core, distances, indices)
    with pytest.raises(NativeError, match="k is out"):
        _core.exact_search(coreset._core, queries, None, None, 21, pool._core, distances, indices)
