"""Finds the shapes of a backbone's layers with ONNX's shape inference, or if that fails by running an engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from edge_ad.engines import run_once
from edge_ad.errors import BackboneError, EngineError

Shape = tuple[int, ...]


def layer_shapes(model: onnx.ModelProto, layers: Sequence[str]) -> list[Shape]:
    """The shape of each layer.

    Args:
        model: without annotations of inner tensors, with one float32 input of a fixed shape.

    Raises:
        BackboneError: shapes that contradict each other, a layer that is not float32, or an engine that cannot run it.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in layers)
    try:
        inferred = onnx.shape_inference.infer_shapes(probe, strict_mode=True, data_prop=True)
    except Exception as error:  # InferenceError is not public
        raise BackboneError(
            "the backbone's shapes do not fit together",
            got=str(error).strip()[:300],
            remedy="A network that stores positions for one input size needs that --input-size, or an export of its "
            "own for another.",
        ) from error
    known = {o.name: o.type.tensor_type for o in inferred.graph.output}
    shapes = [tuple(dim.dim_value for dim in known[name].shape.dim) for name in layers]
    if all(
        known[name].HasField("shape") and min(shape, default=1) > 0 for name, shape in zip(layers, shapes, strict=True)
    ):
        return shapes
    (image,) = model.graph.input
    size = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    try:
        return [found.shape for found in run_once(probe.SerializeToString(), image.name, np.zeros(size, np.float32))]
    except EngineError as error:
        what = "the shapes of the backbone's layers cannot be found"
        raise BackboneError(what, expected=error.expected, got=error.got) from error
