"""The backbone graph against the same arithmetic written out in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edge_ad.engines import Models, open_engine  # noqa: E402
from edge_ad.errors import BackboneError, EngineError  # noqa: E402
from export.graph import OPSET, build_graph, tensor_names  # noqa: E402
from export.network import patches_of  # noqa: E402
from tests.tiny import write_backbone  # noqa: E402

MEAN, STD = (0.485, 0.4, 0.3), (0.229, 0.31, 0.4)
SIZES = [(64, 64), (65, 67), (30, 50), (16, 16), (17, 100), (33, 48)]
Model = Callable[[], "onnx.ModelProto"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    return onnx.load(str(write_backbone(tmp_path_factory.mktemp("graph") / "b.onnx")))


@pytest.fixture
def model(original: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(original)
    return copy


def unfoldable(model: onnx.ModelProto) -> onnx.ModelProto:
    """Puts something before the first convolution, so that nothing can be folded into it."""
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
    model.graph.node[0].input[0] = "moved"
    model.graph.node.insert(0, helper.make_node("Add", ["image", "zero"], ["moved"]))
    return model


def convolution(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(C, H, W) by a 3x3 kernel of stride 2, zeros around."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    return np.einsum("chwij,ocij->ohw", windows, kernel) + bias[:, None, None]


def pooled(x: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)).mean(axis=(3, 4))


def upsampled(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear with half-pixel centres."""
    for axis in (1, 2):
        count, wanted = x.shape[axis], size[axis - 1]
        at = (np.arange(wanted) + 0.5) * count / wanted - 0.5
        low = np.clip(np.floor(at).astype(int), 0, count - 1)
        high = np.clip(np.floor(at).astype(int) + 1, 0, count - 1)
        weight = (at - np.floor(at)).reshape([1, -1, 1] if axis == 1 else [1, 1, -1])
        x = np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight
    return x


def by_hand(model: onnx.ModelProto, tensor: np.ndarray, layers: tuple[str, ...]) -> np.ndarray:
    weights = {item.name: numpy_helper.to_array(item).astype(np.float64) for item in model.graph.initializer}
    x = (tensor[0, :, :, ::-1] / 255.0 - MEAN) / STD
    x = x.transpose(2, 0, 1)
    maps = {}
    for i, name in enumerate(("a", "fine", "coarse")):
        x = np.maximum(convolution(x, weights[f"w{i}"], weights[f"b{i}"]), 0)
        maps[name] = x
    grid = max(maps[name].shape[1:] for name in layers)
    parts = [upsampled(pooled(maps[name]), grid) for name in layers]
    return np.concatenate(parts).transpose(1, 2, 0).reshape(grid[0] * grid[1], -1)


def tensor_of(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (1, *size, 3), np.uint8)


def run(engine: str, model: onnx.ModelProto, tensor: np.ndarray) -> np.ndarray:
    opened = open_engine(engine, Models(onnx=model.SerializeToString()), device="CPU", threads=2, precision="f32")
    return opened(tensor)


