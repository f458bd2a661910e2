"""The backbone graph: from a backbone in ONNX to one static graph that takes pixels and gives patches.

    u8 NHWC BGR -> normalise -> backbone, cut after the layers -> 3x3 average pooling of each
                -> bilinear upsampling to the finest grid -> concatenation -> (h*w, D) float32

Source of the patch features: Roth et al. (2022), section 3.1, with mean pooling as the aggregation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_ad.errors import BackboneError
from edge_ad.spec import Size

OPSET = 18
IR_VERSION = 10  # read by every ONNX Runtime since 1.18
_PREFIX = "edge_ad/"
_INPUT, _OUTPUT = "frame", "patches"


@dataclass(frozen=True)
class PatchGraph:
    """A finished graph.

    Attributes:
        model: ONNX; input ``frame`` (1, H, W, 3) u8 BGR, output ``patches`` (h*w, D) float32.
        grid: (h, w).
        dim: D.
    """

    model: onnx.ModelProto
    grid: Size
    dim: int


def build_graph(
    backbone: onnx.ModelProto,
    layers: Sequence[str],
    tensor_size: Size,
    mean: Sequence[float],
    std: Sequence[float],
) -> PatchGraph:
    """Makes the backbone graph.

    Args:
        backbone: ONNX with one NCHW float input of three channels (RGB, normalised by mean and std).
        layers: names of tensors in it, of shape (1, C, h, w).
        tensor_size: (H, W) of the crop.
        mean, std: (R, G, B), for pixels in [0, 1].

    Raises:
        BackboneError: a layer is not in the graph, or the graph has another form.
    """
    model = _cut(_upgraded(backbone), layers)
    layers = _clear_our_names(model, layers)
    image = _fix_input(model, tensor_size)
    shapes = _layer_shapes(model, layers)
    _prepend_normalisation(model.graph, image, tensor_size, mean, std)
    grid = max((shape[2], shape[3]) for shape in shapes)
    dim = sum(shape[1] for shape in shapes)
    _append_patches(model.graph, layers, shapes, grid, dim)
    del model.graph.value_info[:]
    model.ir_version = IR_VERSION
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # ValidationError, and what shape inference raises
        raise BackboneError("the backbone does not make a valid graph", got=str(error).strip()[:300]) from error
    return PatchGraph(model, grid, dim)


def tensor_names(model: onnx.ModelProto) -> list[str]:
    """Every tensor that a node of the model gives, in order: what a layer may be."""
    return [name for node in model.graph.node for name in node.output if name]


def _upgraded(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in our opset."""
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if version == OPSET:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises bare RuntimeErrors
        raise BackboneError(
            "the backbone cannot be brought to our opset",
            expected=f"opset {OPSET}, or one that converts to it",
            got=f"opset {version}: {str(error).strip()[:300]}",
            remedy="Export the network again with a newer opset.",
        ) from error


def _cut(model: onnx.ModelProto, layers: Sequence[str]) -> onnx.ModelProto:
    """Drops all nodes, initialisers and inputs that the layers do not need."""
    makers = {name: node for node in model.graph.node for name in node.output}
    missing = [name for name in layers if name not in makers]
    if missing:
        names = tensor_names(model)
        shown = ", ".join(names[-12:])
        raise BackboneError(
            f"the backbone has no tensor named {', '.join(missing)}",
            expected=f"names out of {len(names)} tensors, the last ones: {shown}",
            got=" ".join(layers),
            remedy="Name two tensors of the ONNX file with --layers; a viewer such as Netron shows them.",
        )
    needed: set[str] = set()
    queue = list(layers)
    while queue:
        name = queue.pop()
        if name and name not in needed:
            needed.add(name)
            if name in makers:
                queue.extend(makers[name].input)
    graph = model.graph
    nodes = [node for node in graph.node if needed.intersection(node.output)]
    weights = [item for item in graph.initializer if item.name in needed]
    own = {item.name for item in weights}
    inputs = [item for item in graph.input if item.name in needed and item.name not in own]
    for field, kept in ((graph.node, nodes), (graph.initializer, weights), (graph.input, inputs)):
        del field[:]
        field.extend(kept)
    del graph.output[:]
    del graph.value_info[:]
    return model


def _clear_our_names(model: onnx.ModelProto, layers: Sequence[str]) -> list[str]:
    """Renames the backbone's tensors that are named as ours; returns the layers by their new names."""
    new = {name: f"{_PREFIX}backbone/{name}" for name in (_INPUT, _OUTPUT)}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
    for item in (*model.graph.input, *model.graph.initializer):
        item.name = new.get(item.name, item.name)
    return [new.get(name, name) for name in layers]


def _fix_input(model: onnx.ModelProto, size: Size) -> str:
    """Makes the one input (1, 3, H, W) and returns its name."""
    inputs = list(model.graph.input)
    ok = len(inputs) == 1 and inputs[0].type.tensor_type.elem_type == TensorProto.FLOAT
    dims = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if ok else []
    if not ok or len(dims) != 4 or dims[1] not in (0, 3):
        raise BackboneError(
            "the backbone has another input than an image",
            expected="one float32 input (N, 3, H, W)",
            got=[(i.name, [d.dim_value or d.dim_param for d in i.type.tensor_type.shape.dim]) for i in inputs],
        )
    if (dims[2] not in (0, size[0])) or (dims[3] not in (0, size[1])):
        raise BackboneError(
            "the backbone has a fixed input size",
            expected=f"(H, W) {(dims[2], dims[3])}",
            got=f"a crop of {size}",
            remedy=f"Give --input-size {dims[2]},{dims[3]} and no ROI, or an ONNX file with dynamic sizes.",
        )
    for dim, value in zip(inputs[0].type.tensor_type.shape.dim, (1, 3, *size), strict=True):
        dim.dim_value = value
    return inputs[0].name


