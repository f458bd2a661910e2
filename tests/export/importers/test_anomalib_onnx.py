"""PatchCore as anomalib exports it to ONNX: a small graph of the same form, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")

from edge_ad import ParityError, Runtime, SpecError  # noqa: E402
from edge_ad.bundle.file import Bundle  # noqa: E402
from edge_ad.engines import installed_engines, run_once  # noqa: E402
from edge_ad.frames.crop import Crop  # noqa: E402
from export.importers.anomalib_onnx import read  # noqa: E402
from export.importers.base import Asked  # noqa: E402
from export.importers.command import main  # noqa: E402
from tests.export.importers.graphs import (  # noqa: E402
    DIM,
    SIGMA,
    SPREAD,
    THRESHOLD,
    bank,
    gaussians,
    graph,
    kernel,
    padim_graph,
    pixels,
)
from tests.tiny import SIZE, bad_frame, good_frame, write_backbone, write_category  # noqa: E402


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    write_category(folder / "part", goods=4, tests=1)
    onnx.save(graph(folder, bank(folder)), str(folder / "model.onnx"))
    onnx.save(padim_graph(folder, *gaussians(folder)), str(folder / "padim.onnx"))
    return folder


def imported(given: Path, model: Path, out: Path) -> Path:
    to = () if "openvino" in installed_engines() else ("--to", "onnx")
    command = [model, "--data", given / "part", "--out", out, "--threads", 1, "--no-graph", *to]
    assert main([str(word) for word in command]) == 0
    return out


@pytest.mark.parametrize("engine", installed_engines())
def test_scores_are_those_of_the_graph(engine: str, given: Path, tmp_path: Path) -> None:
    out = imported(given, given / "model.onnx", tmp_path / "a.bundle")
    runtime = Runtime(out, engine=engine, threads=1)
    data = (given / "model.onnx").read_bytes()
    crop = Crop(runtime.manifest.frame, runtime.manifest.backbone, None, None)
    for frame in (good_frame(50), bad_frame(51)):
        normalised = float(run_once(data, "input", pixels(crop(frame)[0]))[0].reshape(-1)[0])
        score = runtime.inspect(frame).score
        assert np.clip((score - THRESHOLD) / SPREAD + 0.5, 0, 1) == pytest.approx(normalised, abs=1e-4)
    with Bundle.open(out) as bundle:
        assert bundle.manifest.calibration.threshold == pytest.approx(THRESHOLD, rel=1e-6)
        assert bundle.manifest.backbone.input_size == (SIZE, SIZE)


def test_without_a_post_processor_the_threshold_stands_beside(given: Path, tmp_path: Path) -> None:
    onnx.save(graph(tmp_path, bank(tmp_path), post=False), str(tmp_path / "model.onnx"))
    assert read(tmp_path / "model.onnx", Asked()).given is None
    (tmp_path / "metadata.json").write_text(json.dumps({"image_threshold": 2.5}))
    found = read(tmp_path / "model.onnx", Asked()).given
    assert found is not None
    assert found.score == pytest.approx(2.5)


def test_a_graph_with_other_scores_is_refused(given: Path, tmp_path: Path) -> None:
    onnx.save(graph(tmp_path, bank(tmp_path), power=2), str(tmp_path / "model.onnx"))
    with pytest.raises(ParityError, match="not those of the model"):
        imported(given, tmp_path / "model.onnx", tmp_path / "a.bundle")
    assert not (tmp_path / "a.bundle").exists()


def test_models_that_are_not_patchcore(tmp_path: Path) -> None:
    write_backbone(tmp_path / "net.onnx")
    with pytest.raises(SpecError, match="PatchCore, whose patches are compared"):
        read(tmp_path / "net.onnx", Asked())
    rows = np.full((3, DIM), np.nan, np.float32)
    onnx.save(graph(tmp_path, rows), str(tmp_path / "nan.onnx"))
    with pytest.raises(SpecError, match="NaN"):
        read(tmp_path / "nan.onnx", Asked())


def hostile() -> dict[str, onnx.ModelProto]:
    """Graphs that no exporter writes."""
    node, memory = onnx.helper.make_node, onnx.numpy_helper.from_array(np.zeros((10, 4), np.float32), "memory")
    one = onnx.numpy_helper.from_array(np.float32(1), "one")
    sides = onnx.TensorProto(name="memory", dims=[2**40, 2**20], data_type=onnx.TensorProto.FLOAT)
    compared = node("MatMul", ["a", "memory"], ["pred_score"])
    circle = [node("Reshape", ["b", "one"], ["a"]), node("Reshape", ["a", "one"], ["b"]), compared]
    linear = [node("Add", ["b", "one"], ["a"]), node("Add", ["a", "one"], ["b"]), node("Clip", ["a"], ["pred_score"])]
    cases: dict[str, tuple[list[onnx.NodeProto], list[onnx.TensorProto]]] = {
        "a circle of shapes": (circle, [memory, one]),
        "a circle of numbers": (linear, [one]),
        "sides without numbers": ([node("AveragePool", ["x"], ["a"], kernel_shape=[1, 1]), compared], [sides]),
        "a node without inputs": ([node("Reshape", [], ["a"]), compared], [memory]),
        "a constant without a value": ([node("Constant", [], ["a"]), compared], [memory]),
        "a constant without a name": ([node("Constant", [], [], value=one), compared], [memory]),
    }
    value = onnx.helper.make_tensor_value_info
    ends = [[value(name, onnx.TensorProto.FLOAT, [1])] for name in ("x", "pred_score")]
    found = {name: onnx.helper.make_graph(nodes, name, *ends, weights) for name, (nodes, weights) in cases.items()}
    found["no output"] = onnx.helper.make_graph([node("Relu", ["x"], ["y"])], "a", ends[0], [])
    return {name: onnx.helper.make_model(graph) for name, graph in found.items()}


@pytest.mark.parametrize("name", [*hostile()])
def test_graphs_that_cannot_be(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(hostile()[name].SerializeToString())
    with pytest.raises(SpecError, match="can be imported"):
        read(tmp_path / "model.onnx", Asked())


@pytest.mark.parametrize("engine", installed_engines())
def test_padim_s_score_is_the_peak_of_the_map(engine: str, given: Path, tmp_path: Path) -> None:
    out = imported(given, given / "padim.onnx", tmp_path / "a.bundle")
    runtime = Runtime(out, engine=engine, threads=1)
    data = (given / "padim.onnx").read_bytes()
    for frame in (good_frame(50), bad_frame(51)):
        expected = run_once(data, "input", pixels(frame))[0]
        verdict = runtime.inspect(frame)
        assert verdict.score == pytest.approx(float(expected.max()), rel=1e-4)
        np.testing.assert_allclose(verdict.anomaly_map, expected[0, 0], rtol=1e-3, atol=1e-4 * expected.max())
        assert float(verdict.anomaly_map.max()) == pytest.approx(
            verdict.score, rel=1e-6
        )  # a frame of the tensor's size
    with Bundle.open(out) as bundle:
        head, calibration = bundle.manifest.head, bundle.manifest.calibration
        assert head.map_sigma == SIGMA
        assert calibration.threshold == pytest.approx(THRESHOLD, rel=1e-6)
        assert calibration.good_peaks == pytest.approx(calibration.good_scores, rel=1e-6)


def test_a_map_alone_has_its_peak_for_a_score(given: Path, tmp_path: Path) -> None:
    onnx.save(padim_graph(tmp_path, *gaussians(tmp_path), map_only=True), str(tmp_path / "model.onnx"))
    (tmp_path / "metadata.json").write_text(json.dumps({"image_threshold": 2.5, "min": 0.1, "max": 9.0}))
    out = imported(given, tmp_path / "model.onnx", tmp_path / "a.bundle")
    expected = run_once((tmp_path / "model.onnx").read_bytes(), "input", pixels(bad_frame(51)))[0].max()
    runtime = Runtime(out, threads=1)
    assert runtime.inspect(bad_frame(51)).score == pytest.approx(float(expected), rel=1e-4)
    assert runtime.threshold == pytest.approx(2.5, rel=1e-6)


def test_numbers_in_nodes_and_a_map_of_no_stated_size(tmp_path: Path) -> None:
    """As torch's older exporter writes graphs: the size is that of the resize of the image."""
    model = padim_graph(tmp_path, *gaussians(tmp_path), map_only=True)
    for item in list(model.graph.initializer)[::-1]:
        if item.name in ("image_size", "means", "blur", "zero", "chosen"):
            model.graph.initializer.remove(item)
            model.graph.node.insert(0, onnx.helper.make_node("Constant", [], [item.name], value=item))
    (output,) = model.graph.output
    for number, dim in enumerate(output.type.tensor_type.shape.dim):
        dim.dim_param = f"side{number}"
    onnx.save(model, str(tmp_path / "model.onnx"))
    found = read(tmp_path / "model.onnx", Asked())
    assert found.view is not None
    assert found.view.size == (SIZE, SIZE)
    assert found.method == "padim"


