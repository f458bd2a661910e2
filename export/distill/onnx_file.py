"""The student as an ONNX file. No torch: the graph is written node by node from named arrays.

Inside are four layers: `trunk8` and `trunk16`, `copied8` and `copied16`. The outputs are what to search in: `fine` and
`deep`, each the trunk's layer and the copied one on fewer axes, its principal ones in falling order, each times a
number that makes them count alike: distances are nearly kept and cost less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_ad.system.files import write_output
from export.distill.shape import LAYERS, READ, STRIDES

OPSET = 18
IR_VERSION = 10
OUTPUTS = ("fine", "deep")
PRODUCER = "edge-ad distill"


def student_onnx(
    arrays: Mapping[str, NDArray[np.float32]],
    axes: Sequence[NDArray[np.float32]],
    about: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """ONNX with input ``image`` (N, 3, H, W) f32, RGB normalised as ImageNet's, and outputs ``fine`` and ``deep``.

    Args:
        arrays: by the names of `export.distill.student.Student`'s state.
        axes: (K, C) rows for each of `LAYERS`, that the outputs are given on.
        about: metadata to store.
    """
    heads = {f"{name}.axes.weight": rows[..., None, None] for name, rows in zip(LAYERS, axes, strict=True)}
    graph = _Graph({**arrays, **heads})
    x = graph.clip(graph.convolution("stem", "image", 2))
    names = dict(zip(READ, ("trunk4", "trunk8", "trunk16"), strict=True))
    for i, stride in enumerate(STRIDES):
        x = graph.inverted(f"blocks.{i}", x, stride, names.get(i))
    x = graph.block("fine", graph.relu(graph.convolution("enter", "trunk4", 2)))
    graph.copied("fine_out", [x, "trunk8"], "copied8")
    sums = [graph.convolution("down", x, 2), graph.convolution("side", "trunk16", 1)]
    x = graph.block("deep", graph.relu(graph.node("Add", sums, "deep.entered")))
    graph.copied("deep_out", [x, "trunk16"], "copied16")
    outputs = []
    for number, name in enumerate(OUTPUTS):
        pair = slice(2 * number, 2 * number + 2)
        parts = [graph.convolution(f"{layer}.axes", layer, 1) for layer in LAYERS[pair]]
        graph.node("Concat", parts, name, axis=1)
        shape = ["N", sum(len(rows) for rows in axes[pair]), f"{name}_h", f"{name}_w"]
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
        self.weights = [numpy_helper.from_array(np.float32(6), "six"), numpy_helper.from_array(np.float32(0), "zero")]

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def relu(self, x: str, output: str | None = None) -> str:
        return self.node("Relu", [x], output or f"{x}.relu")

    def clip(self, x: str) -> str:
        return self.node("Clip", [x, "zero", "six"], f"{x}.clip")

    def convolution(self, name: str, x: str, stride: int, output: str | None = None) -> str:
        names = [n for n in (f"{name}.weight", f"{name}.bias") if n in self._arrays]
        self.weights += [numpy_helper.from_array(np.ascontiguousarray(self._arrays[n]), n) for n in names]
        count, inner, side = self._arrays[names[0]].shape[:3]
        return self.node(
            "Conv",
            [x, *names],
            output or name,
            kernel_shape=[side] * 2,
            strides=[stride] * 2,
            pads=[side // 2] * 4,
            group=count if inner == 1 else 1,
        )

    def inverted(self, name: str, x: str, stride: int, output: str | None) -> str:
        """As `export.distill.student.Inverted`."""
        widens = f"{name}.expand.weight" in self._arrays
        y = self.clip(self.convolution(f"{name}.expand", x, 1)) if widens else x
        y = self.clip(self.convolution(f"{name}.depth", y, stride))
        before = self._arrays[f"{name}.expand.weight" if widens else f"{name}.depth.weight"].shape[1 if widens else 0]
        adds = stride == 1 and before == len(self._arrays[f"{name}.project.weight"])
        y = self.convolution(f"{name}.project", y, 1, None if adds else output)
        return self.node("Add", [y, x], output or f"{name}.sum") if adds else y

    def block(self, name: str, x: str) -> str:
        """Two 3x3 convolutions beside a skip."""
        inner = self.relu(self.convolution(f"{name}1", x, 1))
        return self.relu(self.node("Add", [x, self.convolution(f"{name}2", inner, 1)], f"{name}.sum"))

    def copied(self, name: str, parts: list[str], output: str) -> str:
        return self.relu(self.convolution(name, self.node("Concat", parts, f"{name}.parts", axis=1), 1), output)
