"""The ladder of operating points: down when frames are late, up when there is time. By a clock of its own."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edge_ad import Runtime
from edge_ad.serving.ladder import DOWN_MISSES, HOLD, MOST_BACK_OFF, WINDOW, Ladder
from tests.serving.budgeted import FRAME, serve
from tests.slow import World

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


# ------------------------------------------------------------------------------------------------ parts


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
