"""The index: its graph search may miss a neighbour, but never the largest distance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad import native
from edge_ad.heads.index import GRAPH_FROM_FLOATS, GRAPH_FROM_ROWS_ELSE, Index, choose_search
from edge_ad.native import reference

POOL = native.Pool(2)


def ring_graph(coreset: native.Coreset, links: int, seed: int) -> native.Graph:
    """A poor graph: a ring and a few random links, so that a narrow search misses often."""
    size = coreset.size
    generator = np.random.default_rng(seed)
    links0 = np.full((size, 1 + links), -1, np.int32)
    if size > 1:
        links0[:, 0] = (np.arange(size) + 1) % size
        links0[:, 1:] = generator.integers(0, size, (size, links))
    return native.Graph(coreset, np.zeros(size, np.uint8), links0, np.empty((0, 4), np.int32), 0)


def make(seed: int, size: int, dim: int, rows: np.ndarray | None, ef: int = 1, whole: bool = False) -> Index:
    values = np.random.default_rng(seed).normal(0, 1, (size, dim))
    vectors = np.rint(3 * values).astype(np.float32) if whole else values.astype(np.float32)
    coreset = native.Coreset(vectors)
    return Index(coreset, ring_graph(coreset, 2, seed), ef=ef, grid_width=6, rows=rows, pool=POOL)


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 200),
    dim=st.integers(1, 9),
    masked=st.booleans(),
    whole=st.booleans(),  # many ties and many duplicates
)
def test_the_maximum_is_exact_to_the_bit(seed: int, size: int, dim: int, masked: bool, whole: bool) -> None:
    generator = np.random.default_rng(seed + 1)
    patches = generator.normal(0, 2, (42, dim)).astype(np.float32)
    if whole:
        patches = np.rint(patches)
    rows = np.flatnonzero(generator.random(42) < 0.5).astype(np.int32) if masked else None
    if rows is not None and len(rows) == 0:
        rows = np.array([41], np.int32)
    index = make(seed, size, dim, rows, whole=whole)
    distances, nearest = index.nearest(patches)
    exact, _ = index.exact(patches, rows)
    assert distances.shape == nearest.shape == exact.shape
    assert distances.max() == exact.max()
    assert (distances >= exact).all()  # a miss can only raise a distance
    worst = int(distances.argmax())
    patch = patches[worst if rows is None else rows[worst]]
    own = np.sqrt(reference.squared_distances(patch, index.coreset.vectors[[nearest[worst]]])[0])
    assert own == pytest.approx(distances[worst], rel=1e-5)


def test_the_plain_graph_search_would_have_been_wrong() -> None:
    """Else the tests above prove nothing: on this poor graph the largest distance is too large without a re-check."""
    wrong = 0
    for seed in range(20):
        index = make(seed, 150, 4, None)
        patches = np.random.default_rng(seed).normal(0, 2, (42, 4)).astype(np.float32)
        graph = ring_graph(index.coreset, 2, seed)
        plain, _ = native.graph_search(graph, patches, POOL, 1, 6)
        wrong += plain.max() > index.exact(patches, None)[0].max()
    assert wrong >= 10


def test_without_a_graph_all_is_exact() -> None:
    vectors = np.random.default_rng(0).normal(0, 1, (50, 7)).astype(np.float32)
    patches = np.random.default_rng(1).normal(0, 1, (24, 7)).astype(np.float32)
    rows = np.array([3, 5, 20], np.int32)
    index = Index(native.Coreset(vectors), None, ef=1, grid_width=6, rows=rows, pool=POOL)
    distances, nearest = index.nearest(patches)
    expected, twin = reference.exact_search(vectors, patches, rows)
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    np.testing.assert_array_equal(nearest, twin)
    every, _ = index.exact(patches, None)
    assert every.shape == (24,)


@pytest.mark.parametrize("broken", [[5], [0, 41], list(range(42))])
def test_nan_comes_out_as_inf(broken: list[int]) -> None:
    index = make(0, 100, 4, None)
    patches = np.random.default_rng(0).normal(0, 1, (42, 4)).astype(np.float32)
    patches[broken, 1] = np.nan
    distances, nearest = index.nearest(patches)
    assert np.isinf(distances[broken]).all()
    assert (nearest[broken] == -1).all()


def test_equal_distances_end_the_recheck() -> None:
    vectors = np.zeros((30, 3), np.float32)
    coreset = native.Coreset(vectors)
    index = Index(coreset, ring_graph(coreset, 2, 0), ef=1, grid_width=6, rows=None, pool=POOL)
    distances, _ = index.nearest(np.ones((42, 3), np.float32))
    np.testing.assert_allclose(distances, np.sqrt(3), rtol=1e-6)


def test_choose_search() -> None:
    large = np.ones((GRAPH_FROM_FLOATS // 100, 100), np.float32)
    plain, small = native.Coreset(large), native.Coreset(large[1:])
    bounded = native.Coreset(large, np.eye(1, 100, dtype=np.float32))
    assert choose_search("exact", plain, has_graph=True) == "exact"
    assert choose_search("graph", small, has_graph=True) == "graph"
    assert choose_search("auto", plain, has_graph=True) == "graph"
    assert choose_search("auto", small, has_graph=True) == "exact"
    assert choose_search("auto", plain, has_graph=False) == "exact"
    assert choose_search("exact", bounded, has_graph=True) == "exact"
    assert choose_search("graph", bounded, has_graph=True) == "graph"


@pytest.mark.parametrize(
    ("isa", "rows"), [("amx", 6000), ("avx512vnni", 2000), ("avx512", GRAPH_FROM_ROWS_ELSE), ("portable", 1000)]
)
def test_choose_search_with_bounds(monkeypatch: pytest.MonkeyPatch, isa: str, rows: int) -> None:
    monkeypatch.setattr(native, "isa", lambda: isa)
    vectors, basis = np.ones((rows, 3), np.float32), np.eye(1, 3, dtype=np.float32)
    large, small = native.Coreset(vectors, basis), native.Coreset(vectors[1:], basis)
    assert choose_search("auto", large, has_graph=True) == "graph"
    assert choose_search("auto", small, has_graph=True) == "exact"
    assert choose_search("auto", large, has_graph=False) == "exact"
