"""Exact and graph search beside NumPy's BLAS, faiss and hnswlib, in one run on real features.

    python -m bench.search_targets ../shared/data/bottle --weights-folder ../shared/weights

A frame's 1,024 patches of test images with defects among coresets of resnet18 (D = 384) and resnet50v2 (1,536), all
with two threads, in turn, frame by frame, in two states. Steady: after untimed calls of the same, 20 ms and at least
one, so that clocks and caches are warm. After other work: after 20 ms of brute force among other memory by both
threads, as a frame's search comes after the backbone; the caches hold nothing of it. Answers are asserted: ours to the
bit of brute force, those of NumPy and faiss to rounding. Graph and hnswlib run at the least ef that has a recall of
0.97 on every other frame; the rest of the frames are timed, and give the recalls reported. faiss is left out where it
is not installed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
from numpy.typing import NDArray

from bench.material import FIXED
from bench.search_crossover import features
from edge_ad import native
from edge_ad.data.layouts import load_category
from export.coreset import project, select_coreset
from export.fidelity import WANTED_RECALL, choose_ef
from export.hnsw import EF_CONSTRUCTION, M, build_hnsw
from export.options import Options
from export.projection import choose_basis, near_together

CASES = ((1600, 384), (16000, 384), (16000, 1536))
THREADS = 2
_SETTLE_S = 0.02  # so that no thread of the way before still spins
_BEFORE_S = 0.02  # of what comes before a timed call
STATES = ("steady", "after other work")
Patches = NDArray[np.float32]
Search = Callable[[Patches], NDArray[np.float32]]  # distances


def by_numpy(coreset: Patches) -> Search:
    """|q|^2 + |c|^2 - 2 q c, then the least."""
    squared = (coreset * coreset).sum(1)

    def search(queries: Patches) -> NDArray[np.float32]:
        values = squared - 2.0 * (queries @ coreset.T)
        least = values.min(1) + (queries * queries).sum(1)
        return np.sqrt(np.maximum(least, 0.0))  # type: ignore[no-any-return]

    return search


def by_faiss(coreset: Patches) -> Search | None:
    """IndexFlatL2, if faiss is there."""
    try:
        faiss: Any = importlib.import_module("faiss")
    except ImportError:
        return None
    faiss.omp_set_num_threads(THREADS)
    index = faiss.IndexFlatL2(coreset.shape[1])
    index.add(coreset)
    return lambda queries: np.sqrt(np.maximum(index.search(queries, 1)[0][:, 0], 0.0))


def by_hnswlib(coreset: Patches, frames: list[Patches], truth: NDArray[np.float32]) -> Search:
    """At the least ef that finds enough."""
    index = hnswlib.Index(space="l2", dim=coreset.shape[1])
    index.init_index(max_elements=len(coreset), ef_construction=EF_CONSTRUCTION, M=M, random_seed=0)
    order = np.random.default_rng(0).permutation(len(coreset))  # as build_hnsw does
    index.add_items(coreset[order], order, num_threads=THREADS)
    for ef in (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256):
        index.set_ef(ef)
        found = np.concatenate(
            [index.knn_query(frame, 1, num_threads=THREADS)[0][:, 0].astype(np.int64) for frame in frames]
        )
        far = np.linalg.norm(np.concatenate(frames) - coreset[found], axis=1)
        if (far <= truth * (1 + 1e-5) + 1e-6).mean() >= WANTED_RECALL:
            break
    return lambda queries: np.sqrt(index.knn_query(queries, 1, num_threads=THREADS)[1][:, 0])


def recall_of(search: Search, frames: list[Patches], truth: NDArray[np.float32]) -> float:
    """The share of patches whose distance is the true one, but for rounding."""
    return float((np.concatenate([search(frame) for frame in frames]) <= truth * (1 + 1e-5) + 1e-6).mean())


def timed(
    ways: dict[str, Search],
    frames: list[Patches],
    exact: list[tuple[NDArray[np.float32], NDArray[np.int32]]],
    work: Callable[[], object],
    repeat: int,
) -> dict[str, dict[str, list[float]]]:
    """By state, milliseconds of each way, in turn, frame by frame; `work` is what clears the caches."""
    times: dict[str, dict[str, list[float]]] = {state: {name: [] for name in ways} for state in STATES}
    for _ in range(repeat):
        for frame, wanted in zip(frames, exact, strict=True):
            for name, search in ways.items():
                for state, kept in times.items():
                    time.sleep(_SETTLE_S)
                    end = time.perf_counter() + _BEFORE_S
                    while True:
                        search(frame) if state == "steady" else work()
                        if time.perf_counter() > end:
                            break
                    start = time.perf_counter()
                    distances = search(frame)
                    kept[name].append(1e3 * (time.perf_counter() - start))
                if name in ("numpy", "faiss flat"):
                    np.testing.assert_allclose(distances, wanted[0], rtol=1e-2, atol=1e-2)
    return times


def compare(coreset: Patches, frames: list[Patches], width: int, repeat: int) -> dict[str, Any]:
    """Prints a line for each way to search the coreset; the figures."""
    tuning, frames = frames[::2], frames[1::2]
    pool = native.Pool(THREADS)
    basis = choose_basis(coreset, 0)
    ordered = coreset if basis is None else coreset[near_together(coreset, basis)]
    plain, bounded = native.Coreset(ordered, pool=pool), native.Coreset(ordered, basis, pool=pool)
    arrays = build_hnsw(ordered, 0)
    graph = native.Graph(bounded, arrays.levels, arrays.links0, arrays.upper, entry=arrays.entry)
    fidelity = choose_ef(graph, tuning, width, None, pool)
    exact = [native.exact_search(plain, frame, pool) for frame in frames]
    truth = np.concatenate([found[0] for found in exact])
    tuning_truth = np.concatenate([native.exact_search(plain, frame, pool)[0] for frame in tuning])
    all_ways: dict[str, Search | None] = {
        "exact, bounds": lambda queries: native.exact_search(bounded, queries, pool)[0],
        "exact, brute force": lambda queries: native.exact_search(plain, queries, pool)[0],
        f"graph, ef {fidelity.ef}": lambda queries: native.graph_search(graph, queries, pool, fidelity.ef, width)[0],
        "numpy": by_numpy(ordered),
        "faiss flat": by_faiss(ordered),
        "hnswlib": by_hnswlib(ordered, tuning, tuning_truth),
    }
    ways = {name: search for name, search in all_ways.items() if search is not None}
    for frame, wanted in zip(frames, exact, strict=True):
        found = native.exact_search(bounded, frame, pool)
        assert np.array_equal(found[0], wanted[0])
        assert np.array_equal(found[1], wanted[1])
    elsewhere = native.Coreset(ordered.copy(), pool=pool)
    times = timed(ways, frames, exact, lambda: native.exact_search(elsewhere, frames[0][:width], pool), repeat)
    recalls = {name: recall_of(search, frames, truth) for name, search in ways.items()}
    codes = 0 if basis is None else len(basis)
    print(f"{len(coreset)} x {coreset.shape[1]}, {native.isa()}, basis of {codes}")
    say(times, recalls)
    walked = np.concatenate([native.graph_search(graph, frame, pool, fidelity.ef, width)[0] for frame in frames])
    return {
        "rows": len(coreset),
        "dim": coreset.shape[1],
        "ms": {
            state: {name.partition(", ef")[0]: float(np.median(taken)) for name, taken in kept.items()}
            for state, kept in times.items()
        },
        "recall": {name.partition(", ef")[0]: recall for name, recall in recalls.items()},
        "error": float((walked / np.maximum(truth, 1e-12) - 1).mean()),  # of graph search
    }


def say(times: dict[str, dict[str, list[float]]], recalls: dict[str, float]) -> None:
    """A line for each way: milliseconds and their ratio to search by bounds, by state."""
    for name, recall in recalls.items():
        parts = []
        for state, kept in times.items():
            ratio = np.median(np.array(kept[name]) / np.array(kept["exact, bounds"]))
            parts.append(f"{state}{np.median(kept[name]):>9.2f} ms{ratio:>7.2f} x bounds")
        print(f"    {name:<20}{' | '.join(parts)} | recall {recall:.3f}", flush=True)
    if "faiss flat" not in recalls:
        print("    faiss is not installed: left out")


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("category", type=Path)
    parser.add_argument("--weights-folder", type=Path, required=True)
    parser.add_argument("--good-images", type=int, default=40, help="training images that coresets are chosen from")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    category, weights = load_category(options.category), options.weights_folder
    import onnx  # here: the workstation has it, and --help needs none

    resnet50 = weights / "resnet50v2_to_stage3.onnx"
    outputs = tuple(output.name for output in onnx.load(str(resnet50)).graph.output)
    name = str(category.name)
    backbones = {
        384: Options(name, backbone="resnet18", weights=weights / "resnet18_to_layer3.pth", **FIXED),
        1536: Options(name, backbone=str(resnet50), layers=outputs, **FIXED),
    }
    paths = {
        "train": list(category.train_good)[: options.good_images],
        "defect": [image.path for image in category.test if image.defect is not None][::8],
    }
    everything = []
    for dim, backbone in backbones.items():
        grids, width = features(backbone, paths, THREADS)
        patches = np.stack(grids["train"])
        flat = patches.reshape(-1, dim)
        fraction = min(1.0, max(size for size, _ in CASES) / len(flat))
        chosen = select_coreset(project(patches, 0), np.arange(len(patches)), fraction, 0, native.Pool(THREADS))
        coresets = (np.ascontiguousarray(flat[chosen[:size]]) for size, of in CASES if of == dim)
        everything += [compare(coreset, grids["defect"], width, options.repeat) for coreset in coresets]
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
