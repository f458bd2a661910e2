"""The export: images -> frames -> crop -> graph -> patches -> method -> calibration -> bundle.

`export_bundle` reads like this line, and the functions below it are in the same order. `export.make_point.make_point`
does the part from crop to calibration, once for each operating point.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.calibration.promise import describe_odd
from edge_ad.calibration.rules import LABELLED
from edge_ad.data.layouts import Category, TestImage, check_images, find_category, load_category
from edge_ad.errors import DatasetError, SpecError
from edge_ad.frames.align import Aligner
from edge_ad.frames.listing import files_of
from edge_ad.metrics.power import describe_power, describe_seen
from edge_ad.registry import METHODS
from edge_ad.serving.fidelity import describe_fidelity
from edge_ad.spec import FidelitySpec, FrameSpec, LightsSpec, Manifest, Size
from edge_ad.system.cpu import default_threads, detect_cpu
from edge_ad.system.files import check_outputs, check_target, scratch_for
from edge_ad.system.names import listed, printable
from edge_ad.system.progress import Progress
from edge_ad.system.versions import timestamp
from export.align import align, members_of
from export.align_preview import align_preview_of, write_align_preview
from export.choose.evidence import Subject, Trials, decide
from export.drift import with_drift
from export.fidelity import shortfall
from export.finish import finish, producer_of
from export.fit import open_own_network, write_more
from export.folds import around, folds
from export.held_out import odd_ones
from export.make_point import Job, MadePoint, choose_sample, compare, make_point, point_members, point_spec
from export.network import Network, open_networks
from export.options import RELIEF, Options
from export.plan import Plan, hindrance, plan_points, require_good, require_packages, require_training
from export.power import POWER_DEFECTS, SynthDefects, draw_defects
from export.relief import relief_network
from export.roi import DrawnRoi, read_roi
from export.roi_auto import AUTO, auto_region
from export.roi_preview import preview_of, write_preview
from export.stacks import measure_stacks, with_lights
from export.stages import GraphStages, Stages, open_stages, prove_parity, tell_layers
from export.summary import Summary, describe_sizes
from export.tiles import describe_tiles

_LISTED = 3  # folders in the summary


def export_bundle(
    options: Options, category: Category | None = None, check: Callable[[], object] = lambda: None
) -> Summary:
    """Makes the bundle that `options` describe. It writes the target in the last step only.

    Args:
        category: its images; by default those that `options.category` names.
        check: is called before the target is written, and may refuse that.

    Raises:
        EdgeADError: something is wrong with the options, the images, the backbone or the target.
    """
    plans, (options, lights) = _check(options), with_lights(options)
    category, where = found_category(options, category)
    options, out = _with_target(options, category)
    summary = Summary(out)
    summary.say("folder", where)
    with summary.stage("images"):
        good_images, frame, sizes = read_images(category, options, lights, summary)
        require_good(plans, len(good_images))
        options = _at_native_size(options, sizes)
        tests = _tests(category, options, compare=len(plans) > 1 or options.input_size is None)
    with summary.stage("graph"):
        networks = _networks(options)
        good_images, canvas = _canvas(options, frame, good_images, summary)
        require_good(plans, len(good_images))
    region, pool = canvas.region, native.Pool(options.threads or default_threads())
    subject = Subject(options, networks, frame, region, good_images, sizes, pool, canvas.aligner)
    chosen = decide(subject, summary)
    options = chosen.settle(options)
    plans = plan_points(options)
    with summary.stage("graph"):
        bases = _open_bases(plans, chosen.opened, options, chosen.network, canvas, good_images)
        _prove(bases, plans[0].sizes, summary)
    stages = bases[plans[0].sizes[0]]
    job = _job(options, good_images, tests, pool, scratch_for(out).parent, canvas, stages.network, chosen.trials)
    job, reference = _reference(plans, bases, job, canvas, summary)
    points = _further_points(plans[1:], bases, reference, job, summary)
    manifest = Manifest(
        name=printable(category.name),
        created=timestamp(),
        producer=producer_of(stages.engine),
        frame=frame,
        roi=None if stages.roi is None else replace(stages.roi, source=printable(stages.roi.source)),
        **reference.specs,
        points=tuple(point_spec(point, fidelity) for point, fidelity in points),
        align=None if canvas.aligner is None else canvas.aligner.spec,
    )
    members = {**reference.members, **({} if canvas.aligner is None else members_of(canvas.aligner))}
    for point, _ in points:
        members |= point_members(point, reference)
    manifest, members = with_drift(manifest, members, job.good_images, stages.masks, canvas.aligner, summary)
    check()
    finish(out, manifest, members, job.good_images[0], options, summary)
    stages.network.finished()
    _write_previews(out, job.good_images, canvas, stages, options, summary)
    for label, text in write_more(options, manifest, reference.members).items():
        summary.say(label, text)
    return summary


@dataclass(frozen=True)
class Canvas:
    """Where synthetic defects are drawn: the frames, their region of interest, and what finds it in each of them."""

    frame: FrameSpec
    region: DrawnRoi | None
    aligner: Aligner | None = None


def _canvas(options: Options, frame: FrameSpec, good_images: list[Path], summary: Summary) -> tuple[list[Path], Canvas]:
    """The region of interest that the options name, or that is found, None for the whole frame; with --align also what
    finds the part, and the good images in which it was found.
    """
    if options.align is not None:
        found = align(good_images, frame, options, summary)
        return found.good_images, Canvas(frame, found.region, found.aligner)
    if options.roi == AUTO:
        auto = auto_region(good_images, frame, options.roi_margin / 100)
        summary.say("region", auto.sentence)
        return good_images, Canvas(frame, auto.region)
    return good_images, Canvas(frame, read_roi(options.roi, frame.size) if options.roi and frame.size else None)


def _write_previews(
    out: Path, good_images: Sequence[Path], canvas: Canvas, stages: Stages, options: Options, summary: Summary
) -> None:
    """Writes the pictures of region and reference that are asked for."""
    if (preview := preview_of(options, out)) is not None:
        write_preview(preview, good_images[0], canvas.frame, canvas.region, stages.crop, canvas.aligner)
        summary.say("preview", f"{preview}")
    if (preview := align_preview_of(options, out)) is not None and canvas.aligner is not None:
        write_align_preview(preview, good_images, canvas.frame, canvas.region, canvas.aligner)
        summary.say("preview", f"{preview}")


def _networks(options: Options) -> Sequence[Network]:
    """The networks to choose from: backbones, or the one that the method trains."""
    if options.backbone == RELIEF:
        return [relief_network(options)]
    return [open_own_network(options)] if METHODS[options.method].own_network else open_networks(options)


def _open_bases(
    plans: Sequence[Plan],
    opened: Mapping[Size, GraphStages],
    options: Options,
    network: Network,
    canvas: Canvas,
    good_images: Sequence[Path],
) -> dict[Size, GraphStages]:
    """The stages in f32 at each size of the plans; those that are open are used again."""
    bases: dict[Size, GraphStages] = {}
    first = next(iter(opened.values()), None)
    for size in dict.fromkeys(size for plan in plans for size in plan.sizes):
        given = options, network, canvas.frame, canvas.region, good_images, size
        bases[size] = opened.get(size) or open_stages(*given, first, canvas.aligner)
        first = first or bases[size]
    return bases


def _prove(bases: Mapping[Size, GraphStages], told: Sequence[Size], summary: Summary) -> None:
    """Proves the parity of every size. Of the reference's sizes it is told, with their layers and tiles."""
    for size, base in bases.items():
        own = summary if size in told else Summary(summary.bundle)
        tell_layers(base, own)
        prove_parity(base, own, several=len(told) > 1)
        if base.reach is not None:
            own.say("tiles", describe_tiles(base.backbone, len(base.tiles), base.reach))


