"""The end of the backbone graph: what turns the layers of the network into patches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_ad.spec import Size
from export.layout import Form

PREFIX = "edge_ad/"  # of the tensors that the export adds
OUTPUT = "patches"


def finest(forms: Sequence[Form]) -> Size:
    """(h, w) of the finest grid."""
    return max(form.grid for form in forms)


def constant(name: str, values: np.ndarray) -> TensorProto:
    """A float32 initialiser with our prefix."""
    return numpy_helper.from_array(values.astype(np.float32), PREFIX + name)


def append_patches(graph: onnx.GraphProto, layers: Sequence[str], forms: Sequence[Form], distance: str) -> None:
    """Appends what turns the layers into the output ``patches`` (h*w, D) float32, of the finest grid among them."""
    grid, parts = finest(forms), []
    for i, (layer, form) in enumerate(zip(layers, forms, strict=True)):
        part = f"{PREFIX}pooled{i}"
        graph.node.append(
            helper.make_node(
                "AveragePool",
                [as_map(graph, layer, form, i)],
                [part],
                kernel_shape=[3, 3],
                pads=[1, 1, 1, 1],
                count_include_pad=1,
            )
        )
        if form.grid != grid:
            size = f"{PREFIX}size{i}"
            graph.initializer.append(integers(size, [1, form.channels, *grid]))
            graph.node.append(
                helper.make_node(
                    "Resize",
                    [part, "", "", size],
                    [f"{PREFIX}upsampled{i}"],
                    mode="linear",
                    coordinate_transformation_mode="half_pixel",
                )
            )
            part = f"{PREFIX}upsampled{i}"
        parts.append(part)
    graph.node.append(helper.make_node("Concat", parts, [PREFIX + "features"], axis=1))
    graph.node.append(helper.make_node("Transpose", [PREFIX + "features"], [PREFIX + "nhwc"], perm=[0, 2, 3, 1]))
    rows, dim = grid[0] * grid[1], sum(form.channels for form in forms)
    graph.initializer.append(integers(PREFIX + "rows", [rows, dim]))
    joined = PREFIX + "joined" if distance == "cosine" else OUTPUT
    graph.node.append(helper.make_node("Reshape", [PREFIX + "nhwc", PREFIX + "rows"], [joined]))
    if distance == "cosine":
        _append_directions(graph, joined)
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [rows, dim]))


def as_map(graph: onnx.GraphProto, layer: str, form: Form, number: int) -> str:
    """The name of the layer as a map (1, C, h, w)."""
    if form.axis == 1:
        return layer
    if form.axis == 2:
        name = f"{PREFIX}tokens{number}"
        if form.prefix:
            ends = [("from", form.prefix), ("to", form.prefix + form.grid[0] * form.grid[1]), ("axis", 1)]
            graph.initializer.extend(integers(f"{name}/{end}", [value]) for end, value in ends)
            inputs = [layer, *(f"{name}/{end}" for end, _ in ends)]
            graph.node.append(helper.make_node("Slice", inputs, [f"{name}/grid"]))
            layer = f"{name}/grid"
        graph.initializer.append(integers(f"{name}/shape", [1, *form.grid, form.channels]))
        graph.node.append(helper.make_node("Reshape", [layer, f"{name}/shape"], [name]))
        layer = name
    graph.node.append(helper.make_node("Transpose", [layer], [f"{PREFIX}map{number}"], perm=[0, 3, 1, 2]))
    return f"{PREFIX}map{number}"


def _append_directions(graph: onnx.GraphProto, patches: str) -> None:
    """Divides each patch by its length.

    First by its largest number: then no square is too large or too small for a float, and the length of what is left is
    at least 1. So a patch of zeros stays what it is, and is not NaN.
    """
    names = ("abs", "largest", "divisor", "scaled", "squares", "sum", "length", "above")
    absolute, largest, divisor, scaled, squares, total, length, above = (f"{PREFIX}cosine/{name}" for name in names)
    bounds = {"tiny": 1e-30, "one": 1.0}
    graph.initializer.extend(constant(f"cosine/{name}", np.array(value)) for name, value in bounds.items())
    graph.initializer.append(integers(PREFIX + "cosine/axes", [1]))
    steps = (
        ("Abs", [patches], absolute),
        ("ReduceMax", [absolute, PREFIX + "cosine/axes"], largest),
        ("Max", [largest, PREFIX + "cosine/tiny"], divisor),
        ("Div", [patches, divisor], scaled),
        ("Mul", [scaled, scaled], squares),
        ("ReduceSum", [squares, PREFIX + "cosine/axes"], total),
        ("Sqrt", [total], length),
        ("Max", [length, PREFIX + "cosine/one"], above),
        ("Div", [scaled, above], OUTPUT),
    )
    graph.node.extend(helper.make_node(kind, inputs, [output]) for kind, inputs, output in steps)


def integers(name: str, values: Sequence[int]) -> TensorProto:
    """An int64 initialiser; `name` is complete."""
    return numpy_helper.from_array(np.array(values, np.int64), name)
