"""A backbone whose patches are the vectors of one map as they are: nothing is pooled or joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edge_ad.spec import Size, Tensor
from export.graph import PatchGraph, build_graph
from export.layout import Form
from export.network import Backbone
from export.tail import OUTPUT, PREFIX, as_map, integers


@dataclass(frozen=True)
class PlainBackbone(Backbone):
    """A backbone with one layer, whose vectors are the patches."""

    def graph(self, size: Size, *, floats: bool = False) -> PatchGraph:
        """The graph for a crop of (H, W) `size`."""
        given = self.layers, size, self.mean, self.std, self.asked
        return build_graph(self.to_onnx(size), *given, floats=floats, tail=append_map)

    def reference_patches(self, tensor: Tensor, graph: PatchGraph) -> NDArray[np.float32] | None:
        """(h*w, D) float32 patches by torch, to check the graph; None without torch's own features."""
        if self.features is None:
            return None
        (layer,) = self.features(tensor)
        plane = graph.forms[0].map_of(layer)[0]
        return np.ascontiguousarray(plane.reshape(len(plane), -1).T)


def append_map(graph: onnx.GraphProto, layers: Sequence[str], forms: Sequence[Form]) -> tuple[Size, int]:
    """Appends what writes the one layer down as the output ``patches`` (h*w, D); returns (h, w) and D."""
    (layer,), (form,) = layers, forms
    rows = form.grid[0] * form.grid[1]
    names = [as_map(graph, layer, form, 0)], [PREFIX + "nhwc"]
    graph.node.append(helper.make_node("Transpose", *names, perm=[0, 2, 3, 1]))
    graph.initializer.append(integers(PREFIX + "rows", [rows, form.channels]))
    graph.node.append(helper.make_node("Reshape", [PREFIX + "nhwc", PREFIX + "rows"], [OUTPUT]))
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [rows, form.channels]))
    return form.grid, form.channels
