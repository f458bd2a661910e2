"""The stages that an export shares with the runtime: graph, engine, crop, region of interest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.crop import Crop
from edge_ad.engines import Engine, Models, choose_engine, installed_engines, open_engine
from edge_ad.errors import ParityError
from edge_ad.frames.roi import RoiMasks
from edge_ad.probes import relative_difference
from edge_ad.spec import BackboneSpec, FrameSpec, RoiSpec, Size
from edge_ad.system.cpu import default_threads, detect_cpu
from export.features import tensors
from export.graph import PatchGraph
from export.network import Network
from export.openvino_ir import to_ir
from export.options import Options
from export.plan import Plan
from export.roi import DrawnRoi, patch_mask, roi_crop, tensor_mask
from export.summary import Summary

PARITY = 1e-3  # largest relative difference between torch, ONNX and IR; f32 gives some 1e-6
_FILL_IMAGES = 50  # good images that the mean colour is taken from

Arrays = dict[str, "NDArray[Any] | bytes"]


@dataclass(frozen=True)
class Stages:
    """The stages of an operating point as the runtime will have them, and the members that they need.

    Attributes:
        network, graph: the backbone, and its graph in f32 at the point's input size.
        frame, backbone, roi: specs of the bundle.
        masks: what of the crop is inspected.
        models: members, by the names of FORMAT.md.
        crop, engine: stages ready to run.
    """

    network: Network
    graph: PatchGraph
    frame: FrameSpec
    backbone: BackboneSpec
    roi: RoiSpec | None
    masks: RoiMasks
    models: Arrays
    crop: Crop
    engine: Engine


def open_stages(
    options: Options,
    network: Network,
    frame: FrameSpec,
    region: DrawnRoi | None,
    goods: Sequence[Path],
    size: Size,
    reference: Stages | None = None,
) -> Stages:
    """The stages in f32 at an input size. The region is filled with one colour at every size: that of `reference`."""
    box = roi_crop(region, size, options.halo) if region else (0, 0, *size)
    graph = network.graph((box[2] - box[0], box[3] - box[1]))
    backbone = BackboneSpec(
        name=network.name,
        layers=network.layers,
        mean=network.mean,  # type: ignore[arg-type]
        std=network.std,  # type: ignore[arg-type]
        weights=network.weights,
        weights_sha256=network.sha256,
        input_size=size,
        crop=box,
        grid=graph.grid,
        dim=graph.dim,
    )
    models = _models(graph, options.to)
    masks, roi = RoiMasks(graph.grid), None
    if region:
        mask = tensor_mask(region, box, size)
        masks = RoiMasks(graph.grid, mask, patch_mask(mask, graph.grid))
        roi = reference.roi if reference else _region_spec(region, options, frame, backbone, mask, goods)
    crop = Crop(frame, backbone, roi, masks.pixels)
    wanted = "openvino" if options.to == "openvino" else "auto"
    engine = _open(models, wanted, "f32", options.threads)
    return Stages(network, graph, frame, backbone, roi, masks, models, crop, engine)


def at_point(base: Stages, plan: Plan, goods: Sequence[Path], threads: int | None) -> Stages:
    """The stages of an operating point at the input size of `base`, which is f32.

    Args:
        goods: images that set the ranges of int8.
    """
    if plan.precision == "f32":
        return base
    models = base.models
    if plan.precision == "int8":
        from export.quantize import int8_ir, int8_onnx  # late: NNCF takes seconds to import

        given = list(tensors(goods, base.frame, base.crop))
        if plan.engine == "openvino":
            models = dict(zip(("model.xml", "model.bin"), int8_ir(_ir(models), given), strict=True))
        else:
            models = {"model.onnx": int8_onnx(base.graph.model, given)}
    elif "model.xml" in models:  # bf16 is OpenVINO's, which takes ONNX only where there is no IR
        models = {name: models[name] for name in ("model.xml", "model.bin")}
    arithmetic = "bf16" if plan.precision == "bf16" else "f32"  # int8 stands in the model
    engine = _open(models, plan.engine, arithmetic, threads)
    return replace(base, backbone=replace(base.backbone, precision=plan.precision), models=models, engine=engine)


def prove_parity(stages: Stages, summary: Summary) -> None:
    """Compares torch, ONNX and IR in f32 on seeded noise, the hardest picture there is; says what came out.

    Raises:
        ParityError: two of them differ by more than `PARITY`.
    """
    generator = np.random.default_rng(0)
    tensor = generator.integers(0, 256, (1, *stages.backbone.tensor_size, 3), dtype=np.uint8)
    ours = stages.engine(tensor)
    others = {stages.network.name: stages.network.reference_patches(tensor, stages.graph)}
    for name in installed_engines():
        if name != stages.engine.name and ("model.onnx" in stages.models or name == "openvino"):
            others[name] = _open(stages.models, name, "f32", None)(tensor)
    found = {name: relative_difference(theirs, ours) for name, theirs in others.items() if theirs is not None}
    for name, difference in found.items():
        label = "torch" if name == stages.network.name else name
        summary.say("parity", f"{stages.engine.name} against {label}: {difference:.1e} relative")
        if not difference <= PARITY:
            raise ParityError(
                f"the backbone graph differs between {stages.engine.name} and {label}",
                expected=f"at most {PARITY:g} relative",
                got=f"{difference:.3g}",
                remedy="This backbone cannot be exported faithfully; please report it.",
            )


def _models(graph: PatchGraph, to: str) -> Arrays:
    data = graph.model.SerializeToString()
    models: Arrays = {"model.onnx": data} if to != "openvino" else {}
    if to != "onnx":
        models["model.xml"], models["model.bin"] = to_ir(data)
    return models


def _ir(models: Arrays) -> tuple[bytes, bytes]:
    return bytes(models["model.xml"]), bytes(models["model.bin"])


def _region_spec(
    region: DrawnRoi,
    options: Options,
    frame: FrameSpec,
    backbone: BackboneSpec,
    mask: NDArray[np.uint8],
    goods: Sequence[Path],
) -> RoiSpec:
    whole = Crop(frame, backbone, None, None)
    chosen = goods[:: max(1, len(goods) // _FILL_IMAGES)]
    colors = [tensor[0][mask > 0].mean(axis=0) for tensor in tensors(chosen, frame, whole)]
    blue, green, red = (int(c) for c in np.rint(np.mean(colors, axis=0)))
    return RoiSpec(region.source, region.box, options.halo, (blue, green, red))


def _open(models: Arrays, wanted: str, precision: str, threads: int | None) -> Engine:
    ir = _ir(models) if "model.xml" in models else None
    given = Models(onnx=models.get("model.onnx"), ir=ir)  # type: ignore[arg-type]
    name = choose_engine(wanted, given, detect_cpu(), installed_engines())
    return open_engine(name, given, device="CPU", threads=threads or default_threads(), precision=precision)
