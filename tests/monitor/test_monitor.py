"""A monitor of all statistics: fires where something drifts, stays quiet where nothing does, learns, and latches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_ad.bundle.align import open_aligner
from edge_ad.bundle.file import Bundle
from edge_ad.bundle.roi import open_roi
from edge_ad.frames.check import read_frame
from edge_ad.monitor.causes import Alarm
from edge_ad.monitor.monitor import Monitor
from edge_ad.monitor.pair import side_by_side
from edge_ad.monitor.sequential import Rate
from edge_ad.monitor.statistics import PLACED, Gauge
from tests.monitor.made import NAMES, Change, blurred, faded, first_alarm, same, tinted, tiny_frames
from tests.paths import DATA
from tests.tiny import good_frame

RATE = Rate(10_000, 5)


@pytest.mark.parametrize(
    ("change", "expected"),
    [(faded, "brightness.down"), (blurred, "sharpness.down"), (tinted, "blue.down"), (same, "")],
)
def test_drift_is_found(change: Change, expected: str) -> None:
    assert first_alarm(tiny_frames(), change, 10_000 if expected else 2500) == expected


@pytest.mark.shared
@pytest.mark.parametrize(("change", "expected"), [(faded, "brightness.down"), (blurred, "sharpness.down"), (same, "")])
def test_drift_is_found_on_bottles(shared: Path, change: Change, expected: str) -> None:
    paths = sorted((shared / "data/bottle/train/good").iterdir())[::5]
    frames = [np.ascontiguousarray(read_frame(path)[::4, ::4]) for path in paths]
    assert first_alarm(frames, change, 4000 if expected else 1500) == expected


def known(generator: np.random.Generator) -> dict[str, np.ndarray]:
    return {name: generator.normal(size=40) for name in ("brightness", "sharpness")}


def fed(
    monitor: Monitor, shift: float, count: int, good: bool = True, names: tuple[str, ...] = ("brightness",)
) -> list[Alarm]:
    generator = np.random.default_rng(8)
    found = []
    for at in range(count):
        found += monitor.add({name: generator.normal() + shift for name in names}, good, at)[0]
    return found


def test_an_alarm_stays_until_it_is_acknowledged() -> None:
    monitor = Monitor(("brightness", "sharpness"), known(np.random.default_rng(0)), RATE, 200)
    (alarm,) = fed(monitor, -6, 200)
    assert monitor.alarms == (alarm,)
    assert (alarm.key, alarm.since_ns, alarm.found_ns) == ("brightness.down", 0, 7)
    assert "below the reference" in alarm.text
    assert "lamp" in alarm.cause.lower()
    state = monitor.state()
    assert state["brightness"]["alarm"] == "brightness.down"
    assert state["brightness"]["evidence"] == 1.0
    assert state["sharpness"]["alarm"] is None
    assert json.loads(json.dumps(state)) == state
    assert monitor.acknowledge("brightness")
    assert not monitor.acknowledge("brightness")
    assert not monitor.acknowledge("unknown")
    assert monitor.alarms == ()
    assert len(fed(monitor, -6, 200)) == 1  # it is still so


def test_what_is_not_known_is_learned_from_good_parts() -> None:
    monitor = Monitor(("brightness", "score"), {"score": np.arange(5.0)}, RATE, 30)  # five scores are too few
    assert monitor.learning == 0
    fed(monitor, 0, 50, good=False, names=("brightness", "score"))
    assert monitor.learning == 0
    generator, complete = np.random.default_rng(1), {}
    for at in range(30):
        values = {"brightness": generator.normal(), "score": generator.normal() + 5, "other": 1.0}
        complete |= monitor.add(values, True, at)[1]
    assert {name: len(values) for name, values in complete.items()} == {"brightness": 30, "score": 30}
    assert monitor.learning is None
    assert [alarm.statistic for alarm in fed(monitor, 5, 60, names=("brightness", "score"))] == ["brightness"]


def test_scores_are_of_good_parts_alone() -> None:
    monitor = Monitor(("score",), {"score": np.random.default_rng(0).normal(size=40)}, RATE, 30)
    assert fed(monitor, 50, 300, good=False, names=("score",)) == []
    assert [alarm.key for alarm in fed(monitor, 50, 300, names=("score",))] == ["score.up"]


def test_then_and_now_side_by_side() -> None:
    then = good_frame(0, 100)
    pair = side_by_side(then, (good_frame(0, 100)[:, :, 0] // 2).astype(np.uint16), 255)
    assert pair.shape == (122, 208, 3)
    np.testing.assert_array_equal(pair[22:, :100], then)
    assert pair[22:, 108:].mean() < 0.6 * then.mean()
    assert side_by_side(then, np.zeros((2000, 1000, 3), np.uint8), 255).shape[0] == 480 + 22


def test_the_names_are_watched_of_tiny_frames() -> None:
    assert set(NAMES) <= set(Monitor(NAMES, {}, RATE, 200).state())


def test_parts_that_lie_elsewhere_are_found() -> None:
    """Shifted by three pixels of 64, as the aligner of a bundle sees it; turn and scale stay quiet."""
    with Bundle.open(DATA / "format-3.bundle") as bundle:
        aligner, spec, masks = open_aligner(bundle), bundle.manifest, open_roi(bundle)
    assert aligner is not None
    own = Gauge(spec.frame, spec.backbone, masks)
    frames = [good_frame(seed) for seed in range(90)]
    values = [own.measure(frame, aligner.find(frame)) for frame in frames[:40]]
    monitor = Monitor(PLACED, {name: np.array([each[name] for each in values]) for name in PLACED}, RATE, 200)
    alarms: list[Alarm] = []
    for at, frame in enumerate(frames[40:]):
        there = np.roll(frame, 3, axis=1)
        alarms += monitor.add(own.measure(there, aligner.find(there)), True, at)[0]
    assert [alarm.key for alarm in alarms] == ["shift_x.up"]
    assert alarms[0].now - alarms[0].then == pytest.approx(3 / 64, abs=0.02)
