"""The runtime, from the golden bundles: verdicts, options, `inspect_many`, and what threads do.

Over 400 lines: one face, and all that it promises.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_ad import BundleNotFoundError, EdgeADError, EngineError, FrameError, Runtime, SpecError, Verdict
from edge_ad.bundle.file import Bundle
from edge_ad.engines import installed_engines
from edge_ad.native import reference
from tests.edited import edited, pointed
from tests.paths import DATA
from tests.tiny import bad_frame, good_frame

STAGES = ("read", "crop", "engine", "head", "total")


def threads_named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


# ------------------------------------------------------------------------------------------------ verdicts


def test_fields_of_a_verdict(golden: Path, engine: str) -> None:
    runtime = Runtime(golden, engine=engine, threads=1)
    frame = bad_frame(2001)
    verdict = runtime.inspect(frame)
    assert verdict.is_anomalous is True
    assert verdict.threshold == runtime.threshold == runtime.manifest.calibration.threshold
    assert verdict.pixel_threshold == runtime.manifest.calibration.pixel_threshold
    assert (verdict.point, verdict.engine, verdict.precision, verdict.search) == ("f32", engine, "f32", "exact")
    good = np.array(runtime.manifest.calibration.good_scores)
    assert verdict.p_value == (1 + (good >= verdict.score).sum()) / (len(good) + 1)
    assert verdict.bundle == runtime.bundle_id
    assert set(verdict.timings) == set(STAGES)
    assert min(verdict.timings.values()) >= 0
    assert verdict.timings["total"] == pytest.approx(sum(verdict.timings[stage] for stage in STAGES[:-1]))
    amap = verdict.anomaly_map
    assert (amap.shape, amap.dtype) == (frame.shape[:2], np.float32)
    assert amap is verdict.anomaly_map  # computed once
    assert amap.flags.writeable
    assert 0 <= amap.min() <= amap.max() <= verdict.score
    assert verdict.mask.dtype == np.bool_
    assert verdict.mask.any()


def test_a_good_frame(runtime: Runtime) -> None:
    verdict = runtime.inspect(good_frame(1001))
    assert verdict.is_anomalous is False
    assert not verdict.mask.any()
    assert verdict.regions == ()
    assert verdict.to_dict()["is_anomalous"] is False


def test_the_map_peaks_on_the_defect(runtime: Runtime) -> None:
    frame = bad_frame(2002)
    defect = cv2.absdiff(frame, good_frame(2002)).max(axis=2) > 20
    y, x = np.unravel_index(runtime.inspect(frame).anomaly_map.argmax(), defect.shape)
    near = cv2.dilate(defect.astype(np.uint8), np.ones((9, 9), np.uint8))
    assert near[y, x]


def test_score_is_the_brute_force_maximum(golden: Path, engine: str) -> None:
    runtime = Runtime(golden, engine=engine, threads=2)
    frame = bad_frame(2003)
    answer = runtime.probe(frame)
    coreset = np.array(Bundle.open(golden).array("coreset"), np.float64)
    apart = np.linalg.norm(answer.patches.astype(np.float64)[:, None] - coreset[None], axis=2).min(axis=1)
    np.testing.assert_allclose(answer.distances, apart, rtol=1e-4, atol=1e-5)
    assert runtime.inspect(frame).score == pytest.approx(apart.max(), rel=1e-5)
    twin, _ = reference.exact_search(np.array(Bundle.open(golden).array("coreset")), answer.patches)
    np.testing.assert_allclose(answer.distances, twin, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bundle", ["format-1", "format-1-roi"])
def test_graph_search_gives_the_same_image_score_to_the_bit(bundle: str, engine: str) -> None:
    path = DATA / f"{bundle}.bundle"
    exact = Runtime(path, engine=engine, search="exact", threads=2)
    graph = Runtime(path, engine=engine, search="graph", threads=2)
    assert graph.search == "graph"
    for seed in range(40):
        frame = (bad_frame if seed % 2 else good_frame)(3000 + seed)
        assert exact.inspect(frame).score == graph.inspect(frame).score
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert exact.inspect(noise).score == graph.inspect(noise).score


def test_eq_7_is_in_the_score_and_not_in_the_map(golden_roi: Path, tmp_path: Path) -> None:
    plain = Runtime(edited(golden_roi, tmp_path / "plain.bundle", head={"reweight_neighbors": 0}))
    weighted, frame = Runtime(golden_roi), bad_frame(2004)
    a, b = plain.inspect(frame), weighted.inspect(frame)
    assert 0 < b.score < a.score
    np.testing.assert_array_equal(a.anomaly_map, b.anomaly_map)


def test_both_engines_agree(golden: Path) -> None:
    if len(installed_engines()) < 2:
        pytest.skip("both engines are needed")
    first, second = (Runtime(golden, engine=name) for name in ("openvino", "onnxruntime"))
    for seed in range(4):
        a, b = first.inspect(bad_frame(seed)), second.inspect(bad_frame(seed))
        assert a.score == pytest.approx(b.score, rel=1e-5)
        np.testing.assert_allclose(a.anomaly_map, b.anomaly_map, rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------------------------------- options


BAD_OPTIONS: dict[str, tuple[dict[str, object], type[EdgeADError]]] = {
    **{f"threads {n!r}": ({"threads": n}, SpecError) for n in (0, -1, 1025, 1.5, "2", True)},
    **{f"threshold {t!r}": ({"threshold": t}, SpecError) for t in (0, -1.0, math.nan, math.inf, "3", True)},
    **{f"cores {c!r}": ({"cores": c}, SpecError) for c in ([], [-1], [99999], [0, 0], 0, "0", ["0"], [0.0])},
    "point": ({"point": "int8"}, SpecError),
    "search": ({"search": "hnsw"}, SpecError),
    "engine": ({"engine": "tensorrt"}, SpecError),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_are_refused(golden: Path, case: str) -> None:
    options, kind = BAD_OPTIONS[case]
    with pytest.raises(kind) as caught:
        Runtime(golden, **options)  # type: ignore[arg-type]
    assert caught.value.expected


def test_a_device_that_is_not_there(golden: Path, engine: str) -> None:
    with pytest.raises(EngineError, match="CPU"):
        Runtime(golden, engine=engine, device="TOASTER")  # type: ignore[arg-type]


def test_graph_search_needs_a_graph(golden: Path, tmp_path: Path) -> None:
    without = edited(
        golden,
        tmp_path / "exact.bundle",
        {"graph/levels": None, "graph/links0": None, "graph/upper": None},
        index={"graph": None},
    )
    assert Runtime(without).search == "exact"
    with pytest.raises(SpecError, match="no graph"):
        Runtime(without, search="graph")


def test_threshold_is_the_users(golden: Path) -> None:
    own = Runtime(golden)
    runtime = Runtime(golden, threshold=2 * own.threshold)
    assert runtime.threshold == 2 * own.threshold
    assert runtime.pixel_threshold == pytest.approx(2 * own.pixel_threshold)
    frame = bad_frame(2001)
    assert own.inspect(frame).is_anomalous
    assert not Runtime(golden, threshold=100).inspect(frame).is_anomalous
    score = own.inspect(frame).score
    assert Runtime(golden, threshold=score).inspect(frame).is_anomalous  # at least the threshold


def test_p_value_is_conformal(golden: Path, tmp_path: Path) -> None:
    """Against the bundle's own good scores, equal ones included; whatever the threshold is."""
    frame = good_frame(1)
    score = Runtime(golden).inspect(frame).score
    for good, p in (
        ((score, 2 * score, score / 2, 0.0), 3 / 5),
        ((score / 2, score / 3), 1 / 3),
        ((3 * score, 2 * score, float(np.nextafter(score, 9))), 1.0),
        ((), None),
    ):
        bundle = edited(golden, tmp_path / "own.bundle", calibration={"good_scores": good})
        for threshold in (None, score, 100.0):
            verdict = Runtime(bundle, threshold=threshold).inspect(frame)
            assert (verdict.score, verdict.p_value) == (score, p)
            assert verdict.to_dict()["p_value"] == p


