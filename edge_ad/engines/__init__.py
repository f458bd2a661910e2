"""The engines that run the backbone graph, and the choice between them.

An engine's package is imported when it is opened and not before: `import edge_ad` pulls in none.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Collection

from edge_ad.cpu import Cpu
from edge_ad.engines.base import Engine, Models
from edge_ad.errors import EngineUnavailableError, SpecError
from edge_ad.system.forks import leave_in_children

__all__ = ["Engine", "Models", "choose_engine", "installed_engines", "open_engine"]

PIP = {"openvino": "pip install 'edge-ad[openvino]'", "onnxruntime": "pip install 'edge-ad[onnx]'"}


def installed_engines() -> tuple[str, ...]:
    """Names of the engines whose package is installed; none is imported."""
    return tuple(name for name in PIP if importlib.util.find_spec(name) is not None)


def choose_engine(wanted: str, models: Models, cpu: Cpu, installed: Collection[str], only: str = "any") -> str:
    """The engine to open.

    "auto" takes OpenVINO on Intel and ONNX Runtime elsewhere, and the other one where that is not installed or
    cannot run what the bundle holds. OpenVINO runs IR and ONNX, ONNX Runtime only ONNX. `only` names the engine that
    an operating point was made with, where no other gives the same.

    Raises:
        EngineUnavailableError: no installed engine can run the bundle; the message has the command that mends it.
        SpecError: there is no engine of that name.
    """
    runnable = [name for name in PIP if (name == "openvino" or models.onnx is not None) and only in ("any", name)]
    if wanted == "auto":
        first = "openvino" if cpu.vendor == "intel" else "onnxruntime"
        for name in sorted(runnable, key=lambda name: name != first):
            if name in installed:
                return name
        best = first if first in runnable else runnable[0]
        remedy = f"Run {PIP[best]}"
        if models.onnx is None and only == "any":
            remedy += ", or export again with --to onnx or --to both"
        raise EngineUnavailableError(
            "no installed engine can run this bundle",
            expected=" or ".join(runnable),
            got=", ".join(installed) or "none installed",
            remedy=remedy + ".",
        )
    if wanted not in PIP:
        raise SpecError("there is no such engine", expected="auto, openvino or onnxruntime", got=repr(wanted))
    if only not in ("any", wanted):
        raise EngineUnavailableError(
            f"{wanted} cannot run this operating point",
            expected=only,
            got=wanted,
            remedy="Leave the engine to the runtime, or choose another point; `edge-ad info` lists them.",
        )
    if wanted not in runnable:
        raise EngineUnavailableError(
            "ONNX Runtime cannot run this bundle",
            expected="a bundle with an ONNX model",
            got="one with OpenVINO IR only",
            remedy=f"Export again with --to onnx or --to both, or run {PIP['openvino']}.",
        )
    if wanted not in installed:
        raise EngineUnavailableError(
            f"the engine {wanted} is not installed",
            expected=wanted,
            got=", ".join(installed) or "no engine",
            remedy=f"Run {PIP[wanted]}.",
        )
    return wanted


def open_engine(name: str, models: Models, *, device: str, threads: int, precision: str) -> Engine:
    """Compiles the models with the engine `name`.

    Args:
        device: OpenVINO's device; ONNX Runtime has "CPU" only.
        threads: upper bound of the engine's threads.
        precision: "f32" or "bf16", always set and never left to the engine.

    Raises:
        EngineError: the engine refused the model, the device or the precision.
    """
    module = importlib.import_module(f"edge_ad.engines.{name}")
    engine: Engine = module.open_models(models, device=device, threads=threads, precision=precision)
    leave_in_children(engine)
    return engine
