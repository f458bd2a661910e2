"""Requests of KServe's protocol, and what is none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from edge_ad.errors import FrameError, SpecError
from edge_ad.station.page.kserve import read_request

FRAME = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def request(**tensor: Any) -> bytes:
    whole = {"name": "x", "shape": [2, 3, 3], "datatype": "UINT8", "data": FRAME.reshape(-1).tolist(), **tensor}
    return json.dumps({"id": "a", "inputs": [whole]}).encode()


@pytest.mark.parametrize("shape", [[2, 3, 3], [1, 2, 3, 3]])
def test_numbers(shape: list[int]) -> None:
    for data in (FRAME.tolist(), FRAME.reshape(-1).tolist()):
        asked = read_request(request(shape=shape, data=data), "")
        np.testing.assert_array_equal(asked.frame, FRAME)
        assert (asked.frame.dtype, asked.id) == (np.uint8, "a")
        assert asked.outputs == {"score": False, "threshold": False, "is_anomalous": False}


def test_binary_tensors() -> None:
    deep = FRAME.astype("<u2") * 1000
    for frame, kind in ((FRAME, "UINT8"), (deep, "UINT16")):
        head = request(datatype=kind, parameters={"binary_data_size": frame.nbytes})
        asked = read_request(head + frame.tobytes(), str(len(head)))
        np.testing.assert_array_equal(asked.frame, frame)


def test_grey_frames() -> None:
    asked = read_request(request(shape=[3, 6]), "")
    np.testing.assert_array_equal(asked.frame, FRAME.reshape(3, 6))


@pytest.mark.parametrize(
    "tensor",
    [
        {"datatype": "FP32"},
        {"datatype": None},
        {"datatype": ["UINT8"]},
        {"datatype": {}},
        {"data": ["a" * 100_000] + [1] * 30_000},  # NumPy would want 12 GB for it
        {"data": [[1] * 9, {"a": 1}]},
        {"shape": [2, 3]},
        {"shape": [18]},
        {"shape": [2, 3, -3]},
        {"shape": [2, 3, 3.0]},
        {"shape": "x"},
        {"shape": [1] * 5},
        {"shape": [2, 2, 3, 3], "data": [0] * 36},
        {"shape": [65536, 65536, 3]},
        {"data": None},
        {"data": ["a"] * 18},
        {"data": [0.5] * 18},
        {"data": [256] * 18},
        {"data": [-1] * 18},
        {"data": [[1], [1, 2]]},
        {"data": [10**30] * 18},
        {"parameters": {"binary_data_size": 18}},
        {"parameters": {"binary_data_size": "x"}},
    ],
)
def test_tensors_that_are_no_frame(tensor: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        read_request(request(**tensor), "")


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b"{}", b'{"inputs": []}', b'{"inputs": [1]}', b'{"inputs": [{}, {}]}', b"[" * 5000]
)
def test_bodies_that_are_no_request(body: bytes) -> None:
    with pytest.raises(SpecError):
        read_request(body, "")


@pytest.mark.parametrize("length", ["x", "-1", "999999", "9" * 40, "0" * 12 + "9" * 5000, "²"])
def test_lengths_that_are_wrong(length: str) -> None:
    with pytest.raises(SpecError, match="Content-Length"):
        read_request(request(), length)


@pytest.mark.parametrize("outputs", ["x", [1], [{"name": "y"}], [{"name": {}}], [{"name": ["score"]}]])
def test_outputs_that_are_not_there(outputs: Any) -> None:
    content = {**json.loads(request()), "outputs": outputs}
    with pytest.raises(SpecError, match="no such output"):
        read_request(json.dumps(content).encode(), "")
