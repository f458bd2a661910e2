"""How far the model of a frame's cost (`export.choose.cost`) is from the stopwatch, on this machine.

    python -m bench.cost [--weights-folder ../shared/weights] [--threads 2]

Times the graph of each backbone at several sizes by each engine, f32, in turn, and the exact search of its patches in
coresets of several sizes; prints measured and modelled milliseconds, and the figures that fit this machine best. On a
PC with two cores and AVX2 the printed figures belong into `export.choose.cost.SMALL_PC`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench.backbones import backbones
from edge_ad import native
from edge_ad.engines import installed_engines, open_engine
from edge_ad.engines.base import Models
from export.choose.cost import SMALL_PC, graph_work
from export.network import open_network
from export.openvino_ir import to_ir
from export.options import Options

SIDES = (192, 256, 384, 512)
ROWS = (500, 1000, 2000, 4000, 8000)
ROUNDS = 7


@dataclass(frozen=True)
class Timed:
    """One graph: what it asks for, and the milliseconds of each engine."""

    name: str
    macs: float
    bytes: float
    ms: dict[str, float]


def median_ms(call: Callable[[], object]) -> float:
    call()
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        found.append(1e3 * (time.perf_counter() - began))
    return float(np.median(found))


def time_graphs(weights: Path, threads: int) -> list[Timed]:
    found = []
    for name, options in backbones(weights).items():
        if "resnet50" in name:
            continue
        network = open_network(Options("none", **options))  # type: ignore[arg-type]
        for side in SIDES:
            graph = network.graph((side, side))
            data = graph.model.SerializeToString()
            models = Models(data, to_ir(data))
            tensor = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
            ms = {}
            for engine in installed_engines():
                opened = open_engine(engine, models, device="CPU", threads=threads, precision="f32")
                ms[engine] = median_ms(partial(opened, tensor))
            macs, size = graph_work(graph.model)
            found.append(Timed(f"{name} {side}", macs, size, ms))
            print(found[-1], file=sys.stderr, flush=True)
    return found


def time_search(threads: int) -> list[tuple[int, int, int, float]]:
    """(patches, rows, dimensions, milliseconds) of exact search with bounds, on seeded correlated vectors."""
    from export.projection import choose_basis

    pool, rng, found = native.Pool(threads), np.random.default_rng(0), []
    for dim in (192, 384):
        mix = rng.standard_normal((24, dim)).astype(np.float32)
        queries = (rng.standard_normal((2304, 24)) @ mix + 0.3 * rng.standard_normal((2304, dim))).astype(np.float32)
        for rows in ROWS:
            noise = 0.3 * rng.standard_normal((rows, dim))
            vectors = (rng.standard_normal((rows, 24)) @ mix + noise).astype(np.float32)
            coreset = native.Coreset(vectors, choose_basis(vectors, 0), pool=pool)
            ms = median_ms(partial(native.exact_search, coreset, queries, pool))
            found.append((len(queries), rows, dim, ms))
    return found


def fit_graphs(timed: list[Timed], engine: str) -> tuple[float, float, float]:
    """(multiply-adds, bytes a millisecond, fixed milliseconds) with the least relative error, none below 0."""
    rows = np.array([[found.macs, found.bytes, 1.0] for found in timed])
    ms = np.array([found.ms[engine] for found in timed])
    best, least = np.zeros(3), np.inf
    for kept in ([0, 1, 2], [0, 1], [0, 2], [0]):  # the few columns allow trying every set: no negative figure stays
        answer = np.zeros(3)
        answer[kept] = np.linalg.lstsq(rows[:, kept] / ms[:, None], np.ones(len(ms)), rcond=None)[0]
        error = float(np.abs(rows @ answer / ms - 1).mean())
        if (answer >= 0).all() and error < least:
            best, least = answer, error
    per_ms = [1 / value if value > 0 else float("inf") for value in best[:2]]
    return per_ms[0], per_ms[1], float(best[2])


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--weights-folder", type=Path, default=Path("../shared/weights"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    timed = time_graphs(options.weights_folder, options.threads)
    engines = list(timed[0].ms)
    print("| graph | GMACs | MB | " + " | ".join(f"{engine} ms, model, off by" for engine in engines) + " |")
    print("|---|" + "---|" * (2 + len(engines)))
    for found in timed:
        model = found.macs / SMALL_PC.macs_per_ms + found.bytes / SMALL_PC.bytes_per_ms
        cells = [f"{found.ms[e]:.1f}, {model:.1f}, {model / found.ms[e] - 1:+.0%}" for e in engines]
        print(f"| {found.name} | {found.macs / 1e9:.2f} | {found.bytes / 1e6:.0f} | " + " | ".join(cells) + " |")
    for engine in engines:
        macs, size, fixed = fit_graphs(timed, engine)
        print(f"{engine}: best fit {macs:.3g} multiply-adds, {size:.3g} bytes a ms, {fixed:.2f} ms fixed")
    print("\n| search | ms | model | patches x rows x dimensions a ms |\n|---|---|---|---|")
    for patches, rows, dim, ms in time_search(options.threads):
        work = patches * rows * dim
        model = work / SMALL_PC.exact_per_ms
        print(f"| {patches} in {rows} x {dim} | {ms:.1f} | {model:.1f} | {work / ms:.3g} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
