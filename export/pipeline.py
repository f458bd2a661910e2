"""The export: images -> frames -> crop -> graph -> patches -> method -> calibration -> bundle.

`export_bundle` reads as that line does; what it calls stands below it in the same order.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad import native
from edge_ad.build_info import timestamp
from edge_ad.bundle import write_bundle
from edge_ad.calibration import check_rule
from edge_ad.cli.progress import Progress
from edge_ad.cpu import default_threads
from edge_ad.dataset import Category, Facts, check_images, find_category, load_category
from edge_ad.engines import Engine
from edge_ad.errors import BundleError, DatasetError, SpecError
from edge_ad.runtime import Runtime
from edge_ad.spec import MAX_NEIGHBORS, MAX_SIDE, MIN_FRAME_SIDE, FrameSpec, Manifest, PatchcoreSpec, ProbesSpec
from export.features import extract, patch_store
from export.fit import open_method
from export.fit.base import Material
from export.folds import folds
from export.held_out import calibrate, cross_fit, defect_scores
from export.network import open_network
from export.normal_embed import NormalEmbed, write_normal_embed
from export.options import METHODS, Options
from export.probes import TOLERANCE, make_probes, probe_frames
from export.region import read_region
from export.stages import Arrays, Stages
from export.summary import Summary


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
        stages = Stages(options, network, frame, region, goods)
        stages.prove_parity(summary)
    folder = out.absolute().parent
    with patch_store((len(goods), stages.patch_count, stages.backbone.dim), folder) as patches:
        with summary.stage("features"):
            extract(patches, goods, frame, stages.crop, stages.engine, stages.rows)
        splits = folds(len(goods), options.calibration, options.seed)
        material = Material(patches, goods, stages, options, pool)
        with summary.stage("calibration"):
            method = open_method(material)
            held_out = cross_fit(method, material, splits)
        fitted = method.finish(splits.final, summary)
        defects = defect_scores(fitted.head, category, stages, options, folder)
    calibration = calibrate(held_out, defects, splits, options, summary)
    manifest = Manifest(
        name=category.name,
        created=timestamp(),
        producer=_producer(stages.engine),
        frame=frame,
        roi=stages.roi,
        backbone=stages.backbone,
        head=fitted.spec,
        index=fitted.index,
        calibration=calibration,
        probes=ProbesSpec(1, stages.backbone.input_size, 1, TOLERANCE),
        members={},
    )
    with summary.stage("bundle"):
        _write(out, manifest, {**stages.members, **fitted.members}, goods[0], options)
    with summary.stage("check"):
        _open_and_check(out, options, summary)
    if options.normal_embed is not None:
        _write_normal_embed(options.normal_embed, manifest, fitted.members["centroid"])
        summary.say("normal embed", str(options.normal_embed))
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
    if not 0 <= options.seed < 2**32:
        raise SpecError("--seed is out of range", expected="0..4294967295", got=options.seed)
    if not all(MIN_FRAME_SIDE <= side <= MAX_SIDE for side in options.input_size):
        expected = f"(H, W), each {MIN_FRAME_SIDE}..{MAX_SIDE}"
        raise SpecError("--input-size is out of range", expected=expected, got=options.input_size)
    numbers = (*options.mean, *options.std)
    if not (len(numbers) == 6 and np.isfinite(numbers).all() and min(options.std) > 0):
        raise SpecError("--mean or --std is no normalisation", expected="finite, --std above 0", got=numbers)
    FrameSpec(None, white_level=options.white_level)
    check_rule(options.rule, options.rule_value)
    _check_method(options)


def _check_method(options: Options) -> None:
    if options.method not in METHODS:
        raise SpecError("there is no such method", expected=", ".join(METHODS), got=repr(options.method))
    PatchcoreSpec("patchcore", options.reweight)
    if options.neighbors is not None and not 1 <= options.neighbors <= MAX_NEIGHBORS:
        raise SpecError("--neighbors is out of range", expected=f"1..{MAX_NEIGHBORS}", got=options.neighbors)
    if options.gallery_images < 1:
        raise SpecError("--gallery-images is out of range", expected="1 or more", got=options.gallery_images)
    if options.normal_embed is not None:
        if options.method != "centroid":
            raise SpecError("--normal-embed is for --method centroid", expected="centroid", got=options.method)
        _check_target(options.normal_embed)


def _check_target(out: Path) -> None:
    folder = out.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise SpecError(
            f"{out.name} cannot be written there",
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
    if facts.bad:
        summary.say("left out", f"{len(facts.bad)} unreadable: {', '.join(path.name for path, _ in facts.bad[:5])}")
    if facts.copies:  # they add nothing to the coreset, and held out they would score 0 against their originals
        summary.say("left out", f"{len(facts.copies)} copies of other images, such as {facts.copies[0].name}")
        goods = tuple(path for path in goods if path not in set(facts.copies))
        if len(goods) < 2:
            raise DatasetError("the good images are all the same", expected="2 or more that differ", got=len(goods))
    size = next(iter(facts.sizes)) if len(facts.sizes) == 1 else None
    if options.roi and size is None:
        raise DatasetError(
            "a region of interest needs images of one size",
            expected="all (H, W) alike",
            got=_describe_sizes(facts),
            remedy="Export without --roi, or bring the images to one size.",
        )
    depth = options.bit_depth or facts.bit_depth
    if facts.bit_depth > depth:
        raise SpecError("--bit-depth 8 does not fit the images", expected="16", got="images with 16 bits")
    if facts.bit_depth == 16 and facts.max_value < options.white_level // 4:
        white = (1 << facts.max_value.bit_length()) - 1
        summary.say("note", f"16-bit images no brighter than {facts.max_value}: is --white-level {white} meant?")
    return list(goods), FrameSpec(size, options.color_order, depth, options.white_level)  # type: ignore[arg-type]


def _describe_sizes(facts: Facts) -> str:
    sizes = sorted(facts.sizes)
    one = "x".join(map(str, sizes[0]))
    return one if len(sizes) == 1 else f"{len(sizes)} sizes from {one} to {'x'.join(map(str, sizes[-1]))}"


def _write(out: Path, manifest: Manifest, members: Arrays, good: Path, options: Options) -> None:
    """Writes the bundle; its golden probes are answered by the runtime on a draft without them."""
    with contextlib.ExitStack() as stack:
        try:
            folder = tempfile.TemporaryDirectory(prefix=".edge-ad-draft-", dir=out.absolute().parent)
        except OSError as error:
            raise BundleError(f"{out} cannot be written", got=error.strerror, remedy="Give another --out.") from error
        draft = Path(stack.enter_context(folder)) / "draft.bundle"
        write_bundle(draft, manifest, members)
        runtime = Runtime(draft, search="exact", threads=options.threads)
        frames = probe_frames(good, manifest.frame.white_level, manifest.backbone.input_size, options.seed)
        spec, answers = make_probes(runtime, frames, options.seed)
    write_bundle(out, replace(manifest, probes=spec), {**members, **answers})


def _write_normal_embed(path: Path, manifest: Manifest, centroid: Any) -> None:
    backbone, threshold = manifest.backbone, manifest.calibration.threshold
    numbers = tuple(centroid.tolist())
    embed = NormalEmbed(backbone.name, backbone.input_size, backbone.mean, backbone.std, numbers, threshold)
    write_normal_embed(path, embed)


def _open_and_check(out: Path, options: Options, summary: Summary) -> None:
    runtime = Runtime(out, threads=options.threads, self_check=True)
    summary.say(
        "runtime",
        f"{runtime.engine} {runtime.precision}, search {runtime.search}, {runtime.threads} threads; golden probes pass",
    )
    summary.say("bundle", f"{out} ({out.stat().st_size / 1e6:.1f} MB, id {runtime.bundle_id})")


def _producer(engine: Engine) -> dict[str, str]:
    producer = {"python": platform.python_version(), "engine": f"{engine.name} {engine.version}"}
    for package in ("edge-ad", "torch", "torchvision", "onnx", "openvino", "onnxruntime", "hnswlib", "numpy"):
        try:
            producer[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return producer
