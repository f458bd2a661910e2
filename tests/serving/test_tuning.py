"""Halving: the best settings of each point are found in bounded time, in a world of slow engines."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edge_ad import EngineUnavailableError
from edge_ad.bundle.file import Bundle
from edge_ad.serving import point, tuning
from edge_ad.serving.profile import Profile, this_machine
from edge_ad.serving.tuning import ROUNDS, candidates, steps
from edge_ad.system.cpu import detect_cpu
from tests.edited import pointed
from tests.serving.tuned import ANYTHING, saved, tuned, tuning_world
from tests.slow import NAMES, World

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return tuning_world(monkeypatch)


def test_the_best_settings_of_each_point_are_found(bundle: Path, world: World, cache: Path) -> None:
    counted = []
    found = tuned(bundle, world, step=lambda: counted.append(1))
    with Bundle.open(bundle) as opened:
        all_of_them, refused = candidates(opened)
    assert refused == found.refused == {}
    assert found.left_out == 0
    assert (
        len(found.entries) == sum(map(len, all_of_them.values())) == 3 * 4 * 2 * 2 * 2
    )  # threads, engine, cores, search
    assert len(counted) == steps(all_of_them)
    with Bundle.open(bundle) as opened:
        profile = Profile(this_machine(opened.id), "", tuple(found.entries), {})
    for name in NAMES:
        best = profile.best(name, ANYTHING)
        assert best is not None
        chosen = best.settings
        assert (chosen.engine, chosen.threads, chosen.cores) == ("onnxruntime", 8, None)  # 3% are not worth pinning
        assert best.rounds == len(ROUNDS) + 1
        assert best.timing.p50_ms == pytest.approx(world.milliseconds[name] / 8)
        assert best.idle_ms == pytest.approx(world.milliseconds[name] / 8)
    early = [entry for entry in found.entries if entry.rounds == 1]
    assert len(early) == 3 * 16
    assert all(entry.idle_ms is None for entry in early)


def test_pinning_that_pays_is_chosen(bundle: Path, world: World, cache: Path) -> None:
    world.factor = lambda engine, s: 0.5 if s.cores else 1.0
    profile = saved(bundle, world)
    assert {profile.best(name, ANYTHING).settings.cores for name in NAMES} <= {tuple(range(n)) for n in (1, 2, 4, 8)}


@pytest.mark.parametrize("seconds", [5.0, 30.0])
def test_time_is_bounded_however_slow_the_machine_is(bundle: Path, world: World, cache: Path, seconds: float) -> None:
    world.load, world.opening_s = 20.0, 0.5  # f32 takes 0.6 s a frame by one thread of OpenVINO
    began = world.clock.now
    found = tuned(bundle, world, seconds)
    # beyond the time given: the first candidate of each point in each round, and the idle gaps
    assert world.clock.now - began < seconds + 25
    assert {entry.point for entry in found.entries} == set(NAMES)
    assert found.left_out > 0


def test_threads_are_bounded(bundle: Path, world: World, cache: Path) -> None:
    assert {entry.settings.threads for entry in tuned(bundle, world, most_threads=3).entries} == {1, 2, 3}
    assert {entry.settings.threads for entry in tuned(bundle, world, most_threads=99).entries} == {1, 2, 4, 8}


def test_bf16_is_refused_where_it_is_emulated(
    golden: Path, tmp_path: Path, world: World, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pointed(golden, tmp_path / "b.bundle", {"bf16": "bf16"})
    with Bundle.open(path) as opened:
        monkeypatch.setattr(point, "detect_cpu", lambda: detect_cpu("model name: Intel\nflags: avx2", "x86_64"))
        found, refused = candidates(opened)
        assert set(found) == {"f32"}
        assert refused["bf16 by openvino"] == "this CPU has no bf16 arithmetic"
        monkeypatch.setattr(point, "detect_cpu", lambda: detect_cpu("model name: Intel\nflags: amx_bf16", "x86_64"))
        found, refused = candidates(opened)
        assert {settings.engine for settings in found["bf16"]} == {"openvino"}
        assert set(refused) == {"bf16 by onnxruntime"}


def test_no_engine(bundle: Path, world: World, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_ad.serving.tuning.installed_engines", lambda: ())
    with pytest.raises(EngineUnavailableError, match="pip install"):
        tuned(bundle, world)


def test_a_method_without_a_graph_has_one_search(bundle: Path) -> None:
    with Bundle.open(bundle) as opened:
        spec = opened.manifest
    assert tuning.searches(spec) == ("graph", "exact")
    assert spec.index is not None
    assert tuning.searches(dataclasses.replace(spec, index=dataclasses.replace(spec.index, graph=None), points=())) == (
        "exact",
    )
