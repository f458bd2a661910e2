"""Teaches a bundle again: adds patches of more good images to those that it searches in.

    images -> patches through the bundle's own graph -> coreset of the new patches, beside the rows that are there
           -> held-out scores of the new images, beside the scores that the bundle keeps -> threshold -> bundle

Backbone, input sizes, region of interest, method, scale, smoothing and threshold rule stay. It is the code of the
export: methods are fitted and images held out as there (`export.fit`, `export.held_out`).

The scores in the bundle are of images that were held out when it was made, from coresets without the new rows. More
rows bring no patch farther away, so these scores are somewhat too high: the threshold errs towards accepting, and the
promise about false rejects holds. The scores of the new images alone would be too few to set a threshold
(bench/NOTES.md, "Few good images").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad import __version__, native
from edge_ad.bundle.align import open_aligner
from edge_ad.bundle.drift import open_drift
from edge_ad.bundle.file import Bundle, Members
from edge_ad.bundle.models import MEMBERS, models_of
from edge_ad.bundle.roi import open_roi
from edge_ad.calibration import rules
from edge_ad.calibration.promise import describe_odd, promise
from edge_ad.calibration.tail import odd_images
from edge_ad.engines import Engine, Models, open_engine
from edge_ad.errors import DatasetError, EngineUnavailableError, SpecError
from edge_ad.frames.align import Aligner
from edge_ad.frames.check import check_frame, read_frame
from edge_ad.frames.crop import Crop
from edge_ad.heads.base import Opening, open_coreset
from edge_ad.heads.patchcore import SCALE
from edge_ad.registry import PRECISIONS
from edge_ad.serving.point import runnable_engine
from edge_ad.spec import REFERENCE, CalibrationSpec, FrameSpec, Manifest, TaughtSpec
from edge_ad.system.cpu import default_threads
from edge_ad.system.files import scratch_for
from edge_ad.system.names import listed
from edge_ad.system.progress import Progress
from edge_ad.system.versions import timestamp
from export.align import members_of
from export.drift import with_drift
from export.features import extract, patch_store, stream
from export.finish import finish
from export.fit import open_method, settings_of
from export.fit.base import Kept, Material
from export.folds import Splits, folds
from export.held_out import HeldOut, cross_fit
from export.make_point import MadePoint, MadeSight, point_members
from export.options import Options
from export.plan import Plan
from export.stacks import refuse_stacks
from export.stages import Stages, size_text
from export.summary import Summary
from export.teach.images import check_for

NO_GRAPH = "exact only: there is no graph for it, as the package hnswlib is not installed"
_SAME = 1e-3  # of the median distance: a patch that is nearer to a row is that row, whatever the engine
_KNOWN = 0.2  # share of the rows that an image gives on average: with so many of its own, it was learned from before
_LISTED = 5  # names in a message


@dataclass(frozen=True)
class Lesson:
    """What all operating points of a bundle learn from.

    Attributes:
        options: seed, threads; the method's own come from the bundle.
        images: new good images.
        splits: how these are held out.
        folder: where patches are stored that do not fit into memory.
        made: what was taught already: an input size may be in several points.
    """

    options: Options
    images: list[Path]
    splits: Splits
    pool: native.Pool
    folder: Path
    made: dict[tuple[object, ...], MadeSight]


def teach_again(
    bundle: Bundle,
    paths: list[Path],
    out: Path,
    options: Options,
    summary: Summary,
    check: Callable[[], object] = lambda: None,
) -> None:
    """Writes a bundle that has learned from more good images.

    Args:
        bundle: opened with all its members.
        options: seed, threads, the rate of false rejects and `skip_bad`; the others come from the bundle.
        check: is called before the target is written, and may refuse that.

    Raises:
        SpecError: the method cannot learn from more, or the rule needs labelled defects.
        DatasetError: the images do not fit the bundle, or it knows all of them.
    """
    manifest, pool = bundle.manifest, native.Pool(options.threads or default_threads())
    refuse_stacks(manifest.frame, "edge-ad teach")
    settings_of(manifest)
    require_whole_frames(manifest)
    require_rule(manifest, options)
    aligner = open_aligner(bundle)
    with summary.stage("images"):
        images = check_for(manifest.frame, paths, options.skip_bad, summary)
        images = _found(images, manifest.frame, aligner, summary)
        images = _unknown(bundle, images, options, pool, summary)
    summary.say("images", f"{len(images)} new good images")
    splits = _splits(len(images), options.seed)
    lesson = Lesson(options, images, splits, pool, scratch_for(out).parent, {})
    reference = _teach(bundle, REFERENCE, lesson, summary)
    points: list[tuple[str, MadePoint]] = []
    for point in manifest.points:
        quiet = Summary(out)  # these lines are printed for the reference only
        try:
            with summary.stage(point.name):
                points.append((point.name, _teach(bundle, point.name, lesson, quiet)))
        except EngineUnavailableError as error:
            summary.say("left out", f"the operating point {point.name}, which does not run here: {error.what}")
    for name, made in points:
        summary.say("point", f"{name}: threshold {made.calibration.threshold:.4g}")
    if manifest.power is not None:
        summary.say("power", "not known any more: the synthetic defects were scored by what the bundle was before")
    taught = TaughtSpec(bundle.id, len(images), __version__, timestamp())
    by_name = {point.name: point for point in manifest.points}
    specs = tuple(replace(by_name[name], **made.specs) for name, made in points)
    new = replace(manifest, **reference.specs, points=specs, taught=(*manifest.taught, taught), members={})
    members = {**reference.members, **({} if aligner is None else members_of(aligner))}
    for _, made in points:
        members |= point_members(made, reference)
    known = open_drift(bundle)
    if known is not None:  # else a reference of the new images alone would take the old parts for drift
        new, members = with_drift(new, members, images, reference.sights[0].stages.masks, aligner, summary, known)
    check()
    finish(out, new, members, images[0], options, summary)


def require_whole_frames(manifest: Manifest) -> None:
    """Refuses a bundle that cuts frames into tiles.

    Raises:
        SpecError: it does.
    """
    for name in manifest.point_names:
        for sight in manifest.at(name).sights:
            if sight.backbone.tiles is not None:
                raise SpecError(
                    "a bundle that cuts frames into tiles cannot learn more",
                    expected="a bundle that sees a frame whole",
                    got="tiles of {} x {}".format(*sight.backbone.tiles.size),
                    remedy="Export it anew from all good images, with --tiles.",
                )


def _found(images: list[Path], frame: FrameSpec, aligner: Aligner | None, summary: Summary) -> list[Path]:
    """The images in which the part is found, if the bundle looks for it: it would reject the others in any case."""
    lost = lost_images(images, frame, aligner)
    names = [path.name for path in lost]
    if aligner is not None and len(lost) == len(images):
        raise DatasetError(
            "the part is not found in any of the images",
            expected=f"images of good parts, with a confidence of {aligner.spec.least:.2f} or more",
            got=listed(names, _LISTED),
        )
    if lost:
        summary.say("left out", f"{len(lost)} in which the part is not found: {listed(names, _LISTED)}")
    return [path for path in images if path not in lost]


def lost_images(images: Sequence[Path], frame: FrameSpec, aligner: Aligner | None) -> list[Path]:
    """The images in which the part is not found, if the bundle looks for it."""
    if aligner is None:
        return []
    return [path for path in images if not aligner.find(check_frame(read_frame(path), frame, f"{path}")).found]


def require_rule(manifest: Manifest, options: Options) -> None:
    """Refuses a threshold that defects have chosen, unless a rate is asked for.

    Raises:
        SpecError: it is one.
    """
    rule = manifest.calibration.rule
    if rule in rules.LABELLED and options.false_reject is None:
        raise SpecError(
            f"the threshold of this bundle was chosen by labelled defects ({rule})",
            expected="a rule that needs good images only",
            got=rule,
            remedy="Give --false-reject, such as 0.01; then calibrate again with edge-ad calibrate.",
        )


def _splits(count: int, seed: int) -> Splits:
    """How the new images are held out; a single one is scored by what the bundle knew before."""
    if count > 1:
        return folds(count, "crossfit", seed)
    only = np.zeros(1, np.int64)
    return Splits(((only[:0], only),), only, "held out")


def _unknown(bundle: Bundle, images: list[Path], options: Options, pool: native.Pool, summary: Summary) -> list[Path]:
    """The images that the bundle has not learned from before. The others would score far too low when held out."""
    known = known_images(bundle, images, options, pool)
    names = [path.name for path in known]
    if len(known) == len(images):
        raise DatasetError(
            "the bundle has learned from all of these images before",
            expected="new images of good parts",
            got=listed(names, _LISTED),
        )
    if known:
        summary.say("left out", f"{len(known)} that the bundle has learned from before: {listed(names, _LISTED)}")
    return [path for path in images if path not in known]


def known_images(bundle: Bundle, images: Sequence[Path], options: Options, pool: native.Pool) -> list[Path]:
    """The images that the bundle has learned from before.

    The rows of an image that was learned from are patches of it, to the last digits. Those that several images have,
    such as of a sign in every picture, do not count.
    """
    sight = bundle.at(REFERENCE).sights()[0]
    stages, kept = open_sight(bundle, REFERENCE, sight, options, pool)
    rows = native.Coreset(kept.rows, None, pool=pool)
    own = len(kept.rows) * stages.masks.count / kept.patches
    same: list[NDArray[np.int32]] = []
    with Progress("comparing", len(images), unit="images") as progress:
        for patches in stream(images, stages.frame, stages.crop, stages.engine, stages.masks.rows):
            distances, nearest = native.exact_search(rows, np.ascontiguousarray(patches), pool)
            same.append(np.unique(nearest[distances <= _SAME * np.median(distances)]))
            progress.update(1)
    shared = np.bincount(np.concatenate(same), minlength=len(kept.rows)) > 1
    counts = [int((~shared[numbers]).sum()) for numbers in same]
    return [path for path, count in zip(images, counts, strict=True) if count >= max(2, _KNOWN * own)]


def open_sight(bundle: Bundle, name: str, sight: Bundle, options: Options, pool: native.Pool) -> tuple[Stages, Kept]:
    """The stages of an input size of an operating point, and what it has learned.

    Raises:
        EngineUnavailableError: the point does not run here.
    """
    spec, masks = sight.manifest, open_roi(sight)
    engine = runnable_engine(bundle, name, "auto", "CPU")
    threads, arithmetic = options.threads or default_threads(), PRECISIONS[spec.backbone.precision].arithmetic

    def compiled(models: Models, streams: int = 1) -> Engine:
        return open_engine(engine, models, device="CPU", threads=threads, precision=arithmetic, streams=streams)

    there = [member for members in MEMBERS.values() for member in members if member in sight]
    models: Members = {member: bytes(sight.blob(member)) for member in there}
    aligner = open_aligner(bundle, pool)
    follow = (None, None) if aligner is None else (aligner.picture, aligner.find)
    crop = Crop(spec.frame, spec.backbone, spec.roi, masks.pixels, pool, *follow)
    stages = Stages(spec.frame, spec.backbone, spec.roi, masks, models, crop, compiled(models_of(sight), threads))
    opening = Opening(sight, masks.rows, pool, "exact", compiled)
    scale = opening.array(SCALE, (opening.index.size,)) if SCALE in sight else None
    return stages, Kept(open_coreset(opening).vectors, opening.index.patches, scale)


def _teach(bundle: Bundle, name: str, lesson: Lesson, summary: Summary) -> MadePoint:
    """An operating point that has learned from the new images."""
    own, point = bundle.at(name), bundle.manifest.find_point(name)
    spec = own.manifest
    sights = tuple(_teach_sight(bundle, name, sight, lesson, summary) for sight in own.sights())
    good, factor = sights[0].good, 1.0
    if spec.second is not None:
        factor = spec.second.factor
        good = good.joined(sights[1].good, factor)
    calibration = _calibrate(spec, good, lesson, summary)
    sizes = tuple(sight.stages.backbone.input_size for sight in sights)
    plan = Plan(name, spec.backbone.precision, "any" if point is None else point.engine, sizes)
    return MadePoint(plan, sights, factor, calibration, lesson.splits.held_out, [])


def _teach_sight(bundle: Bundle, name: str, sight: Bundle, lesson: Lesson, summary: Summary) -> MadeSight:
    stages, kept = open_sight(bundle, name, sight, lesson.options, lesson.pool)
    key = (stages.engine.name, stages.backbone, kept.rows.tobytes())
    if key in lesson.made:
        return lesson.made[key]
    options = options_of(sight.manifest, lesson.options, summary)
    own, label = Summary(summary.bundle), f"features {size_text(stages)}"
    with patch_store((len(lesson.images), stages.masks.count, stages.backbone.dim), lesson.folder) as patches:
        with own.stage("features"):
            extract(patches, lesson.images, stages.frame, stages.crop, stages.engine, stages.masks.rows, label)
        given = patches, lesson.images, stages, options, lesson.pool, lesson.splits
        material = Material(*given, kept=kept)
        method = open_method(material)
        with own.stage("calibration"):
            good = cross_fit(method, material, lesson.splits)
        fitted = method.finish(lesson.splits.final, own)
    summary.add(own, f"{size_text(stages)}: " if bundle.manifest.at(name).second is not None else "")
    return lesson.made.setdefault(key, MadeSight(stages, fitted, good, []))


def options_of(spec: Manifest, options: Options, summary: Summary) -> Options:
    """The options that the export would have had for this input size: as many rows of an image as before, and a graph
    where there was one."""
    index = spec.index
    assert index is not None, "methods that keep patches have an index"
    graph = index.graph is not None and find_spec("hnswlib") is not None
    if index.graph is not None and not graph:
        summary.say("search", NO_GRAPH)
    share = index.size / index.patches
    own = {**options.own, **settings_of(spec), "coreset": share, "graph": graph}
    return replace(options, method=spec.head.method, own=own)


def _calibrate(spec: Manifest, good: HeldOut, lesson: Lesson, summary: Summary) -> CalibrationSpec:
    """The thresholds, from the scores that the bundle keeps and those of the new images."""
    old, options, count = spec.calibration, lesson.options, len(good.scores)
    scores, peaks = [*old.good_scores, *good.scores], [*old.good_peaks, *good.peaks]
    asks = options.false_reject is not None
    rule, value = options.rule_for(len(scores)) if asks else (old.rule, old.value)
    kept = f"{len(old.good_scores)} scores of good images that the bundle keeps"
    split = f"{lesson.splits.text} of {count} new good images, beside {kept}"
    new = rules.calibrate(rule, value, scores, peaks, (), split, left_out=old.left_out)
    bounds = "95% {:.4g}..{:.4g}".format(*new.interval)
    summary.say(
        "threshold",
        f"set anew, {old.threshold:.4g} -> {new.threshold:.4g} ({bounds}): {rules.describe_rule(rule, value)} of "
        f"{kept} and of {count} new ones, each scored before its own patches were learned",
    )
    over = sum(score >= old.threshold for score in good.scores)
    summary.say(
        "new images", f"{over} of {count} score above the old threshold; the highest has {max(good.scores):.4g}"
    )
    summary.say("promise", promise(rule, value, new.threshold, scores))
    fresh = [at - len(old.good_scores) for at in odd_images(np.array(scores))]
    if odd := {lesson.images[lesson.splits.held_out[at]]: good.scores[at] for at in fresh if at >= 0}:
        summary.say("odd images", f"{describe_odd(odd, len(scores))}: are they good?")
    return new
