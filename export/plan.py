"""Which operating points an export is to make, and what it needs to make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from edge_ad.errors import DatasetError, EngineUnavailableError, SpecError
from edge_ad.spec import MAX_SIDE, MIN_FRAME_SIDE, REFERENCE, Precision, Size
from edge_ad.system.cpu import Cpu
from export.options import PRECISIONS, Options

INT8_GOODS = 16  # fewer leave 3 or less to set the ranges by
_EXTRAS = {"openvino": "openvino", "onnxruntime": "onnx", "nncf": "int8"}  # of edge-ad, by package


@dataclass(frozen=True)
class Plan:
    """An operating point to be made.

    Attributes:
        name: as `edge_ad.spec.PointSpec.name` has it; `REFERENCE` for the reference.
        engine: that it runs by; "any" for either.
        size: (H, W) that a whole frame is resized to.
    """

    name: str
    precision: Precision
    engine: Literal["any", "openvino", "onnxruntime"]
    size: Size


def plan_points(options: Options) -> list[Plan]:
    """The operating points that the options ask for, the reference first, f32 first at each size.

    Raises:
        SpecError: a precision or size that there is not, or the same twice.
    """
    unknown = set(options.points) - set(PRECISIONS)
    if unknown or len(set(options.points)) != len(options.points) or not options.points:
        expected = f"different ones of {', '.join(PRECISIONS)}"
        raise SpecError("--points is not understood", expected=expected, got=",".join(options.points) or "none")
    if not 0 <= options.max_drop <= 1:
        raise SpecError("--max-drop is out of range", expected="0..1", got=options.max_drop)
    sizes = (options.input_size, *options.more_sizes)
    if not all(MIN_FRAME_SIDE <= side <= MAX_SIDE for size in sizes for side in size) or len(set(sizes)) < len(sizes):
        expected = f"different (H, W), each {MIN_FRAME_SIDE}..{MAX_SIDE}"
        raise SpecError("--input-size is out of range", expected=expected, got=sizes)
    plans: list[Plan] = []
    for size in sizes:
        suffix = "" if size == options.input_size else f"-{size[0]}x{size[1]}"
        plans.append(Plan(REFERENCE + suffix, "f32", "any", size))
        if "bf16" in options.points:
            plans.append(Plan("bf16" + suffix, "bf16", "openvino", size))
        if "int8" in options.points:  # ONNX Runtime's model is ONNX, OpenVINO's is IR
            if options.to != "onnx":
                plans.append(Plan("int8-openvino" + suffix, "int8", "openvino", size))
            if options.to != "openvino":
                plans.append(Plan("int8-onnxruntime" + suffix, "int8", "onnxruntime", size))
    return plans


def require_packages(plans: Sequence[Plan]) -> None:
    """Refuses points whose packages are missing: what a pip command mends is an error, and no point that is left out.

    Raises:
        EngineUnavailableError: one is not installed.
    """
    for plan in plans:
        needed: list[str] = [] if plan.engine == "any" else [plan.engine]
        if (plan.precision, plan.engine) == ("int8", "openvino"):
            needed.append("nncf")
        for package in needed:
            if find_spec(package) is None:
                raise EngineUnavailableError(
                    f"the operating point {plan.name} needs {package} on the workstation",
                    expected=f"{package} installed",
                    got="it is not",
                    remedy=f"Run pip install 'edge-ad[{_EXTRAS[package]}]', or leave {plan.precision} out of --points.",
                )


def require_goods(plans: Sequence[Plan], count: int) -> None:
    """Refuses int8 where there are too few goods: some set its ranges, and the others its threshold.

    Raises:
        DatasetError: fewer than `INT8_GOODS`.
    """
    if count < INT8_GOODS and any(plan.precision == "int8" for plan in plans):
        raise DatasetError(
            "there are too few good images for int8",
            expected=f"{INT8_GOODS} or more: a quarter sets the ranges of the activations and is not held out then",
            got=count,
            remedy="Give more good images, or leave int8 out of --points.",
        )


def hindrance(plan: Plan, cpu: Cpu) -> str | None:
    """Why this machine cannot make the point, though every package is there; None where it can."""
    if plan.precision == "bf16" and not cpu.has_bf16:
        return f"{cpu.model} has no bf16 arithmetic, so that coreset and threshold could not be made through it"
    return None