def _job(
    options: Options,
    good_images: list[Path],
    tests: Sequence[TestImage],
    pool: native.Pool,
    folder: Path,
    canvas: Canvas,
    network: Network,
    trials: Trials,
    left_out: int = 0,
) -> Job:
    if network.learned:
        splits = around(good_images, network.learned)
    else:
        splits = folds(len(good_images), options.calibration, options.seed)
    sample = choose_sample(len(good_images), splits, options.seed)
    drawn = _draw(options, good_images, np.sort(splits.held_out), canvas, trials)
    known, tried = trials.known_of(network), trials.coresets_of(network)
    given = options, good_images, tests, splits, sample, pool, folder, left_out
    return Job(*given, drawn=drawn, known=known, tried=tried)


def _draw(
    options: Options, good_images: list[Path], held_out: NDArray[np.int64], canvas: Canvas, trials: Trials
) -> SynthDefects:
    """Synthetic defects on the held-out good images: those of the trials, so that nothing is looked at twice, and more.

    Where an image of the trials is not held out, all are drawn anew.
    """
    mask, turns = None if canvas.region is None else canvas.region.mask, range(POWER_DEFECTS[options.effort])
    known = trials.drawn.among(trials.paths, [good_images[number] for number in held_out])
    if known is None:
        return draw_defects(good_images, held_out, mask, canvas.frame, options.seed, turns, canvas.aligner)
    more = draw_defects(good_images, held_out, mask, canvas.frame, options.seed, turns[trials.turns :], canvas.aligner)
    return known.numbered(held_out).with_more(more)


