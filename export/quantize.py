"""Makes int8 models of a backbone graph by post-training quantisation, one for each engine.

Input, normalisation and the tail after the layers (average pooling, upsampling, concatenation, lengths of patches) do
not change: u8 pixels in, f32 patches out. Only the backbone's convolutions and products and the operators between them
run in int8. The tail costs little, and the method uses its sums and means directly.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from edge_ad.bundle.file import Members
from edge_ad.bundle.models import MEMBERS
from edge_ad.engines import quietly
from edge_ad.errors import BackboneError
from edge_ad.spec import Tensor
from export.openvino_ir import to_ir, write_ir

Tensors = Sequence[Tensor]  # (1, H, W, 3) each, of good images that set the ranges of the activations

_TAIL_IR = (
    "Abs", "AvgPool", "Concat", "Divide", "Interpolate", "Maximum", "Multiply", "ReduceMax", "ReduceSum",
    "Reshape", "Sqrt", "Transpose",
)  # fmt: skip
_TAIL_ONNX = (
    "Abs", "AveragePool", "Concat", "Div", "Max", "Mul", "ReduceMax", "ReduceSum", "Reshape", "Resize", "Sqrt",
    "Transpose",
)  # fmt: skip


def int8_ir(ir: tuple[bytes, bytes], tensors: Tensors) -> tuple[bytes, bytes]:
    """(XML, weights) of an IR with weights in int8 for each channel, and fake quantisers where OpenVINO computes in
    int8: by NNCF, with its usual parameters, or those for transformers where the network has attention.

    Raises:
        BackboneError: NNCF does not take the graph.
    """
    with quietly():
        import nncf
        import openvino as ov

    nncf.set_log_level(logging.ERROR)
    try:
        model = ov.Core().read_model(*ir)
        ignored = nncf.IgnoredScope(names=_tail_of_ir(model))
        with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
            found = nncf.quantize(
                model,
                nncf.Dataset(list(tensors)),
                subset_size=len(tensors),
                model_type=nncf.ModelType.TRANSFORMER if _has_attention(model) else None,
                ignored_scope=ignored,
            )
        return write_ir(found)
    except Exception as error:  # of many kinds
        raise _refused("NNCF", error) from error


def _has_attention(model: Any) -> bool:
    return any(node.get_type_name() in ("Softmax", "ScaledDotProductAttention") for node in model.get_ops())


def _tail_of_ir(model: Any) -> list[str]:
    """Friendly names of the operations behind the layers: from the output back to the first poolings."""
    names, queue = [], [model.get_results()[0]]
    while queue:
        for source in (value.get_node() for value in queue.pop().input_values()):
            if source.get_type_name() in _TAIL_IR:
                names.append(source.get_friendly_name())
                if source.get_type_name() != "AvgPool":
                    queue.append(source)
    return sorted(set(names))


def int8_onnx(model: onnx.ModelProto, tensors: Tensors) -> bytes:
    """ONNX with pairs of QuantizeLinear and DequantizeLinear: activations u8, weights s8 for each channel.

    Activations are u8 and not s8, as ONNX Runtime's kernels for x86 multiply u8 by s8. With resnet18, u8 took 8.9 ms,
    s8 23.4 ms and f32 16.9 ms. With symmetric s8 the patches were 1.5 times as far from those of f32 (bench/NOTES.md).

    Raises:
        BackboneError: ONNX Runtime does not take the graph.
    """
    with quietly():
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    try:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "int8.onnx"
            fused = _fused(model, Path(folder))
            quantize_static(
                fused,
                str(out),
                _Reader(fused.graph.input[0].name, tensors),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=_tail_of_onnx(fused.graph),
            )
            found = onnx.load(str(out))
    except Exception as error:  # of many kinds
        raise _refused("ONNX Runtime", error) from error
    used = {node.domain for node in found.graph.node}
    opsets = [entry for entry in found.opset_import if entry.domain in used]
    for entries, kept in ((found.opset_import, opsets), (found.metadata_props, [])):
        del entries[:]
        entries.extend(kept)
    return found.SerializeToString(deterministic=True)


@dataclass(frozen=True)
class Maker:
    """Makes the models of a precision with its own models, for one engine.

    Attributes:
        make: takes the graph in f32 and the tensors that set its ranges; gives name -> member.
        packages: package that it needs besides the engine's -> extra of edge-ad that installs it.
    """

    make: Callable[[onnx.ModelProto, Tensors], Members]
    packages: dict[str, str] = field(default_factory=dict)


def _openvino(model: onnx.ModelProto, tensors: Tensors) -> Members:
    return dict(zip(MEMBERS["ir"], int8_ir(to_ir(model.SerializeToString()), tensors), strict=True))


def _onnxruntime(model: onnx.ModelProto, tensors: Tensors) -> Members:
    return {MEMBERS["onnx"][0]: int8_onnx(model, tensors)}


MAKERS = {  # by precision and engine
    ("int8", "openvino"): Maker(_openvino, {"nncf": "int8"}),
    ("int8", "onnxruntime"): Maker(_onnxruntime),
}


def _fused(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """The graph after ONNX Runtime's basic, portable optimisations (batch norms into convolutions), all nodes named."""
    with quietly():
        import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "fused.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = onnx.load(options.optimized_model_filepath)
    for number, node in enumerate(found.graph.node):
        node.name = f"{node.op_type}_{number}"
    # says that this has been done; without it quantize_static warns through the root logger
    found.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    return found


def _tail_of_onnx(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes behind the layers, as `_tail_of_ir` has them."""
    makers = {name: node for node in graph.node for name in node.output}
    names, queue = [], [graph.output[0].name]
    while queue:
        node = makers.get(queue.pop())
        if node is not None and node.op_type in _TAIL_ONNX:
            names.append(node.name)
            if node.op_type != "AveragePool":
                queue.extend(node.input)
    return sorted(set(names))


class _Reader:
    """Gives ONNX Runtime its calibration tensors."""

    def __init__(self, name: str, tensors: Tensors) -> None:
        self._name, self._left = name, iter(tensors)

    def get_next(self) -> dict[str, Tensor] | None:
        tensor = next(self._left, None)
        return None if tensor is None else {self._name: tensor}


def _refused(tool: str, error: Exception) -> BackboneError:
    return BackboneError(
        f"{tool} cannot make an int8 model of this backbone",
        got=f"{type(error).__name__}: {str(error).strip()[:300]}",
        remedy="Export without int8 among the --points.",
    )
