"""`--second-size`: a point looks at two input sizes and joins the scores, from images to verdicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import DatasetError, Runtime, SpecError, Verdict  # noqa: E402
from edge_ad.bundle.file import Bundle  # noqa: E402
from edge_ad.engines import installed_engines  # noqa: E402
from edge_ad.metrics import binary_auroc  # noqa: E402
from export.choose.evidence import LEAST_FOR_TRIAL  # noqa: E402
from export.command_line import parse_options  # noqa: E402
from export.folds import folds  # noqa: E402
from export.held_out import join_factor, joined  # noqa: E402
from export.pipeline import export_bundle  # noqa: E402
from export.plan import plan_points  # noqa: E402
from export.summary import Summary  # noqa: E402
from tests.tiny import SIZE, WITH_BACKBONE, bad_frame, good_frame, tiny_options  # noqa: E402

FIRST, SECOND = (SIZE, SIZE), (96, 80)
ROI = "20,18,46,44"
Export = Callable[..., Summary]

pytestmark = pytest.mark.skipif("onnxruntime" not in installed_engines(), reason="needs ONNX Runtime")


@pytest.fixture(scope="module")
def export(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Exports the category at two sizes with changed options; the same summary for the same options."""
    kept: dict[str, Summary] = {}

    def run(**changes: Any) -> Summary:
        key = repr(sorted(changes.items()))
        if key not in kept:
            out = tmp_path_factory.mktemp("second") / "part.bundle"
            options = {"to": "onnx", "out": out, "second_size": SECOND, "max_drop": 1.0, **changes}
            kept[key] = export_bundle(tiny_options(parts, **options))
        return kept[key]

    return run


def said(summary: Summary, name: str) -> list[str]:
    return [text for label, text in summary.lines if label == name]


def name_of(size: tuple[int, int]) -> str:
    return f"f32-{size[0]}x{size[1]}"


# ------------------------------------------------------------------------------------------------- what is asked


def test_plans(tmp_path: Path) -> None:
    options = tiny_options(tmp_path, to="onnx", points=("int8",), second_size=SECOND, more_sizes=(FIRST, (48, 48)))
    assert {plan.name: plan.sizes for plan in plan_points(options)} == {
        "f32": (FIRST, SECOND),
        "int8-onnxruntime": (FIRST, SECOND),
        "f32-64x64": (FIRST,),
        "int8-onnxruntime-64x64": (FIRST,),
        "f32-48x48": ((48, 48),),
        "int8-onnxruntime-48x48": ((48, 48),),
    }


