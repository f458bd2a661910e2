"""The comparison with anomalib, less anomalib itself: its arithmetic, edge-ad's side of it, and how a peer fails."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench.parity.compare import (
    TOLERANCE,
    Estimate,
    Truth,
    difference,
    ladder_lines,
    over_seeds,
    parity_lines,
    verdict,
)
from bench.peer.answers import Answers
from bench.peer.process import PeerProcess, check_peer
from edge_ad.errors import EngineError, SpecError
from tests.processes import child

SIZE = (32, 24)
KINDS = ("scratch", None, "hole", None, "hole", None)


def some_answers(seed: int = 0) -> Answers:
    generator = np.random.default_rng(seed)
    distances = generator.random((len(KINDS), 8, 6), np.float32)
    maps = generator.random((len(KINDS), *SIZE), np.float32)
    return Answers(generator.random(len(KINDS)), distances, maps)


@pytest.fixture
def truth() -> Truth:
    masks = np.zeros((len(KINDS), *SIZE), np.bool_)
    for mask, kind in zip(masks, KINDS, strict=True):
        mask[4:10, 5:9] = kind is not None
    return Truth(KINDS, masks)


@pytest.mark.parametrize("left_out", [(), ("hole",)])
def test_auroc_is_that_of_scikit_learn(truth: Truth, left_out: tuple[str, ...]) -> None:
    roc_auc_score = pytest.importorskip("sklearn.metrics").roc_auc_score
    answers, kept = some_answers(), [i for i, kind in enumerate(KINDS) if kind not in left_out]
    labels = [KINDS[i] is not None for i in kept]
    assert truth.image_auroc(answers, left_out) == pytest.approx(roc_auc_score(labels, answers.scores[kept]))
    pixels = roc_auc_score(truth.masks[kept].ravel(), answers.maps[kept].ravel())
    assert truth.pixel_auroc(answers, left_out) == pytest.approx(pixels)


def test_our_stages_in_place_of_the_peers(truth: Truth) -> None:
    answers = some_answers()
    largest = answers.with_largest()
    np.testing.assert_array_equal(largest.scores, answers.distances.reshape(len(KINDS), -1).max(axis=1))
    assert largest.maps is answers.maps
    ours = answers.with_our_maps()
    assert ours.maps.shape == (len(KINDS), *SIZE)
    assert ours.maps.dtype == np.float32
    flat = replace(answers, distances=np.full((2, 8, 6), 3, np.float32)).with_our_maps()
    np.testing.assert_allclose(flat.maps, 3, rtol=1e-6)  # a smoothed plain is plain up to its border


def test_means_and_errors_over_seeds() -> None:
    found = over_seeds([0.9, 0.92, 0.94])
    assert found.mean == pytest.approx(0.92)
    assert found.error == pytest.approx(0.02 / 3**0.5)
    assert np.isnan(over_seeds([0.9]).error)


def test_the_same_draws_take_their_noise_with_them() -> None:
    ours, theirs = [0.90, 0.92, 0.94], [0.89, 0.91, 0.93]
    paired, apart = (difference(ours, theirs, paired=each) for each in (True, False))
    assert paired.mean == pytest.approx(0.01)
    assert apart.mean == pytest.approx(0.01)
    assert paired.error == pytest.approx(0, abs=1e-12)
    assert apart.error == pytest.approx(2**0.5 * 0.02 / 3**0.5)
    with pytest.raises(ValueError, match="argument 2"):
        difference(ours, theirs[:2], paired=True)


@pytest.mark.parametrize(
    ("mean", "error", "expected"),
    [
        (TOLERANCE, 0.0, "yes"),
        (-0.004, 0.1, "yes"),
        (0.006, 0.001, "no, edge-ad higher, not beyond the noise"),
        (-0.006, 0.0001, "NO, edge-ad lower"),
        (0.02, float("nan"), "no, edge-ad higher, not beyond the noise"),
    ],
)
def test_a_difference_counts_when_two_errors_leave_it_outside(mean: float, error: float, expected: str) -> None:
    assert verdict(Estimate(mean, error)) == expected


def test_tables() -> None:
    ours, theirs = [(0.91, 0.97), (0.93, 0.97)], [(0.90, 0.96), (0.92, 0.96)]
    image, pixel = parity_lines([("x", ours, theirs, True)])[2:]
    assert image.startswith("| x | image | 0.9100 (0.9000..0.9200) | 0.9200 (0.9100..0.9300) | +0.0100 ± 0.0000 | NO,")
    assert pixel.startswith("| x | pixel | 0.9600 ")
    first, second = ladder_lines({"from": theirs, "to": ours})[2:]
    assert first == "| from | 0.9100 |  | 0.9600 |  |"
    assert second == "| to | 0.9200 | +0.0100 ± 0.0000 | 0.9700 | +0.0100 ± 0.0000 |"


def fake_python(folder: Path, script: str) -> Path:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_missing_peer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere cannot be run; .*No such file.*pip install anomalib"):
        check_peer(tmp_path / "nowhere")
    python = fake_python(tmp_path, "echo 'PackageNotFoundError: No package metadata' >&2; exit 1")
    with pytest.raises(SpecError, match=r"no anomalib; .*PackageNotFoundError.*pip install anomalib"):
        check_peer(python)
    assert check_peer(fake_python(tmp_path, "echo 2.7.0")) == "2.7.0"


PEER = """
import json, sys
import numpy as np
print("a library says hello")
print(json.dumps({"versions": {"anomalib": "0"}}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["request"] == "fail":
        sys.exit(1)
    n = request["n"]
    np.savez(request["answers"], scores=np.arange(n), distances=np.ones((n, 1, 1)), maps=np.ones((n, 2, 2)))
    print("{}", flush=True)
"""


def test_a_peer_answers_or_ends_the_program(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    with child([sys.executable, "-c", PEER], stdin=pipe, stdout=pipe) as process:
        peer = PeerProcess(process, tmp_path)
        assert peer.versions == {"anomalib": "0"}
        assert peer.inspect("padim", n=3).scores.tolist() == [0, 1, 2]
        with pytest.raises(EngineError, match="ended early"):
            peer.ask("fail")
        process.wait()
        with pytest.raises(EngineError, match="ended early"):
            peer.ask("padim")


def test_what_a_request_says(tmp_path: Path) -> None:
    class Process:
        stdin = io.StringIO()
        stdout = io.StringIO('{"versions": {}}\n{"wanted": 5}\n')

    peer = PeerProcess(Process(), tmp_path)  # type: ignore[arg-type]
    rows = peer.save("rows.npy", np.arange(3))
    assert peer.ask("project", rows=rows) == {"wanted": 5}
    assert json.loads(Process.stdin.getvalue()) == {"request": "project", "rows": str(tmp_path / "rows.npy")}
    assert np.load(rows).tolist() == [0, 1, 2]
    Process.stdout = io.StringIO('{"levels": 0.5}\n')
    assert peer.apart([tmp_path / "a.png"], rows) == 0.5
    asked = json.loads(Process.stdin.getvalue().splitlines()[-1])
    assert asked == {"request": "apart", "paths": [str(tmp_path / "a.png")], "crops": rows}


@pytest.mark.parametrize("method", ["patchcore", "padim"])
def test_our_side_says_what_a_bundle_says(tiny: Path, tmp_path: Path, method: str) -> None:
    pytest.importorskip("onnx", reason="the export needs onnx")
    pytest.importorskip("hnswlib", reason="the export needs hnswlib")
    from bench.parity import own
    from edge_ad import Runtime
    from edge_ad.data.layouts import load_category
    from export.pipeline import export_bundle
    from tests.tiny import tiny_options

    options = replace(tiny_options(tiny, to="onnx", method=method), out=tmp_path / "a.bundle", reweight=9, seed=3)
    if method == "padim":
        options = replace(options, reweight=0)
    runtime = Runtime(export_bundle(options).bundle, search="exact")
    category = load_category(tiny / "part")
    images = list(category.test)
    with own.open_material(own.good_images(category), options, tmp_path) as material:
        head = own.fit(material, method, 3)
        found = own.inspect(material, {3: head}, images)[3]
        if method == "patchcore":
            rows = own.coreset_rows(material, 3, head)
            assert len(set(rows.tolist())) == runtime.manifest.index.size  # type: ignore[union-attr]
    verdicts = [runtime.inspect(image.path) for image in images]
    np.testing.assert_allclose(found.scores, [each.score for each in verdicts], rtol=1e-5)
    np.testing.assert_allclose(found.maps, [each.anomaly_map for each in verdicts], rtol=1e-4, atol=1e-6)
    truth = own.truth_of(images, options.input_size)
    assert truth.masks[[kind is not None for kind in truth.kinds]].any(axis=(1, 2)).all()
    assert own.crops(material, [images[0].path]).shape == (1, *options.input_size, 3)


def filter_matrix(side: int, wanted: int) -> np.ndarray:
    """(wanted, side): the bilinear filter that widens where it shrinks, as anomalib's."""
    factor = side / wanted
    centres, places = (np.arange(wanted)[:, None] + 0.5) * factor, np.arange(side) + 0.5
    weights = np.maximum(0, 1 - np.abs(places - centres) / max(factor, 1))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("shape", [(50, 90, 3), (20, 150), (96, 64)])
def test_a_picture_that_is_not_rounded(shape: tuple[int, ...]) -> None:
    pytest.importorskip("onnx", reason="the export needs onnx")
    pytest.importorskip("hnswlib", reason="the export needs hnswlib")
    from bench.parity.own import Unrounded
    from edge_ad.frames.crop import Crop
    from edge_ad.spec import FrameSpec
    from tests.bundle_maker import example_manifest

    size = (64, 96)
    given = example_manifest().backbone
    spec = replace(given, input_size=size, crop=(0, 0, *size), grid=(8, 12), resize="bilinear")
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    picture[:, :9] = 255
    planes = np.broadcast_to(np.atleast_3d(picture), (*shape[:2], 3)).astype(float)
    exact = np.einsum("ah,hwc,bw->abc", filter_matrix(shape[0], 64), planes, filter_matrix(shape[1], 96))
    (found,) = Unrounded(FrameSpec(None), spec)(picture, from_file=True)
    assert found.dtype == np.float32
    assert found.max() == 255  # white stays white
    np.testing.assert_allclose(found, exact, atol=0.02)
    (product,) = Crop(FrameSpec(None), spec, None, None)(picture, from_file=True)
    off = np.abs(product - found).max()
    assert 0.4 < off < 0.6  # what rounding is, and nothing else


def test_not_rounded_differs_only_where_pixels_are_resized(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the export needs onnx")
    pytest.importorskip("hnswlib", reason="the export needs hnswlib")
    from bench.parity import own
    from edge_ad.data.layouts import load_category
    from tests.tiny import tiny_options

    category = load_category(tiny / "part")
    good_images, images = own.good_images(category), list(category.test)
    for side, alike in ((64, True), (48, False)):
        options = replace(tiny_options(tiny, to="onnx"), input_size=(side, side), resize="bilinear")
        with own.open_material(good_images, options, tmp_path) as material:
            head = own.fit(material, "patchcore", 0)
            rows = own.coreset_rows(material, 0, head)
            scores = own.inspect(material, {0: head}, images)[0].scores
        with own.open_material(good_images, options, tmp_path, rounded=False) as material:
            finer = own.fit(material, "patchcore", 0, rows)
            flat = material.patches.reshape(-1, material.patches.shape[2])
            np.testing.assert_array_equal(finer.index.coreset.vectors, flat[rows])  # type: ignore[attr-defined]
            crops = own.crops(material, [images[0].path])
            found = own.inspect(material, {0: finer}, images)[0].scores
        assert crops.dtype == np.float32
        assert crops.max() > 2  # of the range of u8
        np.testing.assert_allclose(found, scores, rtol=1e-5 if alike else 0.05)
        assert np.allclose(found, scores, rtol=1e-5) == alike


@pytest.mark.parametrize("methods", [slice(None), slice(2)], ids=["both", "PatchCore"])
def test_the_report_has_both(methods: slice) -> None:
    pytest.importorskip("onnx", reason="the export needs onnx")
    pytest.importorskip("hnswlib", reason="the export needs hnswlib")
    from bench.parity import category as steps_of
    from bench.parity.__main__ import report

    order = [steps_of.OWN, steps_of.SAME, steps_of.MAP, steps_of.UNROUNDED, steps_of.EDGE]
    steps = {name: [(0.9 + i / 1000, 0.95)] * 2 for i, name in enumerate(order)}
    names = [steps_of.PATCHCORE, steps_of.PLAIN, *(f"PaDiM, {'+'.join(layers)}" for layers in steps_of.LAYERS)]
    names = names[methods]
    apart = {steps_of.EDGE: 0.51, steps_of.UNROUNDED: 0.002}
    given = {"path": Path("part"), "selections": [()], "seeds": range(2), "apart": apart, "residuals": {"x": 1e-6}}
    category = SimpleNamespace(good_images=[1], images=[1, 2], **given)
    lines = report(category, {name: {(): steps} for name in names})  # type: ignore[arg-type]
    (line,) = [line for line in lines if line.startswith(f"| {names[0]}, the same draws | image")]
    assert "| +0.0030 " in line
    (line,) = [line for line in lines if line.startswith(f"| {names[0]}, the same draws, not rounded | image")]
    assert "| +0.0020 " in line
    assert lines.count(f"| {steps_of.EDGE} | 0.9040 | +0.0010 ± 0.0000 | 0.9500 | +0.0000 ± 0.0000 |") == len(names)
    assert lines[-1].endswith("by 0.002 grey levels of 255 at most; rounded to 8 bits by 0.510.")


def test_without_masks_there_is_no_pixel_auroc() -> None:
    figures = [(0.9, float("nan")), (0.8, float("nan"))]
    (image,) = parity_lines([("x", figures, figures, True)])[2:]
    assert "| image |" in image
    assert ladder_lines({"only": figures})[2:] == ["| only | 0.8500 |  | - |  |"]
