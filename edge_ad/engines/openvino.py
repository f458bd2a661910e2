"""Runs the backbone graph with OpenVINO."""

from __future__ import annotations

import queue
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from edge_ad.engines.base import PATCHES_OUTPUT, Models
from edge_ad.errors import EngineError
from edge_ad.spec import Tensor


class OpenVINOEngine:
    """An `Engine` with OpenVINO. A pool of infer requests makes it safe to share between threads."""

    name = "openvino"

    def __init__(self, compiled: ov.CompiledModel, precision: str) -> None:
        self.version: str = ov.get_version().split("-")[0]
        self.precision = precision
        self._compiled = compiled
        output = compiled.output(0)
        self._shape, self._dtype = tuple(output.shape), output.element_type.to_dtype()
        self._free: queue.SimpleQueue[ov.InferRequest] = queue.SimpleQueue()

    def __call__(self, tensor: Tensor) -> NDArray[np.float32]:
        try:
            request = self._free.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        try:
            # OpenVINO reads the caller's tensor and writes into an array that becomes the caller's: no copies
            patches = np.empty(self._shape, self._dtype)
            request.set_input_tensor(ov.Tensor(tensor, shared_memory=True))
            request.set_output_tensor(ov.Tensor(patches, shared_memory=True))
            request.infer()
            return patches
        except RuntimeError as error:
            raise EngineError("OpenVINO failed on a frame", got=str(error).strip()) from error
        finally:
            self._free.put(request)


def run_model(model: bytes, name: str, image: NDArray[np.float32]) -> list[NDArray[Any]]:
    """See `edge_ad.engines.run_once`."""
    core = ov.Core()
    compiled = core.compile_model(core.read_model(model), "CPU")
    return [np.array(found) for found in compiled({name: image}).values()]


def open_models(
    models: Models, *, device: str, threads: int, precision: str, output: int = PATCHES_OUTPUT
) -> OpenVINOEngine:
    """See `edge_ad.engines.open_engine`."""
    config = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    on_cpu = {
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
        # pinned processes can block each other; Runtime(cores=...) pins from outside if wanted
        "ENABLE_CPU_PINNING": "NO",
    }
    core = ov.Core()
    try:
        if models.ir is not None:
            xml, weights = models.ir
            model = core.read_model(bytes(xml), bytes(weights))
        else:
            model = core.read_model(bytes(models.onnx or b""))
        if len(model.outputs) > 1:  # OpenVINO would compute and copy all of them
            model = ov.Model([model.output(output)], model.get_parameters())
        elif output != PATCHES_OUTPUT:
            raise EngineError("the model has no such output", expected="a second output", got="one")
        compiled = core.compile_model(model, device, {**config, **on_cpu} if device == "CPU" else config)
        return OpenVINOEngine(compiled, precision)  # refuses an output without a fixed shape
    except RuntimeError as error:
        raise EngineError(
            "OpenVINO cannot compile the model",
            expected=f"device out of {core.available_devices}",
            got=f"device {device!r}: {str(error).strip()[:500]}",
        ) from error
