from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad import native
from edge_ad.errors import NativeError
from edge_ad.native import reference
from tests.native.made import Arrays, clusters, hnsw, integers, misaligned


@pytest.mark.parametrize("dim", [1, 3, 8, 15, 16, 17, 100, 384])
@pytest.mark.parametrize("ef", [1, 4, 20])
def test_equals_the_twin(each_isa: str, pool: native.Pool, dim: int, ef: int) -> None:
    vectors = integers(dim, 120, dim, most=30)  # exact in float32, so that both take the same way
    arrays, queries = hnsw(vectors), integers(dim + 1, 9 * 7, dim, most=30)
    graph = arrays.graph(native.Coreset(vectors))
    rows = np.flatnonzero(np.arange(63) % 5 != 2).astype(np.int32)
    for some in (None, rows):
        distances, indices = native.graph_search(graph, queries, pool, ef, 7, some)
        wanted, nearest = reference.graph_search(vectors, *arrays, queries, ef, 7, some)
        np.testing.assert_array_equal(indices, nearest)
        np.testing.assert_array_equal(distances, wanted)


def _on_codes(seed: int, vectors: np.ndarray, width: int, part_rows: int | None = None) -> native.Coreset:
    turned = np.linalg.qr(np.random.default_rng(seed).standard_normal((vectors.shape[1], width)))[0]
    basis = np.ascontiguousarray(turned.T, np.float32)
    return native.Coreset(vectors, basis, part_rows=part_rows, pool=native.Pool(1))


@pytest.mark.parametrize("ef", [1, 4, 20])
@pytest.mark.parametrize(("dim", "width"), [(1, 1), (17, 9), (70, 64), (200, 60), (260, 250)])
def test_the_walk_on_codes_equals_the_twin(each_isa: str, pool: native.Pool, dim: int, width: int, ef: int) -> None:
    """Integers that are their own codes: mean 0, scale 1, nothing outside the basis."""
    vectors, queries = np.zeros((120, dim), np.float32), np.zeros((63, dim), np.float32)
    vectors[:60, :width] = integers(dim, 60, width, most=127) - 63
    vectors[0, 0] = 127
    vectors[60:] = -vectors[:60]
    queries[:, :width] = integers(dim + 1, 63, width, most=127) - 63
    arrays, basis = hnsw(vectors), np.eye(width, dim, dtype=np.float32)
    graph = arrays.graph(native.Coreset(vectors, basis, pool=pool))
    for rows in (None, np.flatnonzero(np.arange(63) % 5 != 2).astype(np.int32)):
        distances, indices = native.graph_search(graph, queries, pool, ef, 7, rows)
        wanted, nearest = reference.graph_search(vectors, *arrays, queries, ef, 7, rows, basis=basis)
        np.testing.assert_array_equal(indices, nearest)
        np.testing.assert_array_equal(distances, wanted)


@pytest.mark.parametrize("size", [1, 2, 9, 50])
@pytest.mark.parametrize("part_rows", [None, 1])
def test_a_full_beam_of_codes_is_exact(each_isa: str, pool: native.Pool, size: int, part_rows: int | None) -> None:
    """As are several parts, whose codes are elsewhere; rows and queries that cannot be used are left out."""
    vectors, queries = clusters(1, size, 24), clusters(2, 60, 24)
    queries[[0, 13]] = np.nan
    queries[14, 3] = 1e30
    arrays = hnsw(vectors)
    vectors[size // 2, 1] = np.inf
    coreset = _on_codes(size, vectors, 20, part_rows)
    got = native.graph_search(arrays.graph(coreset), queries, pool, 10 * size, 10)
    wanted = native.exact_search(coreset, queries, pool)
    np.testing.assert_array_equal(got[0], wanted[0])
    np.testing.assert_array_equal(got[1], wanted[1])


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 50])
def test_a_full_beam_on_a_connected_graph_is_exact(each_isa: str, pool: native.Pool, size: int) -> None:
    vectors, queries = clusters(1, size, 24), clusters(2, 60, 24)
    coreset = native.Coreset(vectors)
    got = native.graph_search(hnsw(vectors).graph(coreset), queries, pool, 10 * size, 10)
    wanted = native.exact_search(coreset, queries, pool)
    np.testing.assert_array_equal(got[0], wanted[0])
    np.testing.assert_array_equal(got[1], wanted[1])


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**16),
    ef=st.integers(1, 12),
    width=st.integers(1, 9),
    height=st.integers(0, 11),
    codes=st.integers(0, 19),
)
def test_never_below_the_exact_distance_and_the_same_bits(
    seed: int, ef: int, width: int, height: int, codes: int
) -> None:
    vectors, queries = clusters(seed, 90, 19), clusters(seed + 1, width * height, 19)
    coreset = _on_codes(seed, vectors, codes) if codes else native.Coreset(vectors)
    one, three = native.Pool(1), native.Pool(3)
    graph = hnsw(vectors, seed).graph(coreset)
    distances, indices = native.graph_search(graph, queries, one, ef, width)
    exact, nearest = native.exact_search(coreset, queries, one)
    assert (distances >= exact).all()
    found = indices == nearest
    np.testing.assert_array_equal(distances[found], exact[found])
    for i in np.flatnonzero(~found):  # the same bits for the same pair, found by exact search over that row alone
        alone = native.Coreset(np.ascontiguousarray(vectors[indices[i] : indices[i] + 1]))
        assert native.exact_search(alone, queries[i : i + 1], one)[0][0] == distances[i]
    again = native.graph_search(graph, queries, three, ef, width)
    np.testing.assert_array_equal(again[0], distances)
    np.testing.assert_array_equal(again[1], indices)


