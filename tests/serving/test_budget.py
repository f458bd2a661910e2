"""The latency budget, by a clock of its own: choice of the point, the ladder, statistics. Nothing here is timed."""

from __future__ import annotations

import dataclasses
import itertools
import json
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad import BudgetError, Runtime, SpecError
from edge_ad.bundle.file import Bundle
from edge_ad.serving.chooser import QUICK_FRAMES, SURE_FRAMES
from edge_ad.serving.fidelity import faithful_first
from edge_ad.serving.ladder import DOWN_MISSES, HOLD, MOST_BACK_OFF, WINDOW, Ladder
from edge_ad.serving.meter import WINDOW as STATS_WINDOW
from edge_ad.serving.meter import Meter
from edge_ad.serving.timing import WARM_UP, read_frames, sample_frames, timing
from edge_ad.system.percentiles import percentiles
from tests.edited import edited
from tests.slow import World, make_world, slow_bundle
from tests.tiny import bad_frame, good_frame

FRAME = good_frame(1001)


@pytest.fixture(scope="module")
def bundle(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_bundle(golden, tmp_path_factory.mktemp("budget") / "points.bundle")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch)


def serve(runtime: Runtime, count: int) -> list[str]:
    """Points of the verdicts on so many frames."""
    return [runtime.inspect(FRAME).point for _ in range(count)]


# ------------------------------------------------------------------------------------------------ choice


@pytest.mark.parametrize(
    ("budget", "points"),
    [(25, ("f32", "middle", "fast")), (21, ("f32", "middle", "fast")), (12, ("middle", "fast")), (5, ("fast",))],
)
def test_the_most_faithful_point_that_fits(bundle: Path, world: World, budget: float, points: tuple[str, ...]) -> None:
    runtime = Runtime(bundle, budget_ms=budget)
    assert runtime.points == points
    assert runtime.point == points[0]
    assert runtime.budget_ms == budget
    verdict = runtime.inspect(FRAME)
    assert verdict.deadline_met is True
    assert verdict.point == points[0]
    assert verdict.latency_ms == pytest.approx(world.milliseconds[points[0]])


def test_none_fits(bundle: Path, world: World) -> None:
    world.missing = {"middle"}
    with pytest.raises(BudgetError) as caught:
        Runtime(bundle, budget_ms=2.5)
    text = str(caught.value)
    assert text.endswith(caught.value.table)
    assert "p99 of 2.5 ms at most" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["f32", "openvino"] in [row[:2] for row in rows]
    assert next(row for row in rows if row[:1] == ["fast"])[-4:-1] == ["4.0", "4.0", "4.0"]
    assert "middle  not run: this PC lacks it: nothing" in text


def test_best_effort_takes_the_fastest(bundle: Path, world: World) -> None:
    runtime = Runtime(bundle, budget_ms=2.5, on_miss="best_effort")
    assert runtime.points == ("fast",)
    assert [runtime.inspect(FRAME).deadline_met for _ in range(3)] == [False] * 3
    assert runtime.stats().misses == 3


def test_best_effort_does_not_help_where_nothing_runs(bundle: Path, world: World) -> None:
    world.missing = {"f32", "middle", "fast"}
    with pytest.raises(BudgetError, match="not run"):
        Runtime(bundle, budget_ms=100, on_miss="best_effort")


def test_points_that_this_pc_lacks_are_passed_over(bundle: Path, world: World) -> None:
    world.missing = {"f32", "fast"}
    assert Runtime(bundle, budget_ms=100).points == ("middle",)


def test_a_rung_must_be_clearly_cheaper(bundle: Path, world: World) -> None:
    world.milliseconds["middle"] = 19.0
    assert Runtime(bundle, budget_ms=25).points == ("f32", "fast")


def test_a_point_that_is_named_is_the_only_one(bundle: Path, world: World) -> None:
    assert Runtime(bundle, budget_ms=25, point="f32").points == ("f32",)
    with pytest.raises(BudgetError):
        Runtime(bundle, budget_ms=15, point="f32")


@pytest.mark.parametrize("late", [1, 2])
def test_one_late_frame_of_a_hundred_is_allowed(bundle: Path, world: World, late: int) -> None:
    world.hiccups = itertools.chain([0.0] * 10, [50.0] * late, itertools.repeat(0.0))
    began = world.clock.now
    assert Runtime(bundle, budget_ms=25).point == ("f32" if late == 1 else "middle")
    if late == 1:
        assert world.clock.now - began > 1e-3 * 20 * SURE_FRAMES  # it looked longer
    assert QUICK_FRAMES < SURE_FRAMES


