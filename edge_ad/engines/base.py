"""What an engine is to the rest of the runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Models:
    """The models of a bundle, as bytes. Either may be missing. An engine keeps none of them: it makes its own copy.

    Attributes:
        onnx: an ONNX file.
        ir: OpenVINO IR: (XML, weights).
    """

    onnx: memoryview | bytes | None = None
    ir: tuple[memoryview | bytes, memoryview | bytes] | None = None


class Engine(Protocol):
    """Runs the backbone graph. Safe to call from several threads.

    Attributes:
        name: "openvino" or "onnxruntime".
        version: of the engine's package.
        precision: arithmetic of the compiled model: "f32" or "bf16".
    """

    name: str
    version: str
    precision: str

    def __call__(self, tensor: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(P, D) float32 patches of a (1, H, W, 3) u8 BGR tensor; the array is the caller's.

        Raises:
            EngineError: the engine failed.
        """
