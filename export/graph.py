"""Makes the backbone graph: one static ONNX graph that takes pixels and gives patches.

    u8 NHWC BGR -> normalise -> backbone, cut after the layers -> each as a map (1, C, h, w) -> 3x3 average pooling
                -> bilinear upsampling to the finest grid -> concatenation -> (h*w, D) float32
                -> for cosine distance: each patch divided by its length

Source of the patch features: Roth et al. (2022), section 3.1, with mean pooling as the aggregation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, TypeProto, helper, numpy_helper

from edge_ad.errors import BackboneError
from edge_ad.spec import DISTANCES, Size
from export.layout import AUTO, Asked, Form, Makers, map_form
from export.shapes import Shape, layer_shapes
from export.tail import OUTPUT, PREFIX, append_patches, constant, finest
from export.tokens import convolutions_before, token_form
from export.widen import OTHER_FLOATS, widen

OPSET = 18
NEWEST_OPSET = 21  # for operators that opset 18 lacks, such as Gelu; read by the same ONNX Runtimes
IR_VERSION = 10  # read by every ONNX Runtime since 1.18
Tail = Callable[[onnx.GraphProto, Sequence[str], Sequence[Form]], tuple[Size, int]]
_INPUT = "frame"
_MAX_BYTES = 2**31 - 2**20  # a protobuf message has 2 GiB at most; the difference is for the nodes


@dataclass(frozen=True)
class PatchGraph:
    """A finished graph.

    Attributes:
        model: ONNX; input ``frame`` (1, H, W, 3) u8 BGR or float32, output ``patches`` (h*w, D) float32.
        grid: (h, w).
        dim: D.
        forms: of each layer.
    """

    model: onnx.ModelProto
    grid: Size
    dim: int
    forms: tuple[Form, ...]

    @property
    def coarsest(self) -> Size:
        """(h, w) of the map of the coarsest layer."""
        return min(form.grid for form in self.forms)


def build_graph(
    backbone: onnx.ModelProto,
    layers: Sequence[str],
    tensor_size: Size,
    mean: Sequence[float],
    std: Sequence[float],
    asked: Asked = AUTO,
    distance: str = DISTANCES[0],
    *,
    floats: bool = False,
    tail: Tail | None = None,
) -> PatchGraph:
    """Makes the backbone graph.

    Args:
        backbone: ONNX with one float input of three channels (RGB, normalised by mean and std), NCHW or NHWC.
        layers: names of tensors in it, of shape (1, C, h, w), (1, h, w, C) or (1, T, C).
        tensor_size: (H, W) of the crop.
        mean, std: (R, G, B), for pixels in [0, 1].
        asked: what is said of the layers' layout.
        distance: as `edge_ad.spec.BackboneSpec` has it.
        floats: the input is float32, with the range of u8 pixels: a normal map, which is not rounded.
        tail: appends another way from the layers to patches, to the output ``patches``, and returns their grid and D;
            `distance` is then its business.

    Raises:
        BackboneError: a layer is not in the graph, or the graph has another form.
    """
    model = _cut(backbone, layers)
    layers = _clear_our_names(model, layers)
    image, channels_last = _fix_input(model.graph, tensor_size)
    widen(model.graph)
    model = _upgraded(model, layers)
    makers = {name: node for node in model.graph.node for name in node.output}
    forms = _forms(model, makers, layers, tensor_size, asked)
    kind = TensorProto.FLOAT if floats else TensorProto.UINT8
    _prepend_normalisation(model.graph, image, channels_last, tensor_size, mean, std, kind)
    grid, dim = finest(forms), sum(form.channels for form in forms)
    if tail is None:
        append_patches(model.graph, layers, forms, distance)
    else:
        grid, dim = tail(model.graph, layers, forms)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # ValidationError, and what shape inference raises
        raise BackboneError("the backbone does not make a valid graph", got=str(error).strip()[:300]) from error
    return PatchGraph(model, grid, dim, tuple(forms))


def tensor_names(model: onnx.ModelProto) -> list[str]:
    """All outputs of the model's nodes, in order. Each of them may be a layer."""
    return [name for node in model.graph.node for name in node.output if name]