def op_types(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("layers", [("fine", "coarse"), ("coarse", "fine"), ("a", "fine", "coarse"), ("coarse",)])
@pytest.mark.parametrize("size", SIZES)
def test_against_numpy(model: onnx.ModelProto, engine: str, size: tuple[int, int], layers: tuple[str, ...]) -> None:
    expected = by_hand(model, tensor_of(size), layers)
    graph = build_graph(model, layers, size, MEAN, STD)
    assert (graph.grid[0] * graph.grid[1], graph.dim) == expected.shape
    found = run(engine, graph.model, tensor_of(size))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("size", SIZES)
def test_unfolded_is_the_same(model: onnx.ModelProto, engine: str, size: tuple[int, int]) -> None:
    expected = by_hand(model, tensor_of(size, 1), ("fine", "coarse"))
    folded = build_graph(model, ("fine", "coarse"), size, MEAN, STD).model
    plain = build_graph(unfoldable(model), ("fine", "coarse"), size, MEAN, STD).model
    assert "Div" not in op_types(folded)
    assert "Div" in op_types(plain)
    for graph in (folded, plain):
        found = run(engine, graph, tensor_of(size, 1))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_weights_that_two_convolutions_share_are_not_folded(model: onnx.ModelProto, engine: str) -> None:
    model.graph.node[0].input[1] = "shared"
    kernel = next(item for item in model.graph.initializer if item.name == "w0")
    kernel.name = "shared"
    again = helper.make_node("Conv", ["image", "shared"], ["twin"], kernel_shape=[3, 3], pads=[1] * 4, strides=[2] * 2)
    model.graph.node.append(again)
    graph = build_graph(model, ("fine", "twin"), (32, 32), MEAN, STD).model
    assert "Div" in op_types(graph)
    assert np.isfinite(run(engine, graph, tensor_of((32, 32)))).all()


def test_the_channel_order_matters(model: onnx.ModelProto, engine: str) -> None:
    graph = build_graph(model, ("fine", "coarse"), (64, 64), MEAN, STD).model
    tensor = tensor_of((64, 64))
    assert not np.allclose(run(engine, graph, tensor), run(engine, graph, tensor[..., ::-1].copy()), rtol=1e-2)


def test_the_original_is_left_alone(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    build_graph(model, ("fine", "coarse"), (64, 64), MEAN, STD)
    assert model.SerializeToString() == before


def test_what_is_not_needed_is_cut_off(model: onnx.ModelProto) -> None:
    graph = build_graph(model, ("fine",), (64, 64), MEAN, STD).model
    names = {item.name for item in graph.graph.initializer}
    assert {"w0", "w1"} <= names
    assert "w2" not in names
    assert "coarse" not in tensor_names(graph)
    assert graph.opset_import[0].version == OPSET
    (entry,) = graph.graph.input
    assert [d.dim_value for d in entry.type.tensor_type.shape.dim] == [1, 64, 64, 3]
    assert entry.type.tensor_type.elem_type == TensorProto.UINT8
    (out,) = graph.graph.output
    assert [d.dim_value for d in out.type.tensor_type.shape.dim] == [256, 8]


@pytest.mark.parametrize(
    "names", [("frame", "patches"), ("patches", "frame"), ("image", "patches"), ("frame", "coarse")]
)
def test_tensors_that_are_named_as_ours(model: onnx.ModelProto, engine: str, names: tuple[str, str]) -> None:
    expected = by_hand(model, tensor_of((64, 64)), ("fine", "coarse"))
    new = {"image": names[0], "coarse": names[1]}
    for node in model.graph.node:
        for part in (node.input, node.output):
            part[:] = [new.get(name, name) for name in part]
    for item in (*model.graph.input, *model.graph.output):
        item.name = new.get(item.name, item.name)
    found = run(engine, build_graph(model, ("fine", names[1]), (64, 64), MEAN, STD).model, tensor_of((64, 64)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_weights_listed_among_the_inputs(model: onnx.ModelProto, engine: str) -> None:
    """As files of old exporters have it."""
    expected = by_hand(model, tensor_of((64, 64)), ("fine",))
    for item in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(item.name, TensorProto.FLOAT, list(item.dims)))
    found = run(engine, build_graph(model, ("fine",), (64, 64), MEAN, STD).model, tensor_of((64, 64)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("opset", [13, 17, 18, 19])
def test_opsets(model: onnx.ModelProto, engine: str, opset: int) -> None:
    expected = by_hand(model, tensor_of((64, 64)), ("fine",))
    model.opset_import[0].version = opset
    found = run(engine, build_graph(model, ("fine",), (64, 64), MEAN, STD).model, tensor_of((64, 64)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1, 8, 16, 16]))
    model.graph.node.append(helper.make_node("Add", ["fine", "second"], ["sum"]))


def four_channels(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 4


def fixed_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 99


def whole_numbers(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8


def flat_layer(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Flatten", ["fine"], ["sum"]))


def wrong_weights(model: onnx.ModelProto) -> None:
    item = next(item for item in model.graph.initializer if item.name == "w1")
    item.CopyFrom(numpy_helper.from_array(np.zeros((8, 5, 3, 3), np.float32), "w1"))


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "Wiggle"


def missing_node(model: onnx.ModelProto) -> None:
    del model.graph.node[0]


def future_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 9999


BROKEN = [
    (two_inputs, ("sum",), "is not an image"),
    (four_channels, ("fine",), "is not an image"),
    (whole_numbers, ("fine",), "is not an image|fit together|opset"),
    (fixed_size, ("fine",), "fixed input size"),
    (flat_layer, ("sum",), "not a feature map"),
    (unknown_operator, ("fine",), "opset|fit together|valid"),
    (missing_node, ("fine",), "opset|input|valid|fit"),
    (future_opset, ("fine",), "opset 9999"),
    (lambda model: None, ("w0",), "no tensor named w0"),
    (lambda model: None, ("image",), "no tensor named image"),
]


@pytest.mark.parametrize(("change", "layers", "says"), BROKEN, ids=lambda v: getattr(v, "__name__", str(v)))
def test_backbones_that_are_refused(
    model: onnx.ModelProto, change: Callable[[onnx.ModelProto], None], layers: tuple[str, ...], says: str
) -> None:
    change(model)
    with pytest.raises(BackboneError, match=says):
        build_graph(model, layers, (64, 64), MEAN, STD)


def test_weights_that_do_not_fit_are_the_engines_to_refuse(model: onnx.ModelProto, engine: str) -> None:
    """ONNX's shape inference passes over them."""
    wrong_weights(model)
    graph = build_graph(model, ("fine",), (64, 64), MEAN, STD).model
    with pytest.raises(EngineError):
        run(engine, graph, tensor_of((64, 64)))


def test_patches_of_is_the_same_arithmetic() -> None:
    """The parity reference of a torch backbone: pooling and upsampling by OpenCV."""
    generator = np.random.default_rng(0)
    maps = [generator.normal(0, 1, shape).astype(np.float32) for shape in ((1, 3, 9, 12), (1, 2, 5, 6))]
    parts = [upsampled(pooled(part[0].astype(np.float64)), (9, 12)) for part in maps]
    expected = np.concatenate(parts).transpose(1, 2, 0).reshape(108, 5)
    np.testing.assert_allclose(patches_of(maps, (9, 12)), expected, rtol=1e-5, atol=1e-5)


def test_a_saved_graph_is_a_valid_file(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    onnx.save(build_graph(model, ("fine", "coarse"), (64, 64), MEAN, STD).model, str(path))
    onnx.checker.check_model(str(path), full_check=True)