def _reference(
    plans: Sequence[Plan], bases: Mapping[Size, GraphStages], job: Job, canvas: Canvas, summary: Summary
) -> tuple[Job, MadePoint]:
    """The job and its reference point. It names odd good images; with --drop-outliers it goes on without them.

    Then the point is made again, as if they had never been in the folder; the choice of sizes stands.
    """
    first = Summary(summary.bundle)
    made = make_point(plans[0], bases, job, first)
    odd = odd_ones(made.calibration.good_scores, made.held_out, job.good_images)
    if odd and job.options.drop_outliers:
        summary.say("left out", describe_odd(odd, len(made.held_out)))
        kept = [path for path in job.good_images if path not in odd]
        require_good(plans, len(kept))
        network = bases[plans[0].sizes[0]].network
        job = _job(job.options, kept, job.tests, job.pool, job.folder, canvas, network, Trials(), len(odd))
        first.lines.clear()
        made = make_point(plans[0], bases, job, first)
    elif odd:
        text = f"{describe_odd(odd, len(made.held_out))}: are they good? --drop-outliers leaves them out"
        first.say("odd images", text)
    summary.add(first)
    if made.power is not None:
        threshold = made.calibration.threshold
        summary.say("power", describe_power(made.power, threshold))
        summary.say("sees", f"{describe_seen(made.power, threshold)} (synthetic defects)")
    return job, made


def _further_points(
    plans: Sequence[Plan], bases: Mapping[Size, GraphStages], reference: MadePoint, job: Job, summary: Summary
) -> list[tuple[MadePoint, FidelitySpec]]:
    """Makes the other operating points, and returns those that are faithful enough. Prints the result of each."""
    found: list[tuple[MadePoint, FidelitySpec]] = []
    baselines = {reference.plan.sizes: reference}  # the first point at each choice of sizes: that in f32
    for plan in plans:
        if (why := hindrance(plan, detect_cpu())) is not None:
            summary.say("left out", f"{plan.name}: {why}")
            continue
        details = Summary(summary.bundle)  # these lines are printed for the reference only, and not for each point
        with summary.stage(plan.name):
            made = make_point(plan, bases, job, details)
        fidelity, baseline = compare(made, reference, job), baselines.setdefault(plan.sizes, made)
        loss = compare(made, baseline, job)
        name = "the reference" if baseline is reference else baseline.plan.name
        if (why := shortfall(loss, job.options.max_drop, name)) is not None:
            summary.say("left out", f"{plan.name}: {why}")
            continue
        summary.say("point", f"{plan.name}: threshold {made.calibration.threshold:.4g}, {describe_fidelity(fidelity)}")
        found.append((made, fidelity))
    return found


def found_category(options: Options, given: Category | None) -> tuple[Category, str]:
    """The images to export, and where they are: those given, or those that the options name."""
    if given is not None:
        folders = dict.fromkeys(os.path.abspath(path.parent) for path in given.train_good)
        return given, listed([*folders], _LISTED)
    folder = find_category(options.category, options.data)
    return load_category(folder, stacks=options.input == "photometric"), os.path.abspath(folder)


def _check(options: Options) -> list[Plan]:
    """Refuses before any work what cannot be made or written. Returns the wanted operating points."""
    for flag, path in options.outputs:
        check_target(flag, path)
    timestamp()  # refuses a bad SOURCE_DATE_EPOCH
    plans = plan_points(options)
    require_packages(plans)
    require_training(options)
    return plans


