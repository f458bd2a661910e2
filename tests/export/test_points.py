"""Operating points from images to verdicts: bf16, int8 and further input sizes beside the reference.

Over 400 lines: one list of exports, and of what leaves a point out.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import DatasetError, EngineUnavailableError, Runtime, SpecError  # noqa: E402
from edge_ad.bundle.file import Bundle  # noqa: E402
from edge_ad.cli import main  # noqa: E402
from edge_ad.engines import installed_engines  # noqa: E402
from edge_ad.metrics import binary_auroc  # noqa: E402
from edge_ad.spec import FidelitySpec  # noqa: E402
from edge_ad.system.cpu import Cpu, detect_cpu  # noqa: E402
from export.command_line import parse_options  # noqa: E402
from export.fidelity import measure_fidelity, rank_correlation, shortfall  # noqa: E402
from export.folds import folds  # noqa: E402
from export.make_point import choose_sample, without  # noqa: E402
from export.pipeline import export_bundle  # noqa: E402
from export.plan import (  # noqa: E402
    LEAST_IMAGES,
    Plan,
    plan_points,
)
from export.stages import Stages, at_point  # noqa: E402
from export.summary import Summary  # noqa: E402
from tests.tiny import SIZE, WITH_BACKBONE, bad_frame, good_frame, tiny_options, write_category  # noqa: E402

ROI = "20,18,46,44"
SMALL = (48, 64)
HAS_ORT = "onnxruntime" in installed_engines()
HAS_OPENVINO = "openvino" in installed_engines() and importlib.util.find_spec("nncf") is not None
Export = Callable[..., Summary]


@pytest.fixture(scope="module")
def export(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Exports the category with changed options; the same summary for the same options."""
    if not HAS_ORT:
        pytest.skip("needs ONNX Runtime")
    kept: dict[str, Summary] = {}

    def run(**changes: Any) -> Summary:
        key = repr(sorted(changes.items()))
        if key not in kept:
            out = tmp_path_factory.mktemp("points") / "part.bundle"
            kept[key] = export_bundle(tiny_options(parts, **{"to": "onnx", "out": out, **changes}))
        return kept[key]

    return run


def said(summary: Summary, name: str) -> list[str]:
    return [text for label, text in summary.lines if label == name]


def everything() -> dict[str, Any]:
    """Options for every point that the packages here can make."""
    if not HAS_OPENVINO:
        return {"to": "onnx", "points": ("f32", "int8"), "more_sizes": (SMALL,)}
    return {"to": "both", "points": ("f32", "bf16", "int8"), "more_sizes": (SMALL,)}


# ------------------------------------------------------------------------------------------------- what is asked


@pytest.mark.parametrize(
    ("to", "int8"),
    [
        ("onnx", ["int8-onnxruntime"]),
        ("openvino", ["int8-openvino"]),
        ("both", ["int8-openvino", "int8-onnxruntime"]),
    ],
)
def test_plans(tmp_path: Path, to: str, int8: list[str]) -> None:
    options = tiny_options(tmp_path, to=to, points=("int8", "bf16"), more_sizes=((48, 64), (32, 32)))
    plans = plan_points(options)
    first = ["f32", "bf16", *int8]
    assert [plan.name for plan in plans] == [*first, *(f"{n}-48x64" for n in first), *(f"{n}-32x32" for n in first)]
    assert {plan.name: plan.engine for plan in plans[: len(first)]} == {
        "f32": "any",
        "bf16": "openvino",
        **{name: name.removeprefix("int8-") for name in int8},
    }
    assert [plan.sizes for plan in plans[:: len(first)]] == [((SIZE, SIZE),), ((48, 64),), ((32, 32),)]
    assert len(plan_points(tiny_options(tmp_path))) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"points": ()},
        {"points": ("f16",)},
        {"points": ("int8", "int8")},
        {"points": ("f32", "")},
        {"max_drop": -0.1},
        {"max_drop": 1.1},
        {"max_drop": float("nan")},
        {"more_sizes": ((SIZE, SIZE),)},
        {"more_sizes": (SMALL, SMALL)},
        {"more_sizes": ((8, 64),)},
        {"more_sizes": ((64, 5000),)},
    ],
    ids=str,
)
def test_bad_options_are_refused_before_the_images_are_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as caught:
        export_bundle(tiny_options(tmp_path, category="/nowhere", to="onnx", **changes))
    assert caught.value.expected