def test_p_values_of_points_are_by_their_own_scores(golden: Path, tmp_path: Path) -> None:
    points, frame = pointed(golden, tmp_path / "points.bundle", {"f32-small": "f32"}), good_frame(1)
    (point,) = Runtime(points).manifest.points
    score = Runtime(points, point="f32-small").inspect(frame).score
    own = replace(point, calibration=replace(point.calibration, good_scores=(score, score / 2, score / 3)))
    bundle = edited(points, tmp_path / "own.bundle", points=(own,), calibration={"good_scores": (2 * score,) * 9})
    assert Runtime(bundle, point="f32-small").inspect(frame).p_value == 2 / 4
    assert Runtime(bundle).inspect(frame).p_value == 1


def test_threads_do_not_change_the_answer(golden: Path, engine: str) -> None:
    one, three = (Runtime(golden, engine=engine, threads=n) for n in (1, 3))
    assert (one.threads, three.threads) == (1, 3)
    assert one.inspect(bad_frame(13)).score == pytest.approx(three.inspect(bad_frame(13)).score, rel=1e-6)


def test_a_missing_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFoundError, match=r"nowhere\.bundle"):
        Runtime(tmp_path / "nowhere.bundle")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are pinned on Linux only")
@pytest.mark.parametrize("self_check", [False, True])
def test_cores(golden: Path, engine: str, self_check: bool) -> None:
    before = os.sched_getaffinity(0)
    core = max(before)
    tasks = set(os.listdir("/proc/self/task"))
    runtime = Runtime(golden, engine=engine, cores=[core], threads=4, self_check=self_check)
    assert runtime.threads == 1  # never more than cores
    for seed in range(3):
        runtime.inspect(bad_frame(seed))
    assert os.sched_getaffinity(0) == before
    started = set(os.listdir("/proc/self/task")) - tasks
    for task in started:
        with contextlib.suppress(ProcessLookupError):
            assert os.sched_getaffinity(int(task)) == {core}, Path(f"/proc/self/task/{task}/comm").read_text()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are pinned on Linux only")
