"""The profile that `edge-ad tune` writes: what it holds comes back, and whatever else is passed over."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_ad import BudgetError, EdgeADError, Runtime
from edge_ad.bundle.file import Bundle
from edge_ad.errors import SpecError
from edge_ad.serving.profile import (
    Entry,
    Profile,
    cache_folder,
    describe_profile,
    load_profile,
    profile_path,
    save_profile,
    this_machine,
)
from edge_ad.serving.settings import Fixed, Settings
from edge_ad.serving.timing import Timing
from tests.serving.tuned import saved, tuning_world
from tests.slow import World

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return tuning_world(monkeypatch)


def test_the_runtime_uses_it(bundle: Path, world: World, cache: Path) -> None:
    saved(bundle, world)
    runtime = Runtime(bundle)
    assert (runtime.engine, runtime.threads, runtime.point) == ("onnxruntime", 8, "f32")
    world.opened.clear()
    before = world.clock.now
    budget = Runtime(bundle, budget_ms=1.5)  # f32 takes 2.5, middle 1.25
    assert budget.points == ("middle", "fast")
    assert world.clock.now - before < 0.1  # nothing was measured, the points were only warmed
    assert len(world.opened) == 3
    with pytest.raises(BudgetError):
        Runtime(bundle, budget_ms=0.4)


def test_what_the_user_says_wins(bundle: Path, world: World, cache: Path) -> None:
    saved(bundle, world)
    runtime = Runtime(bundle, engine="openvino", threads=2, search="exact")
    assert (runtime.engine, runtime.threads, runtime.search) == ("openvino", 2, "exact")
    assert Runtime(bundle, threads=5).threads == 5  # which was not measured
    assert Runtime(bundle, device="GPU", engine="openvino").engine == "openvino"


def test_it_can_be_passed_over(bundle: Path, world: World, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.factor = lambda engine, s: float(s.threads)  # one thread is the fastest
    saved(bundle, world)
    assert Runtime(bundle).threads == 1
    assert Runtime(bundle, profile=False).threads == 8
    monkeypatch.setenv("EDGE_AD_NO_PROFILE", "1")
    assert Runtime(bundle).threads == 8


SETTINGS = Settings("openvino", "CPU", 1, None, "exact")


def _entry(**changes: Any) -> Entry:
    return dataclasses.replace(Entry("f32", SETTINGS, Timing(9, 1.0, 2.0, 3.0), 4), **changes)


def _profile(identity: str = "0" * 16, **changes: Any) -> Profile:
    return dataclasses.replace(Profile(this_machine(identity), "2026-01-01", (_entry(),), {}), **changes)


def test_there_and_back(cache: Path) -> None:
    profile = _profile(refused={"bf16 by openvino": "this CPU has no bf16 arithmetic"})
    path = save_profile(profile)
    assert path == profile_path(profile.machine)
    assert path.is_relative_to(cache)
    assert load_profile("0" * 16, ["f32"]) == profile
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no draft is left
    assert load_profile("1" * 16, ["f32"]) is None
    assert load_profile("0" * 16, ["int8"]) is None
    assert "f32 1.0 ms, p99 3.0" in describe_profile("0" * 16, ["f32"])
    assert "edge-ad tune" in describe_profile("1" * 16, ["f32"])


@pytest.mark.parametrize(
    "changes",
    [
        {"edge_ad": "0.0.1"},
        {"cpu": "another"},
        {"flags": "avx2"},
        {"engines": {"openvino": "1900.1"}},
        {"isa": "portable"},
        {"onednn_isa": "AVX2"},
        {"cores": (0, 999)},
        {"threads": 999},
        {"bundle": "f" * 16},
    ],
)
def test_another_machines_is_never_used(cache: Path, changes: dict[str, Any]) -> None:
    own = this_machine("0" * 16)
    foreign = _profile(machine=dataclasses.replace(own, **changes))
    assert profile_path(foreign.machine) != profile_path(own)
    path = save_profile(foreign)
    path.rename(profile_path(own))  # somebody copies it
    assert load_profile("0" * 16, ["f32"]) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: "null",
        lambda text: "[" * 100_000,
        lambda text: text.replace('"format_version": 3', '"format_version": 1'),
        lambda text: text.replace('"format_version": 3', '"format_version": true'),
        lambda text: text.replace("3.0", "NaN"),
        lambda text: text.replace("3.0", "-3.0"),
        lambda text: text.replace("3.0", "1e999"),
        lambda text: text.replace("3.0", "0.5"),
        lambda text: text.replace('"threads": 1,', '"threads": 0,'),
        lambda text: text.replace('"threads": 1,', '"threads": "1",'),
        lambda text: text.replace('"streams": 1', '"streams": 0'),
        lambda text: text.replace('"cores": null', '"cores": [100000]'),
        lambda text: text + " " * 2**22,
        lambda text: "\ud800",
    ],
)
def test_a_broken_one_is_none(cache: Path, change: Callable[[str], str]) -> None:
    path = save_profile(_profile())
    changed = change(path.read_text())
    assert changed != path.read_text()
    path.write_bytes(changed.encode(errors="surrogatepass"))
    assert load_profile("0" * 16, ["f32"]) is None


def test_one_of_the_old_format_is_refused_and_said_to_be(cache: Path) -> None:
    path = save_profile(_profile())
    document = json.loads(path.read_text())
    (entry,) = document["entries"]
    old = [{"point": "f32", **entry["settings"], "timing": entry["timing"], "rounds": 4}]
    path.write_text(json.dumps({**document, "format_version": 1, "entries": old}))
    assert load_profile("0" * 16, ["f32"]) is None
    said = describe_profile("0" * 16, ["f32"])
    assert said == "none for this PC (the profile is of another format, format 1); run `edge-ad tune` to make one"


def test_what_is_fixed_is_merged_over_what_may_be_chosen() -> None:
    assert Fixed().merged(SETTINGS) == SETTINGS
    fixed = Fixed(engine="onnxruntime", device="CPU", threads=2, cores=(0, 1), search="graph")
    assert fixed.merged(SETTINGS) == Settings("onnxruntime", "CPU", 2, (0, 1), "graph")
    assert Fixed(threads=1).allows(SETTINGS)
    assert not Fixed(threads=2).allows(SETTINGS)
    assert not Fixed(cores=(0,)).allows(SETTINGS)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(at=st.floats(0, 1), what=st.binary(max_size=6), keep=st.booleans())
def test_any_bytes_are_a_profile_or_none(cache: Path, at: float, what: bytes, keep: bool) -> None:
    path = save_profile(_profile())
    raw = path.read_bytes()
    place = int(at * len(raw))
    path.write_bytes(raw[:place] + what + (raw[place:] if keep else raw[place + len(what) :]))
    loaded = load_profile("0" * 16, ["f32"])
    assert loaded is None or loaded.machine == this_machine("0" * 16)


def test_one_that_names_what_there_is_not_is_passed_over(bundle: Path, cache: Path, world: World) -> None:
    with Bundle.open(bundle) as opened:
        machine = this_machine(opened.id)
    for unknown in ({"engine": "tensorrt"}, {"search": "magic"}):
        entry = _entry(settings=dataclasses.replace(SETTINGS, threads=3, **unknown))
        save_profile(_profile(machine=machine, entries=(entry,)))
        assert Runtime(bundle).threads == 8


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGE_AD_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(EdgeADError, match="EDGE_AD_CACHE_DIR"):
        save_profile(_profile())
    assert load_profile("0" * 16, ["f32"]) is None


def test_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_AD_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / ".cache/edge-ad"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache/edge-ad"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/edge-ad"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library/Caches/edge-ad"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local/edge-ad"


def test_a_timing_out_of_range_is_refused() -> None:
    with pytest.raises(SpecError, match="timing"):
        _entry(timing=Timing(9, 3.0, 2.0, 1.0))
