"""Makes the bundle of a lesson: what `edge_ad.learning.lesson.Maker` asks for.

    images -> patches through the bundle's own graph -> what the bundle says of each
           -> of false rejects: the patches that exceeded -> those beyond the covering radius -> greedy k-centre -> rows
           -> the method's own fit, with these rows -> locked good images, scored -> threshold by the bundle's own rule

Stages, fit, calibration and synthetic defects are the export's; nothing here fits in a way of its own. It takes neither
torch nor the package onnx.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edge_ad import __version__, native
from edge_ad.bundle.align import open_aligner
from edge_ad.bundle.file import Bundle
from edge_ad.errors import EngineUnavailableError, LearningError
from edge_ad.learning.task import KNOWN, Made, Task
from edge_ad.runtime import Runtime
from edge_ad.spec import REFERENCE, TaughtSpec
from edge_ad.system.cpu import default_threads
from edge_ad.system.versions import timestamp
from export.align import members_of
from export.finish import finish
from export.fit import spread_of
from export.learn.point import LearnedPoint, learn_point
from export.learn.power import Drawn, draw, write_own_picture
from export.learn.proof import lost_defects
from export.make_point import point_members
from export.options import Options
from export.stacks import refuse_stacks
from export.summary import Summary
from export.teach.again import known_images, lost_images, require_rule, require_whole_frames

SEED = 0


def check(path: Path) -> None:
    """Refuses a bundle that cannot be taught single patches.

    Raises:
        SpecError: stacks, tiles, another method, or a threshold that defects have chosen.
        BundleError: it cannot be used.
    """
    with Bundle.open(path, points=()) as bundle:
        manifest = bundle.manifest
        refuse_stacks(manifest.frame, "edge-ad learn")
        spread_of(manifest)
        require_whole_frames(manifest)
        require_rule(manifest, Options("", effort="quick"))


def unfit(path: Path, images: Sequence[Path], threads: int | None) -> Mapping[Path, str]:
    """Images that say nothing new -> why."""
    if not images:
        return {}
    pool = native.Pool(threads or default_threads())
    with Bundle.open(path) as bundle:
        lost = lost_images(images, bundle.manifest.frame, open_aligner(bundle))
        found = dict.fromkeys(lost, "the part is not found in it")
        rest = [image for image in images if image not in found]
        known = known_images(bundle, rest, _options(threads), pool) if rest else []
        return {**found, **dict.fromkeys(known, KNOWN)}


def make(task: Task, folder: Path) -> Made:
    """Writes the new bundle into the folder, and measures both.

    Raises:
        LearningError: there is no room for more rows, or nothing lies beyond the covering radius.
        EdgeADError: an image or the bundle cannot be used.
    """
    if not task.offered:
        return Made(None, frozenset(), (), {})
    pool, options = native.Pool(task.threads or default_threads()), _options(task.threads)
    summary = Summary(task.bundle)
    with contextlib.ExitStack() as stack:
        bundle, first = (stack.enter_context(Bundle.open(path)) for path in (task.bundle, task.first))
        own, aligner = write_own_picture(first, folder), open_aligner(bundle)

        def draw_on(goods: Sequence[Path]) -> Drawn:
            return draw(goods, own, bundle.manifest, SEED, aligner)

        points: dict[str, LearnedPoint] = {}
        left_out: list[str] = []
        drawn: Drawn | None = None
        if not _any_rejected(bundle, task):
            return Made(None, frozenset(), (), {})
        for name in bundle.manifest.point_names:
            try:
                learned = learn_point(bundle, first, name, task, (options, pool, folder), drawn or draw_on, summary)
            except EngineUnavailableError as error:
                if name == REFERENCE:
                    raise
                left_out.append(f"the operating point {name} is left out, as it does not run here: {error.what}")
                continue
            points[name], drawn = learned, learned.drawn
        taught = frozenset(path for each in points.values() for path in each.rejected)
        _require_rows(points)
        out = folder / "new.bundle"
        _write(out, bundle, points, sorted(taught), options, summary)
    return Made(
        path=out,
        taught=taught,
        figures=tuple(each.figures for each in points.values()),
        lost=lost_defects(task, out, {name: each.found for name, each in points.items()}),
        notes=(*left_out, *dict.fromkeys(text for _, text in summary.lines)),
    )


def _options(threads: int | None) -> Options:
    return Options("", effort="quick", threads=threads, seed=SEED)


def _any_rejected(bundle: Bundle, task: Task) -> bool:
    """Whether a point that runs here rejects an offered image. Most of a lesson's time goes into what comes after."""
    for name in bundle.manifest.point_names:
        try:
            runtime = Runtime(task.bundle, point=name, threads=task.threads, search="exact", profile=False)
        except EngineUnavailableError:
            continue  # it is left out, and named, where the points learn
        if any(score >= runtime.threshold for score, _ in runtime.scores_and_peaks(task.offered)):
            return True
    return False


def _require_rows(points: Mapping[str, LearnedPoint]) -> None:
    if not any(each.figures.rows[1] > each.figures.rows[0] for each in points.values()):
        raise LearningError(
            "there is nothing to add: every patch that exceeded lies within the covering radius of the coreset",
            expected="patches that the bundle has not seen",
            got="a threshold that is too low for what it has seen",
            remedy="edge-ad calibrate sets the threshold anew.",
        )


def _write(
    out: Path,
    bundle: Bundle,
    points: Mapping[str, LearnedPoint],
    taught: Sequence[Path],
    options: Options,
    summary: Summary,
) -> None:
    """The new bundle, with golden probes, opened again and proven by them."""
    manifest, reference, aligner = bundle.manifest, points[REFERENCE].made, open_aligner(bundle)
    others = {name: each.made for name, each in points.items() if name != REFERENCE}
    by_name = {point.name: point for point in manifest.points}
    specs = tuple(replace(by_name[name], **made.specs) for name, made in others.items())
    lesson = TaughtSpec(bundle.id, len(taught), __version__, timestamp())
    new = replace(manifest, **reference.specs, points=specs, taught=(*manifest.taught, lesson), members={})
    members = {**reference.members, **({} if aligner is None else members_of(aligner))}
    for made in others.values():
        members |= point_members(made, reference)
    finish(out, new, members, taught[0], options, Summary(summary.bundle))
