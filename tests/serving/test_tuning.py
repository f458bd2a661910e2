"""`edge-ad tune` and the profile it writes: in a world of slow engines, and once for real.

Over 400 lines: halving, profile and command share that world.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_ad import BudgetError, EdgeADError, EngineUnavailableError, Runtime, native
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.engines import installed_engines
from edge_ad.errors import SpecError
from edge_ad.serving import point, tuning
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
from edge_ad.serving.timing import Timing, sample_frames
from edge_ad.serving.tuning import ROUNDS, Tuned, candidates, steps, tune
from edge_ad.system.cpu import allowed_cores, detect_cpu, fastest_cores
from tests.edited import pointed
from tests.slow import NAMES, World, make_world, slow_bundle
from tests.tiny import good_frame

ANYTHING = Fixed()


@pytest.fixture(scope="module")
def bundle(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_bundle(golden, tmp_path_factory.mktemp("tune") / "points.bundle")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Eight cores; OpenVINO is slower, and pinned threads gain a little."""
    world = make_world(monkeypatch)
    world.factor = lambda engine, s: (1.5 if engine == "openvino" else 1.0) * (0.97 if s.cores else 1.0) / s.threads
    for module in ("tuning", "profile", "chooser"):
        monkeypatch.setattr(
            f"edge_ad.serving.{module}.default_threads", lambda cores=None: 8 if cores is None else len(cores)
        )
    monkeypatch.setattr(tuning, "fastest_cores", lambda count: tuple(range(count)))
    monkeypatch.setattr("edge_ad.serving.profile.allowed_cores", lambda: tuple(range(8)))
    monkeypatch.setattr("edge_ad.serving.point.pinned", lambda cores: contextlib.nullcontext())
    monkeypatch.setattr(native, "Pool", _OneThread)
    monkeypatch.setattr(tuning, "ROUNDS", tuple((4, share) for _, share in ROUNDS))  # for the tests' own sake
    monkeypatch.setattr(tuning, "FINAL_FRAMES", 9)
    return world


class _OneThread(native.Pool):
    """Of the cores that the tests name this PC may have none."""

    def __init__(self, threads: int, cores: object = None) -> None:
        super().__init__(1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_AD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def tuned(path: Path, world: World, seconds: float = 120.0, **options: Any) -> Tuned:
    def sleep(seconds: float) -> None:
        world.clock.now += seconds

    with Bundle.open(path) as opened:
        return tune(opened, sample_frames(opened), seconds, sleep=sleep, **options)


def saved(path: Path, world: World) -> Profile:
    """Tunes and saves."""
    found = tuned(path, world)
    with Bundle.open(path) as opened:
        profile = Profile(this_machine(opened.id), "2026-01-01T00:00:00+00:00", tuple(found.entries), found.refused)
    save_profile(profile)
    return profile


# ------------------------------------------------------------------------------------------------ halving


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


# ------------------------------------------------------------------------------------------------ the profile


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
        lambda text: text.replace('"format_version": 2', '"format_version": 1'),
        lambda text: text.replace('"format_version": 2', '"format_version": true'),
        lambda text: text.replace("3.0", "NaN"),
        lambda text: text.replace("3.0", "-3.0"),
        lambda text: text.replace("3.0", "1e999"),
        lambda text: text.replace("3.0", "0.5"),
        lambda text: text.replace('"threads": 1,', '"threads": 0,'),
        lambda text: text.replace('"threads": 1,', '"threads": "1",'),
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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
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


# ------------------------------------------------------------------------------------------------ the command


def test_the_table(bundle: Path, world: World, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world.milliseconds["fast"] = 15.0  # less faithful than "middle" and slower
    assert main(["tune", str(bundle), "--budget-ms", "1.5", "--seconds", "5"]) == 0
    out = capsys.readouterr().out.splitlines()
    rows = {line[1:].split()[0]: line for line in out[1:4]}
    assert [line.startswith("*") for line in rows.values()] == [True, True, False]
    assert list(rows) == list(NAMES)
    assert rows["middle"].rstrip().endswith("yes   Runtime(path, budget_ms=1.5)")
    assert rows["f32"].rstrip().endswith("no")
    (path,) = (cache / "profiles").iterdir()
    assert out[-1] == f"profile: {path}"
    assert main(["info", str(bundle)]) == 0
    assert "f32 2.5 ms, p99 2.5" in capsys.readouterr().out
    assert main(["tune", str(bundle), "--budget-ms", "0.1", "--seconds", "5"]) == 2
    assert "raises BudgetError" in capsys.readouterr().out


def test_json(bundle: Path, world: World, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "a.png"), good_frame(3))
    assert main(["tune", str(bundle), "--json", "--seconds", "5", "--frames", str(images), "--threads-max", "2"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["taken"] == "f32"
    assert {entry["settings"]["threads"] for entry in document["entries"]} == {1, 2}
    on_disk = json.loads(Path(document["path"]).read_text())
    assert on_disk["entries"] == document["entries"]
    assert on_disk["machine"]["bundle"] == Bundle.open(bundle).id


@pytest.mark.parametrize(
    "options", [["--seconds", "1000"], ["--threads-max", "0"], ["--budget-ms", "nan"], ["--frames", "/none"]]
)
def test_options_out_of_range(bundle: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", str(bundle), *options]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_an_interrupt_leaves_the_old_profile(
    bundle: Path, world: World, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = saved(bundle, world)
    path = profile_path(old.machine)
    text, served = path.read_text(), iter(range(1000))

    def interrupted(engine: str, settings: Any) -> float:
        if next(served) == 20:
            raise KeyboardInterrupt
        return 1.0

    world.factor = interrupted
    assert main(["tune", str(bundle), "--seconds", "5"]) == 130
    assert path.read_text() == text
    assert len(list(path.parent.iterdir())) == 1


def test_for_real(golden: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", str(golden), "--seconds", "5", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    engines = {entry["settings"]["engine"] for entry in document["entries"]}
    assert engines == set(installed_engines()) or document["left_out"]  # a busy PC has no time for all in 5 s
    with Bundle.open(golden) as opened:
        profile = load_profile(opened.id, ["f32"])
    assert profile is not None
    best = profile.best("f32", ANYTHING).settings
    runtime = Runtime(golden, self_check=True)
    assert (runtime.engine, runtime.threads, runtime.search) == (best.engine, best.threads, best.search)


def test_fastest_cores() -> None:
    allowed = allowed_cores()
    assert set(fastest_cores(10_000)) <= set(allowed)
    assert len(fastest_cores(1)) == 1
    assert fastest_cores(10_000) == tuple(sorted(fastest_cores(10_000)))


def test_bf16_under_a_limit_of_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "model name: Intel\nflags: avx512_bf16 amx_bf16"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert detect_cpu(text, "x86_64").has_bf16  # another PC's
    assert not detect_cpu().has_bf16
