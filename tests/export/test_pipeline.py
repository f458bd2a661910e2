"""The whole export, from images to verdicts, with a backbone that is small enough for a test and without torch.

Over 400 lines: one export after another, each bad input with its case.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import BackboneError, DatasetError, EdgeADError, ParityError, Runtime, SpecError  # noqa: E402
from edge_ad.bundle.file import Bundle  # noqa: E402
from edge_ad.calibration.recalibrate import Images, score_images  # noqa: E402
from edge_ad.engines import installed_engines  # noqa: E402
from export.options import Options, parse_options  # noqa: E402
from export.pipeline import export_bundle  # noqa: E402
from tests.processes import child  # noqa: E402
from tests.tiny import SIZE, bad_frame, good_frame, tiny_options, write_backbone, write_category  # noqa: E402

ROOT = Path(__file__).parents[2]
Export = Callable[..., Path]


@pytest.fixture
def export(tiny: Path, tmp_path: Path) -> Export:
    """Exports the tiny category with changed options; the path of the bundle."""

    def run(**changes: object) -> Path:
        if "openvino" not in installed_engines():
            changes = {"to": "onnx", **changes}
        return export_bundle(tiny_options(tiny, **{"out": tmp_path / "out.bundle", **changes})).bundle

    return run


def command(tiny: Path, out: Path, *more: object) -> list[str]:
    fixed = ["--backbone", tiny / "backbone.onnx", "--layers", "fine", "coarse", "--input-size", SIZE, "--out", out]
    return [sys.executable, "-m", "export", *map(str, [*(more or [tiny / "part"]), *fixed])]


def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload, no-any-return]


def write(folder: Path, frames: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        assert cv2.imwrite(str(folder / name), frame)
    return folder


def goods(count: int = 8, start: int = 0, size: int = SIZE) -> dict[str, np.ndarray]:
    return {f"{i}.png": good_frame(start + i, size) for i in range(count)}


# --------------------------------------------------------------------------------------------- end to end


def test_from_the_command_line_to_verdicts(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "part.bundle"
    done = run(command(tiny, out))
    assert done.returncode == 0, done.stderr
    for name in ("images", "threshold", "patches", "graph search", "runtime", "bundle", "seconds"):
        assert re.search(rf"^{name} ", done.stdout, re.MULTILINE)
    assert [p.name for p in tmp_path.iterdir()] == ["part.bundle"]
    runtime = Runtime(out, self_check=True)
    share = np.mean([runtime.inspect(good_frame(5000 + seed)).is_anomalous for seed in range(30)])
    assert share <= 0.2
    assert all(runtime.inspect(bad_frame(6000 + seed)).is_anomalous for seed in range(30))


@pytest.mark.parametrize(
    ("to", "models"),
    [
        ("onnx", {"model.onnx"}),
        ("openvino", {"model.xml", "model.bin"}),
        ("both", {"model.onnx", "model.xml", "model.bin"}),
    ],
)
def test_targets(export: Export, to: str, models: set[str]) -> None:
    if to != "onnx":
        pytest.importorskip("openvino", reason="makes IR")
    path = export(to=to)
    with Bundle.open(path) as bundle:
        assert {name for name in bundle.manifest.members if name.startswith("model")} == models
        assert bundle.manifest.producer["engine"].startswith("openvino") or to != "openvino"
    for engine in installed_engines():
        if engine == "openvino" or "model.onnx" in models:
            assert Runtime(path, engine=engine, self_check=True).inspect(bad_frame(1)).is_anomalous  # type: ignore[arg-type]


def test_the_manifest_tells_where_everything_came_from(export: Export) -> None:
    with Bundle.open(export(seed=3, coreset=0.05)) as bundle:
        manifest = bundle.manifest
    assert (manifest.name, manifest.frame.size, manifest.roi) == ("part", (SIZE, SIZE), None)
    assert (manifest.index.seed, manifest.index.patches) == (3, 12 * 256)
    assert manifest.index.size == round(0.05 * 12 * 256)
    assert manifest.backbone.layers == ("fine", "coarse")
    assert (manifest.backbone.grid, manifest.backbone.dim) == ((16, 16), 24)
    assert len(manifest.backbone.weights_sha256) == 64
    assert len(manifest.calibration.good_scores) == len(manifest.calibration.good_peaks) == 12
    assert manifest.calibration.split == "4-fold"
    assert manifest.calibration.defect_scores == ()
    assert manifest.calibration.interval[0] <= manifest.calibration.threshold
    assert "torch" not in manifest.producer or manifest.producer["torch"]
    assert manifest.index.graph is not None
    assert 0.9 <= manifest.index.graph.recall <= 1


def test_held_out_scores_are_those_of_the_runtime(export: Export, tiny: Path, tmp_path: Path) -> None:
    """A good image scored at calibration what the runtime gives it with the coreset of the other good images."""
    path = export(calibration="split", coreset=1.0)
    with Bundle.open(path) as bundle:
        calibration = bundle.manifest.calibration
    assert calibration.split.startswith("split")
    assert len(calibration.good_scores) == round(0.2 * 12)
    runtime = Runtime(path, search="exact")
    found = [runtime.inspect(image).score for image in sorted((tiny / "part" / "train" / "good").iterdir())]
    held_out = sorted(score for score in found if score > 1e-3)  # the others are in the coreset
    assert held_out == pytest.approx(sorted(calibration.good_scores), rel=1e-5)
    with Bundle.open(path) as bundle:  # and what `edge-ad calibrate` finds, peaks too
        goods = tuple(sorted((tiny / "part" / "train" / "good").iterdir()))
        again = score_images(bundle, runtime, Images("", Path(), "", goods, ()))
    peaks = [peak for score, peak in zip(again.goods, again.peaks, strict=True) if score > 1e-3]
    assert sorted(peaks) == pytest.approx(sorted(calibration.good_peaks), rel=1e-5)


def test_torch_is_never_imported_for_an_onnx_backbone(tiny: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from export.__main__ import main; code = main(sys.argv[1:]); "
        "print({m for m in sys.modules if m.partition('.')[0] in ('torch', 'torchvision')}, code)"
    )
    done = run([sys.executable, "-c", code, *command(tiny, tmp_path / "x.bundle")[3:]])
    assert done.stdout.splitlines()[-1] == "set() 0", done.stderr


def test_the_same_seed_gives_the_same_bytes(export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first = export(out=tmp_path / "a.bundle", threads=1).read_bytes()
    assert export(out=tmp_path / "b.bundle", threads=1).read_bytes() == first
    other = export(out=tmp_path / "c.bundle", threads=1, seed=1).read_bytes()
    with Bundle.open(tmp_path / "a.bundle") as a, Bundle.open(tmp_path / "c.bundle") as c:
        assert not np.array_equal(a.array("coreset"), c.array("coreset"))
    assert other != first


def test_without_a_graph(export: Export) -> None:
    path = export(graph=False)
    with Bundle.open(path) as bundle:
        assert bundle.manifest.index.graph is None
        assert not any(name.startswith("graph/") for name in bundle.manifest.members)
    assert Runtime(path).search == "exact"


def test_eq_7_is_recorded_and_calibrated_alike(export: Export, tmp_path: Path) -> None:
    plain = Runtime(export(out=tmp_path / "plain.bundle"))
    weighted = Runtime(export(reweight=9))
    assert weighted.manifest.head.reweight_neighbors == 9
    assert weighted.threshold < plain.threshold
    assert weighted.inspect(bad_frame(1)).is_anomalous
    np.testing.assert_array_equal(weighted.inspect(bad_frame(1)).anomaly_map, plain.inspect(bad_frame(1)).anomaly_map)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("percentile", None),
        ("percentile", 90.0),
        ("sigma", None),
        ("sigma", 2.0),
        ("false-reject", 0.1),
        ("f1", None),
        ("youden", None),
    ],
)
def test_every_threshold_rule(export: Export, rule: str, value: float | None) -> None:
    path = export(rule=rule, value=value)
    calibration = Runtime(path).manifest.calibration
    assert calibration.rule == rule
    assert calibration.value == (value if value is not None else {"percentile": 99.5, "sigma": 3.0}.get(rule, 0.0))
    assert len(calibration.defect_scores) == (4 if rule in ("f1", "youden") else 0)
    if rule in ("f1", "youden"):
        assert max(calibration.good_scores) < calibration.threshold <= min(calibration.defect_scores)
    assert Runtime(path).inspect(bad_frame(7777)).is_anomalous


@pytest.mark.parametrize("rule", ["f1", "youden"])
def test_rules_of_defects_without_defects(export: Export, tmp_path: Path, rule: str) -> None:
    with pytest.raises(DatasetError, match="needs labelled defects"):
        export(category=str(write(tmp_path / "flat", goods())), rule=rule)


# ------------------------------------------------------------------------------------------------- images


def test_flat_and_btad_layouts(export: Export, tmp_path: Path) -> None:
    flat = Bundle.open(export(category=str(write(tmp_path / "flat", goods()))))
    assert flat.manifest.name == "flat"
    btad = tmp_path / "01"
    write(btad / "train" / "ok", {f"{i}.bmp": good_frame(i) for i in range(8)})
    write(btad / "test" / "ok", {"0.bmp": good_frame(50)})
    write(btad / "test" / "ko", {f"{i}.png": bad_frame(60 + i) for i in range(3)})
    found = Bundle.open(export(category=str(btad), rule="f1"))
    assert len(found.manifest.calibration.defect_scores) == 3
    np.testing.assert_array_equal(flat.array("coreset"), found.array("coreset"))  # the same good images


def test_a_name_under_data(export: Export, tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Runtime(export(category="part", data=tiny)).manifest.name == "part"
    monkeypatch.setenv("EDGE_AD_DATA", str(tiny))
    monkeypatch.chdir(tmp_path)
    assert export(category="part", out=None) == Path("part.bundle")
    assert (tmp_path / "part.bundle").is_file()


def test_a_typo_in_the_category(export: Export, tiny: Path) -> None:
    with pytest.raises(DatasetError, match=r"Did you mean \S*part\?"):
        export(category="prat", data=tiny)


def test_grey_images(export: Export, tmp_path: Path) -> None:
    grey = write(tmp_path / "grey", {name: frame[:, :, 1] for name, frame in goods().items()})
    runtime = Runtime(export(category=str(grey)))
    frame = good_frame(50)[:, :, 1].copy()
    assert runtime.inspect(frame).score == runtime.inspect(np.stack([frame] * 3, axis=2)).score
    assert runtime.inspect(frame).score < runtime.inspect(bad_frame(50)[:, :, 1].copy()).score


def test_16_bit_images(export: Export, tmp_path: Path) -> None:
    scale = 4095 / 255
    deep = {name: np.rint(frame[:, :, 1] * scale).astype(np.uint16) for name, frame in goods().items()}
    path = export(category=str(write(tmp_path / "deep", deep)), white_level=4095)
    runtime = Runtime(path)
    assert (runtime.manifest.frame.bit_depth, runtime.manifest.frame.white_level) == (16, 4095)
    good, bad = (np.rint(make(50)[:, :, 1] * scale).astype(np.uint16) for make in (good_frame, bad_frame))
    assert not runtime.inspect(good).is_anomalous
    assert runtime.inspect(bad).is_anomalous
    with pytest.raises(SpecError, match="--bit-depth 8"):
        export(category=str(tmp_path / "deep"), bit_depth=8)


def test_a_white_level_that_does_not_fit_is_noted(tiny: Path, tmp_path: Path) -> None:
    deep = {name: np.rint(frame * (4095 / 255)).astype(np.uint16) for name, frame in goods().items()}
    options = tiny_options(tiny, category=str(write(tmp_path / "deep", deep)), out=tmp_path / "o.bundle", to="onnx")
    assert ("note", 1) in [(name, text.count("--white-level 4095")) for name, text in export_bundle(options).lines]


def test_mixed_sizes(export: Export, tmp_path: Path) -> None:
    mixed = {f"{i}.png": good_frame(i, SIZE * (1 + i % 3)) for i in range(9)}
    runtime = Runtime(export(category=str(write(tmp_path / "mixed", mixed))))
    assert runtime.manifest.frame.size is None
    assert runtime.inspect(good_frame(50, 150)).anomaly_map.shape == (150, 150)
    with pytest.raises(DatasetError, match="one size"):
        export(category=str(tmp_path / "mixed"), roi="1,1,40,40")


def test_rgb_is_declared(export: Export) -> None:
    runtime = Runtime(export(color_order="rgb"))
    frame = good_frame(5)
    assert not runtime.inspect(frame[:, :, ::-1]).is_anomalous
    assert runtime.inspect(frame).score > 2 * runtime.inspect(frame[:, :, ::-1]).score


@pytest.mark.parametrize(("count", "says"), [(0, "no good images"), (1, "too few good images")])
def test_too_few_images(export: Export, tmp_path: Path, count: int, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        export(category=str(write(tmp_path / "few", goods(count))))


def test_two_images_are_enough(export: Export, tmp_path: Path) -> None:
    runtime = Runtime(export(category=str(write(tmp_path / "two", goods(2)))))
    assert len(runtime.manifest.calibration.good_scores) == 2


def test_a_truncated_image_is_named(export: Export, tmp_path: Path) -> None:
    folder = write(tmp_path / "cut", goods())
    whole = (folder / "3.png").read_bytes()
    (folder / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"3\.png") as caught:
        export(category=str(folder))
    assert "--skip-bad" in str(caught.value)
    assert Runtime(export(category=str(folder), skip_bad=True)).manifest.index.patches == 7 * 256


def test_nothing_but_copies(export: Export, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="good images are all the same"):
        export(category=str(write(tmp_path / "copies", {f"{i}.png": good_frame(0) for i in range(6)})))


def test_even_images_do_not_hang(export: Export, tmp_path: Path) -> None:
    """All patches of an image are alike: the coreset ends where only duplicates are left."""
    even = {f"{i}.png": np.full((SIZE, SIZE, 3), 100 + i, np.uint8) for i in range(6)}
    with Bundle.open(export(category=str(write(tmp_path / "even", even)), coreset=1.0)) as bundle:
        assert bundle.manifest.index.size < bundle.manifest.index.patches
        assert len(np.unique(bundle.array("coreset"), axis=0)) == bundle.manifest.index.size


@pytest.mark.parametrize("fraction", [1.0, 1e-6])
def test_coreset_of_all_and_of_one(export: Export, fraction: float) -> None:
    path = export(coreset=fraction)
    runtime = Runtime(path)
    assert runtime.manifest.index.size == (12 * 256 if fraction == 1 else 1)
    assert runtime.inspect(bad_frame(1)).score > 0
    graph = Runtime(path, search="graph")
    assert graph.inspect(bad_frame(1)).score == runtime.inspect(bad_frame(1)).score


# ----------------------------------------------------------------------------------- region of interest


def region_options(tmp_path: Path, kind: str) -> tuple[str, np.ndarray]:
    """--roi, and the region as a mask of the frames."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    if kind == "box":
        mask[20:46, 18:44] = 255
        return "20,18,46,44", mask
    if kind == "mask":
        cv2.circle(mask, (32, 31), 15, 255, -1)
        cv2.imwrite(str(tmp_path / "roi.png"), mask)
        return str(tmp_path / "roi.png"), mask
    points = [[14, 30], [48, 12], [44, 52]]  # (y, x)
    (tmp_path / "roi.json").write_text(json.dumps({"points": points}))
    cv2.fillPoly(mask, [np.array(points)[:, ::-1].astype(np.int32)], 255)
    return str(tmp_path / "roi.json"), mask


