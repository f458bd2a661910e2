"""OpenVINO IR of a backbone graph."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from edge_ad.engines import quietly
from edge_ad.errors import BackboneError, EngineUnavailableError


def to_ir(onnx_bytes: bytes) -> tuple[bytes, bytes]:
    """(XML, weights) with weights in f32, so that IR and ONNX are the same network.

    Raises:
        EngineUnavailableError: OpenVINO is not installed.
        BackboneError: OpenVINO does not take the graph.
    """
    try:
        with quietly():
            import openvino as ov
    except ImportError as error:
        raise EngineUnavailableError(
            "--to openvino needs OpenVINO on the workstation",
            expected="openvino installed",
            got=str(error),
            remedy="Run pip install 'edge-ad[openvino]', or export with --to onnx.",
        ) from error
    try:
        return write_ir(ov.Core().read_model(onnx_bytes))
    except RuntimeError as error:
        raise BackboneError("OpenVINO cannot convert the backbone graph", got=str(error).strip()[:500]) from error


def write_ir(model: Any) -> tuple[bytes, bytes]:
    """(XML, weights) of an `openvino.Model`; equal models give equal bytes.

    Raises:
        RuntimeError: OpenVINO cannot write it.
    """
    with quietly():
        import openvino as ov

    for number, op in enumerate(model.get_ordered_ops()):  # the names it makes up count on in a process
        op.set_friendly_name(f"{op.get_type_name()}_{number}")
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "model.xml"
        ov.save_model(model, xml, compress_to_fp16=False)
        return xml.read_bytes(), xml.with_suffix(".bin").read_bytes()
