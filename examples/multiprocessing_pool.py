"""Inspects images by a pool of processes, with one Runtime in each.

    python examples/multiprocessing_pool.py cable.bundle 2 a.png b.png c.png

One process with all cores takes the shortest time for a frame. Several processes, with a core each, inspect more
frames a second.
"""

from __future__ import annotations

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from edge_ad import Runtime

_runtime: Runtime | None = None  # of this process


def _open(bundle: str) -> None:
    global _runtime
    _runtime = Runtime(bundle, threads=1)


def _inspect(image: str) -> tuple[str, float, bool]:
    assert _runtime is not None  # _open ran first
    verdict = _runtime.inspect(image)
    return image, verdict.score, verdict.is_anomalous


if __name__ == "__main__":
    _, bundle, count, *images = sys.argv
    # "spawn" starts clean processes: a fork would inherit the threads and locks of this one
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(int(count), context, initializer=_open, initargs=(bundle,)) as pool:
        for image, score, anomalous in pool.map(_inspect, images):
            print(f"{image} {score:.5g} {int(anomalous)}")