def test_the_command_line() -> None:
    plain = parse_options(["part"])
    assert (plain.input_size, plain.more_sizes, plain.points, plain.max_drop) == (None, (), ("f32",), 0.005)
    several = parse_options(
        ["--input-size", "256", "--points", "f32, bf16,int8", "--max-drop", "0.01", "--input-size", "192,128", "part"]
    )
    assert (several.input_size, several.more_sizes) == ((256, 256), ((192, 128),))
    assert (several.points, several.max_drop) == (("f32", "bf16", "int8"), 0.01)


@pytest.mark.parametrize(
    ("missing", "to", "points", "command"),
    [
        ("nncf", "both", ("int8",), "edge-ad[int8]"),
        ("onnxruntime", "onnx", ("int8",), "edge-ad[onnx]"),
        ("openvino", "onnx", ("bf16",), "edge-ad[openvino]"),
    ],
)
def test_a_missing_package_is_an_error_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    to: str,
    points: tuple[str, ...],
    command: str,
) -> None:
    monkeypatch.setattr("export.plan.find_spec", lambda name: None if name == missing else object())
    with pytest.raises(EngineUnavailableError, match=f"needs {missing}") as caught:
        export_bundle(tiny_options(tmp_path, category="/nowhere", to=to, points=points))
    assert caught.value.remedy is not None
    assert command in caught.value.remedy


