"""Runs the backbone graph with ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_ad.engines.base import PATCHES_OUTPUT, Models
from edge_ad.errors import EngineError, EngineUnavailableError
from edge_ad.spec import Tensor


class OnnxRuntimeEngine:
    """An `Engine` with ONNX Runtime. Several threads may run its session at once."""

    name = "onnxruntime"
    precision = "f32"

    def __init__(self, session: ort.InferenceSession, output: int, streams: int) -> None:
        self.version: str = ort.__version__
        self._session, self.streams = session, streams
        self._input, self._output = session.get_inputs()[0].name, session.get_outputs()[output].name

    def __call__(self, tensor: Tensor) -> NDArray[np.float32]:
        try:
            # each run gives a new array, which ONNX Runtime hands over to us
            return self._session.run([self._output], {self._input: tensor})[0]
        except Exception as error:  # ONNX Runtime has no base class of its own
            raise EngineError("ONNX Runtime failed on a frame", got=str(error).strip()) from error


def run_model(model: bytes, name: str, image: NDArray[np.float32]) -> list[NDArray[Any]]:
    """See `edge_ad.engines.run_once`."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found: list[NDArray[Any]] = session.run(None, {name: image})
    return found


def open_models(
    models: Models, *, device: str, threads: int, precision: str, output: int = PATCHES_OUTPUT, streams: int = 1
) -> OnnxRuntimeEngine:
    """See `edge_ad.engines.open_engine`."""
    if device != "CPU" or precision != "f32":
        raise EngineUnavailableError(
            "ONNX Runtime is used on the CPU in f32 only",
            expected="device 'CPU', precision 'f32'",
            got=f"{device!r}, {precision!r}",
            remedy="Use engine='openvino' for other devices and precisions.",
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = max(1, threads // streams)  # of each call
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # spinning threads would take cores that the search, the camera and the PLC driver need between two runs
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(bytes(models.onnx or b""), options, providers=["CPUExecutionProvider"])
        return OnnxRuntimeEngine(session, output, streams)
    except Exception as error:  # as above
        raise EngineError("ONNX Runtime cannot load the model", got=str(error).strip()[:500]) from error
