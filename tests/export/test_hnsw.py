"""The HNSW graph: hnswlib's own, as plain arrays."""

from __future__ import annotations

import sys

import numpy as np
import pytest

hnswlib = pytest.importorskip("hnswlib", reason="builds the graph")

from edge_ad import native  # noqa: E402
from edge_ad.errors import EngineUnavailableError  # noqa: E402
from export.fidelity import WANTED_RECALL, choose_ef  # noqa: E402
from export.hnsw import EF_CONSTRUCTION, M, build_hnsw  # noqa: E402

POOL = native.Pool(2)


def vectors(count: int, dim: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, dim)).astype(np.float32)


def own_links(coreset: np.ndarray, seed: int) -> tuple[list[list[list[int]]], int]:
    """hnswlib's memory, read element by element: links[node][level], and the entry point."""
    index = hnswlib.Index(space="l2", dim=coreset.shape[1])
    index.init_index(max_elements=len(coreset), ef_construction=EF_CONSTRUCTION, M=M, random_seed=seed)
    order = np.random.default_rng(seed).permutation(len(coreset))
    index.add_items(coreset[order], order, num_threads=1)
    state = index.__getstate__()[0]
    level0 = np.asarray(state["data_level0"]).view(np.uint8).tobytes()
    upper = np.asarray(state["link_lists"]).view(np.uint8).tobytes()
    width, label_at = int(state["size_data_per_element"]), int(state["label_offset"])
    labels = [int.from_bytes(level0[i * width + label_at :][:8], "little") for i in range(len(coreset))]

    def read(data: bytes, at: int) -> list[int]:
        count = int.from_bytes(data[at : at + 2], "little")
        return [labels[int.from_bytes(data[at + 4 + 4 * j :][:4], "little")] for j in range(count)]

    links: list[list[list[int]]] = [[] for _ in labels]
    at = 0
    for i, label in enumerate(labels):
        links[label].append(read(level0, i * width))
        for _ in range(int(state["element_levels"][i])):
            links[label].append(read(upper, at))
            at += 4 * (M + 1)
    return links, labels[int(state["enterpoint_node"])]


@pytest.mark.parametrize("count", [1, 2, 17, 33, 500, 3000])
def test_the_arrays_are_hnswlibs_links(count: int) -> None:
    coreset = vectors(count)
    arrays = build_hnsw(coreset, 5)
    links, entry = own_links(coreset, 5)
    assert arrays.entry == entry
    assert arrays.links0.shape == (count, 2 * M)
    assert arrays.upper.shape == (int(arrays.levels.sum()), M)
    starts = np.cumsum(arrays.levels, dtype=np.int64) - arrays.levels
    for node in range(count):
        assert arrays.levels[node] == len(links[node]) - 1
        assert [int(link) for link in arrays.links0[node] if link >= 0] == links[node][0]
        for level in range(1, len(links[node])):
            row = arrays.upper[starts[node] + level - 1]
            assert [int(link) for link in row if link >= 0] == links[node][level]
    assert (arrays.levels.dtype, arrays.links0.dtype, arrays.upper.dtype) == (np.uint8, np.int32, np.int32)
    native.Graph(native.Coreset(coreset), arrays.levels, arrays.links0, arrays.upper, arrays.entry)  # which checks it


def test_a_seed_gives_one_graph() -> None:
    coreset = vectors(800)
    a, b, other = build_hnsw(coreset, 1), build_hnsw(coreset, 1), build_hnsw(coreset, 2)
    for name in ("levels", "links0", "upper"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert not np.array_equal(a.levels, other.levels)


@pytest.mark.parametrize("count", [1, 2, 40])
def test_duplicates(count: int) -> None:
    coreset = np.ones((count, 4), np.float32)
    arrays = build_hnsw(coreset, 0)
    graph = native.Graph(native.Coreset(coreset), arrays.levels, arrays.links0, arrays.upper, arrays.entry)
    distances, nearest = native.graph_search(graph, np.ones((6, 4), np.float32), POOL, 4, 3)
    assert not distances.any()
    assert (nearest >= 0).all()


def test_search_finds_the_neighbours() -> None:
    coreset, queries = vectors(4000, 16), vectors(1024, 16, seed=1)
    arrays = build_hnsw(coreset, 0)
    graph = native.Graph(native.Coreset(coreset), arrays.levels, arrays.links0, arrays.upper, arrays.entry)
    exact, _ = native.exact_search(graph.coreset, queries, POOL)
    recall = {}
    for ef in (4, 64, 256):
        found, _ = native.graph_search(graph, queries, POOL, ef, 32)
        assert (found >= exact).all()
        recall[ef] = float((found <= exact).mean())
    assert recall[4] < recall[64] <= recall[256]
    assert recall[256] > 0.97
    fidelity = choose_ef(graph, [queries[:512], queries[512:]], 32, None, POOL)
    assert fidelity.recall >= WANTED_RECALL
    assert 4 < fidelity.ef <= 256
    assert 0 <= fidelity.map_error < 0.01


def test_choose_ef_looks_at_the_region_only() -> None:
    coreset, queries = vectors(2000, 16), vectors(64, 16, seed=1)
    arrays = build_hnsw(coreset, 0)
    graph = native.Graph(native.Coreset(coreset), arrays.levels, arrays.links0, arrays.upper, arrays.entry)
    rows = np.arange(10, 30, dtype=np.int32)
    queries[:10], queries[30:] = np.nan, np.nan
    fidelity = choose_ef(graph, [queries], 8, rows, POOL)
    assert fidelity.recall >= WANTED_RECALL


def test_patches_that_are_rows_themselves_have_no_distance_error() -> None:
    """Such as those of an even ground: their distance is 0, which no error is relative to."""
    coreset, queries = vectors(2000, 16), vectors(64, 16, seed=1)
    arrays = build_hnsw(coreset, 0)
    graph = native.Graph(native.Coreset(coreset), arrays.levels, arrays.links0, arrays.upper, arrays.entry)
    same = np.repeat(coreset[:1], 64, axis=0)
    assert choose_ef(graph, [same], 8, None, POOL).map_error == 0
    assert 0 <= choose_ef(graph, [same, queries], 8, None, POOL).map_error < 0.01


def test_without_hnswlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    with pytest.raises(EngineUnavailableError, match=r"pip install 'edge-ad\[export\]'.*--no-graph"):
        build_hnsw(vectors(10), 0)