def test_a_size_that_cannot_be_is_found_before_the_work(
    export: Export, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr("export.pipeline.make_point", never)
    with pytest.raises(SpecError, match="too thin"):
        export(roi="30,30,36,36", more_sizes=((16, 16),))


def test_int8_needs_some_goods(tiny: Path, tmp_path: Path) -> None:
    if not HAS_ORT:
        pytest.skip("needs ONNX Runtime")
    with pytest.raises(DatasetError, match="too few good images for int8") as caught:
        export_bundle(tiny_options(tiny, to="onnx", points=("int8",), out=tmp_path / "x.bundle"))
    assert str(LEAST_IMAGES) in str(caught.value.expected)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------- who is held out


@given(st.integers(2, 700), st.sampled_from(["auto", "split", "crossfit"]), st.integers(0, 2**32 - 1))
def test_goods_that_set_ranges_are_held_out_nowhere(count: int, rule: str, seed: int) -> None:
    splits = folds(count, rule, seed)
    sample = choose_sample(count, splits, seed)
    assert len(sample) == max(1, min(128, count // 4))
    assert (np.diff(sample) > 0).all()
    assert sample[0] >= 0
    assert sample[-1] < count
    left = without(splits, sample)
    held, before = (np.concatenate([h for _, h in s.pairs]) for s in (left, splits))
    assert not np.intersect1d(held, sample).size
    np.testing.assert_array_equal(np.union1d(held, np.intersect1d(before, sample)), np.sort(before))
    np.testing.assert_array_equal(left.final, splits.final)
    if rule != "crossfit" and count >= 500:
        assert left.text == splits.text  # a split spares enough good images
    np.testing.assert_array_equal(sample, choose_sample(count, splits, seed))


# ------------------------------------------------------------------------------------------------------- fidelity


def test_rank_correlation() -> None:
    assert rank_correlation([1, 2, 3], [10, 20, 21]) == 1
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert rank_correlation([1, 2, 2, 3], [1, 2, 2, 3]) == 1
    assert rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == 0
    assert rank_correlation([5], [5]) == 1


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=50))
def test_rank_correlation_is_one_of_the_ranks(pairs: list[tuple[float, float]]) -> None:
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    found = rank_correlation(a, b)
    assert -1 <= found <= 1
    assert found == pytest.approx(rank_correlation(b, a), abs=1e-12)
    order = np.unique(a, return_inverse=True)[1].reshape(-1).astype(np.float64)
    if not np.array_equal(a, b) and not np.array_equal(order, b):
        assert found == pytest.approx(rank_correlation(order, b), abs=1e-12)


def test_fidelity_of_goods_and_of_labels() -> None:
    plain = measure_fidelity([1.0, 2.0, 3.0], [1.5, 2.0, 2.5])
    assert (plain.frames, plain.rank_correlation, plain.labelled, plain.auroc) == (3, 1.0, 0, None)
    assert plain.score_error == pytest.approx(1 / 6)
    assert measure_fidelity([0.0, 0.0], [0.0, 0.0]).score_error == 0
    labelled = measure_fidelity([1.0], [2.0], [False, True, True], [1.0, 2.0, 3.0], [2.0, 1.0, 3.0])
    assert (labelled.labelled, labelled.auroc, labelled.reference_auroc) == (3, 0.5, 1.0)


@pytest.mark.parametrize(
    ("correlation", "areas", "max_drop", "says"),
    [
        (0.99, None, 0.005, None),
        (0.98, None, 0.005, None),
        (0.979, None, 0.005, "rank correlation 0.979"),
        (0.979, None, 1.0, "rank correlation 0.979"),  # --max-drop says nothing of correlations
        (0.5, (0.995, 1.0), 0.0051, None),  # labels decide
        (1.0, (0.99, 1.0), 0.005, "image AUROC 0.9900 against 1.0000"),
        (1.0, (1.0, 1.0), 0.0, None),
        (1.0, (1.0, 0.9), 0.0, None),
        (1.0, (0.9999, 1.0), 0.0, "more than --max-drop 0 below"),
    ],
)
def test_who_is_left_out(
    correlation: float, areas: tuple[float, float] | None, max_drop: float, says: str | None
) -> None:
    labels = {} if areas is None else {"labelled": 9, "auroc": areas[0], "reference_auroc": areas[1]}
    found = shortfall(FidelitySpec(10, correlation, 0.1, **labels), max_drop)  # type: ignore[arg-type]
    assert (found is None) == (says is None)
    assert says is None or says in str(found)


# ----------------------------------------------------------------------------------------------------- end to end


def test_every_point_is_in_the_bundle(export: Export) -> None:
    summary = export(**everything())
    with Bundle.open(summary.bundle) as bundle:
        manifest, members = bundle.manifest, set(bundle.manifest.members)
    precisions = ["f32", *(["bf16"] if HAS_OPENVINO and detect_cpu().has_bf16 else [])]
    first = [*precisions, *(["int8-openvino"] if HAS_OPENVINO else []), "int8-onnxruntime"]
    assert manifest.point_names == (*first, *(f"{name}-48x64" for name in first))
    models = {
        "bf16": set(),  # the reference's
        "int8-openvino": {"model.xml", "model.bin"},
        "int8-onnxruntime": {"model.onnx"},
        "bf16-48x64": {"model.xml", "model.bin"},
        "f32-48x64": {"model.onnx", "model.xml", "model.bin"} if HAS_OPENVINO else {"model.onnx"},
    }
    for point in manifest.points:
        prefix = f"points/{point.name}/"
        own = {name.removeprefix(prefix) for name in members if name.startswith(prefix)}
        if point.name in models:
            assert {name for name in own if name.startswith("model.")} == models[point.name]
        assert "coreset" in own
        assert point.backbone.precision == point.name.partition("-")[0]
        assert point.backbone.input_size == (SMALL if point.name.endswith("48x64") else (SIZE, SIZE))
        assert point.fidelity.labelled == 12
        held = 24 if point.backbone.precision != "int8" else 18
        assert point.fidelity.frames == len(point.calibration.good_scores) == held
        assert ("6 good images that set ranges" in point.calibration.split) == (point.backbone.precision == "int8")
    assert len(said(summary, "point")) == len(manifest.points)
    assert all("no bf16 arithmetic" in line for line in said(summary, "left out"))
    assert detect_cpu().has_bf16 or bool(said(summary, "left out")) == HAS_OPENVINO


def test_a_point_s_runtime_gives_what_the_export_measured(export: Export, parts: Path) -> None:
    """Held-out scores, and the AUROC of the test images, come out again to the last digits that are stored."""
    bundle = export(**everything(), calibration="split").bundle
    splits = folds(24, "split", 0)
    held = splits.pairs[0][1]
    assert not np.intersect1d(held, choose_sample(24, splits, 0)).size
    tests = [(path, path.parent.name != "good") for path in sorted((parts / "part" / "test").rglob("*.png"))]
    thresholds = set()
    for name in Runtime(bundle).manifest.point_names[1:]:
        runtime = Runtime(bundle, point=name, self_check=True)
        point = runtime.manifest.find_point(name)
        assert point is not None
        wanted = [runtime.inspect(parts / "part" / "train" / "good" / f"{i:03d}.png").score for i in held]
        np.testing.assert_allclose(point.calibration.good_scores, wanted, rtol=1e-6)
        scores = np.array([runtime.inspect(path).score for path, _ in tests])
        bad = np.array([label for _, label in tests])
        assert point.fidelity.auroc == binary_auroc(scores[~bad], scores[bad])
        assert runtime.threshold == point.calibration.threshold
        assert not runtime.inspect(good_frame(5000)).score >= runtime.inspect(bad_frame(5000)).score
        thresholds.add(runtime.threshold)
    assert len(thresholds) == len(Runtime(bundle).manifest.points)  # each its own


def test_a_point_runs_by_its_engine_alone(export: Export) -> None:
    if not HAS_OPENVINO:
        pytest.skip("needs OpenVINO and NNCF")
    bundle = export(**everything()).bundle
    for name, other in (("int8-openvino", "onnxruntime"), ("int8-onnxruntime", "openvino")):
        with pytest.raises(EngineUnavailableError, match="cannot run this operating point"):
            Runtime(bundle, point=name, engine=other)  # type: ignore[arg-type]
    for name in ("openvino", "onnxruntime"):
        assert Runtime(bundle, point="f32-48x64", engine=name, self_check=True).engine == name  # type: ignore[arg-type]


@pytest.mark.parametrize("roi", [None, ROI], ids=["whole", "roi"])
@pytest.mark.parametrize("method", WITH_BACKBONE)
def test_every_method(export: Export, method: str, roi: str | None) -> None:
    summary = export(method=method, roi=roi, halo=2, points=("int8",), more_sizes=(SMALL,), max_drop=1.0)
    names = Runtime(summary.bundle).manifest.point_names
    assert names == ("f32", "int8-onnxruntime", "f32-48x64", "int8-onnxruntime-48x64")
    frame = good_frame(9)
    outside = frame.copy()
    outside[50:, 50:] = 255
    for name in names:
        runtime = Runtime(summary.bundle, point=name, self_check=True)
        assert runtime.inspect(255 - frame).score > runtime.inspect(frame).score
        if roi is not None:
            assert runtime.inspect(outside).score == runtime.inspect(frame).score
    with Bundle.open(summary.bundle) as bundle:
        if method == "padim":
            np.testing.assert_array_equal(
                bundle.array("padim/channels"), bundle.at("f32-48x64").array("padim/channels")
            )
        if roi is not None:
            assert "points/int8-onnxruntime/roi/mask" not in bundle  # the reference's
            assert bundle.at("f32-48x64").array("roi/mask").shape != bundle.array("roi/mask").shape


def test_openvino_alone(export: Export) -> None:
    if not HAS_OPENVINO:
        pytest.skip("needs OpenVINO and NNCF")
    bundle = export(to="openvino", points=("int8",)).bundle
    with Bundle.open(bundle) as opened:
        assert opened.manifest.point_names == ("f32", "int8-openvino")
        assert not any(name.endswith("model.onnx") for name in opened.manifest.members)
    assert Runtime(bundle, point="int8-openvino", self_check=True).precision == "int8"


def test_bf16_of_an_onnx_bundle_runs_by_openvino(export: Export) -> None:
    if not (HAS_OPENVINO and detect_cpu().has_bf16):
        pytest.skip("needs OpenVINO and a CPU with bf16")
    runtime = Runtime(export(to="onnx", points=("bf16",)).bundle, point="bf16", self_check=True)
    assert (runtime.engine, runtime.precision) == ("openvino", "bf16")
    assert "points/bf16/model.onnx" not in runtime.manifest.members


def test_a_machine_without_bf16_leaves_it_out(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "openvino" not in installed_engines():
        pytest.skip("needs OpenVINO")
    monkeypatch.setattr("export.pipeline.detect_cpu", lambda: Cpu("intel", "Old CPU", frozenset()))
    summary = export_bundle(tiny_options(parts, points=("bf16",), out=tmp_path / "b.bundle"))
    assert Runtime(summary.bundle).manifest.points == ()
    assert said(summary, "left out") == [
        "bf16: Old CPU has no bf16 arithmetic, so that coreset and threshold could not be made through it"
    ]


# --------------------------------------------------------------------------------------------- labels, or none


def flat(folder: Path, count: int = 20) -> Path:
    folder.mkdir()
    for i in range(count):
        assert cv2.imwrite(str(folder / f"{i}.png"), good_frame(i))
    return folder


def test_without_labels_the_ranks_decide(export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.fidelity.WANTED_CORRELATION", 1.0)
    summary = export(category=str(flat(tmp_path / "flat")), points=("int8",), more_sizes=((16, 16),))
    manifest = Runtime(summary.bundle).manifest
    reasons = said(summary, "left out")
    start = "its scores of 15 held-out good images have rank correlation"
    for text, name, baseline in zip(reasons, ("", "-16x16"), ("the reference", "f32-16x16"), strict=True):
        assert text.startswith(f"int8-onnxruntime{name}: {start}")
        assert f"with those of {baseline}, below" in text
    assert not any(name.startswith("points/int8") for name in manifest.members)
    (point,) = manifest.points  # another size is no loss, however it ranks the images
    assert point.name == "f32-16x16"
    assert point.fidelity.auroc is None
    assert point.fidelity.labelled == 0
    assert point.fidelity.rank_correlation < 0.98


def test_goods_alone_among_the_tests_are_no_labels(export: Export, parts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "goods"
    (folder / "test").mkdir(parents=True)
    for part in ("train", "test/good"):
        (folder / part).symlink_to(parts / "part" / part)
    manifest = Runtime(export(category=str(folder), points=("int8",)).bundle).manifest
    assert all(point.fidelity.labelled == 0 for point in manifest.points)


def coarse(base: Stages, plan: Plan, good_images: list[Path], threads: int | None) -> Stages:
    """`at_point`, whose int8 keeps little of the patches."""
    stages = at_point(base, plan, good_images, threads)
    inner = stages.engine

    class Coarse:
        name, version, precision, streams = inner.name, inner.version, inner.precision, 1

        def __call__(self, tensor: np.ndarray) -> np.ndarray:
            return np.round(inner(tensor) / 0.4) * np.float32(0.4)

    return stages if plan.precision == "f32" else dataclasses.replace(stages, engine=Coarse())


def test_max_drop(export: Export, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """int8 by which a faint stain is lost: left out, unless the drop is allowed. A size at which it is lost is kept."""
    folder = tmp_path / "stains"
    folder.mkdir()
    (folder / "train").symlink_to(parts / "part" / "train")
    (folder / "test" / "stain").mkdir(parents=True)
    (folder / "test" / "good").symlink_to(parts / "part" / "test" / "good")
    for i in range(6):
        frame = good_frame(3000 + i).astype(np.int64)
        frame[28:36, 27:34] += (45, -40, 40)
        assert cv2.imwrite(str(folder / "test" / "stain" / f"{i}.png"), np.clip(frame, 0, 255).astype(np.uint8))
    monkeypatch.setattr("export.make_point.at_point", coarse)
    asked = {"category": str(folder), "points": ("int8",), "more_sizes": ((32, 32),)}
    strict = export(**asked, max_drop=0.0)
    whys = said(strict, "left out")
    assert whys[0].startswith("int8-onnxruntime: image AUROC 0.")
    assert whys[0].endswith("of the reference on 12 test images: more than --max-drop 0 below")
    assert all("of f32-32x32 on 12 test images" in why for why in whys[1:])  # what the arithmetic costs at that size
    manifest = Runtime(strict.bundle).manifest
    assert "int8-onnxruntime" not in manifest.point_names
    assert not any(name.startswith("points/int8-onnxruntime/") for name in manifest.members)
    small = manifest.find_point("f32-32x32")
    assert small is not None
    assert small.fidelity.reference_auroc == 1
    assert small.fidelity.auroc < 1  # type: ignore[operator]
    kept = Runtime(export(**asked, max_drop=1.0).bundle).manifest.find_point("int8-onnxruntime")
    assert kept is not None
    assert kept.fidelity.reference_auroc == 1
    assert kept.fidelity.auroc < 1  # type: ignore[operator]


def test_a_broken_test_image_is_found_before_the_work(export: Export, parts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    write_category(folder, goods=4, tests=2)
    (folder / "test" / "scratch" / "000.png").write_bytes(b"garbage")
    with pytest.raises(DatasetError, match=r"000\.png"):
        export(category=str(folder), more_sizes=(SMALL,))
    summary = export(category=str(folder), more_sizes=(SMALL,), max_drop=1.0, skip_bad=True)
    assert Runtime(summary.bundle).manifest.points[0].fidelity.labelled == 3
    assert Runtime(export(category=str(folder)).bundle).manifest.points == ()  # test images are not read then


def test_thresholds_from_labelled_defects(export: Export) -> None:
    manifest = Runtime(export(rule="f1", points=("int8",)).bundle).manifest
    for name in manifest.point_names:
        calibration = manifest.at(name).calibration
        assert calibration.rule == "f1"
        assert len(calibration.defect_scores) == 6
    (point,) = manifest.points
    assert point.fidelity.labelled == 12
    assert point.calibration.defect_scores != manifest.calibration.defect_scores


# ------------------------------------------------------------------------------------------------- reproducible


def test_points_of_a_size_share_the_choice_of_rows(export: Export) -> None:
    """Greedy picks differ after a change in the last digits: their noise is no property of a point's arithmetic."""
    with Bundle.open(export(points=("int8",)).bundle) as bundle:
        ours, theirs = bundle.at("int8-onnxruntime").array("coreset"), bundle.array("coreset")
    assert ours.shape == theirs.shape
    apart = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    assert 0 < np.median(apart) < 0.1  # the same patches, through another graph


def test_the_same_seed_gives_the_same_bytes(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not HAS_ORT:
        pytest.skip("needs ONNX Runtime")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    options = {**everything(), "more_sizes": (), "max_drop": 1.0}
    found = [
        export_bundle(tiny_options(parts, **options, out=tmp_path / name, **more)).bundle.read_bytes()
        for name, more in (("a.bundle", {"threads": 1}), ("b.bundle", {"threads": 1}), ("c.bundle", {"seed": 1}))
    ]
    assert found[0] == found[1]
    assert found[2] != found[0]


# ------------------------------------------------------------------------------------------------- command line


def test_info_check_and_inspect(export: Export, parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(export(**everything()).bundle)
    names = Runtime(bundle).manifest.point_names
    assert main(["info", bundle]) == 0
    listed = capsys.readouterr().out
    for name in names:
        assert f"\n{name} " in listed
    assert "image AUROC 1.0000 (reference 1.0000)" in listed
    assert main(["check", bundle]) == 0
    proofs = [line for line in capsys.readouterr().out.splitlines() if "ok, largest deviations" in line]
    engines = len(installed_engines())
    assert len(proofs) == sum(engines if name.startswith("f32") else 1 for name in names)
    image = str(parts / "part" / "test" / "scratch" / "000.png")
    assert main(["inspect", bundle, image, "--point", "int8-onnxruntime"]) == 1
    score = float(capsys.readouterr().out.split()[1])
    assert score == pytest.approx(Runtime(bundle, point="int8-onnxruntime").inspect(image).score, rel=1e-4)


def test_check_names_the_point_that_fails(export: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.edited import edited

    source = export(**everything()).bundle
    with Bundle.open(source) as bundle:
        scores = np.array(bundle.array("points/int8-onnxruntime/probes/scores"))
    broken = edited(source, tmp_path / "x.bundle", {"points/int8-onnxruntime/probes/scores": 1.5 * scores})
    assert main(["check", str(broken)]) == 2
    failed = [line for line in capsys.readouterr().out.splitlines() if "FAILED" in line]
    assert len(failed) == 1
    assert failed[0].startswith("int8-onnxruntime onnxruntime")
