"""Where marks and lines of the score chart stand."""

from __future__ import annotations

import pytest

from edge_ad.station.journal import Row
from edge_ad.station.page.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart_of


def row(number: int, score: float | None, threshold: float | None = 2.0, outcome: str = "") -> Row:
    if not outcome:
        outcome = "reject" if (score or 0) >= (threshold or 0) else "good"
    told = ("", score, threshold, None, "b", "p", "e", 1, "", 5.0, "", 0, 0, "")
    return Row(number, "top", f"p{number}", "test:", number, 10**18, number, outcome, *told)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "scores", [[1.0], [0.0, 0.0], [1, 2, 3], [-1.0, 5.0], [1e-9, 1e9], [5.0] * 200, [0.0, 3.0]], ids=str
)
def test_everything_stands_inside(scores: list[float], log: bool) -> None:
    chart = chart_of([row(at + 1, score) for at, score in enumerate(scores)], log=log)
    assert chart is not None
    places = [(mark.x, mark.y) for mark in chart.marks]
    places += [tuple(map(float, point.split(","))) for point in chart.line.split()]  # type: ignore[misc]
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in places)
    assert all(TOP <= tick.y <= HEIGHT - BOTTOM for tick in chart.ticks)
    assert 1 <= len(chart.ticks) <= 25
    assert [mark.x for mark in chart.marks] == sorted(mark.x for mark in chart.marks)
    above = [mark.y for mark in chart.marks if mark.kind == "reject"]
    threshold = float(chart.line.split()[0].split(",")[1])
    assert all(y <= threshold for y in above)


def test_kinds_steps_and_what_has_no_score() -> None:
    rows = [row(1, 1.0), row(2, 3.0), row(3, None, None, "fault"), row(4, 1.0, 0.5, "no_part"), row(5, 0.2, 0.5)]
    chart = chart_of(rows)
    assert chart is not None
    assert [mark.kind for mark in chart.marks] == ["good", "reject", "other", "good"]
    assert [mark.row.number for mark in chart.marks] == [1, 2, 4, 5]
    assert (chart.rejects, chart.low, chart.high, chart.threshold) == (1, 0.2, 3.0, 0.5)
    heights = [point.split(",")[1] for point in chart.line.split()]
    assert heights == [heights[0]] * 4 + [heights[-1]] * 4
    assert float(heights[-1]) > float(heights[0])  # it became lower, which is further down


def test_nothing_to_draw() -> None:
    assert chart_of([]) is None
    assert chart_of([row(1, None, None, "fault")]) is None
