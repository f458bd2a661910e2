"""Finds how a layer is a feature map: which axis holds its channels, and where its height and width are.

Convolutions give (1, C, h, w); transformers such as Swin give (1, h, w, C); vision transformers give tokens (1, T, C),
for which see `export.tokens`.

The operator that made the map decides: ONNX defines convolutions, poolings and the like for (N, C, h, w) only, and a
layer norm or a product with a matrix of weights works on the last axis. If there is no such operator near, the strides
decide: a backbone shrinks height and width by the same factor, so H/h and W/w differ by rounding only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from edge_ad.errors import BackboneError
from edge_ad.spec import Size
from export.options import LAYOUTS

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
_AXES = dict(zip(LAYOUTS, (None, 1, 3), strict=True))  # of the channels, by what is asked for


@dataclass(frozen=True)
class Asked:
    """What is said of the layers, where it cannot be found or is not to be.

    Attributes:
        layout: of maps; one of `export.options.LAYOUTS`.
        prefix: tokens before those of the grid; None if they are to be counted.
    """

    layout: str = "auto"
    prefix: int | None = None


AUTO = Asked()


@dataclass(frozen=True)
class Form:
    """How a layer becomes a map (1, C, h, w).

    Attributes:
        channels: C.
        grid: (h, w).
        axis: of the channels in the layer: 1 or 3 of a map, 2 of tokens (1, T, C).
        prefix: tokens before those of the grid, such as a class token and registers; 0 for a map.
    """

    channels: int
    grid: Size
    axis: int = 1
    prefix: int = 0

    def map_of(self, layer: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, C, h, w) of the layer's values, as the graph makes it."""
        if self.axis == 2:
            layer = layer[:, self.prefix :].reshape(1, *self.grid, self.channels)
        return np.moveaxis(layer, 1 if self.axis == 1 else 3, 1)

    @property
    def text(self) -> str:
        """How the layer was read, for a reader."""
        grid = f"{self.grid[0]} x {self.grid[1]}"
        if self.axis == 2:
            return f"tokens of a grid of {grid}" + (f" after {self.prefix} others" if self.prefix else "")
        return f"{grid}, channels {'first' if self.axis == 1 else 'last'}"


def map_form(makers: Makers, layer: str, shape: tuple[int, ...], size: Size, layout: str = "auto") -> Form:
    """The form of a layer with four axes: `channel_axis`."""
    axis = channel_axis(makers, layer, shape, size, layout)
    return Form(shape[axis], _grid(shape, axis), axis)


def channel_axis(makers: Makers, layer: str, shape: tuple[int, ...], size: Size, layout: str = "auto") -> int:
    """1 or 3: the axis of the layer's map that holds the channels.

    Args:
        makers: of the graph, cut and with the layer in it.
        shape: of the map, (1, ., ., .).
        size: (H, W) of the image that it is a map of.
        layout: as in `Asked`; it decides where nothing else does, and may not contradict the operators.

    Raises:
        BackboneError: it has neither layout, or it is unclear which of the two it has.
    """
    made, asked = _axis_by_operators(makers, layer, set()), _AXES[layout]
    if made in (1, 3):
        if asked not in (None, made):
            raise BackboneError(
                f"the layer {layer} does not have the layout that --layout names",
                expected=f"channels-{'first' if made == 1 else 'last'}, as the operators before it say",
                got=layout,
                remedy="Leave --layout out.",
            )
        return made
    able = [axis for axis in (1, 3) if asked in (None, axis)] if made is None else []
    fitting = [axis for axis in able if _strides_agree(_grid(shape, axis), size)]
    if len(fitting) == 1:
        return fitting[0]
    raise BackboneError(
        f"the layer {layer} can be read as two feature maps" if fitting else f"the layer {layer} is not a feature map",
        expected=f"shape (1, C, h, w) or (1, h, w, C), with h and w the same share of an image of {size}",
        got=f"{shape}, and no convolution before it that decides" if fitting else shape,
        remedy="Name another tensor with --layers: an output of a convolution, a pooling, or a Transpose after one"
        + (", or say --layout channels-first or channels-last." if fitting else "."),
    )


def _grid(shape: tuple[int, ...], axis: int) -> Size:
    return (shape[2], shape[3]) if axis == 1 else (shape[1], shape[2])


def _axis_by_operators(makers: Makers, name: str, seen: set[str]) -> int | None:
    """The axis, from the nearest operator that defines it; None if there is none."""
    node = makers.get(name)
    if node is None or name in seen:
        return None
    seen.add(name)
    if node.op_type in _CHANNELS_FIRST:
        return 1
    if node.op_type == "LayerNormalization":
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
        return 3 if axis in (-1, 3) else None
    if node.op_type == "MatMul" and _is_weight(makers, node.input[1]):
        return 3
    if node.op_type == "Transpose":
        axis = _axis_by_operators(makers, node.input[0], seen)
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), [3, 2, 1, 0])
        return order.index(axis) if axis is not None and axis in order else None
    if node.op_type in _AS_THEIR_INPUTS:
        found = (_axis_by_operators(makers, source, seen) for source in node.input if source)
        return next((axis for axis in found if axis is not None), None)
    return None


def _is_weight(makers: Makers, name: str) -> bool:
    """Whether a tensor is a constant, perhaps turned or of another type: no node makes an initialiser."""
    node = makers.get(name)
    if node is None or node.op_type == "Constant":
        return True
    return node.op_type in ("Cast", "DequantizeLinear", "Identity", "Transpose") and _is_weight(makers, node.input[0])


def _strides_agree(grid: Size, size: Size) -> bool:
    """Whether one stride explains both: h is H/stride and w is W/stride, each rounded up or down."""
    least = max(extent / (cells + 1) for cells, extent in zip(grid, size, strict=True))
    most = min(extent / (cells - 1) if cells > 1 else float("inf") for cells, extent in zip(grid, size, strict=True))
    return least < most
