"""Two input sizes joined: the answers are those of two bundles with one size each, joined by hand."""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_ad import BundleCorruptError, EngineError, EngineUnavailableError, ParityError, Runtime, SpecError
from edge_ad.bundle.file import Bundle
from edge_ad.cli import main
from edge_ad.engines import installed_engines
from edge_ad.heads.centroid import CentroidSpec
from edge_ad.spec import CalibrationSpec
from tests.calibrating import calibrated, calibration
from tests.edited import edited, pointed
from tests.joined import FACTOR, joined, without_second, zoomed
from tests.serving.tuned import ANYTHING, saved, tuning_world
from tests.slow import World
from tests.tiny import bad_frame, good_frame

Bundles = tuple[Path, Path, Path]


@pytest.fixture(scope="module")
def bundles(golden: Path, golden_roi: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Joined; and the first and the second size, each in a bundle of its own."""
    folder = tmp_path_factory.mktemp("joined")
    second = zoomed(golden_roi, folder / "second.bundle")
    return joined(golden, second, folder / "joined.bundle"), golden, second


def changed(bundles: Bundles, folder: Path, **fields: Any) -> Bundles:
    first, second, third = (edited(path, folder / f"{i}.bundle", **fields) for i, path in enumerate(bundles))
    return first, second, third


def frames() -> list[np.ndarray]:
    """Of either verdict, of several sizes; in some the first size has the larger score, in others the second."""
    found = [good_frame(5), bad_frame(5), bad_frame(6, size=200), cv2.resize(bad_frame(7), (90, 130))]
    corner = good_frame(8)
    corner[:9, :9] = 255  # outside what the second size sees
    return [*found, corner]


def agree(bundles: Bundles, pictures: list[np.ndarray], **options: Any) -> list[bool]:
    """Compares to the bit; returns for each frame whether the second size had the larger score."""
    whole, first, second = (Runtime(path, **options) for path in bundles)
    taken = []
    for frame in pictures:
        verdict, a, b = whole.inspect(frame), first.inspect(frame), second.inspect(frame)
        assert verdict.score == max(a.score, FACTOR * b.score)
        assert verdict.anomaly_map.shape == frame.shape[:2]
        assert verdict.anomaly_map.dtype == np.float32
        np.testing.assert_array_equal(
            verdict.anomaly_map, np.maximum(a.anomaly_map, np.float32(FACTOR) * b.anomaly_map)
        )
        assert (verdict.threshold, verdict.pixel_threshold) == (a.threshold, a.pixel_threshold)
        taken.append(FACTOR * b.score > a.score)
    return taken


# ----------------------------------------------------------------------------------------------- score and map


@pytest.mark.parametrize("search", ["exact", "graph"])
def test_score_and_map_are_those_of_two_bundles_joined(bundles: Bundles, engine: str, search: str) -> None:
    assert set(agree(bundles, frames(), engine=engine, search=search, threads=2)) == {False, True}


def grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({}, grey),
        ({"color_order": "rgb"}, lambda frame: np.ascontiguousarray(frame[..., ::-1])),
        ({"bit_depth": 16, "white_level": 4095}, lambda frame: grey(frame).astype(np.uint16) * 16),
    ],
    ids=["grey", "rgb", "16 bit"],
)
def test_every_form_of_frame(
    bundles: Bundles, tmp_path: Path, fields: dict[str, Any], form: Callable[[np.ndarray], np.ndarray]
) -> None:
    agree(changed(bundles, tmp_path, frame=fields), [form(frame) for frame in frames()], threads=1)


def test_files_and_many_frames(bundles: Bundles, tmp_path: Path) -> None:
    paths = []
    for i, frame in enumerate(frames()):
        paths.append(tmp_path / f"{i}.png")
        assert cv2.imwrite(str(paths[-1]), frame)
    runtime = Runtime(bundles[0], threads=1)
    wanted = [runtime.inspect(frame).score for frame in frames()]
    assert [verdict.score for verdict in runtime.inspect_many(paths)] == wanted
    assert runtime.stats().frames == 2 * len(wanted)


def test_scores_and_peaks_are_joined(bundles: Bundles) -> None:
    whole, first, second = (list(Runtime(path, threads=1).scores_and_peaks(frames())) for path in bundles)
    for (score, peak), (score_1, peak_1), (score_2, peak_2) in zip(whole, first, second, strict=True):
        assert peak_1 is not None
        assert peak_2 is not None
        assert (score, peak) == (max(score_1, FACTOR * score_2), max(peak_1, FACTOR * peak_2))


def test_the_threshold_decides_over_the_joined_score(bundles: Bundles) -> None:
    score = Runtime(bundles[0], threads=1).inspect(bad_frame(5)).score
    assert Runtime(bundles[0], threads=1, threshold=score).inspect(bad_frame(5)).is_anomalous
    assert not Runtime(bundles[0], threads=1, threshold=math.nextafter(score, 9)).inspect(bad_frame(5)).is_anomalous


def test_a_method_without_a_map_has_none(bundles: Bundles, tmp_path: Path) -> None:
    centre = np.zeros(24, np.float32)
    centre[0] = 1
    parts = [tmp_path / "a.bundle", tmp_path / "b.bundle"]
    for source, out in zip(bundles[1:], parts, strict=True):
        own = {"pixel_threshold": None, "good_peaks": ()}
        edited(source, out, {"centroid": centre}, head=CentroidSpec("centroid"), index=None, calibration=own)
    runtime = Runtime(joined(*parts, tmp_path / "j.bundle"), threads=1)
    first, second = (Runtime(path, threads=1).inspect(bad_frame(5)).score for path in parts)
    verdict = runtime.inspect(bad_frame(5))
    assert verdict.score == max(first, FACTOR * second)
    assert not verdict.has_map
    assert verdict.regions == ()
    assert list(runtime.scores_and_peaks([bad_frame(5)])) == [(verdict.score, None)]


# ------------------------------------------------------------------------------------------------- one point


def test_stages_have_their_names_and_sums(bundles: Bundles) -> None:
    verdict = Runtime(bundles[0], threads=1).inspect(bad_frame(5))
    assert list(verdict.timings) == ["read", "crop", "engine", "head", "total"]
    assert verdict.timings["total"] == sum(ms for stage, ms in verdict.timings.items() if stage != "total")


def test_times_are_summed_over_the_sizes(bundles: Bundles, monkeypatch: pytest.MonkeyPatch) -> None:
    world = slow(monkeypatch)
    world.milliseconds["backbone.onnx"], world.factor = 20.0, lambda engine, settings: 1.0
    verdict = Runtime(bundles[0], threads=1).inspect(bad_frame(5))
    assert verdict.timings["engine"] == pytest.approx(40)
    assert verdict.latency_ms == pytest.approx(40)


def test_what_is_said_of_the_point(bundles: Bundles, engine: str) -> None:
    for search in ("exact", "graph"):
        runtime = Runtime(bundles[0], engine=engine, search=search, threads=1)  # type: ignore[arg-type]
        assert (runtime.point, runtime.engine, runtime.search, runtime.precision) == ("f32", engine, search, "f32")


def test_graph_search_needs_a_graph_at_both_sizes(bundles: Bundles, tmp_path: Path) -> None:
    second = edited(bundles[2], tmp_path / "second.bundle", index={"graph": None})
    path = joined(bundles[1], second, tmp_path / "j.bundle")
    with pytest.raises(SpecError, match="no graph"):
        Runtime(path, search="graph")
    assert Runtime(path, threads=1).search == "exact"


@pytest.mark.parametrize("protocol", [2, 5])
def test_it_pickles(bundles: Bundles, protocol: int) -> None:
    frame = bad_frame(6, size=300)
    runtime = Runtime(bundles[0], threads=1)
    verdict = runtime.inspect(frame)
    text = pickle.dumps(verdict, protocol)
    assert len(text) < 10_000  # distances of both sizes, and no map
    found = pickle.loads(text)
    np.testing.assert_array_equal(found.anomaly_map, verdict.anomaly_map)
    assert found.to_dict() == verdict.to_dict()
    np.testing.assert_array_equal(found.overlay(frame), verdict.overlay(frame))
    assert pickle.loads(pickle.dumps(runtime, protocol)).inspect(frame).score == verdict.score


@pytest.mark.parametrize("size", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_size_that_gives_no_number_gives_no_verdict(
    bundles: Bundles, monkeypatch: pytest.MonkeyPatch, size: int, value: float
) -> None:
    runtime = Runtime(bundles[0], threads=1)
    sight = runtime._point.sights[size]
    patches = np.array(sight.engine(sight.crop(good_frame(1))))
    patches[3, 4] = value

    class Broken:
        name, version, precision = "broken", "0", "f32"

        def __call__(self, tensor: np.ndarray) -> np.ndarray:
            return patches.copy()

    monkeypatch.setattr(sight, "engine", Broken())
    with pytest.raises(EngineError, match="NaN or Inf"):
        runtime.inspect(good_frame(1))
    with pytest.raises(EngineError, match="NaN or Inf"):
        list(runtime.scores_and_peaks([good_frame(1)]))


# ------------------------------------------------------------------------------------------------- the bundle


@pytest.mark.parametrize(
    ("names", "error", "says"),
    [
        (["coreset"], BundleCorruptError, "has no member coreset"),
        (["model.onnx"], EngineUnavailableError, "without a model"),
    ],
    ids=["coreset", "model"],
)
def test_a_second_size_without_its_members(
    bundles: Bundles, tmp_path: Path, names: list[str], error: type[Exception], says: str
) -> None:
    path = without_second(bundles[0], tmp_path / "x.bundle", *names)
    with pytest.raises(error, match=says):
        Runtime(path, engine="auto" if error is BundleCorruptError else installed_engines()[0])


def test_members_of_a_wrong_shape(bundles: Bundles, tmp_path: Path) -> None:
    path = edited(bundles[0], tmp_path / "x.bundle", {"second/coreset": np.zeros((59, 23), np.float32)})
    with pytest.raises(BundleCorruptError, match="coreset has another shape"):
        Runtime(path)
    with Bundle.open(bundles[0]) as bundle:
        model = bytes(bundle.blob("model.onnx"))  # of the first size: another tensor, or another grid
    path = edited(bundles[0], tmp_path / "y.bundle", {"second/model.onnx": model})
    with pytest.raises((BundleCorruptError, EngineError)):
        Runtime(path).inspect(good_frame(1))


def test_masks_of_the_second_size_must_fit_it(golden_roi: Path, tmp_path: Path) -> None:
    path = joined(golden_roi, golden_roi, tmp_path / "j.bundle")
    assert Runtime(path, threads=1).inspect(bad_frame(5)).score > 0
    whole = edited(path, tmp_path / "x.bundle", {"second/roi/mask": np.full((64, 64), 255, np.uint8)})
    with pytest.raises(BundleCorruptError, match=r"roi/mask of .* does not fit the crop; expected \(32, 32\)"):
        Runtime(whole)


def test_only_what_both_sizes_have_as_a_model_is_run(bundles: Bundles) -> None:
    """The first size has IR and ONNX, the second ONNX alone: every engine runs ONNX."""
    for name in installed_engines():
        assert Runtime(bundles[0], engine=name, threads=1).engine == name


def test_points_share_models_and_masks_with_the_reference(bundles: Bundles, tmp_path: Path) -> None:
    path = pointed(bundles[0], tmp_path / "points.bundle", {"f32-64x64": "f32", "bf16": "bf16"})
    with Bundle.open(path) as bundle:
        (single, other), second = bundle.manifest.points, bundle.manifest.second
    points = (single, dataclasses.replace(other, backbone=single.backbone, second=second))
    gone = {f"points/bf16/second/{name}": None for name in ("model.onnx",)}
    path = edited(path, tmp_path / "shared.bundle", gone, points=points)
    with Bundle.open(path, points=["bf16"]) as bundle:
        first, again = bundle.at("bf16").sights()
        assert again.blob("model.onnx") == bundle.blob("second/model.onnx")
        assert first.blob("model.onnx") == bundle.blob("model.onnx")
        assert not any(name.startswith("second/") for name in again.payloads())
    with Bundle.open(path) as bundle:
        assert len(bundle.at("f32-64x64").sights()) == 1
    whole = Runtime(path, threads=1).inspect(bad_frame(5))
    assert Runtime(path, point="bf16", threads=1).inspect(bad_frame(5)).score == whole.score
    assert Runtime(path, point="f32-64x64", threads=1).inspect(bad_frame(5)).score <= whole.score


def test_golden_probes_find_a_fault_of_the_second_size(bundles: Bundles, tmp_path: Path) -> None:
    assert max(Runtime(bundles[0], threads=1).check().values()) < 1e-4
    with Bundle.open(bundles[0]) as bundle:
        coreset = np.array(bundle.array("second/coreset"))
    broken = edited(bundles[0], tmp_path / "broken.bundle", {"second/coreset": coreset + np.float32(1)})
    with pytest.raises(ParityError):
        Runtime(broken, threads=1, self_check=True)


# ------------------------------------------------------------------------------------------------- commands


def test_info(bundles: Bundles, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(bundles[0])]) == 0
    said = capsys.readouterr().out
    assert "64 x 64, joined: the larger score counts, the second one times 1.5" in said
    assert "64 x 64 of 64 x 64 and 32 x 32 of 64 x 64" in said
    assert "307 of 3,072 patches and 59 of 588 patches" in said
    assert main(["info", str(bundles[1])]) == 0
    assert "joined" not in capsys.readouterr().out


def test_calibrate(bundles: Bundles, category: Path, tmp_path: Path) -> None:
    """Scores are joined ones, and both sizes stay in the new bundle."""
    path = edited(bundles[0], tmp_path / "part.bundle")
    new = calibrated(path, "--data", category, "--threshold-rule", "sigma")
    found: CalibrationSpec = calibration(new)
    images = sorted((category / "test" / "good").iterdir())
    assert sorted(found.good_scores) == sorted(Runtime(path).inspect(image).score for image in images)
    peaks = [peak for _, peak in Runtime(path).scores_and_peaks(images)]
    assert sorted(found.good_peaks) == sorted(peaks)  # type: ignore[type-var]
    runtime = Runtime(new)
    assert runtime.threshold == found.threshold
    assert runtime.inspect(bad_frame(5)).score == Runtime(path).inspect(bad_frame(5)).score


# ---------------------------------------------------------------------------------------------- budget, tune


def slow(monkeypatch: pytest.MonkeyPatch) -> World:
    """The world of slow engines, where both sizes run by the same clock."""
    return tuning_world(monkeypatch)


def two_points(bundles: Bundles, folder: Path) -> Path:
    """A joined reference, whose sizes take 20 ms each, and the point "fast" with one size, of 4 ms."""
    path = pointed(bundles[0], folder / "points.bundle", {"fast": "f32"})
    with Bundle.open(path) as bundle:
        (point,), second = bundle.manifest.points, bundle.manifest.second
    assert second is not None
    point = dataclasses.replace(point, backbone=dataclasses.replace(point.backbone, name="fast"))
    second = dataclasses.replace(second, backbone=dataclasses.replace(second.backbone, name="f32"))
    return edited(path, path, points=(point,), second=second, backbone={"name": "f32"})


def test_a_budget_takes_the_single_size_where_two_are_too_slow(
    bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, world = two_points(bundles, tmp_path), slow(monkeypatch)
    world.factor = lambda engine, settings: 1.0
    assert Runtime(path, budget_ms=50, threads=1).points == ("f32", "fast")
    assert Runtime(path, budget_ms=30, threads=1).points == ("fast",)
    runtime = Runtime(path, budget_ms=50, threads=1)
    assert runtime.inspect(good_frame(1)).latency_ms == pytest.approx(40)
    world.load = 2.0
    names = [runtime.inspect(good_frame(1)).point for _ in range(8)]
    assert names[0] == "f32"
    assert names[-1] == "fast"


def test_tune_times_both_sizes(bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, world = two_points(bundles, tmp_path), slow(monkeypatch)
    monkeypatch.setenv("EDGE_AD_CACHE_DIR", str(tmp_path / "cache"))
    profile = saved(path, world)
    for name, milliseconds in (("f32", 40), ("fast", 4)):
        best = profile.best(name, ANYTHING)
        assert best is not None
        assert best.timing.p50_ms == pytest.approx(milliseconds / 8)