def test_measuring_is_bounded(bundle: Path, world: World) -> None:
    world.milliseconds = dict.fromkeys(world.milliseconds, 1000.0)
    began = world.clock.now
    with pytest.raises(BudgetError):
        Runtime(bundle, budget_ms=30)
    assert world.clock.now - began <= 3 * (WARM_UP + 5)


@pytest.mark.parametrize(
    "options",
    [
        {"budget_ms": 0},
        {"budget_ms": -1},
        {"budget_ms": float("nan")},
        {"budget_ms": float("inf")},
        {"budget_ms": "30"},
        {"budget_ms": True},
        {"budget_ms": 30, "on_miss": "ignore"},
    ],
)
def test_options_out_of_range(bundle: Path, options: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"budget_ms|on_miss"):
        Runtime(bundle, **options)


def test_without_a_budget_there_is_no_deadline(golden: Path) -> None:
    runtime = Runtime(golden, threads=1)
    assert runtime.inspect(FRAME).deadline_met is None
    assert runtime.budget_ms is None
    stats = runtime.stats()
    assert (stats.frames, stats.misses, stats.budget_ms, stats.point_changes) == (1, None, None, 0)


def test_the_faithful_first(bundle: Path, tmp_path: Path) -> None:
    with Bundle.open(bundle) as opened:
        points = opened.manifest.points
    less = dataclasses.replace(points[0], fidelity=dataclasses.replace(points[0].fidelity, rank_correlation=0.9))
    path = edited(bundle, tmp_path / "b.bundle", points=(less, points[1]))
    with Bundle.open(path) as opened:
        assert faithful_first(opened.manifest) == ("f32", "fast", "middle")


# ------------------------------------------------------------------------------------------------ in service


def test_down_and_back(bundle: Path, world: World) -> None:
    runtime = Runtime(bundle, budget_ms=25)
    assert set(serve(runtime, 50)) == {"f32"}
    world.load = 1.5  # f32 takes 30 ms, middle 15
    assert serve(runtime, 40) == ["f32"] * DOWN_MISSES + ["middle"] * (40 - DOWN_MISSES)
    stats = runtime.stats()
    assert (stats.misses, stats.point_changes, stats.point) == (DOWN_MISSES, 1, "middle")
    world.load = 1.0
    back = serve(runtime, HOLD + 50)
    assert back == ["middle"] * back.index("f32") + ["f32"] * (HOLD + 50 - back.index("f32"))
    assert HOLD - 2 <= back.index("f32") <= HOLD  # two that spoke against it are allowed, and two were just before
    stats = runtime.stats()
    assert (stats.misses, stats.point_changes, stats.point) == (DOWN_MISSES, 2, "f32")
    assert stats.points == {
        "f32": 50 + DOWN_MISSES + 50 + HOLD - back.index("f32"),
        "middle": 35 + back.index("f32"),
        "fast": 0,
    }


def test_down_twice(bundle: Path, world: World) -> None:
    runtime = Runtime(bundle, budget_ms=25)
    world.load = 4.0  # 80, 40, 16
    points = serve(runtime, 30)
    assert points == ["f32"] * DOWN_MISSES + ["middle"] * DOWN_MISSES + ["fast"] * (30 - 2 * DOWN_MISSES)
    assert [point for point, _ in itertools.groupby(points)] == ["f32", "middle", "fast"]  # one at a time
    assert runtime.inspect(FRAME).deadline_met is True
    world.load = 10.0  # nothing fits any more: it stays at the bottom and counts
    before = runtime.stats().misses
    assert set(serve(runtime, 30)) == {"fast"}
    assert runtime.stats().misses == before + 30


def test_single_hiccups_change_nothing(bundle: Path, world: World) -> None:
    runtime = Runtime(bundle, budget_ms=25)
    world.hiccups = itertools.cycle([50.0] + [0.0] * 7)  # one frame of eight is late: three of twenty at most
    verdicts = [runtime.inspect(FRAME) for _ in range(400)]
    assert {verdict.point for verdict in verdicts} == {"f32"}
    assert sum(not verdict.deadline_met for verdict in verdicts) == runtime.stats().misses == 50


