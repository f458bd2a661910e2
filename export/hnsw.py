"""The HNSW graph, built by hnswlib and turned into plain arrays (FORMAT.md, graph/*)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import EngineUnavailableError

M = 16
EF_CONSTRUCTION = 200


@dataclass(frozen=True)
class HnswArrays:
    """The graph: see `edge_ad.native.Graph` for what the arrays hold."""

    levels: NDArray[np.uint8]
    links0: NDArray[np.int32]
    upper: NDArray[np.int32]
    entry: int


def build_hnsw(coreset: NDArray[np.float32], seed: int) -> HnswArrays:
    """Builds the graph over (N, D) float32 vectors; the same seed gives the same graph.

    Raises:
        EngineUnavailableError: hnswlib is not installed.
    """
    try:
        import hnswlib
    except ImportError as error:
        raise EngineUnavailableError(
            "the graph needs hnswlib",
            expected="hnswlib installed on the workstation",
            got=str(error),
            remedy="Run pip install 'edge-ad[export]', or export with --no-graph.",
        ) from error
    index = hnswlib.Index(space="l2", dim=coreset.shape[1])
    index.init_index(max_elements=len(coreset), ef_construction=EF_CONSTRUCTION, M=M, random_seed=seed)
    # One thread: with more the order of insertion, and so the graph, would depend on the machine. At random: rows in
    # the order of `export.projection.near_together` would make a graph that misses far more.
    order = np.random.default_rng(seed).permutation(len(coreset))
    index.add_items(coreset[order], order, num_threads=1)
    return _to_arrays(index.__getstate__()[0], len(coreset))


def _to_arrays(state: dict[str, object], count: int) -> HnswArrays:
    """From hnswlib's memory layout: an element of level 0 is a link count (low 16 bits of 32), M0 links, vector, label;
    upper levels are, for each element, `level` times a link count and M links."""
    width, m, m0 = (int(state[key]) for key in ("size_data_per_element", "M", "max_M0"))  # type: ignore[call-overload]
    level0 = np.asarray(state["data_level0"]).view(np.uint8)[: count * width].reshape(count, width)
    label_offset = int(state["label_offset"])  # type: ignore[call-overload]
    labels = level0[:, label_offset : label_offset + 8].copy().view(np.uint64).ravel().astype(np.int32)
    links = level0[:, : 4 * (m0 + 1)].copy().view(np.uint32)
    internal_levels = np.asarray(state["element_levels"])[:count].astype(np.uint8)
    upper = np.asarray(state["link_lists"]).view(np.uint32)[: int(internal_levels.sum()) * (m + 1)]
    levels = np.empty(count, np.uint8)
    levels[labels] = internal_levels
    links0 = np.empty((count, m0), np.int32)
    links0[labels] = _relabel(links, labels)
    internal_upper = _relabel(upper.reshape(-1, m + 1), labels)
    starts = np.concatenate([[0], np.cumsum(internal_levels, dtype=np.int64)])
    order = np.argsort(labels, kind="stable")
    parts = [internal_upper[starts[i] : starts[i + 1]] for i in order if internal_levels[i]]
    joined = np.concatenate(parts) if parts else np.empty((0, m), np.int32)
    entry = int(labels[int(state["enterpoint_node"])])  # type: ignore[call-overload]
    return HnswArrays(levels, links0, np.ascontiguousarray(joined), entry)


def _relabel(rows: NDArray[np.uint32], labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """(K, 1 + M) counts and internal ids to (K, M) labels, padded by -1."""
    counts, ids = rows[:, :1] & 0xFFFF, rows[:, 1:]
    valid = np.arange(ids.shape[1])[None] < counts
    return np.where(valid, labels[np.where(valid, ids, 0)], -1).astype(np.int32)
