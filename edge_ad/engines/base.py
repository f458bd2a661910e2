"""The interface of an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_ad.spec import Tensor

RECONSTRUCTION = "reconstruction"  # the second output of a graph whose method reconstructs pictures
PATCHES_OUTPUT, RECONSTRUCTION_OUTPUT = 0, 1  # numbers of a graph's outputs


@dataclass(frozen=True)
class Models:
    """The models of a bundle, as bytes. Either may be missing. An engine makes its own copy and keeps no reference.

    Attributes:
        onnx: an ONNX file.
        ir: OpenVINO IR: (XML, weights).
    """

    onnx: memoryview | bytes | None = None
    ir: tuple[memoryview | bytes, memoryview | bytes] | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of model that are present: "onnx", "ir"."""
        return tuple(kind for kind, model in (("onnx", self.onnx), ("ir", self.ir)) if model is not None)


class Engine(Protocol):
    """Runs a graph: the backbone's, or that of a head. Safe to call from several threads.

    Attributes:
        name: in `edge_ad.registry.ENGINES`.
        version: of the engine's package.
        precision: arithmetic of the compiled model, as `edge_ad.registry.Precision.arithmetic` has it.
        streams: how many calls run side by side; they share the threads.
    """

    name: str
    version: str
    precision: str
    streams: int

    def __call__(self, tensor: Tensor) -> NDArray[np.float32]:
        """(P, D) float32 patches, C-contiguous, of a (1, H, W, 3) BGR tensor: u8, or float32 of a normal map.

        The array is the caller's.

        An engine that was opened for another output gives that one instead.

        Raises:
            EngineError: the engine failed.
        """