@pytest.mark.parametrize("kind", ["box", "mask", "polygon"])
def test_what_is_outside_the_region_changes_nothing(export: Export, tmp_path: Path, kind: str) -> None:
    text, mask = region_options(tmp_path, kind)
    path = export(roi=text, halo=2)
    exact, graph = Runtime(path, search="exact"), Runtime(path, search="graph")
    assert exact.manifest.roi is not None
    assert exact.manifest.roi.source.startswith(kind)

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32 - 1), st.booleans())
    def check(seed: int, bad: bool) -> None:
        frame = (bad_frame if bad else good_frame)(seed % 1000)
        noise = np.random.default_rng(seed).integers(0, 256, frame.shape, np.uint8)
        other = np.where(mask[:, :, None] > 0, frame, noise)
        for runtime in (exact, graph):
            a, b = runtime.inspect(frame), runtime.inspect(other)
            assert a.score == b.score
            assert a.is_anomalous == b.is_anomalous
            np.testing.assert_array_equal(a.anomaly_map, b.anomaly_map)
            assert not a.anomaly_map[mask == 0].any()

    check()


@pytest.mark.parametrize("size", [100, 150, 200])
@pytest.mark.parametrize("kind", ["box", "mask", "polygon"])
def test_the_region_holds_at_other_scales(export: Export, tiny: Path, tmp_path: Path, kind: str, size: int) -> None:
    """The good images are larger than the input, by no whole factor: still nothing leaks in."""
    text, mask = region_options(tmp_path, kind)
    scale = size / SIZE
    mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)
    if kind == "box":
        y0, x0, y1, x1 = (round(scale * int(side)) for side in text.split(","))
        text, mask = f"{y0},{x0},{y1},{x1}", np.zeros((size, size), np.uint8)
        mask[y0:y1, x0:x1] = 255
    elif kind == "mask":
        cv2.imwrite(text, mask)
    else:
        points = (scale * np.array(json.loads(Path(text).read_text())["points"])).tolist()
        Path(text).write_text(json.dumps(points))
        mask = np.zeros((size, size), np.uint8)
        cv2.fillPoly(mask, [np.rint(np.array(points)[:, ::-1]).astype(np.int32)], 255)
    folder = write(tmp_path / "large", goods(6, size=size))
    runtime = Runtime(export(category=str(folder), roi=text, halo=2))
    frame = bad_frame(1, size)
    expected = runtime.inspect(frame)
    assert expected.score > 0
    assert not expected.anomaly_map[mask == 0].any()
    for seed in range(5):
        noise = np.random.default_rng(seed).integers(0, 256, frame.shape, np.uint8)
        verdict = runtime.inspect(np.where(mask[:, :, None] > 0, frame, noise))
        assert verdict.score == expected.score
        np.testing.assert_array_equal(verdict.anomaly_map, expected.anomaly_map)


