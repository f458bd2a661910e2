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
    """A kind of PC. The figures were fitted once, with two threads, f32 (bench/NOTES.md, "Cost").

    Attributes:
        macs_per_ms: multiply-adds of a network in a millisecond.
        bytes_per_ms: bytes of a network's tensors and weights in a millisecond.
        exact_per_ms: patches x rows x dimensions of exact search by bounds in a millisecond.
        walks_per_ms: patches whose nearest row the HNSW graph finds in a millisecond.
        rechecked: share of the patches that graph search looks up again by exact search.
        fixed_ms: of each input size: resize, calls.
    """

    macs_per_ms: float
    bytes_per_ms: float
    exact_per_ms: float
    walks_per_ms: float
    rechecked: float
    fixed_ms: float


SMALL_PC = Machine(  # 2 cores, AVX2
    macs_per_ms=7.0e7, bytes_per_ms=5.0e7, exact_per_ms=1.2e8, walks_per_ms=250, rechecked=0.08, fixed_ms=0.6
)


@dataclass(frozen=True)
class Work:
    """What one input size asks of a machine.

    Attributes:
        macs: multiply-adds of the network.
        bytes: of all its tensors and weights, float32.
        patches, rows, dim: the search: so many patches, in a coreset of so many rows and dimensions.
    """

    macs: float
    bytes: float
    patches: int
    rows: int
    dim: int

    def ms(self, machine: Machine = SMALL_PC) -> float:
        """Milliseconds of a frame."""
        network = self.macs / machine.macs_per_ms + self.bytes / machine.bytes_per_ms
        exact = self.patches * self.rows * self.dim / machine.exact_per_ms
        walk = self.patches / machine.walks_per_ms + machine.rechecked * exact
        return network + min(exact, walk) + machine.fixed_ms


def work_of(graph: PatchGraph, patches: int, rows: int, tiles: int = 1) -> Work:
    """The work of a frame: its network for each tile, and the search of its patches in so many rows of a coreset."""
    macs, moved = graph_work(graph.model)
    return Work(tiles * macs, tiles * moved, patches, rows, graph.dim)


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
