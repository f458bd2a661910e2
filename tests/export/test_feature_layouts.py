"""Feature maps with their channels first or last, and what is no feature map."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from edge_ad.engines import Models, installed_engines, open_engine  # noqa: E402
from edge_ad.errors import BackboneError  # noqa: E402
from export.graph import build_graph  # noqa: E402
from export.layout import Asked, channel_axis  # noqa: E402

MEAN, STD = (0.485, 0.4, 0.3), (0.229, 0.31, 0.4)
SIZE = (32, 48)


def convolving(*more: onnx.NodeProto, channels: int = 8, **constants: np.ndarray) -> onnx.ModelProto:
    """A convolution of stride 4 that gives "map" (1, channels, 8, 12), and nodes behind it."""
    kernel = np.random.default_rng(3).normal(0, 0.2, (channels, 3, 4, 4)).astype(np.float32)
    weights = [numpy_helper.from_array(kernel, "kernel")]
    weights += [numpy_helper.from_array(values, name) for name, values in constants.items()]
    nodes = [helper.make_node("Conv", ["image", "kernel"], ["map"], kernel_shape=[4, 4], strides=[4, 4]), *more]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *SIZE])
    graph = helper.make_graph(
        nodes, "g", [image], [helper.make_tensor_value_info("map", TensorProto.FLOAT, None)], weights
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def patches(engine: str, model: onnx.ModelProto, layer: str) -> np.ndarray:
    graph = build_graph(model, (layer,), SIZE, MEAN, STD)
    opened = open_engine(engine, Models(onnx=graph.model.SerializeToString()), device="CPU", threads=1, precision="f32")
    return opened(np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), np.uint8))


def turn(source: str, out: str, *perm: int) -> onnx.NodeProto:
    return helper.make_node("Transpose", [source], [out], perm=perm)


def reshape(source: str, out: str, shape: str) -> onnx.NodeProto:
    return helper.make_node("Reshape", [source, shape], [out])


@pytest.mark.parametrize("channels", [8, 12, 96])  # 8 and 12 are the height and the width of the map as well
def test_channels_last_give_the_same_patches(engine: str, channels: int) -> None:
    """By a Transpose, whatever the numbers are, and behind a Reshape by the strides."""
    nodes = [turn("map", "last", 0, 2, 3, 1), helper.make_node("Relu", ["last"], ["relu"])]
    model = convolving(*nodes, helper.make_node("Relu", ["map"], ["first"]), channels=channels)
    expected = patches(engine, model, "first")
    assert expected.shape == (96, channels)
    np.testing.assert_allclose(patches(engine, model, "relu"), expected, atol=1e-6)
    if channels == 96:
        again = convolving(
            nodes[0],
            reshape("last", "flat", "rows"),
            helper.make_node("Relu", ["flat"], ["active"]),
            reshape("active", "hidden", "square"),
            channels=channels,
            rows=np.array([96, 96]),
            square=np.array([1, 8, 12, 96]),
        )
        np.testing.assert_allclose(patches(engine, again, "hidden"), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "size", "axis"),
    [
        ((1, 64, 64, 96), (256, 256), 3),
        ((1, 48, 32, 192), (192, 128), 3),
        ((1, 96, 64, 64), (256, 256), 1),
        ((1, 8, 8, 768), (256, 256), 3),
        ((1, 256, 17, 25), (265, 393), 1),  # rounded up
        ((1, 16, 24, 384), (265, 393), 3),  # rounded down
        ((1, 1, 1, 384), (32, 48), 3),
        ((1, 384, 1, 2), (32, 48), 1),
    ],
)
def test_the_strides_tell(shape: tuple[int, int, int, int], size: tuple[int, int], axis: int) -> None:
    assert channel_axis({}, "layer", shape, size) == axis


@pytest.mark.parametrize(
    ("shape", "size", "says"),
    [
        ((1, 64, 64, 64), (256, 256), "two feature maps.*--layout channels-first"),
        ((1, 8, 16, 16), (256, 128), r"not a feature map.*got \(1, 8, 16, 16\)"),
        ((1, 49, 3, 96), (224, 224), "not a feature map"),
    ],
)
def test_what_the_strides_cannot_tell_is_refused(
    shape: tuple[int, int, int, int], size: tuple[int, int], says: str
) -> None:
    with pytest.raises(BackboneError, match=says):
        channel_axis({}, "layer", shape, size)


def test_operators_tell_before_strides() -> None:
    """A network may shrink height and width unlike each other where convolutions say so, and not else."""
    nodes = convolving(turn("map", "odd", 0, 2, 1, 3), helper.make_node("Add", ["map", "other"], ["sum"])).graph.node
    makers = {node.output[0]: node for node in nodes}
    assert channel_axis(makers, "map", (1, 8, 8, 48), SIZE) == 1
    assert channel_axis(makers, "sum", (1, 8, 8, 8), SIZE) == 1
    with pytest.raises(BackboneError, match="not a feature map"):
        channel_axis(makers, "odd", (1, 8, 96, 12), SIZE)


@pytest.mark.parametrize("channels", [8, 12])
def test_a_layer_norm_and_a_product_with_weights_have_their_channels_last(channels: int) -> None:
    """Where the strides cannot tell: the map is 8 x 12 and has as many channels."""
    ones, eye = np.ones(channels, np.float32), np.eye(channels, dtype=np.float32)
    back = [turn("map", "last", 0, 2, 3, 1), reshape("last", "flat", "rows"), reshape("flat", "hidden", "square")]
    shapes = {"rows": np.array([96, channels]), "square": np.array([1, 8, 12, channels])}
    expected = patches("onnxruntime", convolving(channels=channels), "map")
    unclear = convolving(*back, channels=channels, **shapes)
    if channels == 8:
        with pytest.raises(BackboneError, match=r"two feature maps.*--layout channels-first or channels-last"):
            build_graph(with_square(channels), ("hidden",), (32, 32), MEAN, STD)
    graph = build_graph(unclear, ("hidden",), SIZE, MEAN, STD, Asked("channels-last"))
    assert graph.forms[0].axis == 3
    product = helper.make_node("MatMul", ["hidden", "eye"], ["product"])
    np.testing.assert_allclose(
        patches("onnxruntime", convolving(*back, product, channels=channels, eye=eye, **shapes), "product"),
        expected,
        atol=1e-6,
    )
    norm = helper.make_node("LayerNormalization", ["hidden", "ones"], ["norm"], axis=-1)
    model = convolving(*back, norm, channels=channels, ones=ones, **shapes)
    assert build_graph(model, ("norm",), SIZE, MEAN, STD).forms[0].axis == 3


def with_square(channels: int) -> onnx.ModelProto:
    """A map of 8 x 8 with 8 channels behind a Reshape: nothing tells its layout."""
    nodes = [turn("map", "last", 0, 2, 3, 1), reshape("last", "flat", "rows"), reshape("flat", "hidden", "square")]
    shapes = {"rows": np.array([64, channels]), "square": np.array([1, 8, 8, channels])}
    model = convolving(*nodes, channels=channels, **shapes)
    for dim, value in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 3, 32, 32), strict=True):
        dim.dim_value = value
    return model


@pytest.mark.parametrize(("layout", "axis"), [("channels-first", 1), ("channels-last", 3)])
def test_a_layout_is_asked_for_where_nothing_tells(layout: str, axis: int) -> None:
    (form,) = build_graph(with_square(8), ("hidden",), (32, 32), MEAN, STD, Asked(layout)).forms
    assert (form.axis, form.grid, form.channels) == (axis, (8, 8), 8)


def test_a_layout_that_contradicts_the_operators_or_the_strides_is_refused() -> None:
    with pytest.raises(BackboneError, match=r"does not have the layout that --layout names.*expected channels-first"):
        build_graph(convolving(), ("map",), SIZE, MEAN, STD, Asked("channels-last"))
    with pytest.raises(BackboneError, match="not a feature map"):
        channel_axis({}, "layer", (1, 64, 64, 96), (256, 256), "channels-first")


def test_prefix_tokens_are_refused_for_maps() -> None:
    with pytest.raises(BackboneError, match=r"--prefix-tokens is for layers of tokens.*Leave"):
        build_graph(convolving(), ("map",), SIZE, MEAN, STD, Asked(prefix=1))


# ------------------------------------------------------------------------------------------------- torchvision


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "layers", "dims"),
    [("swin_t", ("features.1", "features.3"), (96, 192)), ("convnext_tiny", ("features.3", "features.5"), (192, 384))],
)
def test_transformers_and_their_like(name: str, layers: tuple[str, ...], dims: tuple[int, ...]) -> None:
    """Against torch, from random weights."""
    torch = pytest.importorskip("torch", reason="a torchvision backbone needs torch")
    models = pytest.importorskip("torchvision", reason="a torchvision backbone needs torchvision").models
    from torchvision.models.feature_extraction import create_feature_extractor

    from export.backbone import TorchBackbone
    from export.network import Backbone

    torch.manual_seed(0)
    extractor = create_feature_extractor(models.get_model(name, weights=None).eval(), list(layers)).eval()
    backbone = TorchBackbone(extractor, layers, "random", "")
    network = Backbone(
        name, layers, "", "", MEAN, STD, backbone.to_onnx, lambda tensor: backbone.features(tensor, MEAN, STD)
    )
    graph = network.graph((64, 96))
    assert graph.grid == ((16, 24) if name == "swin_t" else (8, 12))
    assert graph.dim == sum(dims)
    tensor = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)
    expected = network.reference_patches(tensor, graph)
    assert expected is not None
    given = Models(onnx=graph.model.SerializeToString())
    for engine in installed_engines():
        opened = open_engine(engine, given, device="CPU", threads=2, precision="f32")
        np.testing.assert_allclose(opened(tensor), expected, atol=1e-4 * np.abs(expected).max())
