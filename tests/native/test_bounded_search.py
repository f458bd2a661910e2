"""Exact search by bounds gives what brute force gives, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad import native
from edge_ad.errors import NativeError
from edge_ad.native import reference
from tests.native.made import clusters, integers, misaligned


def basis(vectors: np.ndarray, width: int, seed: int = 0) -> np.ndarray:
    """(width, D) float32: orthonormal rows that span the first principal directions."""
    centred = np.nan_to_num(vectors.astype(np.float64), posinf=0.0, neginf=0.0)
    centred -= centred.mean(axis=0)
    centred /= max(1e-300, float(np.abs(centred).max()))
    if width <= len(centred) < centred.shape[1]:  # far less work than by the (D, D) product
        directions = np.linalg.svd(centred, full_matrices=False)[2][:width].T
    else:
        directions = np.linalg.svd(centred.T @ centred)[0][:, :width]
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]
    return np.ascontiguousarray((directions @ rotation).T, np.float32)


def assert_same(
    vectors: np.ndarray,
    queries: np.ndarray,
    width: int,
    pool: native.Pool,
    k: int = 1,
    rows: np.ndarray | None = None,
) -> None:
    plain, bounded = native.Coreset(vectors), native.Coreset(vectors, basis(vectors, width), pool=pool)
    wanted = native.knn_search(plain, queries, k, pool, rows)
    found = native.knn_search(bounded, queries, k, pool, rows)
    np.testing.assert_array_equal(found[0].view(np.int32), wanted[0].view(np.int32))
    np.testing.assert_array_equal(found[1], wanted[1])


@pytest.mark.parametrize("dim", [1, 3, 15, 16, 17, 65, 100])
def test_equals_brute_force_at_every_size(each_isa: str, pool: native.Pool, dim: int) -> None:
    for count in (0, 1, 8, 15, 17, 33, 49):
        for size in (1, 5, 31, 33, 100):
            vectors, queries = integers(size, size, dim), integers(1000 + count, count, dim)
            for k in {1, min(3, size)}:
                assert_same(vectors, queries, min(dim, 60), pool, k)  # ties go to the lowest index


@pytest.mark.parametrize("width", [1, 59, 60, 63, 64, 65, 124, 128, 188, 252, 256])
def test_structured_data_and_every_width(each_isa: str, pool: native.Pool, width: int) -> None:
    vectors, queries = clusters(1, 900, 300), clusters(2, 130, 300)
    assert_same(misaligned(vectors), misaligned(queries), width, pool)
    assert_same(vectors, queries, width, pool, 9, np.arange(129, -1, -2, dtype=np.int32))


def _adversarial() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(7)
    usual, asked = clusters(3, 400, 40), clusters(4, 70, 40)
    flat = usual.copy()
    flat[:, 5:] = 3.0
    far = usual.copy()
    far[13] += 1e4
    low = np.ascontiguousarray(rng.normal(size=(400, 3)) @ rng.normal(size=(3, 40)), np.float32)
    return {
        "duplicates": (np.repeat(usual[:50], 8, axis=0), np.repeat(usual[:35], 2, axis=0)),
        "one row": (np.tile(usual[:1], (400, 1)), asked),
        "constant columns": (flat, asked),
        "no spread at all": (np.full((400, 40), 2.5, np.float32), np.full((70, 40), 2.5, np.float32)),
        "an outlier that spoils the scale": (far, asked),
        "queries cut off": (usual, asked * 1000),
        "a huge offset": (usual + 3e5, asked + 3e5),
        "huge": (usual * 1e17, asked * 1e17),
        "near overflow": (usual * 1e18, asked * 1e18),
        "mixed with unusable rows": (np.where(np.arange(400)[:, None] % 3 == 0, np.float32(1e20), usual), asked),
        "small": (usual * 1e-15, asked * 1e-15),
        "squares underflow": (usual * 1e-22, asked * 1e-22),
        "denormal": (usual * 1e-41, asked * 1e-41),
        "all in the basis": (low, np.ascontiguousarray(low[:70] + 0.01)),
    }


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("kind", list(_adversarial()))
def test_adversarial_data(each_isa: str, pool: native.Pool, kind: str, k: int) -> None:
    vectors, queries = (np.ascontiguousarray(part, np.float32) for part in _adversarial()[kind])
    assert_same(vectors, queries, 12, pool, k)
    assert_same(vectors, queries, 40, pool, k)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_values_that_are_not_finite(each_isa: str, pool: native.Pool, bad: float) -> None:
    vectors, queries = clusters(5, 200, 20), clusters(6, 50, 20)
    queries[1, 7] = queries[40, 0] = bad
    assert_same(vectors, queries, 8, pool, 2)
    vectors[0, 3] = vectors[150, 19] = bad
    assert_same(vectors, queries, 8, pool, 2)
    assert_same(vectors, queries, 8, pool, 200)
    vectors[:] = bad
    assert_same(vectors, queries, 8, pool)


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**16),
    size=st.integers(1, 300),
    dim=st.integers(1, 90),
    count=st.integers(0, 60),
    width=st.integers(1, 90),
    k=st.integers(1, 12),
    power=st.integers(-30, 18),
    ties=st.booleans(),
)
def test_any_data(seed: int, size: int, dim: int, count: int, width: int, k: int, power: int, ties: bool) -> None:
    make = integers if ties else clusters
    scale = np.float32(10.0**power)
    vectors, queries = make(seed, size, dim) * scale, make(seed + 1, count, dim) * scale
    assert_same(vectors, queries, min(width, dim), native.Pool(2), min(k, size))


def test_more_rows_than_a_segment_holds_and_parts(each_isa: str, pool: native.Pool) -> None:
    vectors, queries = integers(3, 2 * 32768 + 13, 5), integers(4, 60, 5)
    for k in (1, 40):
        assert_same(vectors, queries, 4, pool, k)


@pytest.mark.parametrize("with_basis", [False, True])
@pytest.mark.parametrize("count", [3, 70])
def test_parts(each_isa: str, pool: native.Pool, with_basis: bool, count: int) -> None:
    vectors, queries = clusters(8, 330, 24), clusters(9, count, 24)
    coreset = native.Coreset(vectors, basis(vectors, 12) if with_basis else None, part_rows=50)
    assert coreset.parts == 7
    for parts in ([0], [6], [1, 2, 5], range(7)):
        chosen = np.array(parts, np.int32)
        rows = np.concatenate([np.arange(50 * part, min(50 * part + 50, 330)) for part in parts])
        some = native.Coreset(np.ascontiguousarray(vectors[rows]))
        for k in (1, 7):
            found = native.knn_search(coreset, queries, k, pool, None, chosen)
            wanted = native.knn_search(some, queries, k, pool)
            np.testing.assert_array_equal(found[0], wanted[0])
            np.testing.assert_array_equal(found[1], rows[wanted[1]])


def test_bad_parts(pool: native.Pool) -> None:
    vectors = clusters(8, 100, 6)
    coreset = native.Coreset(vectors, part_rows=30)
    for wrong in ([-1], [4], [1, 1], [2, 0], []):
        with pytest.raises(NativeError, match="part"):
            native.exact_search(coreset, vectors, pool, None, np.array(wrong, np.int32))
    for rows in (0, 101, 1.5):
        with pytest.raises(NativeError, match="part_rows"):
            native.Coreset(vectors, part_rows=rows)  # type: ignore[arg-type]


def test_the_same_for_every_number_of_threads(each_isa: str) -> None:
    vectors, queries = clusters(10, 1200, 64), clusters(11, 700, 64)
    results = []
    for threads in (1, 2, 5):
        pool = native.Pool(threads)
        coreset = native.Coreset(vectors, basis(vectors, 60), pool=pool)
        results.append(native.knn_search(coreset, queries, 3, pool))
    for distances, indices in results[1:]:
        np.testing.assert_array_equal(distances, results[0][0])
        np.testing.assert_array_equal(indices, results[0][1])


def test_a_basis_that_cannot_be_used(pool: native.Pool) -> None:
    vectors = clusters(12, 50, 20)
    good = basis(vectors, 4)
    for wrong in (good * 1.01, good[[0, 0]], good * np.nan, np.zeros((2, 20), np.float32)):
        with pytest.raises(NativeError, match="not orthonormal"):
            native.Coreset(vectors, wrong)
    for wrong in (good[:0], np.eye(257, 300, dtype=np.float32)):
        some = clusters(12, 50, wrong.shape[1])
        with pytest.raises(NativeError, match="cannot be used"):
            native.Coreset(some, wrong)
    with pytest.raises(NativeError, match="basis has the wrong shape"):
        native.Coreset(vectors, good[:, :19].copy())


def test_the_twin_agrees_and_computes_few_distances(each_isa: str, pool: native.Pool) -> None:
    vectors = clusters(13, 600, 48, 0.3)
    queries = vectors[:40] + np.random.default_rng(14).normal(0, 0.1, (40, 48)).astype(np.float32)
    rows = basis(vectors, 20)
    distances, indices, computed = reference.bounded_search(vectors, queries, rows)
    found = native.exact_search(native.Coreset(vectors, rows), queries, pool)
    np.testing.assert_allclose(found[0], distances, rtol=1e-5)
    np.testing.assert_array_equal(found[1], indices)
    np.testing.assert_array_equal(indices, reference.exact_search(vectors, queries)[1])
    assert computed.mean() < 0.1
