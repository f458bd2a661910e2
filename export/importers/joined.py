"""The patches of anomalib's PaDiM: layers brought to the grid of the first one by their nearest vectors, joined, and
some channels of them chosen. Nothing is pooled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edge_ad.errors import BackboneError
from edge_ad.spec import Size, Tensor
from export.graph import PatchGraph, build_graph
from export.layout import Form
from export.network import Backbone
from export.tail import OUTPUT, PREFIX, as_map, integers


@dataclass(frozen=True)
class JoinedBackbone(Backbone):
    """A backbone whose patches are chosen channels of its layers.

    Attributes:
        channels: (C,) int64 numbers of the joined channels, in the order of the patches; below their sum.
    """

    channels: NDArray[np.int64] = field(kw_only=True)

    def graph(self, size: Size, *, floats: bool = False) -> PatchGraph:
        """The graph for a crop of (H, W) `size`."""
        given = self.layers, size, self.mean, self.std, self.asked
        tail: Callable[[onnx.GraphProto, Sequence[str], Sequence[Form]], tuple[Size, int]]
        tail = partial(append_joined, channels=self.channels)
        return build_graph(self.to_onnx(size), *given, floats=floats, tail=tail)

    def reference_patches(self, tensor: Tensor, graph: PatchGraph) -> NDArray[np.float32] | None:
        """(h*w, C) float32 patches by torch and NumPy, to check the graph; None without torch's own features."""
        if self.features is None:
            return None
        planes = []
        for form, layer in zip(graph.forms, self.features(tensor), strict=True):
            plane = form.map_of(layer)[0]
            down, across = (
                np.arange(wanted) * there // wanted for wanted, there in zip(graph.grid, plane.shape[1:], strict=True)
            )
            planes.append(plane[:, down][:, :, across])
        joined = np.concatenate(planes)[self.channels]
        return np.ascontiguousarray(joined.reshape(len(joined), -1).T)


def append_joined(
    graph: onnx.GraphProto, layers: Sequence[str], forms: Sequence[Form], channels: NDArray[np.int64]
) -> tuple[Size, int]:
    """Appends what turns the layers into the output ``patches`` (h*w, C) float32; returns (h, w) and C.

    Raises:
        BackboneError: a channel does not exist.
    """
    grid, parts = forms[0].grid, []
    there = sum(form.channels for form in forms)
    if channels.min() < 0 or channels.max() >= there:
        raise BackboneError(
            "the model chooses channels that its layers do not have",
            expected=f"0..{there - 1}, of {' '.join(layers)}",
            got=f"{channels.min()}..{channels.max()}",
        )
    for i, (layer, form) in enumerate(zip(layers, forms, strict=True)):
        part = as_map(graph, layer, form, i)
        if form.grid != grid:  # vector i of the larger grid is number floor(i * there / wanted), as torch has it
            graph.initializer.append(integers(f"{PREFIX}size{i}", [1, form.channels, *grid]))
            how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            name = f"{PREFIX}nearest{i}"
            graph.node.append(helper.make_node("Resize", [part, "", "", f"{PREFIX}size{i}"], [name], **how))
            part = name
        parts.append(part)
    rows = grid[0] * grid[1]
    graph.initializer.append(integers(PREFIX + "channels", channels.tolist()))
    graph.initializer.append(integers(PREFIX + "rows", [rows, len(channels)]))
    graph.node.extend(
        [
            helper.make_node("Concat", parts, [PREFIX + "joined"], axis=1),
            helper.make_node("Gather", [PREFIX + "joined", PREFIX + "channels"], [PREFIX + "chosen"], axis=1),
            helper.make_node("Transpose", [PREFIX + "chosen"], [PREFIX + "nhwc"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [PREFIX + "nhwc", PREFIX + "rows"], [OUTPUT]),
        ]
    )
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [rows, len(channels)]))
    return grid, len(channels)