def test_neighbours_seed_a_query(pool: native.Pool) -> None:
    """Two islands: only a seed leads to the second, and only inside a stripe."""
    vectors = np.array([[0.0], [1.0], [10.0], [11.0]], np.float32)
    arrays = Arrays(
        np.array([1, 1, 0, 0], np.uint8),
        np.array([[1, -1], [2, 0], [3, -1], [2, -1]], np.int32),  # 1 -> 2 but never back
        np.array([[1], [0]], np.int32),
        0,
    )
    graph = arrays.graph(native.Coreset(vectors))
    queries = np.full((6, 1), 0.0, np.float32)
    queries[0] = 11.0
    _, indices = native.graph_search(graph, queries, pool, 4, 1)
    assert indices.tolist() == [3, 2, 2, 2, 0, 0]  # rows 1..3 start on the second island, row 4 is a new stripe
    _, indices = native.graph_search(graph, queries, pool, 4, 1, np.array([0, 2, 3], np.int32))
    assert indices.tolist() == [3, 0, 0]  # the row above 2 was not searched


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_query_that_is_not_finite_ends_with_nothing(each_isa: str, pool: native.Pool, bad: float) -> None:
    vectors, queries = clusters(3, 80, 20), clusters(4, 40, 20)
    queries[[0, 13, 14]] = bad
    graph = hnsw(vectors).graph(native.Coreset(vectors))
    distances, indices = native.graph_search(graph, queries, pool, 80, 8)
    assert (indices[[0, 13, 14]] == -1).all()
    assert np.isinf(distances[[0, 13, 14]]).all()
    assert np.isfinite(np.delete(distances, [0, 13, 14])).all()


def test_a_row_that_is_not_finite_is_never_the_nearest(each_isa: str, pool: native.Pool) -> None:
    vectors = clusters(5, 80, 20)
    arrays, queries = hnsw(vectors), np.ascontiguousarray(vectors[:40])
    vectors[:20, 4] = np.nan
    vectors[arrays.entry] = np.inf
    distances, indices = native.graph_search(arrays.graph(native.Coreset(vectors)), queries, pool, 80, 8)
    assert not np.isnan(distances).any()
    assert not np.isin(indices, [*range(20), arrays.entry]).any()


@pytest.mark.parametrize("period", [65_535, 65_536])
def test_many_epochs_of_visited_tags(period: int) -> None:
    """More queries in one stripe than 16 bits count: what an old query visited must not look visited."""
    vectors = np.arange(10, dtype=np.float32)[:, None]  # a one-way ring: 0 -> 1 -> ... -> 9 -> 0
    links0 = ((np.arange(10, dtype=np.int32) + 1) % 10)[:, None]
    arrays = Arrays(np.zeros(10, np.uint8), links0, np.empty((0, 1), np.int32), 0)
    width = 17_000  # four rows of it are a stripe
    queries = np.zeros((4 * width, 1), np.float32)
    far = [5, 5 + period]
    queries[far] = 9.0
    graph = arrays.graph(native.Coreset(vectors))
    distances, indices = native.graph_search(graph, queries, native.Pool(1), 1, width)
    assert not distances.any()
    assert np.flatnonzero(indices == 9).tolist() == far


def test_a_long_call_is_cut_without_a_seam(monkeypatch: pytest.MonkeyPatch, pool: native.Pool) -> None:
    vectors, queries = clusters(8, 100, 16), clusters(9, 30 * 6, 16)
    graph = hnsw(vectors).graph(native.Coreset(vectors))
    rows = np.array([*range(0, 50, 3), *range(120, 180, 7)], np.int32)
    for some in (None, rows):
        whole = native.graph_search(graph, queries, pool, 3, 6, some)
        with monkeypatch.context() as patch:
            patch.setattr(native, "_CALL_GRAPH_FLOATS", 1)
            cut = native.graph_search(graph, queries, pool, 3, 6, some)
        np.testing.assert_array_equal(cut[0], whole[0])
        np.testing.assert_array_equal(cut[1], whole[1])


