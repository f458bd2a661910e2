"""The runtime, from the golden bundles: what a frame may be, what a verdict says, what options and threads do.

Over 400 lines: one list of frames and options, served or refused.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import math
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_ad import (
    BundleCorruptError,
    BundleNotFoundError,
    EdgeADError,
    EngineError,
    EngineUnavailableError,
    FrameError,
    ParityError,
    Runtime,
    SpecError,
    Verdict,
)
from edge_ad.bundle.file import Bundle
from edge_ad.engines import installed_engines
from edge_ad.native import reference
from edge_ad.spec import MIN_FRAME_SIDE
from tests.edited import edited
from tests.tiny import bad_frame, good_frame

DATA = Path(__file__).parent / "data"
STAGES = ("read", "crop", "engine", "head", "total")


@pytest.fixture(scope="module")
def runtime(golden: Path) -> Runtime:
    return Runtime(golden, threads=2)


@pytest.fixture(scope="module")
def roi(golden_roi: Path) -> Runtime:
    return Runtime(golden_roi, threads=2)


@pytest.fixture(scope="module")
def deep(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """Of a bundle that accepts 12-bit frames in u16."""
    out = tmp_path_factory.mktemp("deep") / "deep.bundle"
    return Runtime(edited(golden, out, frame={"bit_depth": 16, "white_level": 4095}), threads=1)


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


# -------------------------------------------------------------------------------------------------- frames


def test_grey_is_the_same_as_three_equal_channels(runtime: Runtime) -> None:
    grey = bad_frame(1)[:, :, 1].copy()
    expected = runtime.inspect(np.stack([grey] * 3, axis=2))
    for frame in (grey, grey[:, :, None]):
        verdict = runtime.inspect(frame)
        assert verdict.score == expected.score
        assert verdict.anomaly_map.shape == grey.shape
        np.testing.assert_array_equal(verdict.anomaly_map, expected.anomaly_map)


def views(frame: np.ndarray) -> dict[str, np.ndarray]:
    """The same pixels in every memory layout that NumPy has."""
    height, width = frame.shape[:2]
    strided = np.zeros((2 * height, 3 * width, 3), np.uint8)
    strided[::2, ::3] = frame
    wide = np.zeros((height, width, 4), np.uint8)
    wide[..., :3] = frame
    unaligned = np.zeros(frame.size + 1, np.uint8)[1:].reshape(frame.shape)
    unaligned[:] = frame
    read_only = frame.copy()
    read_only.flags.writeable = False
    return {
        "fortran": np.asfortranarray(frame),
        "transposed": np.ascontiguousarray(frame.transpose(1, 0, 2)).transpose(1, 0, 2),
        "channels first": np.ascontiguousarray(frame.transpose(2, 0, 1)).transpose(1, 2, 0),
        "rows reversed": np.ascontiguousarray(frame[::-1])[::-1],
        "columns reversed": np.ascontiguousarray(frame[:, ::-1])[:, ::-1],
        "channels reversed": np.ascontiguousarray(frame[:, :, ::-1])[:, :, ::-1],
        "all reversed": np.ascontiguousarray(frame[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
        "strided": strided[::2, ::3],
        "without alpha": wide[..., :3],
        "unaligned": unaligned,
        "read-only": read_only,
        "from bytes": np.frombuffer(frame.tobytes(), np.uint8).reshape(frame.shape),
    }


@pytest.mark.parametrize("size", [64, 90, 40])
@pytest.mark.parametrize("layout", list(views(np.zeros((16, 16, 3), np.uint8))))
def test_memory_layout_does_not_matter(runtime: Runtime, roi: Runtime, layout: str, size: int) -> None:
    frame = bad_frame(5, size)
    view = views(frame)[layout]
    before = view.copy()
    for each in (runtime, roi):
        expected, verdict = each.inspect(frame), each.inspect(view)
        assert verdict.score == expected.score
        np.testing.assert_array_equal(verdict.anomaly_map, expected.anomaly_map)
        np.testing.assert_array_equal(verdict.overlay(view), expected.overlay(frame))
    np.testing.assert_array_equal(view, before)  # the frame is the caller's


@pytest.mark.parametrize("layout", ["plain", "rows reversed", "columns reversed", "transposed", "strided"])
def test_memory_layout_of_deep_grey_frames(deep: Runtime, layout: str) -> None:
    frame = bad_frame(6, 80)[:, :, 0].astype(np.uint16) * 16
    view = {
        "plain": frame.copy(),
        "rows reversed": frame[::-1].copy()[::-1],
        "columns reversed": frame[:, ::-1].copy()[:, ::-1],
        "transposed": frame.T.copy().T,
        "strided": np.repeat(frame, 2, axis=1)[:, ::2],
    }[layout]
    expected = deep.inspect(frame)
    assert deep.inspect(view).score == expected.score
    np.testing.assert_array_equal(deep.inspect(view).overlay(view), expected.overlay(frame))


def test_u16_frames_are_divided_by_the_white_level(deep: Runtime, runtime: Runtime) -> None:
    frame = bad_frame(7)
    wide = np.rint(frame * (4095 / 255)).astype(np.uint16)
    assert deep.inspect(wide).score == pytest.approx(runtime.inspect(frame).score, rel=1e-3)
    assert deep.inspect(frame).score == runtime.inspect(frame).score  # u8 is accepted beside u16
    grey = wide[:, :, 0]
    assert deep.inspect(grey).score == deep.inspect(grey[:, :, None]).score
    above = np.full((64, 64), 60000, np.uint16)  # brighter than white is white
    assert deep.inspect(above).score == deep.inspect(np.full((64, 64), 255, np.uint8)).score


def test_a_dark_frame_is_not_guessed_to_be_something_else(runtime: Runtime, deep: Runtime) -> None:
    dark = np.random.default_rng(0).integers(0, 2, (64, 64, 3), np.uint8)  # 0 and 1: a mask? a float image?
    assert runtime.inspect(dark).is_anomalous
    assert runtime.inspect(dark).score == pytest.approx(runtime.inspect(np.zeros_like(dark)).score, rel=0.05)
    faint = np.full((64, 64), 255, np.uint16)  # of 4095: dark, though it would be white in 8 bits
    assert deep.inspect(faint).score == pytest.approx(deep.inspect(np.full((64, 64), 16, np.uint8)).score, rel=1e-6)


def test_colour_order_is_declared(golden: Path, tmp_path: Path) -> None:
    bgr = Runtime(golden)
    rgb = Runtime(edited(golden, tmp_path / "rgb.bundle", frame={"color_order": "rgb"}))
    frame = bad_frame(8)
    path = tmp_path / "frame.png"
    cv2.imwrite(str(path), frame)
    score = bgr.inspect(frame).score
    assert rgb.inspect(frame[:, :, ::-1]).score == score
    assert rgb.inspect(np.ascontiguousarray(frame[:, :, ::-1])).score == score
    assert rgb.inspect(frame).score != score
    assert rgb.inspect(path).score == score  # files say themselves what they are
    verdict = rgb.inspect(path)
    np.testing.assert_array_equal(verdict.overlay(path), verdict.overlay(frame[:, :, ::-1]))
    assert rgb.check()  # probes are BGR whatever is declared


BAD_FRAMES: dict[str, tuple[object, str]] = {
    "none": (None, "NoneType"),
    "list": ([[0] * 64] * 64, "list"),
    "bytes": (b"\0" * 4096, "bytes"),
    "int": (3, "int"),
    "float": (np.zeros((64, 64, 3), np.float32), "float32"),
    "float with NaN": (np.full((64, 64, 3), np.nan), "float64"),
    "bool": (np.zeros((64, 64), np.bool_), "bool"),
    "int64": (np.zeros((64, 64, 3), np.int64), "int64"),
    "i8": (np.zeros((64, 64, 3), np.int8), "int8"),
    "u16 without a declaration": (np.zeros((64, 64), np.uint16), "uint16"),
    "big-endian u16": (np.zeros((64, 64), ">u2"), "uint16|>u2"),
    "object": (np.full((64, 64), None), "object"),
    "text": (np.full((64, 64), "x"), "U1"),
    "two channels": (np.zeros((64, 64, 2), np.uint8), "2"),
    "alpha": (np.zeros((64, 64, 4), np.uint8), "alpha"),
    "channels first": (np.zeros((3, 64, 64), np.uint8), "shape"),
    "batch": (np.zeros((1, 64, 64, 3), np.uint8), "batch"),
    "line": (np.zeros(64, np.uint8), "shape"),
    "scalar": (np.uint8(3), "uint8"),
    "no dimensions": (np.array(3, np.uint8), "shape"),
    "empty": (np.zeros((0, 0, 3), np.uint8), "0"),
    "no rows": (np.zeros((0, 64), np.uint8), "0"),
    "no channels": (np.zeros((64, 64, 0), np.uint8), "0"),
    "1x1": (np.zeros((1, 1, 3), np.uint8), "1, 1"),
    "too small": (np.zeros((MIN_FRAME_SIDE - 1, 64), np.uint8), "15"),
    "20000x20000": (np.broadcast_to(np.uint8(0), (20000, 20000, 3)), "20000"),
    "huge": (np.broadcast_to(np.uint8(0), (2**40, 2**20, 3)), "1099511627776"),
    "no such file": ("there/is/no/such.png", "No such file"),
    "folder": (Path("."), "directory"),
    "NUL in the path": ("a\0b.png", "null"),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_bad_frames_are_refused(runtime: Runtime, case: str) -> None:
    frame, says = BAD_FRAMES[case]
    with pytest.raises(FrameError, match=f"(?i){says}") as caught:
        runtime.inspect(frame)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 400
    assert caught.value.expected


def test_a_typo_in_a_path_names_it(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(FrameError, match=r"frame_01\.pgn"):
        runtime.inspect(tmp_path / "frame_01.pgn")


def test_files(runtime: Runtime, tmp_path: Path) -> None:
    frame = bad_frame(9)
    whole = tmp_path / "frame.png"
    cv2.imwrite(str(whole), frame)
    assert runtime.inspect(whole).score == runtime.inspect(str(whole)).score == runtime.inspect(frame).score
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(FrameError, match=r"cut\.png"):
        runtime.inspect(cut)
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(FrameError, match=r"text\.png"):
        runtime.inspect(text)
    wide = tmp_path / "wide.png"
    cv2.imwrite(str(wide), frame.astype(np.uint16) * 257)
    with pytest.raises(FrameError, match="uint16"):
        runtime.inspect(wide)


@pytest.mark.parametrize("size", [(64, 64), (100, 80), (33, 47), (16, 16), (16, 900), (480, 640)])
def test_the_map_comes_in_the_pixels_of_the_frame(runtime: Runtime, roi: Runtime, size: tuple[int, int]) -> None:
    frame = cv2.resize(bad_frame(10), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    for each in (runtime, roi):
        verdict = each.inspect(frame)
        assert verdict.anomaly_map.shape == verdict.mask.shape == size
        assert np.isfinite(verdict.anomaly_map).all()
        assert verdict.overlay(frame).shape == (*size, 3)
        for region in verdict.regions:
            assert 0 <= region.box[0] < region.box[2] <= size[0]
            assert 0 <= region.box[1] < region.box[3] <= size[1]


def test_a_very_long_frame(runtime: Runtime) -> None:
    verdict = runtime.inspect(np.broadcast_to(np.uint8(128), (16, 100_000)))
    assert verdict.anomaly_map.shape == (16, 100_000)


def test_a_larger_frame_of_the_same_part_gives_about_the_same(runtime: Runtime) -> None:
    small, large = bad_frame(11, 64), cv2.resize(bad_frame(11, 64), (256, 256), interpolation=cv2.INTER_NEAREST)
    a, b = runtime.inspect(small), runtime.inspect(large)
    assert b.score == pytest.approx(a.score, rel=1e-5)  # area averages of equal pixels are those pixels
    y, x = np.unravel_index(b.anomaly_map.argmax(), b.anomaly_map.shape)
    y_small, x_small = np.unravel_index(a.anomaly_map.argmax(), a.anomaly_map.shape)
    assert abs(y / 4 - y_small) <= 1.5
    assert abs(x / 4 - x_small) <= 1.5


def test_the_frame_may_change_after_it_was_given(runtime: Runtime) -> None:
    """A camera reuses its buffer: what was prepared must not."""
    buffer = np.empty((64, 64, 3), np.uint8)

    def camera() -> Iterator[np.ndarray]:
        for seed in range(6):
            buffer[:] = bad_frame(100 + seed)
            yield buffer

    scores = [verdict.score for verdict in runtime.inspect_many(camera())]
    assert scores == [runtime.inspect(bad_frame(100 + seed)).score for seed in range(6)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.lists(st.integers(0, 40), min_size=0, max_size=4).map(tuple),
    dtype=st.sampled_from(["u1", "u2", ">u2", "i2", "f4", "f8", "c8", "O", "M8[s]", "S3", "?"]),
)
def test_any_array_gives_a_verdict_or_a_frame_error(runtime: Runtime, shape: tuple[int, ...], dtype: str) -> None:
    frame = np.zeros(shape, dtype)
    fits = dtype == "u1" and len(shape) in (2, 3) and shape[2:] in ((), (1,), (3,)) and min(shape[:2]) >= 16
    if fits:
        assert math.isfinite(runtime.inspect(frame).score)
    else:
        with pytest.raises(FrameError):
            runtime.inspect(frame)


# ------------------------------------------------------------------------------------- region of interest


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_pixels_outside_the_region_change_nothing(roi: Runtime, seed: int) -> None:
    y0, x0, y1, x1 = roi.manifest.roi.box  # type: ignore[union-attr]
    frame = bad_frame(12)
    other = np.random.default_rng(seed).integers(0, 256, frame.shape, np.uint8)
    other[y0:y1, x0:x1] = frame[y0:y1, x0:x1]
    a, b = roi.inspect(frame), roi.inspect(other)
    assert a.score == b.score
    np.testing.assert_array_equal(a.anomaly_map, b.anomaly_map)
    assert a.regions == b.regions


@pytest.mark.parametrize("scale", [1, 2, 3, 5])
def test_the_map_is_zero_outside_the_region(roi: Runtime, scale: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (64 * scale, 64 * scale, 3), np.uint8)
    y0, x0, y1, x1 = (scale * side for side in roi.manifest.roi.box)  # type: ignore[union-attr]
    verdict = roi.inspect(frame)
    inside = np.zeros(frame.shape[:2], np.bool_)
    inside[y0:y1, x0:x1] = True
    assert verdict.anomaly_map[inside].max() > 0
    assert verdict.anomaly_map[~inside].max() == 0
    assert not verdict.mask[~inside].any()


def test_the_region_makes_the_tensor_smaller(roi: Runtime, runtime: Runtime) -> None:
    assert roi.manifest.backbone.tensor_size == (32, 32) < runtime.manifest.backbone.tensor_size
    assert len(roi.probe(good_frame(0)).distances) < math.prod(roi.manifest.backbone.grid)


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
    inner = runtime._point.engine

    class Spy:
        name, version, precision = inner.name, inner.version, inner.precision

        def __call__(self, tensor: np.ndarray) -> np.ndarray:
            seen.append(os.sched_getaffinity(0))
            return inner(tensor)

    monkeypatch.setattr(runtime._point, "engine", Spy())
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

    monkeypatch.setattr(runtime._point, "engine", Broken())
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


def test_not_an_iterable(runtime: Runtime) -> None:
    with pytest.raises(TypeError):
        next(runtime.inspect_many(3))  # type: ignore[arg-type]


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


# --------------------------------------------------------------------------------------------- fail closed


class FakeEngine:
    name, version, precision = "fake", "0", "f32"

    def __init__(self, patches: np.ndarray) -> None:
        self.patches = patches

    def __call__(self, tensor: np.ndarray) -> np.ndarray:
        return self.patches.copy()


@pytest.mark.parametrize("search", ["exact", "graph"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("many", [False, True])
def test_nan_is_never_a_verdict(
    golden: Path, monkeypatch: pytest.MonkeyPatch, search: str, value: float, many: bool
) -> None:
    runtime = Runtime(golden, search=search, threads=1)  # type: ignore[arg-type]
    patches = runtime.probe(good_frame(0)).patches
    for place in ((0, 0), (100, 5), (255, 23)):
        broken = patches.copy()
        broken[place] = value
        monkeypatch.setattr(runtime._point, "engine", FakeEngine(broken))
        with pytest.raises(EngineError, match="NaN or Inf"):
            list(runtime.inspect_many([good_frame(0)])) if many else runtime.inspect(good_frame(0))
        with pytest.raises(ParityError):
            runtime.check()


def test_nan_outside_the_region_is_not_looked_at(
    roi: Runtime, golden_roi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patches = roi.probe(good_frame(0)).patches
    score = roi.inspect(good_frame(0)).score
    outside = ~np.array(Bundle.open(golden_roi).array("roi/patch_mask"), bool).ravel()
    assert outside.any()
    patches[outside] = np.nan
    monkeypatch.setattr(roi._point, "engine", FakeEngine(patches))
    assert roi.inspect(good_frame(0)).score == score


@pytest.mark.parametrize("shape", [(255, 24), (257, 24), (256, 23), (0, 24), (16, 16, 24), (256,)])
def test_an_engine_with_other_patches_is_refused(
    golden: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    runtime = Runtime(golden, threads=1)
    monkeypatch.setattr(runtime._point, "engine", FakeEngine(np.zeros(shape, np.float32)))
    with pytest.raises(EdgeADError, match="patches"):
        runtime.inspect(good_frame(0))


def test_float64_patches_are_refused(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(golden, threads=1)
    monkeypatch.setattr(runtime._point, "engine", FakeEngine(np.zeros((256, 24))))
    with pytest.raises(EdgeADError, match="float64"):
        runtime.inspect(good_frame(0))


def with_nan(array: np.ndarray) -> np.ndarray:
    array = np.array(array)
    array.flat[array.size // 2] = np.nan
    return array


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_coreset_with_nan_is_refused(golden: Path, tmp_path: Path, value: float) -> None:
    coreset = np.array(Bundle.open(golden).array("coreset"))
    coreset[7, 3] = value
    with pytest.raises(BundleCorruptError, match="coreset"):
        Runtime(edited(golden, tmp_path / "nan.bundle", {"coreset": coreset}))


@pytest.mark.parametrize("member", ["patches", "distances", "maps", "scores"])
def test_probes_that_hold_nan_prove_nothing(golden: Path, tmp_path: Path, member: str) -> None:
    name = f"probes/{member}"
    array = with_nan(Bundle.open(golden).array(name))
    runtime = Runtime(edited(golden, tmp_path / "nan.bundle", {name: array}))
    with pytest.raises(ParityError):
        runtime.check()


def test_altered_probes_are_found(golden: Path, tmp_path: Path, engine: str) -> None:
    scores = np.array(Bundle.open(golden).array("probes/scores"))
    path = edited(golden, tmp_path / "altered.bundle", {"probes/scores": scores * np.float32(1.01)})
    Runtime(path, engine=engine)  # type: ignore[arg-type]  # opens: only the check tells
    with pytest.raises(ParityError, match="score") as caught:
        Runtime(path, engine=engine, self_check=True)
    assert engine in str(caught.value)


HOSTILE: dict[str, dict[str, object]] = {
    "rows of floats": {"probes/rows": np.zeros(64, np.float32)},
    "rows outside": {"probes/rows": np.full(64, 256, np.int32)},
    "negative rows": {"probes/rows": np.full(64, -1, np.int32)},
    "frames of floats": {"probes/frames": np.zeros((3, 64, 64, 3), np.float32)},
    "frames of another size": {"probes/frames": np.zeros((3, 32, 64, 3), np.uint8)},
    "no frames": {"probes/frames": None},
    "no maps": {"probes/maps": None},
    "patches of another length": {"probes/patches": np.zeros((3, 64, 23), np.float32)},
    "coreset of another shape": {"coreset": np.zeros((307, 25), np.float32)},
    "coreset of integers": {"coreset": np.zeros((307, 24), np.int32)},
    "coreset as bytes": {"coreset": b"\0" * 307 * 24 * 4},
    "no coreset": {"coreset": None},
    "no graph": {"graph/links0": None},
    "links outside": {"graph/links0": np.full((307, 32), 1000, np.int32)},
    "levels too high": {"graph/levels": np.full(307, 255, np.uint8)},
    "no models": {"model.onnx": None, "model.xml": None, "model.bin": None},
    "IR without weights": {"model.bin": None},
    "broken models": {"model.onnx": b"garbage", "model.xml": b"<garbage", "model.bin": b""},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_bundles_that_do_not_fit_together(golden: Path, tmp_path: Path, case: str) -> None:
    path = edited(golden, tmp_path / "hostile.bundle", HOSTILE[case])
    with pytest.raises(EdgeADError):
        Runtime(path, search="graph", self_check=True)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("roi/mask", np.zeros((3, 3), np.uint8)),
        ("roi/patch_mask", np.zeros((3, 3), np.uint8)),
        ("roi/patch_mask", None),
        ("roi/mask", None),
        ("roi/patch_mask", "empty"),
    ],
)
def test_masks_that_do_not_fit(golden_roi: Path, tmp_path: Path, member: str, value: object) -> None:
    if isinstance(value, str):
        value = np.zeros_like(Bundle.open(golden_roi).array(member))
    with pytest.raises(BundleCorruptError):
        Runtime(edited(golden_roi, tmp_path / "hostile.bundle", {member: value}))


def test_ir_only_needs_openvino(golden: Path, tmp_path: Path) -> None:
    path = edited(golden, tmp_path / "ir.bundle", {"model.onnx": None})
    if "openvino" in installed_engines():
        assert Runtime(path).engine == "openvino"
    else:
        with pytest.raises(EngineUnavailableError, match=r"pip install 'edge-ad\[openvino\]'"):
            Runtime(path)
    with pytest.raises(EngineUnavailableError, match="openvino"):
        Runtime(path, engine="onnxruntime")


# --------------------------------------------------------------------------------- what a verdict can tell


def make_verdict(score: float, amap: np.ndarray, threshold: float = 1.0, pixel_threshold: float = 1.0) -> Verdict:
    return Verdict(
        score=score,
        threshold=threshold,
        pixel_threshold=pixel_threshold,
        timings={"total": 1.0},
        deadline_met=None,
        point="f32",
        engine="e",
        precision="f32",
        search="exact",
        bundle="b",
        _render=lambda: amap,
        _to_bgr=lambda frame: np.array(frame),
    )


def test_is_anomalous_at_the_edges() -> None:
    amap = np.zeros((4, 4), np.float32)
    assert make_verdict(1.0, amap).is_anomalous
    assert not make_verdict(math.nextafter(1.0, 0), amap).is_anomalous
    assert make_verdict(math.nan, amap).is_anomalous
    assert make_verdict(math.inf, amap).is_anomalous


def test_regions() -> None:
    amap = np.zeros((20, 30), np.float32)
    amap[2:5, 3:7] = 1.5
    amap[3, 5] = 2.0
    amap[10:12, 20:30] = 1.0
    amap[12, 19] = 3.0  # touches by a corner: one region
    verdict = make_verdict(3.0, amap)
    assert verdict.mask.sum() == 12 + 20 + 1
    first, second = verdict.regions
    assert (first.box, first.area, first.peak, first.peak_at) == ((10, 19, 13, 30), 21, 3.0, (12, 19))
    assert (second.box, second.area, second.peak, second.peak_at) == ((2, 3, 5, 7), 12, 2.0, (3, 5))
    assert second.centroid == (3.0, 4.5)
    good = make_verdict(0.5, amap)
    assert good.regions == ()
    assert not good.mask.any()


def test_an_anomalous_frame_always_shows_where() -> None:
    amap = np.full((16, 16), 0.1, np.float32)
    amap[5, 6] = 0.5  # below the pixel threshold: the smoothing took the rest
    verdict = make_verdict(2.0, amap)
    assert [region.box for region in verdict.regions] == [(5, 6, 6, 7)]


def test_to_dict_is_json(runtime: Runtime) -> None:
    verdict = runtime.inspect(bad_frame(2001))
    again = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert again == verdict.to_dict()
    assert again["score"] == verdict.score
    assert again["is_anomalous"] is True
    assert again["regions"][0]["box"] == list(verdict.regions[0].box)
    assert set(again["timings_ms"]) == set(STAGES)
    assert again["bundle"] == runtime.bundle_id
    again["timings_ms"]["total"] = verdict.to_dict()["timings_ms"]["total"] = -1
    assert verdict.timings["total"] >= 0  # the dict is the caller's


def test_overlay_pixels() -> None:
    frame = np.full((128, 128, 3), 100, np.uint8)
    amap = np.zeros((128, 128), np.float32)
    amap[60:90, 40:80] = 2.0
    picture = make_verdict(2.0, amap).overlay(frame)
    assert (picture.shape, picture.dtype) == ((128, 128, 3), np.uint8)
    assert (picture[120, 10] == 100).all()  # cold: the frame itself
    assert tuple(picture[60, 60]) == (0, 0, 255)  # outline, red in BGR
    assert np.abs(picture[75, 60].astype(int) - 100).max() > 30  # hot
    assert picture[2, 2, 2] > picture[2, 2, 1]  # the caption of an anomalous frame is red
    good = make_verdict(0.1, np.zeros((128, 128), np.float32)).overlay(frame)
    assert good[2, 2, 1] > good[2, 2, 2]  # and of a good one green
    assert (frame == 100).all()


def test_overlay_of_frames_and_files(runtime: Runtime, deep: Runtime, tmp_path: Path) -> None:
    frame = bad_frame(2001)
    path = tmp_path / "frame.png"
    cv2.imwrite(str(path), frame)
    verdict = runtime.inspect(frame)
    np.testing.assert_array_equal(verdict.overlay(frame), verdict.overlay(path))
    wide = np.rint(frame * (4095 / 255)).astype(np.uint16)
    picture = deep.inspect(wide).overlay(wide)
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - verdict.overlay(frame).astype(int)).max() <= 3
    grey = frame[:, :, 0].copy()
    assert runtime.inspect(grey).overlay(grey).shape == (64, 64, 3)
    with pytest.raises(FrameError, match="another size"):
        verdict.overlay(frame[:32])
    with pytest.raises(FrameError):
        verdict.overlay(None)
    untouched = frame.copy()
    verdict.overlay(frame)
    np.testing.assert_array_equal(frame, untouched)


def test_verdicts_are_independent(runtime: Runtime) -> None:
    """Arrays given to callers are theirs: writing into one changes no other verdict."""
    first = runtime.inspect(bad_frame(20))
    expected = first.anomaly_map.copy()
    first.anomaly_map[:] = -1
    np.testing.assert_array_equal(runtime.inspect(bad_frame(20)).anomaly_map, expected)
    late = runtime.inspect(bad_frame(21))
    probe = runtime.inspect(bad_frame(21)).anomaly_map.copy()
    for seed in range(5):
        runtime.inspect(bad_frame(400 + seed))
    np.testing.assert_array_equal(late.anomaly_map, probe)  # computed late, of its own frame


@pytest.mark.parametrize("bundle", ["format-1", "format-1-roi"])
def test_verdicts_can_be_pickled(bundle: str) -> None:
    runtime = Runtime(DATA / f"{bundle}.bundle")
    frame = bad_frame(2001)
    verdict = runtime.inspect(frame)
    data = pickle.dumps(verdict)
    assert len(data) < 50_000  # and the bundle is not in it
    again = pickle.loads(data)
    assert again.score == verdict.score
    np.testing.assert_array_equal(again.anomaly_map, verdict.anomaly_map)
    np.testing.assert_array_equal(again.overlay(frame), verdict.overlay(frame))


def test_a_verdict_outlives_its_runtime(golden_roi: Path) -> None:
    runtime = Runtime(golden_roi)
    verdict = runtime.inspect(bad_frame(2001))
    expected = runtime.inspect(bad_frame(2001)).anomaly_map
    del runtime
    gc.collect()
    np.testing.assert_array_equal(verdict.anomaly_map, expected)


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
