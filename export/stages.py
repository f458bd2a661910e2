"""The stages that the export and the runtime share: graph, engine, crop, region of interest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle.file import Members
from edge_ad.bundle.models import MEMBERS, models_among
from edge_ad.bundle.probes import relative_difference
from edge_ad.engines import (
    TARGETS,
    Engine,
    Models,
    choose_engine,
    engines_for,
    installed_engines,
    open_engine,
    runs,
)
from edge_ad.engines.finite import require_finite
from edge_ad.errors import ParityError
from edge_ad.frames.align import Aligner
from edge_ad.frames.crop import Crop
from edge_ad.frames.roi import RoiMasks, patch_mask
from edge_ad.frames.tiles import Tile, tiles_of
from edge_ad.heads.base import Head, Scored, TileHead
from edge_ad.registry import BASE_PRECISION, ENGINES, PRECISIONS
from edge_ad.serving.tiled import Tiled
from edge_ad.spec import BackboneSpec, Box, FrameSpec, RoiSpec, Size, Tensor
from edge_ad.system.cpu import default_threads, detect_cpu
from export.features import stream, tensors
from export.openvino_ir import to_ir
from export.options import Options
from export.plan import Plan
from export.roi import DrawnRoi, roi_crop, roi_mask
from export.summary import Summary
from export.tiles import Reach, border_reach, grid_of, tiles_for, wanted_tile, with_overlap

if TYPE_CHECKING:  # they need the package onnx, which stages that are opened from a bundle do without
    from export.graph import PatchGraph
    from export.network import Network

PARITY = 1e-3  # largest relative difference between torch, ONNX and IR; f32 gives some 1e-6
_INPUT_TILES = 128  # of all images, that set the ranges of int8
_FILL_IMAGES = 50  # the mean colour is taken from this many good images


@dataclass(frozen=True)
class Stages:
    """The stages of an operating point, the same as in the runtime, and the members that they need.

    Attributes:
        frame, backbone, roi: specs of the bundle.
        masks: the part of the crop that is inspected.
        models: member name of FORMAT.md -> member.
        crop, engine: stages ready to run.
        tiles: of the crop; none where the engine gets it whole.
        reach: how far the border of a tile reaches; None without tiles.
    """

    frame: FrameSpec
    backbone: BackboneSpec
    roi: RoiSpec | None
    masks: RoiMasks
    models: Members
    crop: Crop
    engine: Engine
    tiles: tuple[Tile, ...] = ()
    reach: Reach | None = None

    def tiled(self, of: str) -> Tiled:
        """Looks at a picture tile by tile; `of` names the picture in a message.

        Raises (when it looks):
            EngineError: a patch is NaN or Inf.
        """

        def patches(tile: Tensor) -> NDArray[np.float32]:
            return self._finite(self.engine(tile), of)

        return Tiled(self.tiles, patches, self.engine.streams, self.masks.count, self.backbone.dim)

    def scored(self, head: Head, paths: Sequence[Path]) -> Iterator[Scored]:
        """What a head of R patches makes of each image file; its scores are those of exact search, as the runtime's.

        Raises:
            EngineError: a patch is NaN or Inf.
            FrameError: an image cannot be read.
        """
        if not self.tiles:
            for patches in stream(paths, self.frame, self.crop, self.engine, self.masks.rows):
                yield head(patches)
            return
        judge = cast(TileHead, head)
        for path, tensor in zip(paths, tensors(paths, self.frame, self.crop), strict=True):
            tiled = self.tiled(f"{path}")
            yield judge.judge(tiled.find(tensor, judge), tiled.vector(tensor))

    def _finite(self, patches: NDArray[np.float32], of: str) -> NDArray[np.float32]:
        by = f"{self.engine.name} {self.engine.version} in {self.engine.precision}"
        require_finite(patches, of=of, by=by, remedy="Check the weights of the backbone.")
        return patches


@dataclass(frozen=True, kw_only=True)
class GraphStages(Stages):
    """Stages that were made from a network, and not opened from a bundle.

    Attributes:
        network, graph: the backbone, and its graph in f32 at the point's input size.
    """

    network: Network
    graph: PatchGraph


def open_stages(
    options: Options,
    network: Network,
    frame: FrameSpec,
    region: DrawnRoi | None,
    good_images: Sequence[Path],
    size: Size,
    reference: Stages | None = None,
    aligner: Aligner | None = None,
    box: Box | None = None,
) -> GraphStages:
    """The stages in f32 at an input size. Every size uses the fill colour of `reference`.

    Args:
        aligner: finds the part in each image; the region lies where it does in the aligner's reference.
        box: of `size`, that the engine gets; by default the region with its halo, or all of it.
    """
    box = box or (roi_crop(region, size, options.halo, network.stride) if region else (0, 0, *size))
    picture = (box[2] - box[0], box[3] - box[1])
    tile = wanted_tile(options, size, picture)
    graph = network.graph(tile or picture, floats=frame.stack is not None)
    tiles = None if tile is None else tiles_for(options, graph, tile)
    grid = graph.grid if tiles is None else grid_of(tiles, picture)
    backbone = BackboneSpec(
        name=network.name,
        layers=network.layers,
        mean=network.mean,
        std=network.std,
        weights=network.weights,
        weights_sha256=network.sha256,
        input_size=size,
        crop=box,
        grid=grid,
        dim=graph.dim,
        resize=options.resize,
        distance=options.distance,
        tiles=tiles,
    )
    masks, roi, reach = RoiMasks(grid), None, None
    follow = (None, None, None) if aligner is None else (None, aligner.picture, aligner.find)  # without a pool
    if region:
        mask = roi_mask(region, box, size, options.resize)
        masks = RoiMasks(grid, mask, patch_mask(mask, grid, backbone.covered))
        whole = Crop(frame, backbone, None, None, *follow)
        roi = reference.roi if reference else _region_spec(region, options, whole, mask, good_images)
    crop = Crop(frame, backbone, roi, masks.pixels, *follow)
    if (taught := _taught(network, options, frame, crop, good_images)) is not network:
        network, graph = taught, taught.graph(picture, floats=frame.stack is not None)
        backbone = replace(backbone, weights=network.weights, weights_sha256=network.sha256)
    models = _models(graph, options.to)
    engine = _open(models, "auto", PRECISIONS[backbone.precision].arithmetic, options.threads)
    if tiles is not None:
        reach = border_reach(engine, tiles, next(tensors(good_images[:1], frame, crop)))
        backbone = with_overlap(backbone, options, reach)
    given = frame, backbone, roi, masks, models, crop, engine, tiles_of(backbone, masks), reach
    return GraphStages(*given, network=network, graph=graph)


def _taught(network: Network, options: Options, frame: FrameSpec, crop: Crop, good_images: Sequence[Path]) -> Network:
    from export.network import Lesson

    return network.taught(Lesson(options, frame, crop, good_images))


def at_point(base: GraphStages, plan: Plan, good_images: Sequence[Path], threads: int | None) -> GraphStages:
    """The stages of an operating point at the input size of `base`, which is f32.

    Args:
        good_images: images that set the ranges, if the precision has its own models.
    """
    if plan.precision == base.backbone.precision:
        return base
    precision, models = PRECISIONS[plan.precision], base.models
    if precision.own_models:
        from export.quantize import MAKERS

        models = MAKERS[plan.precision, plan.engine].make(base.graph.model, list(_engine_inputs(base, good_images)))
    elif plan.engine != "any":  # the first available kind of model that the engine prefers
        kind = next(kind for kind in ENGINES[plan.engine].runs if MEMBERS[kind][0] in models)
        models = {name: models[name] for name in MEMBERS[kind]}
    wanted = "auto" if plan.engine == "any" else plan.engine
    engine = _open(models, wanted, precision.arithmetic, threads, engines_for(plan.precision))
    return replace(base, backbone=replace(base.backbone, precision=plan.precision), models=models, engine=engine)


def _engine_inputs(stages: Stages, paths: Sequence[Path]) -> Iterator[Tensor]:
    """What the engine gets of the images: the tensors, or some tiles of each, by chance."""
    generator = np.random.default_rng(0)
    each = min(len(stages.tiles), max(1, _INPUT_TILES // len(paths)))
    for tensor in tensors(paths, stages.frame, stages.crop):
        chosen = generator.permutation(len(stages.tiles))[:each]
        yield from [stages.tiles[number].cut(tensor) for number in chosen] if stages.tiles else [tensor]


def size_text(stages: Stages) -> str:
    """The input size, for a reader."""
    return "{}x{}".format(*stages.backbone.input_size)


def tell_layers(stages: GraphStages, summary: Summary) -> None:
    """Says how the layers were read, where they are not maps with their channels first; and what was trained."""
    if stages.network.learned:
        summary.say("training", stages.network.weights)
    for layer, form in zip(stages.backbone.layers, stages.graph.forms, strict=True):
        if form.axis != 1:
            summary.say("layer", f"{layer} at {size_text(stages)}: {form.text}")


def prove_parity(stages: GraphStages, summary: Summary, *, several: bool = False) -> None:
    """Compares torch, ONNX and IR in f32 on seeded noise, which is the hardest picture, and prints the differences.

    Args:
        several: there are several input sizes, so that a line names its own.

    Raises:
        ParityError: two of them differ by more than `PARITY`.
    """
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (1, *stages.backbone.engine_size, 3), dtype=np.uint8)
    tensor: Tensor = noise if stages.frame.stack is None else noise.astype(np.float32)
    ours = stages.engine(tensor)
    others = {stages.network.name: stages.network.reference_patches(tensor, stages.graph)}
    for name in installed_engines():
        if name != stages.engine.name and runs(name, _given(stages.models)):
            others[name] = _open(stages.models, name, PRECISIONS[BASE_PRECISION].arithmetic, None)(tensor)
    found = {name: relative_difference(theirs, ours) for name, theirs in others.items() if theirs is not None}
    for name, difference in found.items():
        label = "torch" if name == stages.network.name else name
        at = f"{size_text(stages)}: " if several else ""
        summary.say("parity", f"{at}{stages.engine.name} against {label}: {difference:.1e} relative")
        if not difference <= PARITY:
            raise ParityError(
                f"the backbone graph differs between {stages.engine.name} and {label}",
                expected=f"at most {PARITY:g} relative",
                got=f"{difference:.3g}",
                remedy="This backbone cannot be exported faithfully; please report it.",
            )


def _models(graph: PatchGraph, to: str) -> Members:
    data = graph.model.SerializeToString()
    made: dict[str, Callable[[], tuple[bytes, ...]]] = {"onnx": lambda: (data,), "ir": lambda: to_ir(data)}
    return {name: part for kind in TARGETS[to] for name, part in zip(MEMBERS[kind], made[kind](), strict=True)}


def _region_spec(
    region: DrawnRoi, options: Options, whole: Crop, mask: NDArray[np.uint8], good_images: Sequence[Path]
) -> RoiSpec:
    """The region with its fill colour, from tensors that `whole` does not fill."""
    chosen = good_images[:: max(1, len(good_images) // _FILL_IMAGES)]
    colors = [tensor[0][mask > 0].mean(axis=0) for tensor in tensors(chosen, whole.frame, whole)]
    blue, green, red = (int(c) for c in np.rint(np.mean(colors, axis=0)))
    return RoiSpec(region.source, region.box, options.halo, (blue, green, red))


def _given(models: Members) -> Models:
    return models_among({name: bytes(data) for name, data in models.items()})


def _open(
    models: Members,
    wanted: str,
    arithmetic: str,
    threads: int | None,
    able: Collection[str] | None = None,
) -> Engine:
    """The engine. It runs as many frames or tiles side by side as it has threads."""
    given = _given(models)
    name = choose_engine(wanted, given, detect_cpu(), installed_engines(), able)
    threads = threads or default_threads()
    return open_engine(name, given, device="CPU", threads=threads, precision=arithmetic, streams=threads)
