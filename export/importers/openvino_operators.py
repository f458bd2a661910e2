"""The operators of OpenVINO IR as those of ONNX, as far as networks and the models of anomalib have them.

Any other operator, and any form of a known one that is not handled here, becomes a node of the domain
`export.importers.anomalib_graph.FOREIGN`, which no engine runs. Shapes that the IR states are taken as constants.

Source: the operation sets of OpenVINO (docs.openvino.ai, "Operation Sets") and ONNX's Operators.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.importers.anomalib_graph import FOREIGN
from export.importers.openvino_file import IrFile, Layer, Port, numbers, room_for

OPSET, IR_VERSION = 18, 10
_SAME = {  # OpenVINO -> ONNX, inputs and meaning alike
    "Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Divide": "Div", "Power": "Pow", "Maximum": "Max",
    "Minimum": "Min", "Sqrt": "Sqrt", "Exp": "Exp", "ReLU": "Relu", "PReLU": "PRelu", "Sigmoid": "Sigmoid",
    "Tanh": "Tanh", "Greater": "Greater", "Less": "Less", "Select": "Where", "ShapeOf": "Shape", "HSwish": "HardSwish",
    "Range": "Range",
}  # fmt: skip
_REDUCING = {
    "ReduceSum": "ReduceSum", "ReduceMax": "ReduceMax", "ReduceMin": "ReduceMin", "ReduceMean": "ReduceMean",
}  # fmt: skip
_CASTS = {
    "f32": TensorProto.FLOAT, "f16": TensorProto.FLOAT16, "f64": TensorProto.DOUBLE, "i64": TensorProto.INT64,
    "i32": TensorProto.INT32, "boolean": TensorProto.BOOL, "u8": TensorProto.UINT8, "i8": TensorProto.INT8,
}  # fmt: skip
_FOLDED: dict[str, Callable[..., Any]] = {"Add": np.add, "Subtract": np.subtract, "Multiply": np.multiply}
_AUTO_PADS = {"same_upper": "SAME_UPPER", "same_lower": "SAME_LOWER", "valid": "VALID"}
_MODES = {"linear_onnx": "linear", "linear": "linear", "nearest": "nearest", "cubic": "cubic"}


class _OtherFormError(Exception):
    """A form of an operator that is not handled here."""


def to_onnx(ir: IrFile) -> tuple[onnx.ModelProto, Mapping[str, tuple[str, int]]]:
    """The graph in ONNX, and of each of its tensors the layer's name and the number of its output in the IR."""
    found = _Translation(ir)
    for layer in ir.layers.values():
        found.add(layer)
    graph = helper.make_graph(found.nodes, "ir", found.inputs, found.outputs, found.weights)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FOREIGN, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), found.sources