def own_size(model: onnx.ModelProto) -> Size | None:
    """The (H, W) that a network was exported for; None if it takes any, or its input is not an image."""
    inputs = [value for value in model.graph.input if value.name not in {item.name for item in model.graph.initializer}]
    dims = [dim.dim_value for dim in inputs[0].type.tensor_type.shape.dim] if len(inputs) == 1 else []
    if len(dims) != 4:
        return None
    height, width = (dims[1], dims[2]) if dims[3] == 3 and dims[1] != 3 else (dims[2], dims[3])
    return (height, width) if min(height, width) > 0 else None


def _upgraded(model: onnx.ModelProto, layers: Sequence[str]) -> onnx.ModelProto:
    """The cut model in our opset."""
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    # the converter drops what leads to no output
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in layers)
    refused: Exception | None = None
    for target in (OPSET, NEWEST_OPSET) if version > OPSET else (OPSET,):
        try:
            converted = onnx.version_converter.convert_version(model, target) if version != target else model
            del converted.graph.output[:]
            del converted.graph.value_info[:]
            return converted
        except Exception as error:  # the converter raises bare RuntimeErrors
            refused = refused or error
    raise BackboneError(
        "the backbone cannot be converted to our opset",
        expected=f"opset {OPSET}, or one that converts to it",
        got=f"opset {version}: {str(refused).strip()[:300]}",
        remedy=f"Export the network again with opset {OPSET}.",
    ) from refused


def _cut(model: onnx.ModelProto, layers: Sequence[str]) -> onnx.ModelProto:
    """A copy without the nodes, initialisers and inputs that the layers do not need. It has no shapes of inner tensors:
    exporters write symbols there, and editors leave old values.
    """
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
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
                queue.extend(_read_by(makers[name]))
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    cut.ir_version = IR_VERSION  # of version 3 and before, where weights are inputs too, nothing else is left
    graph = cut.graph
    nodes = [node for node in graph.node if needed.intersection(node.output)]
    weights = [item for item in graph.initializer if item.name in needed]
    own = {item.name for item in weights}
    inputs = [item for item in graph.input if item.name in needed and item.name not in own]
    for field, kept in ((graph.node, nodes), (graph.initializer, weights), (graph.input, inputs)):
        del field[:]
        field.extend(kept)
    del graph.output[:]
    del graph.value_info[:]
    size = sum(item.ByteSize() for item in graph.initializer)
    if size > _MAX_BYTES:
        raise BackboneError(
            "the backbone is too large",
            expected=f"at most {_MAX_BYTES:,} bytes of weights, which is what an ONNX file holds",
            got=f"{size:,} bytes up to {' '.join(layers)}",
            remedy="Name earlier layers with --layers, or take a smaller network.",
        )
    return cut


def _read_by(node: onnx.NodeProto) -> Iterator[str]:
    """Names of the tensors that a node reads, also from inside of its branches and loops."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (*attribute.g.node, *(inner for graph in attribute.graphs for inner in graph.node)):
            yield from _read_by(inner)


def _clear_our_names(model: onnx.ModelProto, layers: Sequence[str]) -> list[str]:
    """Renames the backbone's tensors that are named as ours; returns the layers by their new names."""
    new = {name: f"{PREFIX}backbone/{name}" for name in (_INPUT, OUTPUT)}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new.get(name, name) for name in names]
    for item in (*model.graph.input, *model.graph.initializer):
        item.name = new.get(item.name, item.name)
    return [new.get(name, name) for name in layers]


def _fix_input(graph: onnx.GraphProto, size: Size) -> tuple[str, bool]:
    """Gives the one input a fixed shape for an image of `size`; returns its name and whether its channels come last."""
    inputs = list(graph.input)
    kind = inputs[0].type.tensor_type if len(inputs) == 1 else TypeProto.Tensor()
    dims = [max(dim.dim_value, 0) for dim in kind.shape.dim] if kind.HasField("shape") else [0] * 4  # 0: any
    channels_last = len(dims) == 4 and dims[3] == 3 and dims[1] != 3
    if (
        kind.elem_type not in (TensorProto.FLOAT, *OTHER_FLOATS)
        or len(dims) != 4
        or dims[3 if channels_last else 1] not in (0, 3)
    ):
        raise BackboneError(
            "the input of the backbone is not an image",
            expected="one input (N, 3, H, W) or (N, H, W, 3) of float32, float16 or float64, normalised",
            got=", ".join(map(_described, inputs)) or "no input",
            remedy="Export the network without its conversion of pixels, and without further inputs.",
        )
    own = (dims[1], dims[2]) if channels_last else (dims[2], dims[3])
    wanted = (own[0] or size[0], own[1] or size[1])
    if wanted != size:
        raise BackboneError(
            "the backbone has a fixed input size",
            expected=f"(H, W) {wanted}",
            got=f"a crop of {size}",
            remedy=f"Give --input-size {wanted[0]},{wanted[1]} and no ROI, or an ONNX file with dynamic sizes.",
        )
    shape = [1, *size, 3] if channels_last else [1, 3, *size]
    inputs[0].CopyFrom(helper.make_tensor_value_info(inputs[0].name, kind.elem_type, shape))
    return inputs[0].name, channels_last


