"""A whole frame of 1024 x 1024 pixels, and each of its stages; the answers are asserted after the timing.

pytest bench/test_frame.py --benchmark-only [--bundle cable.bundle]
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.conftest import Subject, Timer
from edge_ad import Runtime
from edge_ad.bundle.probes import relative_difference
from edge_ad.system.percentiles import percentiles

ENGINES = ("openvino", "onnxruntime")
SEARCHES = ("exact", "graph")
PARITY = 1e-3  # between engines in f32, relative: as the bundle's golden probes allow
Runtimes = Callable[[str, str], Runtime]


def _any_exact(runtimes: Runtimes) -> Runtime:
    """A runtime by whichever engine there is, for stages that no engine has a part in."""
    for engine in ENGINES:
        try:
            return runtimes(engine, "exact")
        except pytest.skip.Exception:
            continue
    pytest.skip("no engine runs this bundle")


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("engine", ENGINES)
def test_frame(runtimes: Runtimes, subject: Subject, timer: Timer, engine: str, search: str) -> None:
    """From pixels in memory to the verdict, the map not read."""
    runtime, exact = runtimes(engine, search), runtimes(engine, "exact")
    timer(runtime.inspect, subject.frames)
    for frame, defect in zip(subject.frames, subject.defects, strict=True):
        verdict, wanted = runtime.inspect(frame), exact.inspect(frame)
        assert verdict.score == wanted.score
        assert verdict.score == pytest.approx(_any_exact(runtimes).inspect(frame).score, rel=PARITY)
        assert verdict.is_anomalous == wanted.is_anomalous
        assert defect is None or verdict.is_anomalous == defect


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("engine", ENGINES)
def test_frame_and_map(runtimes: Runtimes, subject: Subject, timer: Timer, engine: str, search: str) -> None:
    """From pixels in memory to the verdict and the anomaly map in frame pixels."""
    runtime, exact = runtimes(engine, search), runtimes(engine, "exact")
    timer(lambda frame: runtime.inspect(frame).anomaly_map, subject.frames)
    for frame in subject.frames:
        got, wanted = runtime.inspect(frame), exact.inspect(frame)
        assert got.score == wanted.score
        assert got.anomaly_map.shape == frame.shape[:2]
        assert relative_difference(got.anomaly_map, wanted.anomaly_map) < (0.1 if search == "graph" else 1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_many_frames(
    runtimes: Runtimes, subject: Subject, benchmark: Any, say: Callable[[str], None], engine: str
) -> None:
    """Throughput of `inspect_many`, which crops the next frame while one is inspected."""
    runtime, frames = runtimes(engine, "exact"), subject.frames * (24 // len(subject.frames))
    verdicts = benchmark.pedantic(lambda: list(runtime.inspect_many(frames)), rounds=5, warmup_rounds=1)
    rate = len(frames) / float(np.median(benchmark.stats.stats.data))
    benchmark.extra_info["frames_per_second"] = rate
    say(f"test_many_frames[{engine}]: {rate:.1f} frames a second")
    wanted = [runtime.inspect(frame).score for frame in subject.frames]
    assert [verdict.score for verdict in verdicts] == wanted * (len(frames) // len(wanted))


@pytest.mark.parametrize("engine", ENGINES)
def test_steady_state(
    subject: Subject, runtimes: Runtimes, benchmark: Any, say: Callable[[str], None], engine: str
) -> None:
    """1,000 frames at a camera's pace, with a second of idleness after each 200: p99 over p50, and page faults.

    The pace is half of what the PC could do. A page fault is what fresh memory costs: none means that a frame's arrays
    come out of memory that the frame before gave back.
    """
    runtime = runtimes(engine, "exact")
    for frame in subject.frames * 5:
        runtime.inspect(frame)
    pace = 2e-3 * float(np.median([runtime.inspect(frame).latency_ms for frame in subject.frames * 5]))
    found, faults = [], 0

    def serve() -> None:
        nonlocal faults
        for i in range(1000):
            began = time.perf_counter()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            found.append(runtime.inspect(subject.frames[i % len(subject.frames)]))
            faults += resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
            time.sleep(1.0 if i % 200 == 199 else max(0.0, pace - (time.perf_counter() - began)))

    benchmark.pedantic(serve, rounds=1)
    p50, p99 = percentiles([verdict.latency_ms for verdict in found], (50, 99))
    after_gap = np.median([verdict.latency_ms for verdict in found[200::200]])
    engine_spread = _spread([verdict.timings["engine"] for verdict in found])
    bare_spread = _spread(_bare_work(pace))
    benchmark.extra_info.update(p50_ms=p50, p99_ms=p99, page_faults=faults / len(found))
    benchmark.extra_info.update(engine_p99_over_p50=engine_spread, bare_p99_over_p50=bare_spread)
    say(
        f"test_steady_state[{engine}]: p50 {p50:.2f}, p99 {p99:.2f} ms, ratio {p99 / p50:.2f}; after a second of "
        f"idleness {after_gap:.2f} ms; {faults / len(found):.1f} page faults a frame; "
        f"p99 over p50 of the engine's part {engine_spread:.2f}, of NumPy products at that pace {bare_spread:.2f}"
    )
    stats = runtime.stats()
    assert stats.frames >= len(found)
    assert {verdict.score for verdict in found} == {runtime.inspect(frame).score for frame in subject.frames}


def _spread(ms: list[float]) -> float:
    p50, p99 = percentiles(ms, (50, 99))
    return p99 / p50


def _bare_work(pace: float) -> list[float]:
    """Milliseconds of the same NumPy products, 500 times at a pace in seconds: how evenly this PC works by itself."""
    matrix, found = np.random.default_rng(0).random((700, 700), np.float32), []
    for _ in range(500):
        began = time.perf_counter()
        for _ in range(6):
            matrix @ matrix
        found.append(1e3 * (time.perf_counter() - began))
        time.sleep(max(0.0, pace - (time.perf_counter() - began)))
    return found


def test_overhead(subject: Subject, timer: Timer, threads: int) -> None:
    """What Python costs beside crop, engine and head: a frame whose stages are answered from memory."""
    runtime = Runtime(subject.bundle, threads=threads, budget_ms=1e6, point="f32", profile=False)
    sight, frame = runtime._point.sights[0], subject.frames[0]
    wanted = runtime.inspect(frame).score
    crop, head, tensor = sight.crop, sight.head, sight.crop(frame)
    patches = sight.engine(tensor)
    scored = head(patches)
    sight.crop = _Stub(crop, tensor)
    sight.engine = _Stub(sight.engine, patches)
    sight.head = _Stub(head, scored)
    timer(runtime.inspect, [frame], rounds=1000)
    assert runtime.inspect(frame).score == wanted


class _Stub:
    """A stage that knows the answer."""

    def __init__(self, stage: Any, answer: Any) -> None:
        self._stage, self._answer = stage, answer

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)


# The stages are the runtime's own objects: what is timed is what `inspect` calls.


def test_crop(runtimes: Runtimes, subject: Subject, timer: Timer) -> None:
    """Crop and resize to the tensor."""
    runtime = _any_exact(runtimes)
    timer(runtime._point.sights[0].crop, subject.frames)
    tensor = runtime._point.sights[0].crop(subject.frames[0])
    assert tensor.shape == (1, *runtime.manifest.backbone.tensor_size, 3)
    if runtime.manifest.roi is None:
        assert tensor.mean() == pytest.approx(subject.frames[0].mean(), rel=0.05)


@pytest.mark.parametrize("engine", ENGINES)
def test_engine(runtimes: Runtimes, subject: Subject, timer: Timer, engine: str) -> None:
    """The backbone graph: a tensor to patches."""
    runtime = runtimes(engine, "exact")
    tensors = [runtime._point.sights[0].crop(frame) for frame in subject.frames]
    timer(runtime._point.engine, tensors)
    patches = runtime._point.engine(tensors[0])
    grid = runtime.manifest.backbone.grid
    assert patches.shape == (grid[0] * grid[1], runtime.manifest.backbone.dim)
    assert relative_difference(patches, _any_exact(runtimes)._point.engine(tensors[0])) < PARITY


@pytest.mark.parametrize("search", SEARCHES)
def test_search(
    runtimes: Runtimes, subject: Subject, timer: Timer, say: Callable[[str], None], search: str, benchmark: Any
) -> None:
    """Patches to distances; graph search includes the exact re-check of the largest ones."""
    exact = _any_exact(runtimes)
    runtime = exact if search == "exact" else runtimes(exact.engine, search)
    grids = [exact._point.engine(exact._point.sights[0].crop(frame)) for frame in subject.frames]
    timer(runtime._point.sights[0].head.index.nearest, grids)
    recalls = []
    for patches in grids:
        distances, _ = runtime._point.sights[0].head.index.nearest(patches)
        truth, nearest = exact._point.sights[0].head.index.nearest(patches)
        inside = exact._point.sights[0].roi.patches
        chosen = patches if inside is None else patches[inside.ravel()]
        some = slice(0, None, 37)
        vectors = exact._point.sights[0].head.index.coreset.vectors[nearest[some]]
        np.testing.assert_allclose(truth[some], np.linalg.norm(chosen[some] - vectors, axis=1), rtol=1e-4)
        assert (distances >= truth).all()
        assert distances.max() == truth.max()
        recalls.append(float((distances == truth).mean()))
    recall = float(np.mean(recalls))
    benchmark.extra_info.update(recall=recall, rows=runtime.manifest.index.size, dim=runtime.manifest.backbone.dim)
    graph = runtime.manifest.index.graph
    ef = f", ef {graph.ef}" if graph and search == "graph" else ""
    say(f"  {runtime.manifest.index.size} x {runtime.manifest.backbone.dim} rows{ef}: recall {recall:.3f}")
    if search == "graph" and graph is not None:
        assert recall >= graph.recall - 0.1  # what the export measured, on other frames
    else:
        assert recall == 1.0


def test_map(runtimes: Runtimes, subject: Subject, timer: Timer) -> None:
    """Distances to the anomaly map in frame pixels."""
    verdicts = [_any_exact(runtimes).inspect(frame) for frame in subject.frames]
    timer(lambda verdict: verdict._render(), verdicts)
    for verdict, frame in zip(verdicts, subject.frames, strict=True):
        assert verdict.anomaly_map.shape == frame.shape[:2]
        assert 0 < verdict.anomaly_map.max() <= verdict.score * 1.0001  # smoothing raises nothing


def test_overlay(runtimes: Runtimes, subject: Subject, timer: Timer) -> None:
    """The picture for people, its map and regions already computed."""
    pairs = [(_any_exact(runtimes).inspect(frame), frame) for frame in subject.frames]
    for verdict, _ in pairs:
        assert verdict.regions or not verdict.is_anomalous
    timer(lambda pair: pair[0].overlay(pair[1]), pairs, rounds=20)
    verdict, frame = pairs[0]
    picture = verdict.overlay(frame)
    assert picture.shape == (*frame.shape[:2], 3)
    assert picture.dtype == np.uint8
    assert (picture != verdict._to_bgr(frame)).any()
