"""The engines that run the backbone graph, and the choice between them. `edge_ad.registry.ENGINES` lists them.

An engine's package is imported when the engine is opened. `import edge_ad` imports none.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.engines.base import PATCHES_OUTPUT, Engine, Models
from edge_ad.engines.quiet import quietly
from edge_ad.errors import EngineError, EngineUnavailableError, SpecError
from edge_ad.registry import ENGINES, PRECISIONS, engine_package, one_of
from edge_ad.system.cpu import Cpu
from edge_ad.system.forks import leave_in_children

__all__ = [
    "Engine",
    "Models",
    "choose_engine",
    "installed_engines",
    "open_engine",
    "quietly",
    "run_ir_once",
    "run_once",
    "targets_for",
]

# The choices of `python -m export --to`, and the kinds of model that each makes; the first one is preferred.
TARGETS = {"openvino": ("ir",), "onnx": ("onnx",), "both": ("onnx", "ir")}


def installed_engines() -> tuple[str, ...]:
    """Names of the engines whose package is installed; none is imported."""
    return tuple(name for name in ENGINES if importlib.util.find_spec(engine_package(name)) is not None)


def runs(name: str, models: Models) -> bool:
    """Whether the engine runs one of the models."""
    return any(kind in models.kinds for kind in ENGINES[name].runs)


def engines_for(precision: str, made_with: str = "any") -> tuple[str, ...]:
    """The engines that have the precision: `engine` alone, or all of them for "any"."""
    able = PRECISIONS[precision].engines or tuple(ENGINES)
    return tuple(name for name in ENGINES if name in able and made_with in ("any", name))


def choose_engine(
    wanted: str, models: Models, cpu: Cpu, installed: Collection[str], able: Collection[str] | None = None
) -> str:
    """The name of the engine to open.

    "auto" takes the first choice for this CPU. If that engine is not installed or cannot run the models of the bundle,
    it takes another one.

    Args:
        able: engines that can run the operating point; None for all.

    Raises:
        EngineUnavailableError: no installed engine can run the bundle; the message names the pip command.
        SpecError: there is no engine of that name.
    """
    allowed = [name for name in ENGINES if able is None or name in able]
    runnable = [name for name in allowed if runs(name, models)]
    if wanted == "auto":
        return _first_installed(runnable or allowed, models, cpu, installed, restricted=able is not None)
    if wanted not in ENGINES:
        raise SpecError("there is no such engine", expected=one_of(("auto", *ENGINES)), got=repr(wanted))
    if wanted not in allowed:
        raise EngineUnavailableError(
            f"{wanted} cannot run this operating point",
            expected=" or ".join(allowed),
            got=wanted,
            remedy="Give no engine, so that the runtime chooses, or another point; `edge-ad info` lists the points.",
        )
    if wanted not in runnable:
        kinds, there = ENGINES[wanted].runs, tuple(map(str.upper, models.kinds))
        others = "".join(f", or run {ENGINES[name].pip}" for name in runnable)
        raise EngineUnavailableError(
            f"{ENGINES[wanted].title} cannot run this bundle",
            expected=f"a bundle with a model as {one_of(tuple(map(str.upper, kinds)))}",
            got=f"one with {one_of(there, 'and')} only" if there else "one without a model",
            remedy=f"Export again with {targets_for(kinds)}{others}.",
        )
    if wanted not in installed:
        raise EngineUnavailableError(
            f"the engine {wanted} is not installed",
            expected=wanted,
            got=", ".join(installed) or "no engine",
            remedy=f"Run {ENGINES[wanted].pip}.",
        )
    return wanted


def _first_installed(
    runnable: list[str], models: Models, cpu: Cpu, installed: Collection[str], *, restricted: bool
) -> str:
    ordered = sorted(runnable, key=lambda name: cpu.vendor not in ENGINES[name].vendors)
    for name in ordered:
        if name in installed:
            return name
    remedy = f"Run {ENGINES[ordered[0]].pip}"
    here = tuple(kind for name in ENGINES if name not in runnable for kind in ENGINES[name].runs)
    if here and not restricted:
        remedy += f", or export again with {targets_for(here)}"
    raise EngineUnavailableError(
        "no installed engine can run this bundle",
        expected=" or ".join(runnable),
        got=", ".join(installed) or "none installed",
        remedy=remedy + ".",
    )


def targets_for(kinds: Collection[str]) -> str:
    """The options of the export that make such a model, such as "--to onnx or --to both"."""
    return one_of(tuple(f"--to {name}" for name, made in TARGETS.items() if {*made} & {*kinds}))


def open_engine(
    name: str,
    models: Models,
    *,
    device: str,
    threads: int,
    precision: str,
    output: int = PATCHES_OUTPUT,
    streams: int = 1,
) -> Engine:
    """Compiles the models with the engine `name`.

    Args:
        device: device of the engine; each engine has "CPU".
        threads: most threads of the engine.
        precision: the arithmetic (`edge_ad.registry.Precision.arithmetic`). It is always set, so that the engine does
            not choose.
        output: number of the output that the engine gives; the others are not computed further than it needs.
        streams: calls from as many threads run side by side, each on its share of the threads. A single call then takes
            longer, but all together are done sooner: two calls of one thread each are some 1.4 times as fast as two of
            two threads, one after the other.

    Raises:
        EngineError: the engine refused the model, the device or the precision, or there is no such output.
    """
    given = {"device": device, "threads": threads, "precision": precision, "output": output, "streams": streams}
    engine: Engine = _module(name).open_models(models, **given)
    leave_in_children(engine)
    return engine


def run_once(model: bytes, name: str, image: NDArray[np.float32]) -> list[NDArray[Any]]:
    """Runs an ONNX model with an installed engine and returns all its outputs. An engine that prefers ONNX comes first.

    Args:
        name: name of the model's input.
        image: the input.

    Raises:
        EngineUnavailableError: no installed engine runs ONNX.
        EngineError: the engine refused the model.
    """
    able = [engine for engine in installed_engines() if "onnx" in ENGINES[engine].runs]
    if not able:
        raise EngineUnavailableError("no engine that runs ONNX is installed", expected="one", got="none")
    engine = min(able, key=lambda engine: ENGINES[engine].runs.index("onnx"))
    module = _module(engine)
    try:
        found: list[NDArray[Any]] = module.run_model(model, name, image)
    except Exception as error:  # the engines have no base class of their own
        what = f"{ENGINES[engine].title} cannot run the model"
        raise EngineError(what, expected=f"a network that {engine} runs", got=str(error).strip()[:300]) from error
    return found


def run_ir_once(xml: bytes, weights: bytes, image: NDArray[np.float32], output: tuple[str, int]) -> NDArray[np.float32]:
    """Runs OpenVINO IR with one input, in f32, and returns an inner output of it.

    Args:
        image: the input.
        output: name of a layer, and number of its output.

    Raises:
        EngineUnavailableError: OpenVINO is not installed.
        EngineError: it refused the model, or there is no such layer.
    """
    able = [engine for engine in installed_engines() if ENGINES[engine].runs[0] == "ir"]
    if not able:
        raise EngineUnavailableError("no engine that runs OpenVINO IR is installed", expected="openvino", got="none")
    module = _module(able[0])
    try:
        found: NDArray[np.float32] = module.run_ir(xml, weights, image, output)
    except Exception as error:  # OpenVINO raises bare RuntimeErrors
        what = f"{ENGINES[able[0]].title} cannot run the model"
        raise EngineError(what, expected=f"a network that {able[0]} runs", got=str(error).strip()[:300]) from error
    return found


def _module(engine: str) -> Any:
    with quietly():
        return importlib.import_module(f"edge_ad.engines.{engine}")