def _described(value: onnx.ValueInfoProto) -> str:
    kind = value.type.tensor_type
    name = TensorProto.DataType.Name(kind.elem_type).lower() if kind.elem_type else "no tensor"
    return f"{value.name}: {name} ({', '.join(str(d.dim_param or d.dim_value) for d in kind.shape.dim)})"


def _forms(model: onnx.ModelProto, makers: Makers, layers: Sequence[str], size: Size, asked: Asked) -> list[Form]:
    """How each layer becomes a map."""
    shapes = list(zip(layers, layer_shapes(model, layers), strict=True))
    for layer, shape in shapes:
        _check_axes(layer, shape)
    tokens = [layer for layer, shape in shapes if len(shape) == 3]
    if asked.prefix is not None and not tokens:
        raise BackboneError(
            "--prefix-tokens is for layers of tokens",
            expected="a layer of shape (1, T, C)",
            got=", ".join(f"{layer} {shape}" for layer, shape in shapes),
            remedy="Leave --prefix-tokens out.",
        )
    cutting = convolutions_before(makers, tokens)
    grids = [shape[2:] for shape in layer_shapes(model, cutting) if len(shape) == 4] if cutting else []
    return [
        token_form(layer, shape, size, [(h, w) for h, w in grids], asked.prefix)
        if layer in tokens
        else map_form(makers, layer, shape, size, asked.layout)
        for layer, shape in shapes
    ]


def _check_axes(layer: str, shape: Shape) -> None:
    if len(shape) in (3, 4) and shape[0] == 1 and min(shape) >= 1:
        return
    whole = len(shape) == 2 and shape[0] == 1
    raise BackboneError(
        f"the layer {layer} is not a feature map",
        expected="shape (1, C, h, w), (1, h, w, C), or tokens (1, T, C)",
        got=f"{shape}, which is one vector of the whole image" if whole else shape,
        remedy="Name a tensor with --layers that has a height and a width, or tokens.",
    )


def _prepend_normalisation(
    graph: onnx.GraphProto,
    image: str,
    channels_last: bool,
    size: Size,
    mean: Sequence[float],
    std: Sequence[float],
    kind: int,
) -> None:
    """Turns u8 NHWC BGR, or float32 as `kind` says, into the input of the backbone.

    The mean is subtracted before the first convolution, because its zero padding means the mean. Scale and order of the
    channels are folded into the weights if the image goes into convolutions only.
    """
    scale = 255.0 * np.asarray(std, np.float64)
    offset = 255.0 * np.asarray(mean, np.float64)
    nodes = [
        helper.make_node("Cast", [_INPUT], [PREFIX + "float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", [PREFIX + "float"], [PREFIX + "nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", [PREFIX + "nchw", PREFIX + "offset"], [PREFIX + "centred"]),
    ]
    weights = [constant("offset", offset[::-1].reshape(1, 3, 1, 1))]
    if _fold_into_convolutions(graph, image, scale):
        nodes[-1].output[0] = image
    else:
        nodes += [
            helper.make_node("Gather", [PREFIX + "centred", PREFIX + "rgb"], [PREFIX + "ordered"], axis=1),
            helper.make_node("Div", [PREFIX + "ordered", PREFIX + "scale"], [image]),
        ]
        if channels_last:
            nodes[-1].output[0] = PREFIX + "normalised"
            nodes.append(helper.make_node("Transpose", [PREFIX + "normalised"], [image], perm=[0, 2, 3, 1]))
        weights += [
            numpy_helper.from_array(np.array([2, 1, 0], np.int64), PREFIX + "rgb"),
            constant("scale", scale.reshape(1, 3, 1, 1)),
        ]
    old = list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes + old)
    graph.initializer.extend(weights)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(_INPUT, kind, [1, *size, 3]))


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
