"""The graph of an autoencoder: pixels in, a grid of errors out, and beside it the reconstruction. ONNX, no torch.

    u8 NHWC BGR (of normal maps float32) -> colours in 0..1 -> network -> reconstruction (1, 3, H, W)
        -> |picture - reconstruction|, mean of the channels      \\
        -> 1 - SSIM of the channels' means, over 7 x 7 pixels    / -> mean of each 4 x 4 cell -> (h*w, 2) float32

Of normal maps the network sees the usual one, and coarsely how the picture differs from it, and gives what is to be
added to the usual one. The last step is another too: the signed difference of the vectors goes through the filters of
`export.relief`, every second pixel -> (h*w, 9) float32, degrees. A mean of the sizes hides what a scratch adds.

The first output is ``patches``, as of a backbone graph. The second, ``reconstruction``, is a step of the first: who
does not ask for it pays nothing. It is written node by node from named arrays, so that the same weights give the same
bytes; `export.autoencoder.unet` is the same network in torch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_ad.engines.base import RECONSTRUCTION
from edge_ad.errors import BackboneError
from edge_ad.heads.autoencoder import ERRORS
from edge_ad.spec import Size
from export.autoencoder.recipe import CELL, FACTOR, SEEN
from export.autoencoder.shape import USUAL
from export.graph import IR_VERSION, OPSET, PatchGraph
from export.layout import Form
from export.relief import answers_of
from export.tail import OUTPUT

WINDOW = 7  # as `export.autoencoder.unet` has these
C1, C2 = 0.01**2, 0.03**2
_INPUT = "frame"

Arrays = Mapping[str, NDArray[np.float32]]


def error_graph(arrays: Arrays, size: Size, *, normals: bool = False) -> PatchGraph:
    """The graph for a crop of (H, W) `size`.

    Args:
        arrays: weights by the names of `export.autoencoder.unet.UNet`.
        normals: the input is (1, H, W, 3) float32, 127.5 (n + 1) of vectors n of length 1 or 0, z, y, x, as the frames
            of photometric stereo are. The reconstruction is vectors of length 1, or 0 where no good picture has any.

    Raises:
        BackboneError: the size does not fit the network.
    """
    _check_size(size)
    g = _Graph(arrays)
    picture = _picture(g, normals)
    if normals:
        found = _normals(g, picture)
        grid, dim = _answers(g, picture, found, size)
    else:
        found = _network(g, picture, RECONSTRUCTION)
        grid, dim = (size[0] // CELL, size[1] // CELL), ERRORS
        _errors(g, picture, found, grid)
    kind = TensorProto.FLOAT if normals else TensorProto.UINT8
    outputs = [
        helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [grid[0] * grid[1], dim]),
        helper.make_tensor_value_info(RECONSTRUCTION, TensorProto.FLOAT, [1, 3, *size]),
    ]
    frame = helper.make_tensor_value_info(_INPUT, kind, [1, *size, 3])
    model = helper.make_model(
        helper.make_graph(g.nodes, "autoencoder", [frame], outputs, g.weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="edge-ad",
    )
    onnx.checker.check_model(model, full_check=True)
    return PatchGraph(model, grid, dim, (Form(dim, grid),))


def _check_size(size: Size) -> None:
    """Refuses sides that the network cannot halve as often as it does.

    Raises:
        BackboneError: says which sides fit.
    """
    if any(side % FACTOR for side in size):
        near = tuple(max(FACTOR, round(side / FACTOR) * FACTOR) for side in size)
        raise BackboneError(
            "the autoencoder does not take this size",
            expected=f"(H, W), each a multiple of {FACTOR}",
            got=size,
            remedy=f"Give an --input-size of such sides, such as {near[0]},{near[1]}.",
        )


class _Graph:
    """Nodes and weights as they are added; every method gives the name of its output."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: object, dtype: type = np.float32) -> str:
        if name not in [item.name for item in self.weights]:
            self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def convolution(self, name: str, x: str, stride: int = 1, output: str | None = None) -> str:
        kernel = self.arrays[f"{name}.weight"]
        if name == "enter":  # torch puts 2 x 2 pixels beside one another by channels, ONNX by places
            kernel = kernel.reshape(len(kernel), -1, 4, *kernel.shape[2:]).swapaxes(1, 2).reshape(kernel.shape)
        names = [self.constant(f"{name}.weight", kernel), self.constant(f"{name}.bias", self.arrays[f"{name}.bias"])]
        side = kernel.shape[2]
        shape = {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": [side // 2] * 4}
        return self.node("Conv", [x, *names], output or name, **shape)

    def relu(self, x: str) -> str:
        return self.node("Relu", [x], f"{x}.relu")

    def pool(self, x: str, output: str, side: int, stride: int) -> str:
        pad = side // 2 if stride == 1 else 0
        shape = {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        return self.node("AveragePool", [x], output, count_include_pad=0, **shape)

    def enlarged(self, x: str, times: int, output: str) -> str:
        """Each pixel as so many on each side."""
        factors = self.constant(f"times_{times}", [1, 1, times, times])
        shape = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return self.node("Resize", [x, "", factors], output, mode="nearest", **shape)


def _picture(g: _Graph, normals: bool) -> str:
    """The input as the network takes it, (1, 3, H, W) float32."""
    if normals:
        g.node("Transpose", [_INPUT], "nchw", perm=[0, 3, 1, 2])
        g.node("Mul", ["nchw", g.constant("per_level", 1 / 127.5)], "scaled")
        return g.node("Sub", ["scaled", g.constant("one", 1)], "picture")
    g.node("Cast", [_INPUT], "float", to=TensorProto.FLOAT)
    g.node("Transpose", ["float"], "nchw", perm=[0, 3, 1, 2])
    return g.node("Mul", ["nchw", g.constant("per_level", 1 / 255)], "picture")


def _network(g: _Graph, picture: str, output: str) -> str:
    levels = sum(name.startswith("insides.") and name.endswith(".weight") for name in g.arrays)
    x = g.relu(g.convolution("enter", g.node("SpaceToDepth", [picture], "pixels", blocksize=2)))
    kept = []
    for number in range(levels):
        if number:
            x = g.relu(g.convolution(f"downs.{number - 1}", x, stride=2))
        x = g.relu(g.convolution(f"insides.{number}", x))
        kept.append(x)
    for number in range(levels - 2, -1, -1):
        narrow = g.relu(g.convolution(f"narrows.{number}", x))
        up = g.enlarged(narrow, 2, f"up.{number}")
        x = g.relu(g.convolution(f"joins.{number}", g.node("Concat", [kept[number], up], f"beside.{number}", axis=1)))
    return g.node("DepthToSpace", [g.convolution("leave", x)], output, blocksize=2, mode="CRD")


def _normals(g: _Graph, picture: str) -> str:
    """The normals as they should be, by the usual ones and what the network adds to them."""
    usual = g.constant(USUAL, g.arrays[USUAL])
    change = g.pool(g.node("Sub", [picture, usual], "change"), "coarse", SEEN, SEEN)
    wide = g.enlarged(change, SEEN, "coarse_change")
    added = _network(g, g.node("Concat", [wide, usual], "seen", axis=1), "added")
    found = _unit(g, g.node("Add", [usual, added], "normals"))
    there = g.constant("there", np.square(g.arrays[USUAL]).sum(axis=1, keepdims=True))
    return g.node("Mul", [found, there], RECONSTRUCTION)


def _unit(g: _Graph, vectors: str) -> str:
    """Vectors with length 1."""
    axes = g.constant("channels", [1], np.int64)
    g.node("ReduceSum", [g.node("Mul", [vectors, vectors], "squares"), axes], "square", keepdims=1)
    g.node("Max", [g.node("Sqrt", ["square"], "length"), g.constant("tiny", 1e-6)], "divisor")
    return g.node("Div", [vectors, "divisor"], "units")


def _answers(g: _Graph, picture: str, found: str, size: Size) -> tuple[Size, int]:
    """The filters' answers to the difference of two normal maps (1, 3, H, W), z, y, x; their grid and number."""
    difference = g.node("Sub", [picture, found], "difference")
    nodes, constants, grid, dim = answers_of(difference, OUTPUT, size)
    g.nodes.extend(nodes)
    for name, value in constants.items():
        g.constant(name, value, value.dtype.type)
    return grid, dim


def _errors(g: _Graph, picture: str, found: str, grid: Size) -> None:
    axes = g.constant("channels", [1], np.int64)
    g.node("Abs", [g.node("Sub", [picture, found], "difference")], "distance")
    g.node("ReduceMean", ["distance", axes], "colour", keepdims=1)
    a = g.node("ReduceMean", [picture, axes], "a", keepdims=1)
    b = g.node("ReduceMean", [found, axes], "b", keepdims=1)
    products = [g.node("Mul", pair, "".join(pair)) for pair in ([a, a], [b, b], [a, b])]
    g.pool(g.node("Concat", [a, b, *products], "planes", axis=1), "means", WINDOW, 1)
    parts = [f"mean_{name}" for name in ("a", "b", "aa", "bb", "ab")]
    g.nodes.append(helper.make_node("Split", ["means"], parts, name="parts", axis=1, num_outputs=5))
    ma, mb, aa, bb, ab = parts
    both, c1, c2 = g.node("Mul", [ma, mb], "both"), g.constant("c1", C1), g.constant("c2", C2)
    two = g.constant("two", 2)
    sa, sb = g.node("Mul", [ma, ma], "sa"), g.node("Mul", [mb, mb], "sb")
    covariance = g.node("Sub", [ab, both], "covariance")
    variances = g.node("Add", [g.node("Sub", [aa, sa], "va"), g.node("Sub", [bb, sb], "vb")], "variances")
    light = g.node("Add", [g.node("Mul", [both, two], "both2"), c1], "light_above")
    shape = g.node("Add", [g.node("Mul", [covariance, two], "covariance2"), c2], "shape_above")
    g.node("Add", [g.node("Add", [sa, sb], "sums"), c1], "light_below")
    g.node("Add", [variances, c2], "shape_below")
    above = g.node("Mul", [light, shape], "above")
    below = g.node("Mul", ["light_below", "shape_below"], "below")
    g.node("Sub", [g.constant("one", 1), g.node("Div", [above, below], "ssim")], "structure")
    g.pool(g.node("Concat", ["colour", "structure"], "errors", axis=1), "cells", CELL, CELL)
    rows = g.constant("rows", [grid[0] * grid[1], ERRORS], np.int64)
    g.node("Reshape", [g.node("Transpose", ["cells"], "places", perm=[0, 2, 3, 1]), rows], OUTPUT)
