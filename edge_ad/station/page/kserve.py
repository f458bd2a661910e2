"""KServe's Open Inference Protocol, version 2: frames come as tensors, verdicts go as tensors.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol, with the extension of binary
tensors: then the body is JSON and, after it, the bytes of the tensors; a header says where the JSON ends.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_ad.errors import FrameError, SpecError
from edge_ad.verdict.verdict import Verdict

LENGTH = b"inference-header-content-length"
_TYPES: dict[str, Any] = {"UINT8": np.dtype("u1"), "UINT16": np.dtype("<u2")}
OUTPUTS = {"score": ("FP64", [1]), "threshold": ("FP64", [1]), "is_anomalous": ("BOOL", [1]), "map": ("FP32", [-1, -1])}
_ALWAYS = ("score", "threshold", "is_anomalous")
_MOST_SIDE = 2**16


@dataclass(frozen=True)
class Asked:
    """An inference that was asked for.

    Attributes:
        frame: (H, W, 3) or (H, W), u8 or u16.
        id: of the request; "" without.
        outputs: names, and whether each is wanted in binary.
    """

    frame: np.ndarray
    id: str
    outputs: dict[str, bool]


def read_request(body: bytes, json_length: str) -> Asked:
    """The request in a body.

    Args:
        json_length: the header of binary tensors; "" without.

    Raises:
        SpecError: it is none.
        FrameError: its tensor is no frame.
    """
    text, raw = body, b""
    if json_length:
        fits = json_length.isascii() and json_length.isdigit() and len(json_length) <= 12
        if not fits or int(json_length) > len(body):
            got = _short(json_length)
            raise SpecError("Inference-Header-Content-Length is wrong", expected="the bytes of JSON", got=got)
        text, raw = body[: int(json_length)], body[int(json_length) :]
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError("the request is no JSON", got=error) from error
    inputs = content.get("inputs") if isinstance(content, dict) else None
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise SpecError("the request has no frame", expected="inputs with one tensor", got=_short(inputs))
    identity = content.get("id", "")
    return Asked(_frame(inputs[0], raw), identity[:200] if isinstance(identity, str) else "", _outputs(content))


def _frame(tensor: Mapping[str, Any], raw: bytes) -> np.ndarray:
    kind, shape = tensor.get("datatype"), tensor.get("shape")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise FrameError("the tensor has another datatype", expected=" or ".join(_TYPES), got=_short(kind))
    if not isinstance(shape, list) or not 2 <= len(shape) <= 4 or not all(map(_is_length, shape)):
        raise FrameError("the tensor has no shape of a frame", expected="[1, H, W, 3] or [H, W, 3]", got=_short(shape))
    parameters = tensor.get("parameters") or {}
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    numbers = _binary(raw, size, _TYPES[kind]) if size is not None else _numbers(tensor.get("data"), _TYPES[kind])
    if numbers.size != math.prod(shape):
        raise FrameError("the tensor has not as many numbers as its shape", expected=shape, got=numbers.size)
    frame: np.ndarray = numbers.reshape(shape)
    if frame.ndim == 4:
        if frame.shape[0] != 1:
            raise FrameError("one frame at a time", expected="[1, H, W, 3]", got=shape)
        frame = frame[0]
    return frame


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_SIDE


def _binary(raw: bytes, size: Any, dtype: np.dtype[Any]) -> np.ndarray:
    if size != len(raw) or len(raw) % dtype.itemsize:
        raise FrameError("the tensor has another size in bytes", expected=_short(size), got=len(raw))
    return np.frombuffer(raw, dtype).astype(dtype.newbyteorder("="))


def _numbers(data: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """Flat or nested lists of whole numbers."""
    _check_numbers(data)
    try:
        found = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise FrameError("the tensor's data is no array", got=error) from error
    if found.dtype.kind not in "iu" or not found.size:
        raise FrameError("the tensor's data is no array of whole numbers", expected=dtype.name, got=found.dtype)
    if found.min() < 0 or found.max() > np.iinfo(dtype).max:
        raise FrameError("a number does not fit the datatype", expected=dtype.name, got=f"{found.min()}..{found.max()}")
    return found.astype(dtype.newbyteorder("=")).reshape(-1)


def _check_numbers(data: Any) -> None:
    """Before NumPy sees them: one long text among numbers, and it would give each number as much memory."""
    waiting = [data]
    while waiting:
        each = waiting.pop()
        if not isinstance(each, list) or not {type(inner) for inner in each} <= {int, list}:
            got = "something else" if isinstance(each, list) else type(each).__name__
            raise FrameError("the tensor's data is no array of whole numbers", expected="lists of them", got=got)
        waiting += [inner for inner in each if isinstance(inner, list)]


def _outputs(content: Mapping[str, Any]) -> dict[str, bool]:
    given = content.get("outputs")
    if given is None:
        return dict.fromkeys(_ALWAYS, False)
    wanted = {}
    for each in given if isinstance(given, list) else [None]:
        each = each if isinstance(each, dict) else {}
        name = each.get("name")
        if not isinstance(name, str) or name not in OUTPUTS:
            raise SpecError("there is no such output", expected=", ".join(OUTPUTS), got=_short(name))
        parameters = each.get("parameters")
        wanted[name] = isinstance(parameters, dict) and parameters.get("binary_data") is True
    return wanted


def write_response(verdict: Verdict, model: str, asked: Mapping[str, bool], identity: str) -> tuple[bytes, int | None]:
    """The body of the answer, and how many bytes of it are JSON where tensors follow; None where all of it is.

    Raises:
        SpecError: a map is wanted, and the method has none.
    """
    values: dict[str, Any] = {"score": verdict.score, "threshold": verdict.threshold}
    values["is_anomalous"] = bool(verdict.is_anomalous)
    outputs, blobs = [], []
    for name, binary in asked.items():
        kind = OUTPUTS[name][0]
        value = verdict.anomaly_map if name == "map" else np.array([values[name]])
        told: dict[str, Any] = {"name": name, "datatype": kind, "shape": list(value.shape)}
        if binary:
            blobs.append(value.astype({"FP64": "<f8", "FP32": "<f4", "BOOL": "u1"}[kind]).tobytes())
            told["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            told["data"] = value.reshape(-1).tolist()
        outputs.append(told)
    content: dict[str, Any] = {"model_name": model, "model_version": verdict.bundle, "outputs": outputs}
    content["parameters"] = {"point": verdict.point, "engine": verdict.engine, "found": verdict.found}
    if identity:
        content["id"] = identity
    text = json.dumps(content, allow_nan=False).replace("<", "\\u003c").encode()
    return text + b"".join(blobs), len(text) if blobs else None


def metadata(name: str, bundle: str) -> dict[str, Any]:
    """What the protocol tells of a model."""
    frame = {"name": "frame", "datatype": "UINT8", "shape": [1, -1, -1, 3]}
    outputs = [{"name": each, "datatype": kind, "shape": shape} for each, (kind, shape) in OUTPUTS.items()]
    return {"name": name, "versions": [bundle], "platform": "edge-ad", "inputs": [frame], "outputs": outputs}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
