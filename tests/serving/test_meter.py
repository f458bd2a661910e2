"""Statistics of what was served."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from edge_ad.serving.ladder import Ladder
from edge_ad.serving.meter import WINDOW as STATS_WINDOW
from edge_ad.serving.meter import Meter
from edge_ad.serving.timing import timing
from edge_ad.system.percentiles import percentiles


def test_stats_of_a_window() -> None:
    meter = Meter(["f32", "int8"], 100.0)
    assert meter.stats("f32", 0).to_dict()["p99_ms"] is None
    for i in range(STATS_WINDOW + 500):
        meter.record("f32" if i % 3 else "int8", float(i), i / 50)
    stats = meter.stats("int8", 7)
    last = np.arange(500, STATS_WINDOW + 500)
    assert (stats.frames, stats.window, stats.max_ms) == (STATS_WINDOW + 500, STATS_WINDOW, last[-1])
    for name, percentile in (("p50_ms", 50), ("p95_ms", 95), ("p99_ms", 99)):
        assert getattr(stats, name) == np.percentile(last, percentile, method="higher")
    assert stats.frames_per_second == pytest.approx(50)
    assert stats.misses == STATS_WINDOW + 500 - 101
    assert (stats.point, stats.point_changes) == ("int8", 7)
    assert sum(stats.points.values()) == stats.frames
    assert json.loads(json.dumps(stats.to_dict()))["points"] == stats.points


def test_the_memory_of_the_counts_does_not_grow() -> None:
    meter, ladder = Meter(["f32", "int8"], 10.0), Ladder([9, 3], 10.0)

    def serve_some(count: int) -> None:
        for i in range(count):
            meter.record("f32", i % 20, i / 10)
            ladder.record(ladder.rung, i % 20)

    serve_some(2 * STATS_WINDOW)
    tracemalloc.start()
    try:
        serve_some(100)
        before = tracemalloc.get_traced_memory()[0]
        serve_some(4 * STATS_WINDOW)
        assert tracemalloc.get_traced_memory()[0] - before < 2000
    finally:
        tracemalloc.stop()


def test_stats_and_timings_agree_on_a_percentile() -> None:
    latencies = [float(i * i) for i in range(150)]
    meter = Meter(["f32"], None)
    for latency in latencies:
        meter.record("f32", latency, 0.0)
    stats, timed = meter.stats("f32", 0), timing(latencies)
    assert (stats.p50_ms, stats.p95_ms, stats.p99_ms) == (timed.p50_ms, timed.p95_ms, timed.p99_ms)
    assert set(percentiles(latencies)) <= set(latencies)
