"""The patches of patchcore-inspection, whose features are its own, as one graph.

The original cuts windows of k x k out of each layer, brings those of the deeper layers to the grid of the first one
(bilinear), writes a window as a line of C k k numbers, brings each line to the same length by adaptive average pooling,
writes the lines of all layers one after the other, and pools that again. All of it is linear. So each layer needs a
single convolution, whose kernel is the product of the two poolings, and the resize comes after it. As a pooled number
depends on a few neighbours in a line, the kernel falls into many small groups.

Source: Roth et al. (2022), and the code that came with it (patchcore-inspection: patchcore.py, common.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edge_ad.spec import Size, Tensor
from export.graph import PatchGraph, build_graph
from export.layout import Form
from export.network import Backbone
from export.tail import OUTPUT, PREFIX, as_map, constant, integers


@dataclass(frozen=True)
class Pooling:
    """How windows of the layers become patches.

    Attributes:
        window: k, the side of a window.
        step: from one window to the next.
        first: length that each layer's windows are pooled to.
        last: D, length that all of them together are pooled to.
    """

    window: int
    step: int
    first: int
    last: int

    @property
    def padding(self) -> int:
        """Zeros around a layer."""
        return (self.window - 1) // 2

    def grid(self, layer: Size) -> Size:
        """(h, w) of the windows of a layer of (h, w)."""
        height, width = ((side + 2 * self.padding - self.window) // self.step + 1 for side in layer)
        return height, width

    def kernels(self, channels: Sequence[int]) -> list[NDArray[np.float64]]:
        """(D, C k k) of each layer: what its windows add to a patch."""
        joined = means(len(channels) * self.first, self.last)
        parts = np.split(joined, len(channels), axis=1)
        return [part @ means(count * self.window**2, self.first) for part, count in zip(parts, channels, strict=True)]

    def append(self, graph: onnx.GraphProto, layers: Sequence[str], forms: Sequence[Form]) -> tuple[Size, int]:
        """Appends what turns the layers into the output ``patches`` (h*w, D) float32; returns (h, w) and D."""
        kernels = self.kernels([form.channels for form in forms])
        grid, parts = self.grid(forms[0].grid), []
        ends = _ends(kernels)
        for i, (layer, form, kernel) in enumerate(zip(layers, forms, kernels, strict=True)):
            low, high = ends[i] if ends else (0, self.last)
            kernel = kernel[low:high]
            groups = _groups(kernel, form.channels)
            shape = (high - low, form.channels // groups, self.window, self.window)
            graph.initializer.append(constant(f"pooling{i}", _of_groups(kernel, groups).reshape(shape)))
            part = f"{PREFIX}windows{i}"
            sides = [self.window] * 2, [self.padding] * 4, [self.step] * 2
            form_of = dict(zip(("kernel_shape", "pads", "strides"), sides, strict=True), group=groups)
            inputs = [as_map(graph, layer, form, i), f"{PREFIX}pooling{i}"]
            graph.node.append(helper.make_node("Conv", inputs, [part], **form_of))
            if self.grid(form.grid) != grid:
                part = _resized(graph, part, (high - low, *grid), i)
            parts.append(part)
        how = helper.make_node("Concat", parts, [PREFIX + "features"], axis=1) if ends else None
        graph.node.append(how or helper.make_node("Sum", parts, [PREFIX + "features"]))
        graph.node.append(helper.make_node("Transpose", [PREFIX + "features"], [PREFIX + "nhwc"], perm=[0, 2, 3, 1]))
        rows = grid[0] * grid[1]
        graph.initializer.append(integers(PREFIX + "rows", [rows, self.last]))
        graph.node.append(helper.make_node("Reshape", [PREFIX + "nhwc", PREFIX + "rows"], [OUTPUT]))
        graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [rows, self.last]))
        return grid, self.last

    def patches(self, features: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(h*w, D) of (C, h, w) layers, step by step as the original does it: the parity reference."""
        grid = self.grid(features[0].shape[1:])
        lines = []
        for layer in features:
            padded = np.pad(layer, ((0, 0), *((self.padding,) * 2,) * 2))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (self.window,) * 2, axis=(1, 2))
            windows = windows[:, :: self.step, :: self.step].transpose(0, 3, 4, 1, 2)
            planes = windows.reshape(-1, *windows.shape[3:])
            if planes.shape[1:] != grid:
                shape = (grid[1], grid[0])
                planes = np.stack([cv2.resize(np.ascontiguousarray(plane), shape) for plane in planes])
            lines.append(_pooled(planes.reshape(len(planes), -1).T, self.first))
        return _pooled(np.concatenate(lines, axis=1), self.last).astype(np.float32)


