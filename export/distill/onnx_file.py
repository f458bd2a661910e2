"""The student as an ONNX file. No torch: the graph is written node by node from named arrays.

The teacher's layers are tensors inside, `layer2` and `layer3`. The outputs are what to search in: `fine` and `deep`,
each a layer on half as many axes, its principal ones in falling order: distances are nearly kept and cost half. The
deep layer counts double in squared distances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_ad.system.files import write_output

OPSET = 18
IR_VERSION = 10
LAYERS = ("layer2", "layer3")
OUTPUTS = ("fine", "deep")
SCALES = (1.0, 2**0.5)  # of the outputs
PRODUCER = "edge-ad distill"


def student_onnx(
    arrays: Mapping[str, NDArray[np.float32]],
    axes: Sequence[NDArray[np.float32]],
    about: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """ONNX with input ``image`` (N, 3, H, W) f32, RGB normalised as ImageNet's, and outputs ``fine`` and ``deep``.

    Args:
        arrays: by the names of `export.distill.student.Student`'s state.
        axes: (K, C) orthonormal rows for each layer, that the output is given on, times `SCALES`.
        about: metadata to store.
    """
    heads = {
        f"{name}.weight": (rows * np.float32(scale))[..., None, None]
        for name, rows, scale in zip(OUTPUTS, axes, SCALES, strict=True)
    }
    graph = _Graph({**arrays, **heads})
    x = graph.relu(graph.convolution("stem", "image", 2))
    x = graph.node("MaxPool", [x], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage in ("layer1", *LAYERS):
        blocks = sorted({int(name.split(".")[1]) for name in arrays if name.startswith(stage + ".")})
        for i in blocks:
            stride = 2 if i == 0 and stage != "layer1" else 1
            x = graph.block(f"{stage}.{i}", x, stride, stage if i == blocks[-1] else None)
    outputs = []
    for layer, name, rows in zip(LAYERS, OUTPUTS, axes, strict=True):
        graph.convolution(name, layer, 1)
        shape = ["N", len(rows), f"{name}_h", f"{name}_w"]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "edge-s", [image], outputs, graph.weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name=PRODUCER,
    )
    helper.set_model_props(model, dict(about or {}))
    onnx.checker.check_model(model, full_check=True)
    return model


def save_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Writes the model, all of it or nothing."""
    write_output(path, [model.SerializeToString()])


class _Graph:
    """Nodes and weights as they are added; every method gives the name of its output."""

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        self._arrays = arrays
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def relu(self, x: str, output: str | None = None) -> str:
        return self.node("Relu", [x], output or f"{x}.relu")

    def convolution(self, name: str, x: str, stride: int) -> str:
        names = [n for n in (f"{name}.weight", f"{name}.bias") if n in self._arrays]
        self.weights += [numpy_helper.from_array(self._arrays[n], n) for n in names]
        side = self._arrays[names[0]].shape[2]
        pads = [side // 2] * 4
        return self.node("Conv", [x, *names], name, kernel_shape=[side] * 2, strides=[stride] * 2, pads=pads)

    def block(self, name: str, x: str, stride: int, output: str | None) -> str:
        inner = self.relu(self.convolution(f"{name}.conv1", x, stride))
        sums = [self.convolution(f"{name}.conv2", inner, 1)]
        has_skip = f"{name}.skip.weight" in self._arrays
        sums.append(self.convolution(f"{name}.skip", x, stride) if has_skip else x)
        return self.relu(self.node("Add", sums, f"{name}.sum"), output)