def test_what_was_predicted_wrongly_backs_off() -> None:
    ladder, points = Ladder([20, 10], 25), []
    for _ in range(20_000):
        points.append(ladder.rung)
        ladder.record(ladder.rung, 10 if ladder.rung else 30)  # and the ladder believes in 20
    runs = [(rung, len(list(group))) for rung, group in itertools.groupby(points)]
    assert {length for rung, length in runs if rung == 0} == {DOWN_MISSES}
    waits = [length for rung, length in runs if rung == 1][:-1]
    assert waits == [HOLD * min(2**i, MOST_BACK_OFF) for i in range(len(waits))]
    assert ladder.changes == len(runs) - 1 == 17
    assert points.count(0) == 9 * DOWN_MISSES  # late frames of 20,000


def test_a_climb_that_held_forgives(bundle: Path, world: World) -> None:
    runtime = Runtime(bundle, budget_ms=25)

    def run_of(load: float, count: int) -> list[str]:
        world.load = load
        return serve(runtime, count)

    run_of(2.0, 10)
    assert run_of(1.0, HOLD + 1)[-1] == "f32"
    run_of(2.0, 10)  # the climb failed: the next wait is twice as long
    assert run_of(1.0, 2 * HOLD - 4).count("f32") == 0
    assert set(run_of(1.0, 20 + 2 * HOLD)[-2 * HOLD :]) == {"f32"}  # and this one held
    run_of(2.0, 10)
    assert run_of(1.0, HOLD + 1)[-1] == "f32"


def test_a_load_that_comes_and_goes_leaves_it_below(bundle: Path, world: World) -> None:
    runtime = Runtime(bundle, budget_ms=25)
    for _ in range(20):
        world.load = 1.5
        serve(runtime, 30)
        world.load = 1.0
        serve(runtime, 30)
    assert runtime.point == "middle"
    assert runtime.stats().point_changes == 1


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


# ------------------------------------------------------------------------------------------------ parts


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0.1, 200)), max_size=600),
    st.lists(st.floats(0.1, 100), min_size=1, max_size=4),
)
def test_a_ladder_steps_one_at_a_time_and_stays_on_it(frames: list[tuple[int, float]], expected: list[float]) -> None:
    ladder, before, changes = Ladder(expected, 30.0), 0, 0
    for stale, latency in frames:
        ladder.record(stale if stale < len(expected) else ladder.rung, latency)
        assert 0 <= ladder.rung < len(expected)
        assert abs(ladder.rung - before) <= 1
        changes += ladder.rung != before
        before = ladder.rung
    assert ladder.changes == changes
    assert changes <= len(frames) / DOWN_MISSES


def test_the_ladder_forgets_after_its_window() -> None:
    ladder = Ladder([20, 10], 25)
    for _ in range(50):
        for _ in range(DOWN_MISSES - 1):
            ladder.record(0, 30)
        for _ in range(WINDOW):
            ladder.record(0, 20)
    assert ladder.changes == 0


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


def test_percentiles_are_values_that_were_measured() -> None:
    found = timing([1.0] * 99 + [50.0, 60.0])
    assert (found.frames, found.p50_ms, found.p95_ms, found.p99_ms) == (101, 1.0, 1.0, 50.0)
    assert timing([3.0]).p99_ms == 3.0


def test_stats_and_timings_agree_on_a_percentile() -> None:
    latencies = [float(i * i) for i in range(150)]
    meter = Meter(["f32"], None)
    for latency in latencies:
        meter.record("f32", latency, 0.0)
    stats, timed = meter.stats("f32", 0), timing(latencies)
    assert (stats.p50_ms, stats.p95_ms, stats.p99_ms) == (timed.p50_ms, timed.p95_ms, timed.p99_ms)
    assert set(percentiles(latencies)) <= set(latencies)


def test_frames_to_measure_with(golden: Path, tmp_path: Path) -> None:
    with Bundle.open(golden) as opened:
        own = sample_frames(opened)
        assert {frame.shape for frame in own} == {(*(opened.manifest.frame.size or (1024, 1024)), 3)}
    rgb = edited(golden, tmp_path / "rgb.bundle", frame={"color_order": "rgb"})
    with Bundle.open(rgb) as opened:
        np.testing.assert_array_equal(sample_frames(opened)[0][:, :, ::-1], own[0])
        folder = tmp_path / "images"
        folder.mkdir()
        cv2.imwrite(str(folder / "a.png"), bad_frame(1))
        np.testing.assert_array_equal(read_frames(folder, opened.manifest.frame)[0][:, :, ::-1], bad_frame(1))