def test_misaligned_queries_and_vectors(each_isa: str, pool: native.Pool) -> None:
    vectors, queries = clusters(10, 60, 33), clusters(11, 40, 33)
    arrays = hnsw(vectors)
    wanted = native.graph_search(arrays.graph(native.Coreset(vectors)), queries, pool, 6, 8)
    graph = arrays.graph(native.Coreset(misaligned(vectors)))
    got = native.graph_search(graph, misaligned(queries), pool, 6, 8)
    np.testing.assert_array_equal(got[0], wanted[0])


def test_the_graph_keeps_its_own_copy(pool: native.Pool) -> None:
    vectors, queries = clusters(12, 60, 8), clusters(13, 40, 8)
    arrays = hnsw(vectors)
    graph = arrays.graph(native.Coreset(vectors))
    before = native.graph_search(graph, queries, pool, 6, 8)
    arrays.links0[:] = 2**31 - 1
    arrays.upper[:] = -(2**31)
    after = native.graph_search(graph, queries, pool, 6, 8)
    np.testing.assert_array_equal(after[1], before[1])


def _spoil(name: str, arrays: Arrays) -> Arrays:
    levels, links0, upper, entry = (
        arrays.levels.copy(),
        arrays.links0.copy(),
        arrays.upper.copy(),
        arrays.entry,
    )
    low = int(np.flatnonzero(levels == 0)[0])
    if name == "link too large":
        links0[3, 0] = len(levels)
    elif name == "link too small":
        links0[3, 0] = -2
    elif name == "link behind the padding":
        links0[3] = [-1] + [0] * (links0.shape[1] - 1)
    elif name == "upper link too large":
        upper[0, 0] = len(levels)
    elif name == "upper link to a lower level":
        upper[0, 0] = low
    elif name == "levels that promise more links":
        levels[low] = 1
    elif name == "a level too few":
        upper = upper[:-1]
    elif name == "entry outside":
        entry = len(levels)
    elif name == "entry negative":
        entry = -1
    elif name == "entry below the top":
        entry = low
    elif name == "levels of another dtype":
        levels = levels.astype(np.int64)
    elif name == "links of another dtype":
        links0 = links0.astype(np.int64)
    elif name == "links not contiguous":
        links0 = np.asfortranarray(links0)
    elif name == "links of another rank":
        links0 = links0[0]
    elif name == "too few nodes":
        links0 = links0[:-1]
    return Arrays(levels, links0, upper, entry)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("link too large", "outside the coreset"),
        ("link too small", "outside the coreset"),
        ("link behind the padding", "behind the padding"),
        ("upper link too large", "outside the coreset"),
        ("upper link to a lower level", "not on its level"),
        ("levels that promise more links", "upper has the wrong shape"),
        ("a level too few", "upper has the wrong shape"),
        ("entry outside", "entry is out of its range"),
        ("entry negative", "entry is out of its range"),
        ("entry below the top", "not on the top level"),
        ("levels of another dtype", "levels has the wrong dtype"),
        ("links of another dtype", "links0 has the wrong dtype"),
        ("links not contiguous", "links0 is not contiguous"),
        ("links of another rank", "links0 has the wrong dtype or rank"),
        ("too few nodes", "links0 has the wrong shape"),
    ],
)
def test_hostile_arrays_are_refused(name: str, message: str) -> None:
    vectors = clusters(14, 60, 8)
    with pytest.raises(NativeError, match=message):
        _spoil(name, hnsw(vectors)).graph(native.Coreset(vectors))


def test_arguments_of_a_search_are_checked(pool: native.Pool) -> None:
    vectors = clusters(15, 60, 8)
    graph = hnsw(vectors).graph(native.Coreset(vectors))
    queries = clusters(16, 40, 8)
    for ef in (0, -1, 2**31, 1.5, True):
        with pytest.raises(NativeError, match="ef is out of its range"):
            native.graph_search(graph, queries, pool, ef, 8)  # type: ignore[arg-type]
    with pytest.raises(NativeError, match="do not fill a grid"):
        native.graph_search(graph, queries, pool, 4, 7)
    with pytest.raises(NativeError, match="grid_width is out of its range"):
        native.graph_search(graph, queries, pool, 4, 0)
    for rows in ([1, 1], [3, 2]):
        with pytest.raises(NativeError, match="not ascending"):
            native.graph_search(graph, queries, pool, 4, 8, np.array(rows, np.int32))
    for rows in ([-1], [40]):
        with pytest.raises(NativeError, match="outside the queries"):
            native.graph_search(graph, queries, pool, 4, 8, np.array(rows, np.int32))
