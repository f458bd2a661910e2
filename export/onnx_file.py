"""Reads an ONNX file, and its weights from files beside it if there are any."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from edge_ad.errors import BackboneError
from edge_ad.system.inputs import read_input

_MAX_BYTES = 2**31 - 1  # largest protobuf message


def read_onnx(path: Path) -> tuple[onnx.ModelProto, str]:
    """The model with all its weights, and the SHA-256 of the file and of its weights in files beside it.

    Raises:
        BackboneError: the file or its weights are missing, or it is not ONNX; the message names the file.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise BackboneError(
                f"the backbone {path} is too large",
                expected=f"at most {_MAX_BYTES:,} bytes, which is what an ONNX file holds",
                got=f"{size:,} bytes",
            )
        data = read_input(path)
    except OSError as error:
        raise BackboneError(
            f"cannot read the backbone {path}", expected="an ONNX file", got=error.strerror or str(error)
        ) from error
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise _no_onnx(path, f"another kind of file, or a part of one ({str(error).strip()[:100]})") from error
    if not model.graph.node:
        raise _no_onnx(path, f"{size:,} bytes that hold no network" if size else "an empty file")
    beside = list(_external(model.graph))
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise BackboneError(
            f"the weights of the backbone {path} cannot be read",
            expected="the files that hold them in the same folder, as they were exported",
            got=str(error).strip()[:300],
        ) from error
    digest = hashlib.sha256(data)
    for tensor in beside:
        digest.update(tensor.raw_data)
    return model, digest.hexdigest()


def _external(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Tensors of the graph whose values are in another file."""
    constants = (attribute.t for node in graph.node for attribute in node.attribute if attribute.HasField("t"))
    for tensor in (*graph.initializer, *constants):
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor


def _no_onnx(path: Path, got: str) -> BackboneError:
    return BackboneError(f"{path} is not an ONNX file", expected="an ONNX model, whole", got=got)