class _Translation:
    """Translates layer by layer. Constants are written when a node first asks for them."""

    def __init__(self, ir: IrFile) -> None:
        self._layers = ir.layers
        self._names = _tensor_names(ir)
        self._values: dict[str, NDArray[Any]] = {}  # of tensors that are constant
        self._written: set[str] = set()
        self._room = room_for(ir.weights)  # bytes of constants that are made of others
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.weights: list[TensorProto] = []
        self.sources: dict[str, tuple[str, int]] = {}

    def add(self, layer: Layer) -> None:
        """Adds what a layer is, whose inputs are there already."""
        outs = [self._names[layer.id, port.id] for port in layer.ports]
        self.sources |= {name: (layer.name, number) for number, name in enumerate(outs)}
        if layer.values is not None and outs:
            self._values[outs[0]] = layer.values
        elif layer.kind == "Parameter" and outs:
            kind = _CASTS.get(layer.data.get("element_type", ""), TensorProto.UNDEFINED)
            self.inputs.append(helper.make_tensor_value_info(outs[0], kind, _dims(layer.ports[0])))
        elif layer.kind == "Result" and layer.inputs:
            source, port = layer.inputs[0]
            there = next(p for p in self._layers[source].ports if p.id == port)
            name = self._tensor(layer.inputs[0])
            self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, _dims(there)))
        elif not self._fold(layer, outs):
            self._translate(layer, outs)

    def _translate(self, layer: Layer, outs: list[str]) -> None:
        handle = getattr(self, f"_of_{layer.kind.lower()}", None)
        try:
            if layer.kind in _SAME:
                self._node(_SAME[layer.kind], [self._tensor(source) for source in layer.inputs], outs[:1])
            elif layer.kind in _REDUCING:
                keep = int(layer.data.get("keep_dims") in ("true", "1"))
                axes = self._integers(outs[0] + "/axes", self._constant(layer, 1).reshape(-1))
                self._node(_REDUCING[layer.kind], [self._tensor(layer.inputs[0]), axes], outs, keepdims=keep)
            elif handle is not None:
                handle(layer, outs)
            else:
                raise _OtherFormError
        except (_OtherFormError, KeyError, IndexError, ValueError, TypeError, OverflowError):
            self.nodes.append(
                helper.make_node(layer.kind[:80], [self._tensor(s) for s in layer.inputs], outs, domain=FOREIGN)
            )

    # ---------------------------------------------------------------------------------- tensors and constants

    def _node(self, kind: str, inputs: list[str], outs: list[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, outs, **attributes))

    def _tensor(self, source: tuple[str, str]) -> str:
        """The name of a tensor; a constant is written now."""
        name = self._names[source]
        if name in self._values and name not in self._written:
            self._written.add(name)
            values = self._values[name]
            self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _weight(self, name: str, values: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _integers(self, name: str, values: NDArray[Any]) -> str:
        return self._weight(name, values.astype(np.int64))

    def _constant(self, layer: Layer, number: int) -> NDArray[Any]:
        """The values of an input, which must be constant."""
        return self._values[self._names[layer.inputs[number]]]

    def _fold(self, layer: Layer, outs: list[str]) -> bool:
        """Computes what constants alone make: weights that were compressed become whole again."""
        given = [self._values.get(self._names[source]) for source in layer.inputs]
        values = [array for array in given if array is not None]
        if len(values) != len(given) or not values or not outs:
            return False
        if layer.kind == "Convert" and layer.data.get("destination_type") in _CASTS:
            dtype = helper.tensor_dtype_to_np_dtype(_CASTS[layer.data["destination_type"]])
            return self._fits(values[0].size * dtype.itemsize) and self._keep(outs[0], values[0].astype(dtype))
        largest = max(array.size for array in values)
        if layer.kind == "Reshape" and len(values) == 2:
            shape = list(layer.ports[0].sides)
            if min(shape, default=0) >= 0 and int(np.prod([float(side) for side in shape])) == values[0].size:
                return self._keep(outs[0], values[0].reshape(shape))
        if layer.kind in _FOLDED and len(values) == 2:
            try:
                if int(np.prod(np.broadcast_shapes(*(a.shape for a in values)), dtype=np.float64)) != largest:
                    return False
                dtype = np.result_type(*values)
                return self._fits(largest * dtype.itemsize) and self._keep(outs[0], _FOLDED[layer.kind](*values))
            except (ValueError, TypeError):  # of shapes or types that do not go together
                return False
        return False

    def _keep(self, name: str, values: NDArray[Any]) -> bool:
        self._values[name] = values
        return True

    def _fits(self, count: int) -> bool:
        """Whether so many bytes more may be made of constants: layer after layer could double them."""
        self._room -= count
        return self._room >= 0

    # ------------------------------------------------------------------------------------- operators of ONNX

    def _of_convert(self, layer: Layer, outs: list[str]) -> None:
        self._node("Cast", [self._tensor(layer.inputs[0])], outs, to=_CASTS[layer.data["destination_type"]])

    def _of_reshape(self, layer: Layer, outs: list[str]) -> None:
        copied = layer.data.get("special_zero") in ("true", "1")
        shape = self._integers(outs[0] + "/shape", self._constant(layer, 1).reshape(-1))
        self._node("Reshape", [self._tensor(layer.inputs[0]), shape], outs, allowzero=int(not copied))

    def _of_slice(self, layer: Layer, outs: list[str]) -> None:
        data, start, stop, step, *axes = (self._tensor(source) for source in layer.inputs)
        if not axes:
            raise _OtherFormError
        self._node("Slice", [data, start, stop, axes[0], step], outs)

    def _of_concat(self, layer: Layer, outs: list[str]) -> None:
        given = [self._tensor(source) for source in layer.inputs]
        self._node("Concat", given, outs, axis=numbers(layer.data["axis"])[0])

    def _of_transpose(self, layer: Layer, outs: list[str]) -> None:
        self._node("Transpose", [self._tensor(layer.inputs[0])], outs, perm=self._constant(layer, 1).tolist())

    def _of_gather(self, layer: Layer, outs: list[str]) -> None:
        if numbers(layer.data.get("batch_dims", "0"))[0] != 0:
            raise _OtherFormError
        axis = int(self._constant(layer, 2).reshape(-1)[0])
        self._node("Gather", [self._tensor(source) for source in layer.inputs[:2]], outs, axis=axis)

    def _of_gathernd(self, layer: Layer, outs: list[str]) -> None:
        dims = numbers(layer.data.get("batch_dims", "0"))[0]
        self._node("GatherND", [self._tensor(source) for source in layer.inputs], outs, batch_dims=dims)

    def _of_squeeze(self, layer: Layer, outs: list[str], kind: str = "Squeeze") -> None:
        axes = self._integers(outs[0] + "/axes", self._constant(layer, 1).reshape(-1))
        self._node(kind, [self._tensor(layer.inputs[0]), axes], outs)

    def _of_unsqueeze(self, layer: Layer, outs: list[str]) -> None:
        self._of_squeeze(layer, outs, "Unsqueeze")

    def _of_matmul(self, layer: Layer, outs: list[str]) -> None:
        given = []
        for number, (source, side) in enumerate(zip(layer.inputs, ("transpose_a", "transpose_b"), strict=True)):
            name = self._tensor(source)
            if layer.data.get(side) in ("true", "1"):
                rank = len(next(port for port in self._layers[source[0]].ports if port.id == source[1]).sides)
                turned = f"{outs[0]}/turned{number}"
                self._node("Transpose", [name], [turned], perm=[*range(rank - 2), rank - 1, rank - 2])
                name = turned
            given.append(name)
        self._node("MatMul", given, outs)

    def _of_clamp(self, layer: Layer, outs: list[str]) -> None:
        ends = [np.float32(layer.data[end]) for end in ("min", "max")]
        names = [self._weight(f"{outs[0]}/end{i}", np.asarray(end)) for i, end in enumerate(ends)]
        self._node("Clip", [self._tensor(layer.inputs[0]), *names], outs)

    def _of_softmax(self, layer: Layer, outs: list[str]) -> None:
        self._node("Softmax", [self._tensor(layer.inputs[0])], outs, axis=numbers(layer.data["axis"])[0])

    def _of_swish(self, layer: Layer, outs: list[str]) -> None:
        if len(layer.inputs) != 1:
            raise _OtherFormError
        name = self._tensor(layer.inputs[0])
        self._node("Sigmoid", [name], [outs[0] + "/gate"])
        self._node("Mul", [name, outs[0] + "/gate"], outs)

    def _of_topk(self, layer: Layer, outs: list[str]) -> None:
        count = self._integers(outs[0] + "/k", self._constant(layer, 1).reshape(-1))
        how = {"axis": numbers(layer.data["axis"])[0], "largest": int(layer.data["mode"] == "max")}
        self._node("TopK", [self._tensor(layer.inputs[0]), count], outs, **how)

    def _of_pad(self, layer: Layer, outs: list[str]) -> None:
        pads = np.concatenate([self._constant(layer, number).reshape(-1) for number in (1, 2)])
        name = self._integers(outs[0] + "/pads", pads)
        mode = {"reflect": "reflect", "constant": "constant", "edge": "edge"}[layer.data["pad_mode"]]
        value = [self._tensor(source) for source in layer.inputs[3:4]] if mode == "constant" else []
        self._node("Pad", [self._tensor(layer.inputs[0]), name, *value], outs, mode=mode)

    def _of_convolution(self, layer: Layer, outs: list[str], groups: int = 1) -> None:
        kernel = self._constant(layer, 1)
        if groups != 1:
            kernel = kernel.reshape(-1, *kernel.shape[2:])
        name = self._names[layer.inputs[1]] if groups == 1 else outs[0] + "/kernel"
        name = self._tensor(layer.inputs[1]) if groups == 1 else self._weight(name, kernel)
        how = {**_windows(layer), "dilations": numbers(layer.data["dilations"]), "group": groups}
        self._node("Conv", [self._tensor(layer.inputs[0]), name], outs, kernel_shape=list(kernel.shape[2:]), **how)

    def _of_groupconvolution(self, layer: Layer, outs: list[str]) -> None:
        self._of_convolution(layer, outs, groups=self._constant(layer, 1).shape[0])

    def _of_maxpool(self, layer: Layer, outs: list[str]) -> None:
        dilations = numbers(layer.data.get("dilations", "")) or [1, 1]
        how = {**_windows(layer), "dilations": dilations, "kernel_shape": numbers(layer.data["kernel"])}
        how["ceil_mode"] = _rounding(layer)
        self._node("MaxPool", [self._tensor(layer.inputs[0])], outs[:1], **how)

    def _of_avgpool(self, layer: Layer, outs: list[str]) -> None:
        counted = int(layer.data.get("exclude-pad") in ("false", "0"))
        how = {**_windows(layer), "kernel_shape": numbers(layer.data["kernel"]), "count_include_pad": counted}
        self._node("AveragePool", [self._tensor(layer.inputs[0])], outs, ceil_mode=_rounding(layer), **how)

    def _of_interpolate(self, layer: Layer, outs: list[str]) -> None:
        sides, data = layer.ports[0].sides, layer.data
        padded = [*numbers(data.get("pads_begin", "")), *numbers(data.get("pads_end", ""))]
        smooth = data.get("antialias") in ("true", "1")
        if len(sides) != 4 or min(sides[1:]) < 1 or any(padded) or smooth:
            raise _OtherFormError
        sizes = self._integers(outs[0] + "/sizes", np.array([max(1, sides[0]), *sides[1:]]))
        how = {"mode": _MODES[data["mode"]], "coordinate_transformation_mode": data["coordinate_transformation_mode"]}
        if how["mode"] == "nearest":
            how["nearest_mode"] = data["nearest_mode"]
        self._node("Resize", [self._tensor(layer.inputs[0]), "", "", sizes], outs, **how)


def _windows(layer: Layer) -> dict[str, Any]:
    """Strides and pads of a convolution or a pooling."""
    auto = layer.data.get("auto_pad", "explicit")
    how: dict[str, Any] = {"strides": numbers(layer.data["strides"])}
    if auto in _AUTO_PADS:
        return {**how, "auto_pad": _AUTO_PADS[auto]}
    if auto not in ("explicit", "notset"):
        raise _OtherFormError
    return {**how, "pads": [*numbers(layer.data["pads_begin"]), *numbers(layer.data["pads_end"])]}


def _rounding(layer: Layer) -> int:
    kind = layer.data.get("rounding_type", "floor")
    if kind not in ("floor", "ceil"):
        raise _OtherFormError
    return int(kind == "ceil")


def _dims(port: Port) -> list[int | None]:
    return [side if side > 0 else None for side in port.sides]


def _tensor_names(ir: IrFile) -> dict[tuple[str, str], str]:
    """(layer, port) -> name of the tensor: of a result, and of an input, its own name; of others made of the ids."""
    found = {(layer.id, port.id): f"{layer.id}:{port.id}" for layer in ir.layers.values() for port in layer.ports}
    taken = set(found.values())
    ends = [layer.inputs[0] for layer in ir.layers.values() if layer.kind == "Result" and layer.inputs]
    for key in ends:
        layer = ir.layers[key[0]]
        port = next(port for port in layer.ports if port.id == key[1])
        name = port.names.partition(",")[0] or layer.name
        if name and name not in taken:
            taken.add(name)
            found[key] = name
    return found