@dataclass(frozen=True)
class PooledBackbone(Backbone):
    """A backbone whose layers become patches in the way of patchcore-inspection."""

    pooling: Pooling = field(kw_only=True)

    def graph(self, size: Size, *, floats: bool = False) -> PatchGraph:
        """The graph for a crop of (H, W) `size`."""
        given = self.layers, size, self.mean, self.std, self.asked
        return build_graph(self.to_onnx(size), *given, floats=floats, tail=self.pooling.append)

    def reference_patches(self, tensor: Tensor, graph: PatchGraph) -> NDArray[np.float32] | None:
        """(h*w, D) float32 patches by torch and NumPy, to check the graph; None without torch's own features."""
        if self.features is None:
            return None
        found = zip(graph.forms, self.features(tensor), strict=True)
        return self.pooling.patches([form.map_of(layer)[0] for form, layer in found])


def means(length: int, out: int) -> NDArray[np.float64]:
    """(out, length): adaptive average pooling of a line as a matrix.

    Number i is the mean of those from floor(i length / out) to before ceil((i + 1) length / out).
    """
    matrix = np.zeros((out, length))
    for i, (start, stop) in enumerate(_bins(length, out)):
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def _bins(length: int, out: int) -> list[tuple[int, int]]:
    return [(i * length // out, -(-(i + 1) * length // out)) for i in range(out)]


def _pooled(lines: NDArray[np.floating], out: int) -> NDArray[np.float64]:
    """(n, out) adaptive averages of (n, length) lines."""
    sums = np.zeros((len(lines), lines.shape[1] + 1))
    np.cumsum(lines, axis=1, dtype=np.float64, out=sums[:, 1:])
    starts, stops = np.array(_bins(lines.shape[1], out)).T
    averages: NDArray[np.float64] = (sums[:, stops] - sums[:, starts]) / (stops - starts)
    return averages


def _ends(kernels: Sequence[NDArray[np.float64]]) -> list[tuple[int, int]] | None:
    """Which numbers of a patch each layer gives, if none of them comes from two layers."""
    found, at = [], 0
    for kernel in kernels:
        rows = np.flatnonzero(kernel.any(axis=1))
        if not len(rows) or rows[0] != at:
            return None
        at = int(rows[-1]) + 1
        found.append((int(rows[0]), at))
    return found if at == len(kernels[0]) else None


def _groups(kernel: NDArray[np.float64], channels: int) -> int:
    """The most groups of channels that a (T, C k k) kernel falls into."""
    rows, per_channel = len(kernel), kernel.shape[1] // channels
    touched = kernel.reshape(rows, channels, per_channel).any(axis=2)
    most = math.gcd(rows, channels)
    for groups in range(most, 1, -1):
        if most % groups == 0:
            inside = np.kron(np.eye(groups, dtype=np.bool_), np.ones((rows // groups, channels // groups), np.bool_))
            if not (touched & ~inside).any():
                return groups
    return 1


def _of_groups(kernel: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """(T, C k k / groups): of each row the numbers of its own group."""
    blocks = kernel.reshape(groups, len(kernel) // groups, groups, -1)
    return np.concatenate([blocks[group, :, group] for group in range(groups)])


def _resized(graph: onnx.GraphProto, part: str, shape: tuple[int, ...], number: int) -> str:
    name = f"{PREFIX}upsampled{number}"
    graph.initializer.append(integers(f"{PREFIX}size{number}", [1, *shape]))
    form = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    graph.node.append(helper.make_node("Resize", [part, "", "", f"{PREFIX}size{number}"], [name], **form))
    return name