def _layer_shapes(model: onnx.ModelProto, layers: Sequence[str]) -> list[tuple[int, int, int, int]]:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in layers)
    try:
        inferred = onnx.shape_inference.infer_shapes(probe, strict_mode=True, data_prop=True)
    except Exception as error:  # InferenceError is not public
        raise BackboneError("the backbone's shapes do not fit together", got=str(error).strip()[:300]) from error
    found = {o.name: [d.dim_value for d in o.type.tensor_type.shape.dim] for o in inferred.graph.output}
    shapes = []
    for name in layers:
        shape = found[name]
        if len(shape) != 4 or shape[0] != 1 or min(shape) < 1:
            raise BackboneError(
                f"the layer {name} is not a feature map",
                expected="shape (1, C, h, w)",
                got=shape or "unknown",
            )
        shapes.append((shape[0], shape[1], shape[2], shape[3]))
    return shapes


def _prepend_normalisation(
    graph: onnx.GraphProto, image: str, size: Size, mean: Sequence[float], std: Sequence[float]
) -> None:
    """u8 NHWC BGR to what the backbone wants.

    The mean is subtracted before the first convolution, because its zero padding stands for the mean. Scale and order
    of the channels are folded into the weights when the image goes into convolutions only.
    """
    scale = 255.0 * np.asarray(std, np.float64)
    offset = 255.0 * np.asarray(mean, np.float64)
    nodes = [
        helper.make_node("Cast", [_INPUT], [_PREFIX + "float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", [_PREFIX + "float"], [_PREFIX + "nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", [_PREFIX + "nchw", _PREFIX + "offset"], [_PREFIX + "centred"]),
    ]
    weights = [_constant("offset", offset[::-1].reshape(1, 3, 1, 1))]
    if _fold_into_convolutions(graph, image, scale):
        nodes[-1].output[0] = image
    else:
        nodes += [
            helper.make_node("Gather", [_PREFIX + "centred", _PREFIX + "rgb"], [_PREFIX + "ordered"], axis=1),
            helper.make_node("Div", [_PREFIX + "ordered", _PREFIX + "scale"], [image]),
        ]
        weights += [
            numpy_helper.from_array(np.array([2, 1, 0], np.int64), _PREFIX + "rgb"),
            _constant("scale", scale.reshape(1, 3, 1, 1)),
        ]
    old = list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes + old)
    graph.initializer.extend(weights)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(_INPUT, TensorProto.UINT8, [1, *size, 3]))


def _fold_into_convolutions(graph: onnx.GraphProto, image: str, scale: np.ndarray) -> bool:
    """Divides the weights of the convolutions that take the image by `scale` and turns their channels to BGR."""
    users = [node for node in graph.node if image in node.input]
    weights = {item.name: item for item in graph.initializer}
    for node in users:
        shared = sum(node.input[1] in other.input for other in graph.node) if len(node.input) > 1 else 2
        if node.op_type != "Conv" or node.input[1] not in weights or shared != 1:
            return False
        if list(weights[node.input[1]].dims)[1] != 3:  # grouped
            return False
    for node in users:
        item = weights[node.input[1]]
        kernel = numpy_helper.to_array(item).astype(np.float64) / scale.reshape(1, 3, 1, 1)
        item.CopyFrom(numpy_helper.from_array(kernel[:, ::-1].astype(np.float32), item.name))
    return True


def _append_patches(
    graph: onnx.GraphProto,
    layers: Sequence[str],
    shapes: Sequence[tuple[int, int, int, int]],
    grid: Size,
    dim: int,
) -> None:
    parts = []
    for i, (layer, shape) in enumerate(zip(layers, shapes, strict=True)):
        part = f"{_PREFIX}pooled{i}"
        graph.node.append(
            helper.make_node(
                "AveragePool", [layer], [part], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1
            )
        )
        if shape[2:] != grid:
            size = f"{_PREFIX}size{i}"
            graph.initializer.append(numpy_helper.from_array(np.array([1, shape[1], *grid], np.int64), size))
            graph.node.append(
                helper.make_node(
                    "Resize",
                    [part, "", "", size],
                    [f"{_PREFIX}upsampled{i}"],
                    mode="linear",
                    coordinate_transformation_mode="half_pixel",
                )
            )
            part = f"{_PREFIX}upsampled{i}"
        parts.append(part)
    graph.node.append(helper.make_node("Concat", parts, [_PREFIX + "features"], axis=1))
    graph.node.append(helper.make_node("Transpose", [_PREFIX + "features"], [_PREFIX + "nhwc"], perm=[0, 2, 3, 1]))
    rows = grid[0] * grid[1]
    graph.initializer.append(numpy_helper.from_array(np.array([rows, dim], np.int64), _PREFIX + "rows"))
    graph.node.append(helper.make_node("Reshape", [_PREFIX + "nhwc", _PREFIX + "rows"], [_OUTPUT]))
    graph.output.append(helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, [rows, dim]))


def _constant(name: str, values: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(values.astype(np.float32), _PREFIX + name)
