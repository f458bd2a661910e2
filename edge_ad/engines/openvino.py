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

_EXACT = {"INFERENCE_PRECISION_HINT": "f32"}  # else it takes bf16 where the CPU has it


class OpenVINOEngine:
    """An `Engine` with OpenVINO. A pool of infer requests makes it safe to share between threads."""

    name = "openvino"

    def __init__(self, compiled: ov.CompiledModel, precision: str, streams: int) -> None:
        self.version: str = ov.get_version().split("-")[0]
        self.precision, self.streams = precision, streams
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
    compiled = core.compile_model(core.read_model(model), "CPU", _EXACT)
    return [np.array(found) for found in compiled({name: image}).values()]


def run_ir(xml: bytes, weights: bytes, image: NDArray[np.float32], output: tuple[str, int]) -> NDArray[np.float32]:
    """See `edge_ad.engines.run_ir_once`."""
    core, (name, number) = ov.Core(), output
    model = core.read_model(xml, weights)
    ops = [op for op in model.get_ops() if op.get_friendly_name() == name]
    wanted = ov.Model([ops[0].output(number)], model.get_parameters())
    return np.array(core.compile_model(wanted, "CPU", _EXACT)([image])[0], np.float32)


def open_models(
    models: Models, *, device: str, threads: int, precision: str, output: int = PATCHES_OUTPUT, streams: int = 1
) -> OpenVINOEngine:
    """See `edge_ad.engines.open_engine`."""
    config = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    on_cpu = {
        "NUM_STREAMS": str(streams),
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
        return OpenVINOEngine(compiled, precision, streams)  # refuses an output without a fixed shape
    except RuntimeError as error:
        raise EngineError(
            "OpenVINO cannot compile the model",
            expected=f"device out of {core.available_devices}",
            got=f"device {device!r}: {str(error).strip()[:500]}",
        ) from error