def _with_target(options: Options, category: Category) -> tuple[Options, Path]:
    """The options with the target in them, and the target.

    Refuses targets that cannot be written, or would replace another target or a file that the export reads.

    Raises:
        SpecError: names the option and the file.
    """
    out = options.out or Path(f"{category.name}.bundle")
    check_target("--out", out)
    outputs = [("--out", out), *options.outputs]
    if (preview := preview_of(options, out)) is not None:
        check_target("--roi-preview", preview)
        outputs.append(("--roi-preview", preview))
    if (preview := align_preview_of(options, out)) is not None:
        check_target("--out (its preview)", preview)
        outputs.append(("--out (its preview)", preview))
    given: dict[str, str | Path | None] = {"--weights": options.weights, "--roi": options.roi}
    given |= {"--backbone": options.backbone, "--align-to": options.align_to, "--lights": options.lights}
    inputs = [(f"the file of {option}", Path(path)) for option, path in given.items() if path is not None]
    inputs += [("a training image", file) for path in category.train_good for file in files_of(path)]
    inputs += [("a test image", file) for image in category.test for file in files_of(image.path)]
    inputs += [("a mask", image.mask) for image in category.test if image.mask is not None]
    check_outputs(outputs, inputs)
    return replace(options, out=out), out


def read_images(
    category: Category, options: Options, lights: LightsSpec | None, summary: Summary
) -> tuple[list[Path], FrameSpec, tuple[Size, ...]]:
    """The good images to learn from, what frames are, and the (H, W) of each."""
    with Progress("reading", len(category.train_good), unit="images") as progress:
        good_images, facts = check_images(category.train_good, options.skip_bad, progress)
    summary.say("images", f"{len(good_images)} good, layout {category.layout}, {describe_sizes(facts.sizes)}")
    if facts.bad:
        summary.say("left out", f"{len(facts.bad)} unreadable: {', '.join(path.name for path, _ in facts.bad[:5])}")
    if facts.copies:  # copies add nothing to the coreset, and a held-out copy would score 0
        summary.say("left out", f"{len(facts.copies)} copies of other images, such as {facts.copies[0].name}")
        good_images = tuple(path for path in good_images if path not in set(facts.copies))
        if len(good_images) < 2:
            remedy = "Photograph different good parts instead of copying an image."
            raise DatasetError(
                "the good images are all the same", expected="2 or more that differ", got=1, remedy=remedy
            )
    size = next(iter(facts.sizes)) if len(facts.sizes) == 1 else None
    if options.roi not in (None, AUTO) and size is None:
        raise DatasetError(
            "a region of interest needs images of one size",
            expected="all (H, W) alike",
            got=describe_sizes(facts.sizes),
            remedy="Export without --roi, or bring the images to one size.",
        )
    depth = options.bit_depth or facts.bit_depth
    if facts.bit_depth > depth:
        raise SpecError("--bit-depth 8 does not fit the images", expected="16", got="images with 16 bits")
    if facts.bit_depth == 16 and facts.max_value < options.white_level // 4:
        white = (1 << facts.max_value.bit_length()) - 1
        summary.say("note", f"16-bit images no brighter than {facts.max_value}: is --white-level {white} meant?")
    spec = FrameSpec(size, options.color_order, depth, options.white_level)  # type: ignore[arg-type]
    if lights is not None:
        spec = replace(spec, stack=measure_stacks(good_images, spec, lights, options, summary))
    return list(good_images), spec, facts.frames


def _at_native_size(options: Options, sizes: Collection[Size]) -> Options:
    """With --tiles, and with filters whose extents are pixels, frames keep their size if none is asked for.

    Raises:
        SpecError: they have several sizes.
    """
    if options.input_size is not None or (options.tiles is None and options.backbone != RELIEF):
        return options
    if len(set(sizes)) > 1:
        what = "--tiles" if options.tiles else f"--backbone {RELIEF}"
        expected = "all (H, W) alike, or --input-size, to which every frame is resized first"
        raise SpecError(f"{what} needs images of one size", expected=expected, got=f"{len(set(sizes))} sizes")
    return replace(options, input_size=next(iter(sizes)))


def _tests(category: Category, options: Options, *, compare: bool) -> list[TestImage]:
    """The test images to score: all if points are compared by them, only the defects if the threshold rule needs them.

    Raises:
        DatasetError: the rule needs defects and the category has none; an image cannot be read.
    """
    tests = list(category.test)
    defects = [image for image in tests if image.defect is not None]
    if options.rule in LABELLED and not defects:
        raise DatasetError(
            f"--threshold-rule {options.rule} needs labelled defects",
            expected="a test folder with defects",
            got=f"none in {category.name} ({category.layout})",
            remedy="Use percentile, sigma or tail, which need good images only.",
        )
    if compare and 0 < len(defects) < len(tests):
        with Progress("reading tests", len(tests), unit="images") as progress:
            readable = set(check_images([image.path for image in tests], options.skip_bad, progress)[0])
        return [image for image in tests if image.path in readable]
    return defects if options.rule in LABELLED else []