def test_a_mask_of_a_frame_leaves_the_peak_inside(given: Path, tmp_path: Path) -> None:
    runtime = Runtime(imported(given, given / "padim.onnx", tmp_path / "a.bundle"), threads=1)
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[:, : SIZE // 2] = True
    whole, half = runtime.inspect(bad_frame(51)), runtime.inspect(bad_frame(51), roi=mask)
    assert half.score <= whole.score * 1.5
    assert half.anomaly_map[mask].max() <= half.score * (1 + 1e-6)
    assert not half.anomaly_map[~mask].any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blur": np.full((1, 1, 9, 9), 1 / 81, np.float32)}, "not smoothed as anomalib"),
        ({"blur": kernel()[:, :, 1:-1, 1:-1]}, "not smoothed as anomalib"),
        ({"inverses": -np.tile(np.eye(6, dtype=np.float32), (256, 1, 1))}, "positive definite"),
        ({"inverses": np.full((256, 6, 6), np.nan, np.float32)}, "NaN"),
        (
            {"inverses": np.tile(np.triu(np.ones((6, 6), np.float32)) + 9 * np.eye(6, dtype=np.float32), (256, 1, 1))},
            "miss",
        ),
    ],
)
def test_gaussians_that_are_none(change: dict[str, np.ndarray], words: str, given: Path, tmp_path: Path) -> None:
    means, inverses = gaussians(tmp_path)
    blur, inverses = change.get("blur"), change.get("inverses", inverses)
    onnx.save(padim_graph(tmp_path, means, inverses, blur=blur), str(tmp_path / "model.onnx"))
    with pytest.raises(SpecError, match=words):
        imported(given, tmp_path / "model.onnx", tmp_path / "a.bundle")
    assert not (tmp_path / "a.bundle").exists()
