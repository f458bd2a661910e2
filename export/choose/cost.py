"""What a frame costs on a small PC, by a model: multiply-adds and bytes of the graph, and of the search.

A stopwatch would make the choice hang on the workstation and its other work. `python -m bench.cost` measures how far
the model is off (bench/NOTES.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx
from onnx import shape_inference

from export.graph import PatchGraph

_COUNTED = {"Conv", "ConvTranspose", "MatMul", "Gemm"}


@dataclass(frozen=True)
class Machine:
    """A kind of PC. The figures were fitted once, with two threads, f32.

    Attributes:
        macs_per_ms: multiply-adds of a graph in a millisecond.
        bytes_per_ms: bytes of a graph's tensors, written and read, in a millisecond.
        search_macs_per_ms: products of the exact search's bounds in a millisecond.
        fixed_ms: of a frame: resize, calls, map.
    """

    macs_per_ms: float
    bytes_per_ms: float
    search_macs_per_ms: float
    fixed_ms: float


SMALL_PC = Machine(macs_per_ms=8.0e7, bytes_per_ms=5.0e7, search_macs_per_ms=9.0e7, fixed_ms=0.6)  # 2 cores, AVX2


@dataclass(frozen=True)
class Work:
    """What a frame asks of a machine.

    Attributes:
        macs: multiply-adds of the graph.
        bytes: of all its tensors and weights, float32.
        search: multiply-adds of the search: patches x rows x dimensions.
    """

    macs: float
    bytes: float
    search: float

    def ms(self, machine: Machine = SMALL_PC) -> float:
        """Milliseconds of a frame."""
        graph = self.macs / machine.macs_per_ms + self.bytes / machine.bytes_per_ms
        return graph + self.search / machine.search_macs_per_ms + machine.fixed_ms


def work_of(graph: PatchGraph, patches: int, rows: int) -> Work:
    """The work of a frame: its graph, and the search of so many patches in so many rows of a coreset."""
    macs, size = graph_work(graph.model)
    return Work(macs, size, float(patches) * rows * graph.dim)


def graph_work(model: onnx.ModelProto) -> tuple[float, float]:
    """(multiply-adds, bytes of tensors and weights) of a graph with static shapes."""
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {initial.name: tuple(initial.dims) for initial in inferred.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        shapes[value.name] = tuple(max(d.dim_value, 1) for d in value.type.tensor_type.shape.dim)
    macs = 0.0
    for node in inferred.node:
        if node.op_type in _COUNTED and node.output[0] in shapes and node.input[1] in shapes:
            out, weight = math.prod(shapes[node.output[0]]), shapes[node.input[1]]
            if node.op_type == "Conv":
                macs += out * math.prod(weight[1:])
            elif node.op_type == "ConvTranspose":
                macs += math.prod(shapes[node.input[0]]) * math.prod(weight[1:])
            else:
                macs += out * shapes[node.input[0]][-1]
    moved = sum(math.prod(shape) for name, shape in shapes.items())
    return macs, 4.0 * moved