def test_the_command_line() -> None:
    assert parse_options(["part"]).second_size is None
    found = parse_options(["part", "--second-size", "384", "--input-size", "256,128", "--input-size", "384"])
    assert (found.input_size, found.second_size, found.more_sizes) == ((256, 128), (384, 384), ((384, 384),))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"second_size": FIRST}, "--second-size is out of range"),
        ({"second_size": (8, 64)}, "--second-size is out of range"),
        ({"second_size": (64, 5000)}, "--second-size is out of range"),
        ({"second_size": SECOND, "more_sizes": (FIRST, FIRST)}, "--second-size is out of range"),
        (
            {"second_size": SECOND, "method": "centroid", "normal_embed": Path("x.json")},
            "the file of --normal-embed describes one input size",
        ),
    ],
    ids=str,
)
def test_bad_options_are_refused_before_the_images_are_read(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        export_bundle(tiny_options(tmp_path, category="/nowhere", to="onnx", **changes))
    assert caught.value.expected


def test_scores_without_a_scale_are_refused() -> None:
    assert join_factor([1.0, 2.0, 9.0], [4.0, 1.0, 3.0], (FIRST, SECOND)) == 2 / 3
    for first, second in (([0.0, 0.0, 1.0], [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], [0.0, 0.0, 1.0])):
        with pytest.raises(DatasetError, match="cannot be joined") as caught:
            join_factor(first, second, (FIRST, SECOND))
        assert "at 64x64" in str(caught.value.got)
        assert "at 96x80" in str(caught.value.got)
    assert joined([1.0, 3.0], [4.0, 2.0], 0.5) == [2.0, 3.0]


def test_images_that_look_alike_are_refused_by_that_name(tiny: Path, tmp_path: Path) -> None:
    """Trials find no scale either; it is for the calibration to say so."""
    (tmp_path / "part/train/good").mkdir(parents=True)
    for number in range(LEAST_FOR_TRIAL):
        image = np.full((192, 192, 3), 128, np.uint8)
        image[number, number] = 129
        cv2.imwrite(str(tmp_path / f"part/train/good/{number}.png"), image)
    given = {"local_scale": None, "smooth": None, "effort": "usual", "second_size": SECOND}
    with pytest.raises(DatasetError, match="cannot be joined"):
        export_bundle(tiny_options(tiny, category=str(tmp_path / "part"), to="onnx", out=tmp_path / "b", **given))


# ----------------------------------------------------------------------------------------------------- end to end


def single_and_joined(bundle: Path, frame: Any, **options: Any) -> tuple[Verdict, Verdict, Verdict]:
    points = ("f32", name_of(FIRST), name_of(SECOND))
    whole, first, second = (Runtime(bundle, point=point, **options).inspect(frame) for point in points)
    return whole, first, second


@pytest.mark.parametrize("roi", [None, ROI], ids=["whole", "roi"])
def test_the_verdict_is_that_of_the_two_sizes(export: Export, engine: str, roi: str | None) -> None:
    """Each size alone is a point of the same bundle."""
    to = "both" if "openvino" in installed_engines() else "onnx"
    bundle = export(more_sizes=(FIRST, SECOND), roi=roi, halo=2, to=to).bundle
    factor = Runtime(bundle).manifest.second.factor  # type: ignore[union-attr]
    taken = set()
    for frame in (good_frame(70), bad_frame(70), good_frame(71), bad_frame(72, size=150)):
        for search in ("exact", "graph"):
            whole, first, second = single_and_joined(bundle, frame, engine=engine, search=search, threads=2)
            assert whole.score == max(first.score, factor * second.score)
            wanted = np.maximum(first.anomaly_map, np.float32(factor) * second.anomaly_map)
            np.testing.assert_array_equal(whole.anomaly_map, wanted)
            taken.add(whole.score == first.score)
        if roi is not None:
            assert not whole.anomaly_map[: 18 * frame.shape[0] // 64].any()
    assert roi is not None or taken == {False, True}
    frame = bad_frame(73)
    assert Runtime(bundle).inspect(frame).is_anomalous
    assert Runtime(bundle).inspect(frame).regions


def test_each_size_has_its_own_local_scale(export: Export) -> None:
    """Scaled and smoothed scores are joined as others are, with exact search and with the graph."""
    bundle = export(more_sizes=(FIRST, SECOND), local_scale=0.75, smooth=0.7).bundle
    with Bundle.open(bundle) as opened:
        first_scale, second_scale = (sight.array("coreset/scale") for sight in opened.at("f32").sights())
    assert first_scale.shape != second_scale.shape
    second_spec = Runtime(bundle, self_check=True).manifest.second
    assert second_spec is not None
    for frame in (good_frame(70), bad_frame(70), bad_frame(72, size=150)):
        for search in ("exact", "graph"):
            whole, first, second = single_and_joined(bundle, frame, search=search, threads=2)
            assert whole.score == max(first.score, second_spec.factor * second.score)
            assert whole.score == single_and_joined(bundle, frame, search="exact", threads=1)[0].score


@pytest.mark.parametrize("precision", ["f32", "int8-onnxruntime"])
def test_thresholds_come_from_joined_held_out_scores(export: Export, parts: Path, precision: str) -> None:
    """Those that the bundle holds come out again from the files; each point has its own factor."""
    bundle = export(points=("int8",), calibration="split").bundle
    runtime = Runtime(bundle, point=precision, self_check=True)
    own = runtime.manifest.at(precision)
    assert own.second is not None
    assert own.second.backbone.precision == own.backbone.precision == precision.partition("-")[0]
    held = folds(24, "split", 0).pairs[0][1]
    images = [parts / "part" / "train" / "good" / f"{i:03d}.png" for i in held]
    wanted = list(runtime.scores_and_peaks(images))
    np.testing.assert_allclose(own.calibration.good_scores, [score for score, _ in wanted], rtol=1e-6)
    np.testing.assert_allclose(own.calibration.good_peaks, [peak for _, peak in wanted], rtol=1e-6)  # type: ignore[arg-type]
    tests = sorted((parts / "part" / "test").rglob("*.png"))
    scores = np.array([runtime.inspect(path).score for path in tests])
    bad = np.array([path.parent.name != "good" for path in tests])
    if precision != "f32":
        fidelity = runtime.manifest.find_point(precision).fidelity  # type: ignore[union-attr]
        assert fidelity.auroc == binary_auroc(scores[~bad], scores[bad])


def test_the_factor_is_that_of_the_medians(export: Export) -> None:
    """Of the scores of the same images at each size, which are points too."""
    manifest = Runtime(export(more_sizes=(FIRST, SECOND)).bundle).manifest
    first, second = (manifest.at(name_of(size)).calibration for size in (FIRST, SECOND))
    assert manifest.second is not None
    assert manifest.second.factor == np.median(first.good_scores) / np.median(second.good_scores)
    factor = manifest.second.factor
    assert manifest.calibration.good_scores == tuple(joined(first.good_scores, second.good_scores, factor))
    assert manifest.calibration.good_peaks == tuple(joined(first.good_peaks, second.good_peaks, factor))
    assert [point.second for point in manifest.points] == [None, None]


def test_each_size_is_made_as_if_it_were_alone(export: Export, parts: Path, tmp_path: Path) -> None:
    with Bundle.open(export(more_sizes=(FIRST, SECOND)).bundle) as bundle:
        sights = bundle.at("f32").sights()
        for size, sight in zip((FIRST, SECOND), sights, strict=True):
            alone = export_bundle(tiny_options(parts, to="onnx", input_size=size, out=tmp_path / "alone.bundle")).bundle
            with Bundle.open(alone) as other:
                for name in other.manifest.members:
                    if not name.startswith(("probes/", "drift/")):
                        assert sight.blob(name) == other.blob(name)
                assert sight.manifest.backbone == other.manifest.backbone
        assert not any(name.startswith(f"points/{name_of(FIRST)}/model.") for name in bundle.manifest.members)


def test_the_summary_says_it_in_words(export: Export) -> None:
    summary = export()
    (text,) = said(summary, "sizes")
    assert text.startswith("64x64 and 96x80, joined: the larger of the score at 64x64 and ")
    assert text.endswith(" times the score at 96x80")
    for name in ("patches", "graph search"):
        assert [line.partition(":")[0] for line in said(summary, name)] == ["64x64", "96x80"]
    parity = said(summary, "parity")
    assert {line.partition(":")[0] for line in parity} <= {"64x64", "96x80"}
    assert sum(line.startswith("96x80") for line in parity) == len(parity) / 2
    assert {"features", "calibration", "coreset"} <= set(summary.seconds)


@pytest.mark.parametrize("method", WITH_BACKBONE)
def test_every_method(export: Export, method: str) -> None:
    summary = export(method=method, points=("int8",))
    for name in ("f32", "int8-onnxruntime"):
        runtime = Runtime(summary.bundle, point=name, self_check=True)
        assert runtime.manifest.at(name).second is not None
        assert runtime.inspect(255 - good_frame(9)).score > runtime.inspect(good_frame(9)).score


def test_thresholds_from_joined_scores_of_defects(export: Export, parts: Path) -> None:
    bundle = export(rule="f1").bundle
    runtime = Runtime(bundle)
    wanted = [runtime.inspect(path).score for path in sorted((parts / "part/test/scratch").iterdir())]
    np.testing.assert_allclose(runtime.manifest.calibration.defect_scores, wanted, rtol=1e-6)


def test_models_are_shared_with_the_reference(export: Export) -> None:
    """As points with one size do: bf16 has the reference's models, at both sizes."""
    from edge_ad.system.cpu import detect_cpu

    if not ("openvino" in installed_engines() and detect_cpu().has_bf16):
        pytest.skip("needs OpenVINO and a CPU with bf16")
    bundle = export(points=("bf16",)).bundle
    assert Runtime(bundle, point="bf16", self_check=True).precision == "bf16"
    assert not any(name.endswith("model.onnx") for name in Runtime(bundle).manifest.members if "bf16" in name)


def test_the_same_seed_gives_the_same_bytes(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    options = {"to": "onnx", "second_size": SECOND, "threads": 1}
    found = [
        export_bundle(tiny_options(parts, **options, out=tmp_path / name)).bundle.read_bytes()
        for name in ("a.bundle", "b.bundle")
    ]
    assert found[0] == found[1]


def test_a_size_that_cannot_be_is_found_before_the_work(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr("export.pipeline.make_point", never)
    with pytest.raises(SpecError, match="too thin"):
        export(roi="30,30,36,36", second_size=(16, 16))


def test_each_size_proves_its_parity(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    from export import stages

    seen = []

    def prove(made: stages.Stages, *_: object, **__: object) -> None:
        seen.append(made.backbone.input_size)

    monkeypatch.setattr("export.pipeline.prove_parity", prove)
    export(seed=5)
    assert seen == [FIRST, SECOND]


def test_a_fault_of_the_second_size_alone_fails_the_check(export: Export, tmp_path: Path) -> None:
    from edge_ad import ParityError
    from tests.edited import edited

    source = export().bundle
    with Bundle.open(source) as bundle:
        coreset = np.array(bundle.array("second/coreset"))
        second = bundle.manifest.second
    assert second is not None
    for change in (
        {"members": {"second/coreset": coreset[::-1] * np.float32(0.5)}},
        {"second": dataclasses.replace(second, factor=10 * second.factor)},
    ):
        with pytest.raises(ParityError):
            Runtime(edited(source, tmp_path / "x.bundle", **change), search="exact", self_check=True)  # type: ignore[arg-type]
