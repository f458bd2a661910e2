"""Frames under a latency budget, by a clock of its own: deadlines, thresholds, threads. Nothing here is timed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_ad import Runtime
from edge_ad.serving.ladder import DOWN_MISSES
from tests.serving.budgeted import FRAME, serve
from tests.slow import World


def test_a_frame_prepared_for_one_point_is_judged_by_it(bundle: Path, world: World) -> None:
    runtime = Runtime(bundle, budget_ms=25)
    world.load = 1.5
    owners = []
    for verdict in runtime.inspect_many(FRAME for _ in range(60)):
        expected = runtime.manifest.calibration.threshold * (1 if verdict.point == "f32" else 2)
        owners.append((verdict.point, verdict.threshold == expected))
    assert all(right for _, right in owners)
    names = [name for name, _ in owners]
    first = names.index("middle")
    assert set(names[:first]) == {"f32"}
    assert set(names[first:]) == {"middle"}  # those prepared before are out by then, and stepped nothing further down
    assert DOWN_MISSES <= first <= DOWN_MISSES + 4
    assert runtime.stats().frames == 60


def test_reading_is_not_in_the_deadline(bundle: Path, world: World) -> None:
    runtime = Runtime(bundle, budget_ms=25)

    def camera() -> Iterator[np.ndarray]:
        for _ in range(5):
            world.clock.now += 1.0
            yield FRAME

    for verdict in runtime.inspect_many(camera()):
        assert verdict.latency_ms == pytest.approx(verdict.timings["total"] - verdict.timings["read"])
    assert runtime.stats().frames == 5


def test_the_threshold_is_the_references(bundle: Path, world: World) -> None:
    runtime = Runtime(bundle, budget_ms=12, threshold=0.5)
    assert runtime.point == "middle"
    own = runtime.manifest.calibration
    assert runtime.threshold == pytest.approx(1.0)  # this point's scores are twice the reference's
    assert runtime.pixel_threshold == pytest.approx(2 * own.pixel_threshold * 0.5 / own.threshold)


def test_threads_share_it(bundle: Path, world: World) -> None:
    runtime = Runtime(bundle, budget_ms=25)
    world.load = 1.5
    workers = [threading.Thread(target=serve, args=(runtime, 40)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    stats = runtime.stats()
    assert stats.frames == sum(stats.points.values()) == 160
    assert stats.point_changes >= 1
