"""The operating points that an export makes, and what it needs to make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from edge_ad.engines import TARGETS, engines_for
from edge_ad.errors import DatasetError, EngineUnavailableError, SpecError
from edge_ad.registry import BASE_PRECISION, ENGINES, METHODS, PRECISIONS, engine_package
from edge_ad.spec import MAX_PICTURE_SIDE, MAX_SIDE, MIN_FRAME_SIDE, REFERENCE, Size
from edge_ad.system.cpu import Cpu
from export.options import Options

UNKNOWN_SIZE = (256, 256)
LEAST_IMAGES = 16  # for a precision with its own models: with fewer, 3 or less would set the ranges


@dataclass(frozen=True)
class Plan:
    """An operating point to be made.

    Attributes:
        name: as `edge_ad.spec.PointSpec.name` has it; `REFERENCE` for the reference.
        engine: the engine that runs it; "any" for all.
        sizes: (H, W) to which a whole frame is resized: one, or two whose answers are joined.
    """

    name: str
    precision: str
    engine: str
    sizes: tuple[Size, ...]


def plan_points(options: Options) -> list[Plan]:
    """The operating points that the options ask for, the reference first, f32 first at each size.

    With a second size, the points of the first size join it. Then the first size may be asked for again, alone. Before
    the sizes are chosen (`export.choose`) `UNKNOWN_SIZE` stands for them.

    Raises:
        SpecError: a precision or a size is not possible, or is given twice.
    """
    unknown = set(options.points) - set(PRECISIONS)
    if unknown or len(set(options.points)) != len(options.points) or not options.points:
        expected = f"different ones of {', '.join(PRECISIONS)}"
        raise SpecError("--points is not understood", expected=expected, got=",".join(options.points) or "none")
    input_size = options.input_size or UNKNOWN_SIZE
    first = (input_size,) if options.second_size is None else (input_size, options.second_size)
    asked = [first, *((size,) for size in options.more_sizes)]
    sides = [side for sizes in asked for size in sizes for side in size]
    twice = len(set(asked)) < len(asked) or len(set(first)) < len(first)
    most = MAX_SIDE if options.tiles is None else MAX_PICTURE_SIDE
    if twice or not all(MIN_FRAME_SIDE <= side <= most for side in sides):
        flags = "--input-size is" if options.second_size is None else "--input-size or --second-size is"
        expected = f"different (H, W), each {MIN_FRAME_SIDE}..{most}"
        raise SpecError(f"{flags} out of range", expected=expected, got=asked)
    plans: list[Plan] = []
    for sizes in asked:
        suffix = "" if sizes == first else f"-{sizes[0][0]}x{sizes[0][1]}"
        plans.append(Plan(REFERENCE + suffix, BASE_PRECISION, "any", sizes))
        for name in PRECISIONS:
            if name in options.points and name != BASE_PRECISION:
                plans += [Plan(point + suffix, name, engine, sizes) for point, engine in _engines(name, options.to)]
    return plans


def _engines(precision: str, to: str) -> list[tuple[str, str]]:
    """Names of the points of a precision, without a size, and the engine of each; "any" for all engines.

    A precision with its own models gets one for each engine whose preferred kind of model is in the bundle.
    """
    able = engines_for(precision)
    if PRECISIONS[precision].own_models:
        return [(f"{precision}-{name}", name) for name in able if ENGINES[name].runs[0] in TARGETS[to]]
    return [(precision, able[0] if len(able) == 1 else "any")]


def require_packages(plans: Sequence[Plan]) -> None:
    """Refuses points whose packages are missing: they fail at once and name the pip command. No point is left out.

    Raises:
        EngineUnavailableError: one is not installed.
    """
    for plan in plans:
        needed = {} if plan.engine == "any" else {engine_package(plan.engine): ENGINES[plan.engine].extra}
        if PRECISIONS[plan.precision].own_models:
            from export.quantize import MAKERS  # which needs the package onnx

            needed |= MAKERS[plan.precision, plan.engine].packages
        for package, extra in needed.items():
            if find_spec(package) is None:
                raise EngineUnavailableError(
                    f"the operating point {plan.name} needs {package} on the workstation",
                    expected=f"{package} installed",
                    got="it is not",
                    remedy=f"Run pip install 'edge-ad[{extra}]', or leave {plan.precision} out of --points.",
                )


def require_training(options: Options) -> None:
    """Refuses a method whose network is trained here, where torch is missing.

    Raises:
        EngineUnavailableError: it is.
    """
    if METHODS[options.method].own_network and find_spec("torch") is None:
        raise EngineUnavailableError(
            f"--method {options.method} trains a network, which takes torch on the workstation",
            expected="torch installed",
            got="it is not",
            remedy="Run pip install 'edge-ad[export]', or take another --method. The edge PC needs no torch.",
        )


def require_good(plans: Sequence[Plan], count: int) -> None:
    """Refuses precisions with their own models if there are too few good images: some of the images set the ranges of
    the models, the others the threshold.

    Raises:
        DatasetError: fewer than `LEAST_IMAGES`.
    """
    for plan in plans:
        if count < LEAST_IMAGES and PRECISIONS[plan.precision].own_models:
            raise DatasetError(
                f"there are too few good images for {plan.precision}",
                expected=f"{LEAST_IMAGES} or more: a quarter sets the ranges of the activations and is not held out",
                got=count,
                remedy=f"Give more good images, or leave {plan.precision} out of --points.",
            )


def hindrance(plan: Plan, cpu: Cpu) -> str | None:
    """The reason why this machine cannot make the point although all packages are installed; None if it can."""
    needed = PRECISIONS[plan.precision].cpu
    if needed and not getattr(cpu, needed):
        lacking = f"{cpu.model} has no {plan.precision} arithmetic"
        return f"{lacking}, so that coreset and threshold could not be made through it"
    return None
