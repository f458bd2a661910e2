"""The operating point that a budget chooses. By a clock of its own: nothing here is timed."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from edge_ad import BudgetError, Runtime, SpecError
from edge_ad.bundle.file import Bundle
from edge_ad.serving.chooser import QUICK_FRAMES, SURE_FRAMES
from edge_ad.serving.fidelity import best_first
from edge_ad.serving.timing import WARM_UP
from edge_ad.spec import BackboneSpec, PowerSpec, SecondSpec
from tests.edited import edited
from tests.serving.budgeted import FRAME
from tests.slow import World


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


def test_the_best_first(bundle: Path, tmp_path: Path) -> None:
    with Bundle.open(bundle) as opened:
        points = opened.manifest.points
    less = dataclasses.replace(points[0], fidelity=dataclasses.replace(points[0].fidelity, rank_correlation=0.9))
    path = edited(bundle, tmp_path / "b.bundle", points=(less, points[1]))
    with Bundle.open(path) as opened:
        assert best_first(opened.manifest) == ("f32", "fast", "middle")


def test_what_sees_most_is_first_and_arithmetic_goes_by_fidelity(bundle: Path) -> None:
    """Of the sizes the joined one sees most, then the larger alone; int8 of the joined size comes before both."""
    with Bundle.open(bundle) as opened:
        manifest = opened.manifest
    threshold, any_point = manifest.calibration.threshold, manifest.points[0]

    def power(found: int) -> PowerSpec:
        scores = tuple(threshold * (2 if i < found else 0.5) for i in range(10))
        return PowerSpec(("spot",), (0.1,), (0.2,), (0,) * 10, scores, 1, 0)

    def sized(size: int, precision: str = "f32") -> BackboneSpec:
        return dataclasses.replace(
            manifest.backbone, input_size=(size, size), crop=(0, 0, size, size), precision=precision
        )

    def joined(precision: str) -> dict[str, Any]:
        second = SecondSpec(sized(96, precision), manifest.head, manifest.index, 1.0)
        return {"backbone": sized(64, precision), "second": second}

    small = dataclasses.replace(any_point, name="small", backbone=sized(64), power=power(3))
    large = dataclasses.replace(any_point, name="large", backbone=sized(96), power=power(5))
    int8 = dataclasses.replace(any_point, name="int8", **joined("int8"))
    whole = dataclasses.replace(manifest, **joined("f32"), points=(small, int8, large), power=power(7))
    assert best_first(whole) == ("f32", "int8", "large", "small")