def test_inference_runs_on_the_cores_given(golden: Path, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    core = max(os.sched_getaffinity(0))
    runtime = Runtime(golden, engine=engine, cores=[core])
    seen: list[set[int]] = []
    inner = runtime._point.sights[0].engine

    class Spy:
        name, version, precision = inner.name, inner.version, inner.precision

        def __call__(self, tensor: np.ndarray) -> np.ndarray:
            seen.append(os.sched_getaffinity(0))
            return inner(tensor)

    monkeypatch.setattr(runtime._point.sights[0], "engine", Spy())
    runtime.inspect(good_frame(0))
    runtime.check()
    list(runtime.inspect_many([good_frame(0)]))
    assert seen
    assert all(cores == {core} for cores in seen)


# -------------------------------------------------------------------------------------------- inspect_many


def test_many_are_in_order(runtime: Runtime) -> None:
    frames = [(bad_frame if i % 3 == 0 else good_frame)(200 + i) for i in range(12)]
    verdicts = list(runtime.inspect_many(frames))
    assert [v.score for v in verdicts] == [runtime.inspect(f).score for f in frames]
    assert all(set(v.timings) == set(STAGES) for v in verdicts)
    assert list(runtime.inspect_many([])) == []
    assert list(runtime.inspect_many(iter(()))) == []


@pytest.mark.parametrize("search", ["exact", "graph"])
def test_streams_give_the_same_bits_in_order(golden: Path, engine: str, search: str) -> None:
    alone = Runtime(golden, engine=engine, search=search, threads=1)
    runtime = Runtime(golden, engine=engine, search=search, threads=2, streams=2)
    assert (alone.streams, runtime.streams) == (1, 2)
    frames = [(bad_frame if i % 3 == 0 else good_frame)(400 + i) for i in range(12)]
    wanted = [alone.inspect(frame) for frame in frames]
    found = list(runtime.inspect_many(frames))
    assert [verdict.score for verdict in found] == [verdict.score for verdict in wanted]
    assert all(np.array_equal(a.anomaly_map, b.anomaly_map) for a, b in zip(found, wanted, strict=True))
    with ThreadPoolExecutor(3) as pool:  # more callers than streams
        assert [v.score for v in pool.map(runtime.inspect, frames)] == [v.score for v in wanted]
    assert not threads_named("edge-ad-engine")
    assert pickle.loads(pickle.dumps(runtime)).streams == 2


def test_streams_run_side_by_side(golden: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(golden, engine=engine, threads=2, streams=2)
    inner, together = runtime._point.sights[0].engine, threading.Barrier(2, timeout=30)

    class Meeting:
        name, version, precision = inner.name, inner.version, inner.precision

        def __call__(self, tensor: np.ndarray) -> np.ndarray:
            together.wait()
            return inner(tensor)

    monkeypatch.setattr(runtime._point.sights[0], "engine", Meeting())
    assert len(list(runtime.inspect_many([good_frame(i) for i in range(4)]))) == 4


@pytest.mark.parametrize("streams", [0, 3, 1.5, True, "2"])
def test_streams_out_of_range(golden: Path, streams: object) -> None:
    with pytest.raises(SpecError, match="streams"):
        Runtime(golden, threads=2, streams=streams)  # type: ignore[arg-type]


def test_streams_and_a_budget(golden: Path) -> None:
    with pytest.raises(SpecError, match="budget_ms"):
        Runtime(golden, threads=2, streams=2, budget_ms=1000)


def test_many_is_lazy(runtime: Runtime) -> None:
    taken = itertools.count()
    seen = []

    def camera() -> Iterator[np.ndarray]:
        for i in taken:
            seen.append(i)
            yield good_frame(0)

    verdicts = runtime.inspect_many(camera())
    time.sleep(0.05)
    assert seen == []  # nothing is taken before a verdict is asked for
    next(verdicts)
    time.sleep(0.3)
    assert 1 <= len(seen) <= 5  # one given, two waiting, one in the hand of the thread
    del verdicts
    gc.collect()
    assert wait_for(lambda: not threads_named("edge-ad-capture"))
    count = len(seen)
    time.sleep(0.05)
    assert len(seen) == count


def test_an_error_of_a_frame_comes_in_its_turn(runtime: Runtime, tmp_path: Path) -> None:
    verdicts = runtime.inspect_many([good_frame(0), good_frame(1), tmp_path / "missing.png", good_frame(2)])
    assert isinstance(next(verdicts), Verdict)
    assert isinstance(next(verdicts), Verdict)
    with pytest.raises(FrameError, match=r"missing\.png"):
        next(verdicts)
    with pytest.raises(StopIteration):
        next(verdicts)
    assert wait_for(lambda: not threads_named("edge-ad-capture"))


class CameraLostError(Exception):
    pass


def test_an_error_of_the_source_comes_in_its_turn(runtime: Runtime) -> None:
    def camera() -> Iterator[np.ndarray]:
        yield good_frame(0)
        raise CameraLostError("cable pulled")

    verdicts = runtime.inspect_many(camera())
    assert next(verdicts).score > 0
    with pytest.raises(CameraLostError, match="cable pulled"):
        next(verdicts)
    assert wait_for(lambda: not threads_named("edge-ad-capture"))


def test_an_engine_that_fails_ends_the_thread_too(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        name, version, precision = "broken", "1", "f32"

        def __call__(self, tensor: np.ndarray) -> np.ndarray:
            raise EngineError("out of smoke")

    monkeypatch.setattr(runtime._point.sights[0], "engine", Broken())
    with pytest.raises(EngineError, match="smoke"):
        list(runtime.inspect_many(good_frame(i) for i in itertools.count()))
    gc.collect()
    assert wait_for(lambda: not threads_named("edge-ad-capture"))


def test_early_close_ends_the_thread(runtime: Runtime) -> None:
    verdicts = runtime.inspect_many(good_frame(0) for _ in itertools.count())
    next(verdicts)
    assert threads_named("edge-ad-capture")
    verdicts.close()  # type: ignore[attr-defined]
    assert wait_for(lambda: not threads_named("edge-ad-capture"))


def test_a_runtime_is_shared_by_threads(golden: Path, engine: str) -> None:
    runtime = Runtime(golden, engine=engine, search="graph", threads=2)
    frames = [bad_frame(300 + i) for i in range(6)]
    expected = [runtime.inspect(frame).score for frame in frames]
    found: dict[int, list[float]] = {}
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        found[number] = [runtime.inspect(frame).score for _ in range(3) for frame in frames]

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [found[i] for i in range(8)] == [expected * 3] * 8


# --------------------------------------------------------------------------------- what a verdict can tell


def test_no_thread_is_left_by_a_runtime_that_is_gone(golden: Path) -> None:
    def tasks() -> int:
        return len(os.listdir("/proc/self/task"))

    if not Path("/proc/self/task").is_dir():
        pytest.skip("counts threads as Linux shows them")
    Runtime(golden, engine="auto", threads=2).inspect(good_frame(0))  # what an engine starts once and for all
    gc.collect()
    before = tasks()
    for _ in range(4):
        Runtime(golden, threads=2).inspect(good_frame(0))
    gc.collect()
    assert wait_for(lambda: tasks() <= before + 1)


def test_options_go_by_name(golden: Path) -> None:
    with pytest.raises(TypeError, match="positional"):
        Runtime(golden, "auto")  # type: ignore[misc]


@pytest.mark.parametrize("cores", [np.array([0]), [np.int64(0)], (np.uint8(0),), range(1)], ids=repr)
def test_cores_of_numpy_are_cores(golden: Path, cores: Any) -> None:
    runtime = Runtime(golden, cores=cores)
    assert runtime._point.settings.cores == (0,)
    assert type(runtime._point.settings.cores[0]) is int
    assert runtime.inspect(good_frame(3)).score > 0


def test_probe_takes_arrays_in_the_order_that_the_bundle_declares(golden: Path, tmp_path: Path, engine: str) -> None:
    frame = bad_frame(3)
    wanted = Runtime(golden, engine=engine, threads=1, search="exact").probe(frame)
    rgb = Runtime(
        edited(golden, tmp_path / "rgb.bundle", frame={"color_order": "rgb"}),
        engine=engine,
        threads=1,
        search="exact",
        self_check=True,  # the golden probes are BGR whatever is declared
    )
    turned = np.ascontiguousarray(frame[:, :, ::-1])
    found = rgb.probe(turned)
    assert found.score == wanted.score == rgb.inspect(turned).score
    np.testing.assert_array_equal(found.patches, wanted.patches)
    np.testing.assert_array_equal(found.anomaly_map, wanted.anomaly_map)


@pytest.mark.parametrize("frames", ["a.png", Path("a.png"), None, 3], ids=repr)
def test_one_path_is_not_several_frames(runtime: Runtime, frames: Any) -> None:
    with pytest.raises(FrameError, match="several frames"):
        runtime.inspect_many(frames)
