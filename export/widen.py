"""Converts a network in half or double precision to float32, which the runtime uses."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

OTHER_FLOATS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def widen(graph: onnx.GraphProto) -> None:
    """Makes every floating-point tensor of the graph float32, in place.

    Half precision loses nothing. Engines on a CPU compute it in float32 too, but round between operators; patches
    differ from theirs by that rounding. Double precision is rounded to float32, as the patches would be.
    """
    for item in graph.initializer:
        _widen_tensor(item)
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.tensor_type.elem_type in OTHER_FLOATS:
            info.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                _widen_tensor(attribute.t)
            elif attribute.type == AttributeProto.GRAPH:
                widen(attribute.g)
            elif attribute.name in ("to", "dtype") and attribute.i in OTHER_FLOATS:
                attribute.i = TensorProto.FLOAT


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in OTHER_FLOATS:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
