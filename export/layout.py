"""Finds the axis of the channels in a feature map.

Convolutions give (1, C, h, w); transformers such as Swin give (1, h, w, C).

The operator that made the map decides: ONNX defines convolutions, poolings and the like for (N, C, h, w) only. If there
is no such operator near, the strides decide: a backbone shrinks height and width by the same factor, so H/h and W/w
differ by rounding only.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from edge_ad.errors import BackboneError
from edge_ad.spec import Size

_CHANNELS_FIRST = {
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool", "GlobalMaxPool",
    "GroupNormalization", "InstanceNormalization", "LRN", "LpPool", "MaxPool", "QLinearConv", "SpaceToDepth",
}  # fmt: skip
_AS_THEIR_INPUTS = {
    "Abs", "Add", "BitShift", "Cast", "Celu", "Clip", "Concat", "DequantizeLinear", "Div", "Dropout", "Elu", "Erf",
    "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mish", "Mul",
    "Neg", "PRelu", "Pad", "Pow", "QuantizeLinear", "Relu", "Resize", "Selu", "Sigmoid", "Slice", "Softplus",
    "Softsign", "Sqrt", "Sub", "Sum", "Tanh", "ThresholdedRelu",
}  # fmt: skip

Makers = Mapping[str, onnx.NodeProto]  # the node that gives each tensor


def channel_axis(makers: Makers, layer: str, shape: tuple[int, int, int, int], size: Size) -> int:
    """1 or 3: the axis of the layer's map that holds the channels.

    Args:
        makers: of the graph, cut and with the layer in it.
        shape: of the map, (1, ., ., .).
        size: (H, W) of the image that it is a map of.

    Raises:
        BackboneError: it has neither layout, or it is unclear which of the two it has.
    """
    made = _axis_by_operators(makers, layer, set())
    if made in (1, 3):
        return made
    fitting = [axis for axis in (1, 3) if _strides_agree(_grid(shape, axis), size)] if made is None else []
    if len(fitting) == 1:
        return fitting[0]
    raise BackboneError(
        f"the layer {layer} can be read as two feature maps" if fitting else f"the layer {layer} is not a feature map",
        expected=f"shape (1, C, h, w) or (1, h, w, C), with h and w the same share of an image of {size}",
        got=f"{shape}, and no convolution before it that decides" if fitting else shape,
        remedy="Name another tensor with --layers: an output of a convolution, a pooling, or a Transpose after one"
        + (", or choose another --input-size." if fitting else "."),
    )


def _grid(shape: tuple[int, int, int, int], axis: int) -> Size:
    return (shape[2], shape[3]) if axis == 1 else (shape[1], shape[2])


def _axis_by_operators(makers: Makers, name: str, seen: set[str]) -> int | None:
    """The axis, from the nearest operator that defines it; None if there is none."""
    node = makers.get(name)
    if node is None or name in seen:
        return None
    seen.add(name)
    if node.op_type in _CHANNELS_FIRST:
        return 1
    if node.op_type == "Transpose":
        axis = _axis_by_operators(makers, node.input[0], seen)
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), [3, 2, 1, 0])
        return order.index(axis) if axis is not None and axis in order else None
    if node.op_type in _AS_THEIR_INPUTS:
        found = (_axis_by_operators(makers, source, seen) for source in node.input if source)
        return next((axis for axis in found if axis is not None), None)
    return None


def _strides_agree(grid: Size, size: Size) -> bool:
    """Whether one stride explains both: h is H/stride and w is W/stride, each rounded up or down."""
    least = max(extent / (cells + 1) for cells, extent in zip(grid, size, strict=True))
    most = min(extent / (cells - 1) if cells > 1 else float("inf") for cells, extent in zip(grid, size, strict=True))
    return least < most
