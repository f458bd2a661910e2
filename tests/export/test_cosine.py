"""``--distance cosine``: patches of length 1 in the graph, and what becomes of patches that have no direction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edge_ad import Runtime, SpecError  # noqa: E402
from edge_ad.bundle.file import Bundle  # noqa: E402
from edge_ad.engines import Models, open_engine  # noqa: E402
from export.graph import build_graph  # noqa: E402
from export.pipeline import export_bundle  # noqa: E402
from tests.tiny import SIZE, good_frame, tiny_options  # noqa: E402

BLACK = np.zeros((1, SIZE, SIZE, 3), np.uint8)


def network(scale: float = 1.0) -> onnx.ModelProto:
    """A convolution without a bias: it gives zeros for a black image."""
    kernel = np.random.default_rng(3).normal(0, scale, (8, 3, 8, 8)).astype(np.float32)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    node = helper.make_node("Conv", ["image", "kernel"], ["map"], kernel_shape=[8, 8], strides=[8, 8])
    out = helper.make_tensor_value_info("map", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [image], [out], [numpy_helper.from_array(kernel, "kernel")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def patches(engine: str, scale: float, tensor: np.ndarray, distance: str = "cosine") -> np.ndarray:
    graph = build_graph(network(scale), ("map",), (SIZE, SIZE), (0, 0, 0), (1, 1, 1), distance=distance)
    models = Models(onnx=graph.model.SerializeToString())
    return open_engine(engine, models, device="CPU", threads=1, precision="f32")(tensor)


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_patches_have_length_1(engine: str, scale: float) -> None:
    """Also where their squares are too small or too large for a float."""
    tensor = good_frame(1)[None]
    found, plain = patches(engine, scale, tensor), patches(engine, 1.0, tensor, "euclidean")
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-4)


def test_a_patch_of_zeros_stays_one(engine: str) -> None:
    tensor = good_frame(1)[None].copy()
    tensor[:, :32] = 0
    found = patches(engine, 1.0, tensor)
    assert np.isfinite(found).all()
    assert not found[: 3 * 8].any()  # averaging over 3 x 3 reaches one row of patches further
    np.testing.assert_allclose(np.linalg.norm(found[4 * 8 :], axis=1), 1, atol=1e-5)


def test_a_frame_without_any_direction_is_no_good_one(tiny: Path, tmp_path: Path, engine: str) -> None:
    onnx.save(network(), str(tmp_path / "n.onnx"))
    own = {"backbone": str(tmp_path / "n.onnx"), "layers": ("map",), "mean": (0.0, 0.0, 0.0), "to": "onnx"}
    path = export_bundle(tiny_options(tiny, **own, distance="cosine", out=tmp_path / "a.bundle")).bundle
    runtime = Runtime(path, engine=engine)
    verdict = runtime.inspect(BLACK[0])
    assert verdict.score == pytest.approx(1, abs=1e-4)
    assert verdict.is_anomalous
    assert runtime.inspect(good_frame(500)).score < 1


def test_the_manifest_holds_it(tiny: Path, tmp_path: Path) -> None:
    """And refuses a method that it is not for, and two sizes of different distances."""
    changes = {"second_size": (32, 32), "to": "onnx", "distance": "cosine", "out": tmp_path / "a.bundle"}
    with Bundle.open(export_bundle(tiny_options(tiny, **changes)).bundle) as bundle:
        manifest = bundle.manifest
    assert manifest.second is not None
    assert [sight.backbone.distance for sight in manifest.sights] == ["cosine", "cosine"]
    plain = replace(manifest.backbone, distance="euclidean")
    with pytest.raises(SpecError, match=r"second\.backbone\.distance is not that of the first size"):
        replace(manifest, backbone=plain)
    other = export_bundle(tiny_options(tiny, method="padim", to="onnx", out=tmp_path / "b.bundle")).bundle
    with Bundle.open(other) as bundle:
        padim = bundle.manifest
    with pytest.raises(SpecError, match=r"backbone\.distance does not fit the method.*expected euclidean for padim"):
        replace(padim, backbone=replace(padim.backbone, distance="cosine"))
    with pytest.raises(SpecError, match="distance is unknown"):
        replace(manifest.backbone, distance="manhattan")
