"""What a graph of anomalib knows: its memory or Gaussians, its score, its threshold, the size of its images.

Names differ between versions, so everything is found by what the nodes do. That the right parts were found is proven
afterwards: the score of the whole graph must be the bundle's, on the same pixels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import EncodeError
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from edge_ad.errors import SpecError
from export.graph import own_size
from export.importers.base import View
from export.importers.gaussians import Gaussians, blur_of

FOREIGN = "foreign"  # domain of operators that are not understood
_SHAPING = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Cast", "Slice"}
_LINEAR = {"Add", "Sub", "Mul", "Div"}
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)


class Graph:
    """A graph, and questions about it.

    Args:
        path: the file, for messages.
        proto: ONNX. Operators of the domain `FOREIGN` are not understood, and may be anywhere but before the patches.

    Raises:
        SpecError: it is no valid graph, or has not one input.
    """

    def __init__(self, path: Path, proto: onnx.ModelProto) -> None:
        self.path, self.proto = path, proto
        self._check()
        graph = proto.graph
        self.weights = {item.name: item for item in graph.initializer}
        for node in graph.node:  # as torch's older exporter writes numbers
            if _kind(node) == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.weights[node.output[0]] = node.attribute[0].t
        self.makers = {name: node for node in graph.node for name in node.output if name}
        inputs = [value.name for value in graph.input if value.name not in self.weights]
        if len(inputs) != 1:
            raise self.refused("one input", f"{len(inputs)}")
        self.image = inputs[0]

    def _check(self) -> None:
        """Refuses nodes without their inputs, or before those that make them, and values of another size than said."""
        open_ended = [end.type.tensor_type for end in self.proto.graph.output]
        open_ended = [kind for kind in open_ended if not kind.HasField("shape")]
        for kind in open_ended:
            kind.shape.SetInParent()  # the checker wants one, and engines do not
        try:
            onnx.checker.check_model(self.proto)
        except (onnx.checker.ValidationError, ValueError, EncodeError) as error:
            raise self.refused("a valid graph below 2 GB", " ".join(str(error).split())[:200]) from error
        for kind in open_ended:
            kind.ClearField("shape")

    def numbers(self, name: str) -> NDArray[Any] | None:
        """The values of an initialiser."""
        item = self.weights.get(name)
        return None if item is None else self._array(item)

    def _array(self, item: TensorProto) -> NDArray[Any]:
        """The values of a tensor.

        Raises:
            SpecError: they are not as many as its sides say.
        """
        try:
            return numpy_helper.to_array(item)
        except (ValueError, TypeError) as error:
            raise self.refused(f"{item.name:.60} of {list(item.dims)[:8]}", f"{error!s:.120}") from error

    def scalar(self, name: str) -> float | None:
        """The value of an initialiser of one number."""
        item = self.weights.get(name)
        if (
            item is None
            or int(np.prod(item.dims)) != 1
            or item.data_type not in (TensorProto.FLOAT, TensorProto.DOUBLE)
        ):
            return None
        return float(self._array(item).reshape(-1)[0])

    def before(self, name: str) -> Iterator[onnx.NodeProto]:
        """The nodes that a tensor depends on, nearest first."""
        queue, seen = deque([name]), set()
        while queue:
            node = self.makers.get(queue.popleft())
            if node is not None and id(node) not in seen:
                seen.add(id(node))
                yield node
                queue += node.input

    def memory(self) -> tuple[NDArray[np.float32], str] | None:
        """PatchCore's memory (N, D), and the map (1, D, h, w) of the patches that are compared with it.

        Raises:
            SpecError: it holds NaN or Inf.
        """
        for node in self.proto.graph.node:
            if _kind(node) != "MatMul":
                continue
            turned = self.makers.get(node.input[1])
            source = node.input[1] if turned is None or _kind(turned) != "Transpose" else turned.input[0]
            item = self.weights.get(source)
            if item is None or len(item.dims) != 2 or item.data_type != TensorProto.FLOAT:
                continue
            rows = self._array(item)
            rows = np.ascontiguousarray(rows if source != node.input[1] else rows.T)
            layer = self._map_of(node.input[0])
            if layer is not None:
                if not np.isfinite(rows).all():
                    raise self.refused("a memory of finite numbers", "NaN or Inf")
                return rows, layer
        return None

    def gaussians(self) -> tuple[Gaussians, str] | None:
        """PaDiM's Gaussians, and the map (1, C, h, w) of the patches that they are of.

        Raises:
            SpecError: they do not fit one another, or the map is not smoothed as anomalib does it.
        """
        for node in self.proto.graph.node:
            item = self.weights.get(node.input[1]) if _kind(node) == "MatMul" else None
            if item is None or len(item.dims) != 3 or item.dims[1] != item.dims[2] or item.data_type not in _FLOATS:
                continue
            apart, _ = self._written_from(node.input[0])  # x - mean, or x + (-mean)
            if apart is None or _kind(apart) not in ("Sub", "Add"):
                continue
            means = self.numbers(apart.input[1])
            source, layer = self._written_from(apart.input[0])
            if means is None or source is None or means.size != item.dims[0] * item.dims[1]:
                continue
            means = means.reshape(item.dims[1], item.dims[0]).T * (1 if _kind(apart) == "Sub" else -1)
            inverses = self._array(item).astype(np.float32)
            means = np.ascontiguousarray(means, np.float32)
            return Gaussians(means, inverses, blur_of(self._blur(), f"{self.path}"), f"{self.path}"), layer
        return None

    def _blur(self) -> NDArray[np.float32]:
        """The kernel (1, 1, K, K) that smooths the map; an empty one if there is none."""
        for node in self.proto.graph.node:
            item = self.weights.get(node.input[1]) if _kind(node) == "Conv" else None
            if item is not None and list(item.dims[:2]) == [1, 1] and item.dims[2] > 1:
                return self._array(item)
        return np.zeros((1, 1, 0, 0), np.float32)

    def _written_from(self, name: str) -> tuple[onnx.NodeProto | None, str]:
        """The node, and its tensor, whose numbers a tensor has in another order or shape."""
        while (node := self.makers.get(name)) is not None and _kind(node) in _SHAPING:
            name = node.input[0]
        return node, name

    def _map_of(self, patches: str) -> str | None:
        """The tensor that patches are written down from."""
        node, name = self._written_from(patches)
        return name if node is not None and name != patches and _kind(node) in ("Concat", "AveragePool") else None

    def without_resize(self) -> onnx.ModelProto:
        """The same for images that have the size already: the first resize of the image is passed by."""
        model = onnx.ModelProto()
        model.CopyFrom(self.proto)
        if (node := self._resize()) is not None:
            for other in model.graph.node:
                other.input[:] = [self.image if name == node.output[0] else name for name in other.input]
        return model

    def _resize(self) -> onnx.NodeProto | None:
        """The node that resizes the image; None if none does."""
        for node in self.proto.graph.node:
            if _kind(node) == "Conv":
                return None
            if _kind(node) == "Resize" and all(_kind(other) != "Conv" for other in self.before(node.output[0])):
                return node
        return None

    def _resized_to(self) -> View | None:
        """The (H, W) that the image is resized to; None if the graph does not say it."""
        node = self._resize()
        name = "" if node is None or len(node.input) < 4 else node.input[3]
        joined = self.makers.get(name)
        parts = list(joined.input) if joined is not None and _kind(joined) == "Concat" else [name]
        known = [self.numbers(part) for part in parts]
        sides: list[int] = []
        for values in reversed(known):  # (1, 3, H, W), of which the first two may depend on the image
            if values is None or values.dtype.kind != "i":
                break
            sides = [*values.reshape(-1).tolist(), *sides]
        return View(size=(sides[-2], sides[-1])) if len(sides) >= 2 and min(sides[-2:]) > 0 else None

    def view(self) -> View | None:
        """The size of its images: that of its map, of its input, or of the resize of the image."""
        for output in self.proto.graph.output:
            dims = [dim.dim_value for dim in output.type.tensor_type.shape.dim]
            if len(dims) == 4 and min(dims[2:]) > 1:
                return View(size=(dims[2], dims[3]))
        size = own_size(self.proto)
        return self._resized_to() if size is None else View(size=size)

    def raw_score(self) -> tuple[str, float | None]:
        """The tensor of the score before it is normalised, and the threshold of it; None if there is none.

        Where a graph gives a map alone, that is the tensor: its peak is the score.
        """
        score, graph = self._score_output(), self.proto.graph
        label = next((node for node in graph.node if _kind(node) == "Greater" and node.input[0] == score), None)
        least = None if label is None else self.scalar(label.input[1])
        for node in self.before(score):
            if _kind(node) != "Clip":
                continue
            raw, factor, offset = self._linear(node.input[0])
            if raw != node.input[0] and factor > 0:  # (score - threshold) / (max - min) + 1/2
                return raw, ((0.5 if least is None else least) - offset) / factor
        return score, least

    def _linear(self, name: str) -> tuple[str, float, float]:
        """x, a and b, if a tensor is a x + b by operators with one number each; the tensor itself, 1 and 0 if not."""
        factor, offset = 1.0, 0.0
        while (node := self.makers.get(name)) is not None and _kind(node) in _LINEAR:
            values = [self.scalar(part) for part in node.input]
            known = [number for number, value in enumerate(values) if value is not None]
            if len(known) != 1 or (known == [0] and _kind(node) in ("Sub", "Div")):
                break
            value = values[known[0]] or 0.0
            if _kind(node) in ("Add", "Sub"):
                offset += factor * (value if _kind(node) == "Add" else -value)
            elif _kind(node) == "Mul":
                factor *= value
            elif value:
                factor /= value
            name = node.input[1 - known[0]]
        return name, factor, offset

    def _score_output(self) -> str:
        outputs = {value.name: len(value.type.tensor_type.shape.dim) for value in self.proto.graph.output}
        if not outputs:
            raise self.refused("an output with the score", "none")
        return "pred_score" if "pred_score" in outputs else min(outputs, key=lambda name: outputs[name])

    def neighbours(self) -> int:
        """b of Eq. 7; 0 for none."""
        for node in self.proto.graph.node:
            count = self.numbers(node.input[1]) if _kind(node) == "TopK" else None
            if count is not None and int(count.reshape(-1)[0]) > 1:
                return int(count.reshape(-1)[0])
        return 0

    def refused(self, expected: str, got: str) -> SpecError:
        return SpecError(
            f"{self.path} is not a model of anomalib that can be imported",
            expected=expected,
            got=got,
            remedy="Import the checkpoint of the same training, or export with edge-ad from the good images.",
        )


def _kind(node: onnx.NodeProto) -> str:
    """The operator; none of another domain, whose inputs and attributes may mean anything."""
    return node.op_type if node.domain in ("", "ai.onnx") else ""