def test_what_is_inside_the_region_still_counts(export: Export, tmp_path: Path) -> None:
    runtime = Runtime(export(roi="20,18,46,44", halo=2))
    assert not runtime.inspect(good_frame(5000)).is_anomalous
    frame = good_frame(5000)
    frame[30:36, 28:34] = 255
    verdict = runtime.inspect(frame)
    assert verdict.is_anomalous
    assert 26 <= verdict.regions[0].peak_at[0] <= 40
    outside = good_frame(5000)
    outside[50:60, 50:60] = 255
    assert not runtime.inspect(outside).is_anomalous


def test_the_region_makes_everything_smaller(export: Export, tmp_path: Path) -> None:
    whole = Runtime(export(out=tmp_path / "whole.bundle")).manifest
    part = Runtime(export(roi="20,18,46,44", halo=2)).manifest
    assert part.backbone.tensor_size == (32, 32)
    assert part.backbone.crop == (16, 16, 48, 48)
    assert part.index.patches < whole.index.patches / 3
    assert part.members["coreset"].size < whole.members["coreset"].size / 3
    assert part.roi is not None
    assert all(60 <= c <= 190 for c in part.roi.fill)


@pytest.mark.parametrize(
    ("roi", "says"),
    [
        ("10,10,10,40", "empty or outside"),
        ("40,10,20,40", "empty or outside"),
        ("0,0,65,64", "empty or outside"),
        ("-1,0,10,10", "empty or outside"),
        ("1,2,3", "not understood"),
        ("a,b,c,d", "not understood"),
        ("box", "not understood"),
        ("30,30,31,40", "too thin"),
        ("missing.png", "cannot read missing.png"),
        ("missing.json", "cannot read the polygon"),
    ],
)
def test_regions_that_are_refused(export: Export, tmp_path: Path, roi: str, says: str) -> None:
    with pytest.raises(EdgeADError, match=says):
        export(roi=roi)
    assert list(tmp_path.iterdir()) == []


