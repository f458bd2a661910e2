"""The export: images -> frames -> crop -> graph -> patches -> coreset -> index -> calibration -> bundle.

`export_bundle` reads as that line does; what it calls stands below it in the same order.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle import write_bundle
from edge_ad.cli.progress import Progress
from edge_ad.cpu import default_threads, detect_cpu
from edge_ad.crop import Crop
from edge_ad.engines import Engine, Models, choose_engine, installed_engines, open_engine
from edge_ad.errors import DatasetError, ParityError, SpecError
from edge_ad.index import Index
from edge_ad.probes import relative_difference
from edge_ad.runtime import Runtime
from edge_ad.spec import (
    BackboneSpec,
    CalibrationSpec,
    FrameSpec,
    GraphSpec,
    HeadSpec,
    IndexSpec,
    Manifest,
    ProbesSpec,
    RoiSpec,
)
from export.calibrate import choose_threshold, folds
from export.coreset import select_coreset
from export.dataset import Category, Facts, check_images, find_category, load_category
from export.features import extract, held_out_scores, patch_store, tensors
from export.fidelity import choose_ef
from export.hnsw import EF_CONSTRUCTION, M, build_hnsw
from export.network import Network, open_network
from export.openvino_ir import to_ir
from export.options import RULES, Options
from export.probes import TOLERANCE, make_probes, probe_frames
from export.region import Region, patch_mask, read_region, region_crop, tensor_mask
from export.summary import Summary

PARITY = 1e-3  # largest relative difference between torch, ONNX and IR; f32 gives some 1e-6
_FILL_IMAGES = 50  # good images that the mean colour is taken from
_FIDELITY_IMAGES = 8  # frames that graph search is compared with exact search on

Arrays = dict[str, "NDArray[Any] | bytes"]


def export_bundle(options: Options) -> Summary:
    """Makes the bundle that `options` ask for; until its last step nothing stands at the target path.

    Raises:
        EdgeADError: whatever is wrong with the options, the images, the backbone or the target.
    """
    _check(options)
    category = load_category(find_category(options.category, options.data))
    out = options.out or Path(f"{category.name}.bundle")
    _check_target(out)
    summary = Summary(out)
    pool = native.Pool(options.threads or default_threads())
    with summary.stage("images"):
        goods, frame = _images(category, options, summary)
    with summary.stage("graph"):
        network = open_network(options)
        region = read_region(options.roi, frame.size) if options.roi and frame.size else None
        stages = _Stages(options, network, frame, region, goods)
        stages.prove_parity(summary)
    shape = (len(goods), stages.patch_count, stages.backbone.dim)
    with patch_store(shape, out.absolute().parent) as patches:
        with summary.stage("features"):
            extract(patches, goods, frame, stages.crop, stages.engine, stages.rows)
        with summary.stage("calibration"):
            coreset_rows, calibration = _calibrate(patches, stages, category, options, pool, summary)
        with summary.stage("coreset"):
            kept, flat = _final_coreset(patches, coreset_rows, options, pool)
    with summary.stage("graph search"):
        index, members = _index(kept, flat, stages, goods, options, pool, summary)
    manifest = Manifest(
        name=category.name,
        created=_now(),
        producer=_producer(stages.engine),
        frame=frame,
        roi=stages.roi,
        backbone=stages.backbone,
        head=HeadSpec("patchcore", options.reweight),
        index=index,
        calibration=calibration,
        probes=ProbesSpec(1, stages.backbone.input_size, 1, TOLERANCE),
        members={},
    )
    with summary.stage("bundle"):
        _write(out, manifest, {**stages.members, **members}, goods[0], options)
    with summary.stage("check"):
        _open_and_check(out, options, summary)
    return summary


def _check(options: Options) -> None:
    """Refuses options that argparse lets through, before any work is done."""
    if options.to not in ("openvino", "onnx", "both"):
        raise SpecError("there is no such target", expected="openvino, onnx or both", got=repr(options.to))
    if not 0 < options.coreset <= 1:
        raise SpecError("--coreset is out of range", expected="above 0 and at most 1", got=options.coreset)
    if options.halo < 0:
        raise SpecError("--halo is out of range", expected="0 or more", got=options.halo)
    if options.threads is not None and not 1 <= options.threads <= 1024:
        raise SpecError("--threads is out of range", expected="1..1024", got=options.threads)
    if options.seed < 0:
        raise SpecError("--seed is out of range", expected="0 or more", got=options.seed)
    if options.rule not in RULES:
        raise SpecError("there is no such threshold rule", expected=", ".join(RULES), got=repr(options.rule))
    choose_threshold(
        options.rule, _rule_value(options), [1.0, 2.0, 3.0], [4.0]
    )  # refuses a value out of range
    HeadSpec("patchcore", options.reweight)


def _check_target(out: Path) -> None:
    folder = out.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise SpecError(
            "the bundle cannot be written there",
            expected="a writable folder",
            got=folder,
            remedy="Give another --out.",
        )
    if out.is_dir():
        raise SpecError("--out is a folder", expected="the path of a file such as cable.bundle", got=out)


def _images(category: Category, options: Options, summary: Summary) -> tuple[list[Path], FrameSpec]:
    with Progress("reading", len(category.train_good), unit="images") as progress:
        goods, facts = check_images(category.train_good, options.skip_bad, progress)
    summary.say("images", f"{len(goods)} good, layout {category.layout}, {_describe_sizes(facts)}")
    if len(goods) < len(category.train_good):
        summary.say("left out", f"{len(category.train_good) - len(goods)} unreadable images")
    size = next(iter(facts.sizes)) if len(facts.sizes) == 1 else None
    if options.roi and size is None:
        raise DatasetError(
            "a region of interest needs images of one size",
            expected="all (H, W) alike",
            got=_describe_sizes(facts),
            remedy="Export without --roi, or bring the images to one size.",
        )
    depth = options.bit_depth or facts.bit_depth
    if facts.bit_depth == 16 and depth == 8:
        raise SpecError("--bit-depth 8 does not fit the images", expected="16", got="images with 16 bits")
    if facts.bit_depth == 16 and facts.max_value < options.white_level // 4:
        summary.say("note", f"16-bit images no brighter than {facts.max_value}: is --white-level 4095 meant?")
    return list(goods), FrameSpec(size, options.color_order, depth, options.white_level)  # type: ignore[arg-type]


def _describe_sizes(facts: Facts) -> str:
    sizes = sorted(facts.sizes)
    one = "x".join(map(str, sizes[0]))
    return one if len(sizes) == 1 else f"{len(sizes)} sizes from {one} to {'x'.join(map(str, sizes[-1]))}"


class _Stages:
    """The stages of the runtime as this export will put them into the bundle, and the members they need."""

    def __init__(
        self, options: Options, network: Network, frame: FrameSpec, region: Region | None, goods: list[Path]
    ) -> None:
        self.frame, self.network = frame, network
        size = options.input_size
        box = region_crop(region, size, options.halo) if region else (0, 0, *size)
        self.graph = network.graph((box[2] - box[0], box[3] - box[1]))
        self.backbone = BackboneSpec(
            name=network.name,
            layers=network.layers,
            mean=network.mean,  # type: ignore[arg-type]
            std=network.std,  # type: ignore[arg-type]
            weights=network.weights,
            weights_sha256=network.sha256,
            input_size=size,
            crop=box,
            grid=self.graph.grid,
            dim=self.graph.dim,
        )
        self.roi, self.mask, self.patch_mask = None, None, None
        self.members = self._models(options.to)
        if region:
            self._add_region(region, options, goods)
        self.crop = Crop(frame, self.backbone, self.roi, self.mask)
        self.engine = self._open(options)

    @property
    def rows(self) -> NDArray[np.int32] | None:
        return None if self.patch_mask is None else np.flatnonzero(self.patch_mask).astype(np.int32)

    @property
    def patch_count(self) -> int:
        grid = self.backbone.grid
        return grid[0] * grid[1] if self.patch_mask is None else int(self.patch_mask.sum())

    def _models(self, to: str) -> Arrays:
        data = self.graph.model.SerializeToString()
        members: Arrays = {"model.onnx": data} if to != "openvino" else {}
        if to != "onnx":
            members["model.xml"], members["model.bin"] = to_ir(data)
        return members

    def _add_region(self, region: Region, options: Options, goods: list[Path]) -> None:
        self.mask = tensor_mask(region, self.backbone.crop, options.input_size)
        self.patch_mask = patch_mask(self.mask, self.backbone.grid)
        whole = Crop(self.frame, self.backbone, None, None)
        chosen = goods[:: max(1, len(goods) // _FILL_IMAGES)]
        colors = [tensor[0][self.mask > 0].mean(axis=0) for tensor in tensors(chosen, self.frame, whole)]
        blue, green, red = (int(c) for c in np.rint(np.mean(colors, axis=0)))
        self.roi = RoiSpec(region.source, region.box, options.halo, (blue, green, red))
        self.members["roi/mask"] = self.mask
        self.members["roi/patch_mask"] = self.patch_mask.astype(np.uint8)

    def models(self) -> Models:
        """What the engines may run, from the members."""
        ir = (self.members["model.xml"], self.members["model.bin"]) if "model.xml" in self.members else None
        return Models(onnx=self.members.get("model.onnx"), ir=ir)  # type: ignore[arg-type]

    def _open(self, options: Options, engine: str = "auto") -> Engine:
        models = self.models()
        if models.ir is not None and options.to == "openvino":
            engine = "openvino"
        name = choose_engine(engine, models, detect_cpu(), installed_engines())
        threads = options.threads or default_threads()
        return open_engine(name, models, device="CPU", threads=threads, precision="f32")

    def prove_parity(self, summary: Summary) -> None:
        """Compares torch, ONNX and IR on seeded noise, the hardest picture there is; says what came out.

        Raises:
            ParityError: two of them differ by more than `PARITY`.
        """
        generator = np.random.default_rng(0)
        tensor = generator.integers(0, 256, (1, *self.backbone.tensor_size, 3), dtype=np.uint8)
        ours = self.engine(tensor)
        others = {self.network.name: self.network.reference_patches(tensor, self.graph)}
        models, threads = self.models(), default_threads()
        for name in installed_engines():
            if name != self.engine.name and (models.onnx is not None or name == "openvino"):
                other = open_engine(name, models, device="CPU", threads=threads, precision="f32")
                others[name] = other(tensor)
        found = {
            name: relative_difference(theirs, ours) for name, theirs in others.items() if theirs is not None
        }
        for name, difference in found.items():
            label = "torch" if name == self.network.name else name
            summary.say("parity", f"{self.engine.name} against {label}: {difference:.1e} relative")
            if not difference <= PARITY:
                raise ParityError(
                    f"the backbone graph differs between {self.engine.name} and {label}",
                    expected=f"at most {PARITY:g} relative",
                    got=f"{difference:.3g}",
                    remedy="This backbone cannot be exported faithfully; please report it.",
                )


def _calibrate(
    patches: NDArray[np.float32],
    stages: _Stages,
    category: Category,
    options: Options,
    pool: native.Pool,
    summary: Summary,
) -> tuple[NDArray[np.int64], CalibrationSpec]:
    """Scores of goods that the coreset they are compared with has not seen, and the threshold chosen from them.

    Returns the images that the final coreset is made of, too.
    """
    splits = folds(len(patches), options.calibration, options.seed)
    scores, peaks = [], []
    for number, (train, held_out) in enumerate(splits.pairs, 1):
        flat = np.ascontiguousarray(patches[train]).reshape(-1, patches.shape[2])
        label = f"fold {number}/{len(splits.pairs)}"
        chosen = select_coreset(flat, options.coreset, options.seed, pool, label)
        index = _exact_index(flat[chosen], stages, pool)
        geometry = (stages.patch_mask, stages.backbone.grid, stages.backbone.tensor_size)
        found = held_out_scores(patches[held_out], index, options.reweight, *geometry)
        scores += found[0]
        peaks += found[1]
    defects = _defect_scores(index, stages, category, options) if options.rule in ("f1", "youden") else []
    value = _rule_value(options)
    threshold, interval = choose_threshold(options.rule, value, scores, defects)
    if defects:  # no pixel of a defect is labelled at this point: the map's threshold comes from goods alone
        pixel_threshold, _ = choose_threshold("percentile", RULES["percentile"], peaks, [])
    else:
        pixel_threshold, _ = choose_threshold(options.rule, value, peaks, [])
    how = f"{options.rule} {value:g}" if RULES[options.rule] else options.rule
    summary.say(
        "threshold",
        f"{threshold:.4g} (95% {interval[0]:.4g}..{interval[1]:.4g}): {how} of {len(scores)} held-out goods"
        + (f" and {len(defects)} defects" if defects else "")
        + f", {splits.text}",
    )
    calibration = CalibrationSpec(
        rule=options.rule,  # type: ignore[arg-type]
        value=value,
        threshold=threshold,
        pixel_threshold=pixel_threshold,
        interval=interval,
        split=splits.text,
        good_scores=tuple(scores),
        good_peaks=tuple(peaks),
        defect_scores=tuple(defects),
    )
    return splits.final, calibration


def _rule_value(options: Options) -> float:
    return RULES[options.rule] if options.value is None else options.value


def _exact_index(coreset: NDArray[np.float32], stages: _Stages, pool: native.Pool) -> Index:
    grid_width = stages.backbone.grid[1]
    return Index(
        native.Coreset(np.ascontiguousarray(coreset)), None, ef=1, grid_width=grid_width, rows=None, pool=pool
    )


def _defect_scores(index: Index, stages: _Stages, category: Category, options: Options) -> list[float]:
    paths = [image.path for image in category.test if image.defect is not None]
    if not paths:
        raise DatasetError(
            f"--threshold-rule {options.rule} needs labelled defects",
            expected="a test folder with defects",
            got=f"none in {category.name} ({category.layout})",
            remedy="Use percentile, sigma or false-reject, which need good images only.",
        )
    with patch_store(
        (len(paths), stages.patch_count, stages.backbone.dim), Path(tempfile.gettempdir())
    ) as patches:
        extract(patches, paths, stages.frame, stages.crop, stages.engine, stages.rows)
        geometry = (stages.patch_mask, stages.backbone.grid, stages.backbone.tensor_size)
        return held_out_scores(patches, index, options.reweight, *geometry)[0]


def _final_coreset(
    patches: NDArray[np.float32], images: NDArray[np.int64], options: Options, pool: native.Pool
) -> tuple[NDArray[np.float32], int]:
    """The coreset (N, D) float32 of the chosen images, and how many patches it was chosen from."""
    everything = len(images) == len(patches)
    flat = (patches if everything else np.ascontiguousarray(patches[images])).reshape(-1, patches.shape[2])
    chosen = select_coreset(flat, options.coreset, options.seed, pool)
    return np.ascontiguousarray(flat[chosen]), len(flat)


def _index(
    kept: NDArray[np.float32],
    patches: int,
    stages: _Stages,
    goods: list[Path],
    options: Options,
    pool: native.Pool,
    summary: Summary,
) -> tuple[IndexSpec, Arrays]:
    text = f"{patches:,} -> coreset {len(kept):,} x {kept.shape[1]} ({len(kept) / patches:.2%})"
    asked = max(1, round(options.coreset * patches))
    summary.say("patches", text + (f"; {asked - len(kept):,} exact duplicates" if len(kept) < asked else ""))
    members: Arrays = {"coreset": kept}
    if not options.graph:
        return IndexSpec(len(kept), patches, options.seed, None), members
    arrays = build_hnsw(kept, options.seed)
    members |= {"graph/levels": arrays.levels, "graph/links0": arrays.links0, "graph/upper": arrays.upper}
    graph = native.Graph(native.Coreset(kept), arrays.levels, arrays.links0, arrays.upper, entry=arrays.entry)
    # mirrored goods: frames of the part that no coreset row was taken from, without a look at the test images
    chosen = goods[:: max(1, len(goods) // _FIDELITY_IMAGES)][:_FIDELITY_IMAGES]
    grids = [
        stages.engine(np.ascontiguousarray(tensor[:, :, ::-1]))
        for tensor in tensors(chosen, stages.frame, stages.crop)
    ]
    fidelity = choose_ef(graph, grids, stages.backbone.grid[1], stages.rows, pool)
    summary.say(
        "graph search",
        f"ef {fidelity.ef}: recall {fidelity.recall:.3f}, mean distance error {fidelity.map_error:.2%}; "
        "image score exact",
    )
    spec = GraphSpec(arrays.entry, M, EF_CONSTRUCTION, fidelity.ef, fidelity.recall)
    return IndexSpec(len(kept), patches, options.seed, spec), members


def _write(out: Path, manifest: Manifest, members: Arrays, good: Path, options: Options) -> None:
    """Writes the bundle; its golden probes are answered by the runtime on a draft without them."""
    with tempfile.TemporaryDirectory(prefix=".edge-ad-draft-", dir=out.absolute().parent) as folder:
        draft = Path(folder) / "draft.bundle"
        write_bundle(draft, manifest, members)
        runtime = Runtime(draft, search="exact", threads=options.threads)
        frames = probe_frames(good, manifest.frame.white_level, manifest.backbone.input_size, options.seed)
        spec, answers = make_probes(runtime, frames, options.seed)
    write_bundle(out, replace(manifest, probes=spec), {**members, **answers})


def _open_and_check(out: Path, options: Options, summary: Summary) -> None:
    runtime = Runtime(out, threads=options.threads, self_check=True)
    summary.say(
        "runtime",
        f"{runtime.engine} {runtime.precision}, search {runtime.search}, {runtime.threads} threads; golden probes pass",
    )
    summary.say("bundle", f"{out} ({out.stat().st_size / 1e6:.1f} MB, id {runtime.bundle_id})")


def _now() -> str:
    """UTC, ISO 8601; SOURCE_DATE_EPOCH makes the bundle reproducible to the byte."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    zone = datetime.timezone.utc
    moment = datetime.datetime.fromtimestamp(int(epoch), zone) if epoch else datetime.datetime.now(zone)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _producer(engine: Engine) -> dict[str, str]:
    producer = {"python": platform.python_version(), "engine": f"{engine.name} {engine.version}"}
    for package in ("edge-ad", "torch", "torchvision", "onnx", "openvino", "onnxruntime", "hnswlib", "numpy"):
        try:
            producer[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return producer