def test_a_mask_of_another_size_or_empty(export: Export, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.full((32, 32), 255, np.uint8))
    with pytest.raises(SpecError, match="another size"):
        export(roi=str(tmp_path / "small.png"))
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((SIZE, SIZE), np.uint8))
    with pytest.raises(SpecError, match="empty"):
        export(roi=str(tmp_path / "black.png"))


# ------------------------------------------------------------------------------------------ bad options

BAD: dict[str, dict[str, object]] = {
    "coreset 0": {"coreset": 0.0},
    "coreset 2": {"coreset": 2.0},
    "coreset NaN": {"coreset": float("nan")},
    "halo": {"halo": -1},
    "threads": {"threads": 0},
    "seed": {"seed": -1},
    "large seed": {"seed": 2**64},
    "rule": {"rule": "median"},
    "percentile": {"value": 101.0},
    "rate": {"rule": "false-reject", "value": 1.0},
    "reweight": {"reweight": -1},
    "target": {"to": "tensorrt"},
    "calibration": {"calibration": "none"},
    "input size 0": {"input_size": (0, 0)},
    "input size": {"input_size": (64, 5000)},
    "input size twice": {"more_sizes": ((64, 64),)},
    "points": {"points": ("f16",)},
    "max drop": {"max_drop": -1.0},
    "std": {"std": (0.0, 1.0, 1.0)},
    "mean": {"mean": (float("nan"), 0.0, 0.0)},
    "white level": {"white_level": 0},
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_are_refused(export: Export, tmp_path: Path, case: str) -> None:
    with pytest.raises(SpecError) as caught:
        export(**BAD[case])
    assert caught.value.expected
    assert list(tmp_path.iterdir()) == []


def test_bad_options_are_found_before_the_images_are_read(tiny: Path, tmp_path: Path) -> None:
    options = tiny_options(tiny, category="/nowhere", out=tmp_path / "o.bundle")
    for changes in BAD.values():
        if "calibration" in changes:
            continue
        with pytest.raises(SpecError):
            export_bundle(replace(options, **changes))


def test_the_command_line_and_the_class_have_the_same_defaults() -> None:
    assert parse_options(["part"]) == Options("part")
    changed = parse_options(
        [
            "part",
            "--to",
            "onnx",
            "--layers",
            "a",
            "b",
            "--input-size",
            "128,160",
            "--no-graph",
            "--threshold-rule",
            "sigma",
            "--threshold-value",
            "2",
            "--roi",
            "1,2,3,4",
            "--mean",
            "0",
            "0",
            "0",
            "--std",
            "1",
            "1",
            "1",
            "--skip-bad",
        ]
    )
    assert (changed.to, changed.layers, changed.input_size, changed.graph) == ("onnx", ("a", "b"), (128, 160), False)
    assert (changed.rule, changed.value, changed.roi, changed.skip_bad) == ("sigma", 2.0, "1,2,3,4", True)
    assert (changed.mean, changed.std) == ((0, 0, 0), (1, 1, 1))
    assert parse_options(["part", "--input-size", "128"]).input_size == (128, 128)
    for wrong in (["part", "--input-size", "a"], ["part", "--to", "x"], [], ["part", "--mean", "1"]):
        with pytest.raises(SystemExit) as caught:
            parse_options(wrong)
        assert caught.value.code == 2


# ----------------------------------------------------------------------------------- the user's own ONNX


def test_layers_that_are_not_there(export: Export) -> None:
    with pytest.raises(BackboneError, match="no tensor named finest") as caught:
        export(layers=("finest", "coarse"))
    assert "coarse" in str(caught.value)


def test_no_layers(export: Export) -> None:
    with pytest.raises(BackboneError, match="Its outputs are: fine coarse"):
        export(layers=None)


def test_weights_beside_an_onnx_file(export: Export, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="its own weights"):
        export(weights=tmp_path / "x.pth")


def test_files_that_are_no_backbone(export: Export, tmp_path: Path) -> None:
    (tmp_path / "garbage.onnx").write_bytes(b"garbage" * 50)
    (tmp_path / "folder.onnx").mkdir()
    for name, says in (("garbage", "is not an ONNX file"), ("folder", "cannot read"), ("missing", "cannot read")):
        with pytest.raises(BackboneError, match=says):
            export(backbone=str(tmp_path / f"{name}.onnx"))
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(BackboneError):
        export(backbone=str(tmp_path / "empty.onnx"))


def test_external_data_that_is_not_there(export: Export, tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(str(tiny / "backbone.onnx"))
    path = tmp_path / "external.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    assert Runtime(export(backbone=str(path))).inspect(bad_frame(1)).is_anomalous  # and with it all is well
    (tmp_path / "w.bin").unlink()
    with pytest.raises(BackboneError, match=r"w\.bin"):
        export(backbone=str(path))


def test_a_fixed_input_size(export: Export, tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(str(tiny / "backbone.onnx"))
    for dim, value in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 3, 96, 96), strict=True):
        dim.dim_value = value
    onnx.save(model, str(tmp_path / "fixed.onnx"))
    with pytest.raises(BackboneError, match="--input-size 96,96"):
        export(backbone=str(tmp_path / "fixed.onnx"))
    assert Runtime(export(backbone=str(tmp_path / "fixed.onnx"), input_size=(96, 96))).manifest.backbone.grid == (
        24,
        24,
    )


def test_a_backbone_that_gives_nan(export: Export, tmp_path: Path) -> None:
    path = write_backbone(tmp_path / "nan.onnx")
    model = onnx.load(str(path))
    kernel = next(item for item in model.graph.initializer if item.name == "b0")
    kernel.CopyFrom(onnx.numpy_helper.from_array(np.full(8, np.nan, np.float32), "b0"))
    onnx.save(model, str(path))
    with pytest.raises(EdgeADError):
        export(backbone=str(path))
    assert not (tmp_path / "out.bundle").exists()


# ------------------------------------------------------------------------------------ nothing half done


def test_engines_that_differ_stop_the_export(export: Export, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if len(installed_engines()) < 2:
        pytest.skip("both engines are needed")
    monkeypatch.setattr("export.stages.relative_difference", lambda a, b: float("nan"))
    with pytest.raises(ParityError, match="differs between"):
        export()
    assert list(tmp_path.iterdir()) == []


def test_targets_that_cannot_be_written(export: Export, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "no" / "x.bundle", tmp_path, tmp_path / "file" / "x.bundle"):
        with pytest.raises(SpecError, match=r"written|folder"):
            export(out=out)
    with pytest.raises(EdgeADError, match="written"):
        export(out=Path("/proc/x.bundle"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(export: Export, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(SpecError, match="writable"):
        export(out=locked / "x.bundle")


def test_a_full_disk_leaves_the_old_bundle(tiny: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the write fails in the middle alike."""
    out = tmp_path / "part.bundle"
    out.write_bytes(b"the old one")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = run(command(tiny, out), preexec_fn=limit)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert out.read_bytes() == b"the old one"
    assert [p.name for p in tmp_path.iterdir()] == ["part.bundle"]


def test_no_room_for_the_patches(export: Export, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("export.features._IN_MEMORY", 1000)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = Runtime(export(out=tmp_path / "spilled.bundle")).threshold  # from a file it works as from memory
    monkeypatch.setattr("export.features._IN_MEMORY", 2**31)
    assert Runtime(export(out=tmp_path / "memory.bundle")).threshold == before
    monkeypatch.setattr("export.features._IN_MEMORY", 1000)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match="No space left"):
        export(out=tmp_path / "full.bundle")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["memory.bundle", "spilled.bundle"]


SLOW = """
import sys, time
import export.pipeline, export.make_point
stage = sys.argv.pop(1)
module = export.make_point if hasattr(export.make_point, stage) else export.pipeline
inner = getattr(module, stage)
def slowly(*args, **kwargs):
    print("NOW", flush=True)
    time.sleep(30)
    return inner(*args, **kwargs)
setattr(module, stage, slowly)
from export.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("stage", ["extract", "cross_fit", "at_point", "make_probes", "write_bundle"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle(tiny: Path, tmp_path: Path, stage: str, how: signal.Signals) -> None:
    out = tmp_path / "part.bundle"
    shutil.copy(ROOT / "tests" / "data" / "format-1.bundle", out)
    old = out.read_bytes()
    slow = [sys.executable, "-c", SLOW, stage, *command(tiny, out)[3:], "--input-size", "48"]
    with child(slow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "NOW\n"
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
    assert out.read_bytes() == old
    Runtime(out, self_check=True)
    left = {path.name for path in tmp_path.iterdir()} - {"part.bundle"}
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in errors
        assert "interrupted" in errors
        assert left == set()
    else:
        assert all(
            name.startswith(".part.bundle.") and name.endswith(".tmp") for name in left
        )  # hidden, and no .bundle
        assert run(command(tiny, out)).returncode == 0  # and the next export does not mind
        assert out.read_bytes() != old


def test_an_error_is_one_line(tiny: Path, tmp_path: Path) -> None:
    done = run(command(tiny, tmp_path / "x.bundle", "--data", tiny, "prat"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no category 'prat'")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_the_summary_is_all_that_is_printed(tiny: Path, tmp_path: Path) -> None:
    start = time.perf_counter()
    done = run(command(tiny, tmp_path / "x.bundle"))
    assert done.returncode == 0
    seconds = float(re.search(r"total ([0-9.]+)", done.stdout)[1])  # type: ignore[index]
    assert 0 < seconds <= time.perf_counter() - start
    assert len(done.stdout.splitlines()) <= 12


def test_write_category_is_what_it_says(tmp_path: Path) -> None:
    """The tiny category itself, on which the tests above stand."""
    folder = write_category(tmp_path / "x", goods=3, tests=2)
    assert len(list((folder / "train" / "good").iterdir())) == 3
    mask = cv2.imread(str(folder / "ground_truth" / "scratch" / "000_mask.png"), cv2.IMREAD_GRAYSCALE)
    assert 0 < (mask > 0).mean() < 0.1
