"""Makes an operating point: images -> patches through its own graph -> method -> held-out scores -> threshold.

The same function makes the reference and every other point. So the effects of a point's arithmetic on the patches are
also in its coreset and its threshold.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle.file import Members
from edge_ad.calibration.rules import LABELLED
from edge_ad.data.layouts import TestImage
from edge_ad.registry import BASE_PRECISION, PRECISIONS
from edge_ad.spec import (
    MIN_FRAME_SIDE,
    REFERENCE,
    CalibrationSpec,
    FidelitySpec,
    PointSpec,
    PowerSpec,
    ProbesSpec,
    SecondSpec,
    Size,
)
from edge_ad.system.progress import Progress
from export.features import extract, patch_store, tensors
from export.fidelity import measure_fidelity
from export.fit import open_method
from export.fit.base import Fitted, Material, Searches
from export.fit.coresets import Coresets
from export.folds import Splits
from export.held_out import HeldOut, calibrate, cross_fit, defects_in_order, join_factor, joined, score_files
from export.options import Options
from export.plan import Plan
from export.power import NO_DEFECTS, Known, SynthDefects
from export.stages import GraphStages, Stages, at_point, size_text
from export.summary import Summary
from export.tiles import sample_numbers, sample_size

PREFIXES = ("", "second/")  # of the members of each input size
_MAX_SAMPLE = 128  # good images that set the ranges of int8; NNCF and ONNX Runtime advise some hundred


@dataclass(frozen=True)
class Job:
    """What all operating points of an export share.

    Attributes:
        good_images: files to learn from.
        tests: labelled images to score with the final head; empty if they are not needed.
        splits: how images are held out.
        sample: numbers of the good images that set the ranges of int8, ascending. int8 points never hold them out.
        folder: where patches are stored that do not fit into memory.
        left_out: number of odd good images that are not among `good_images` any more.
        chosen: input size -> `Material.chosen`.
        made: (precision, engine, input size) -> what was made for the points so far.
        drawn: synthetic defects on the good images, for the detection power of the points in f32.
        known: input size -> what is known of what they change, in f32.
        tried: input size -> coresets of trials of the same images and folds, in f32; whoever goes on with them takes
            them out.
    """

    options: Options
    good_images: list[Path]
    tests: Sequence[TestImage]
    splits: Splits
    sample: NDArray[np.int64]
    pool: native.Pool
    folder: Path
    left_out: int = 0
    chosen: dict[Size, dict[bytes, NDArray[np.int64]]] = field(default_factory=dict)
    made: dict[tuple[str, str, Size], MadeSight] = field(default_factory=dict)
    drawn: SynthDefects = NO_DEFECTS
    known: dict[Size, Known] = field(default_factory=dict)
    tried: dict[Size, Coresets] = field(default_factory=dict)


@dataclass(frozen=True)
class MadeSight:
    """One input size of an operating point: fitted, with its scores.

    Attributes:
        good: what was scored of the held-out good images.
        tests: image scores of `Job.tests`.
    """

    stages: Stages
    fitted: Fitted
    good: HeldOut
    tests: list[float]

    @property
    def members(self) -> Members:
        """By the names of FORMAT.md, without a prefix."""
        return {**self.stages.models, **self.stages.masks.members, **self.fitted.members}


@dataclass(frozen=True)
class MadePoint:
    """An operating point without its probes.

    Attributes:
        sights: of each input size: one, or two whose answers are joined.
        factor: `edge_ad.spec.SecondSpec.factor`; 1 with one size.
        held_out: numbers of the good images that were scored for its calibration, in the order of the scores.
        tests: image scores of `Job.tests`.
        power: scores of synthetic defects; None if none were drawn.
    """

    plan: Plan
    sights: tuple[MadeSight, ...]
    factor: float
    calibration: CalibrationSpec
    held_out: NDArray[np.int64]
    tests: list[float]
    power: PowerSpec | None = None

    @property
    def specs(self) -> dict[str, Any]:
        """The parts of the manifest that a point and the reference have. The probes are a placeholder until the
        bundle's own runtime has answered them.
        """
        first, *others = self.sights
        backbone = first.stages.backbone
        second = [SecondSpec(s.stages.backbone, s.fitted.spec, s.fitted.index, self.factor) for s in others]
        return {
            "backbone": backbone,
            "head": first.fitted.spec,
            "index": first.fitted.index,
            "calibration": self.calibration,
            "probes": ProbesSpec(1, (MIN_FRAME_SIDE, MIN_FRAME_SIDE), 1, PRECISIONS[self.plan.precision].tolerance),
            "second": second[0] if second else None,
            "power": self.power,
        }

    @property
    def members(self) -> Members:
        """By the names of FORMAT.md, without the prefix of the point."""
        parts = zip(PREFIXES, self.sights, strict=False)
        return {prefix + name: value for prefix, sight in parts for name, value in sight.members.items()}


def make_point(plan: Plan, bases: Mapping[Size, GraphStages], job: Job, summary: Summary) -> MadePoint:
    """Extracts, fits and calibrates through the stages of the point.

    Args:
        bases: the stages in f32 at each input size of the plan.

    Raises:
        EdgeADError: the images or options do not allow it.
    """
    options, splits = job.options, job.splits
    if PRECISIONS[plan.precision].own_models:
        splits = without(splits, job.sample)
    sights = tuple(_make_sight(plan, bases[size], splits, job, summary) for size in plan.sizes)
    good, tests, factor = sights[0].good, sights[0].tests, 1.0
    if len(sights) == 2:
        second = sights[1]
        factor = join_factor(good.scores, second.good.scores, plan.sizes)
        good = good.joined(second.good, factor)
        tests = joined(tests, second.tests, factor)
        names = [size_text(sight.stages) for sight in sights]
        text = "{0} and {1}, joined: the larger of the score at {0} and {2:.4g} times the score at {1}"
        summary.say("sizes", text.format(*names, factor))
    asks = options.rule in LABELLED
    defects = [score for score, image in zip(tests, job.tests, strict=True) if asks and image.defect is not None]
    calibration = calibrate(good, defects, splits, options, job.left_out, summary)
    power = job.drawn.spec(good.synthetic, defects_in_order(splits, job.drawn)) if good.synthetic else None
    return MadePoint(plan, sights, factor, calibration, splits.held_out, tests, power)


def _make_sight(plan: Plan, base: GraphStages, splits: Splits, job: Job, summary: Summary) -> MadeSight:
    """One input size of a point. It is the same in every point that has it, and made once."""
    options, size = job.options, base.backbone.input_size
    key = (plan.precision, plan.engine, size)
    if key in job.made:
        return job.made[key]
    is_base = plan.precision == BASE_PRECISION  # other arithmetic sees the same: its fidelity says how nearly
    names = [] if plan.name == REFERENCE else [plan.name]
    names += [size_text(base)] if len(plan.sizes) > 1 else []
    own = Summary(summary.bundle)
    stages = at_point(base, plan, [job.good_images[number] for number in job.sample], options.threads)
    tried = job.tried.pop(size, None) if is_base else None
    with contextlib.nullcontext(tried.patches) if tried else _features(stages, job, names, own) as patches:
        chosen = job.chosen.setdefault(size, tried.chosen if tried else {})
        searches = tried.searches if tried else Searches()
        given = patches, job.good_images, stages, options, job.pool, splits, chosen
        material = Material(*given, searches=searches, tried=tried)
        with own.stage("calibration"):
            method = open_method(material)
            drawn = job.drawn if is_base else NO_DEFECTS
            good = cross_fit(method, material, splits, drawn, job.known.get(size, Known()))
        fitted = method.finish(splits.final, own)
    tests: list[float] = []
    if job.tests:
        with own.stage("test images"):
            tests = score_files([image.path for image in job.tests], fitted.head, stages, "test images")
    summary.add(own, f"{size_text(base)}: " if len(plan.sizes) > 1 else "")
    return job.made.setdefault(key, MadeSight(stages, fitted, good, tests))


@contextlib.contextmanager
def _features(stages: Stages, job: Job, names: Sequence[str], summary: Summary) -> Iterator[NDArray[np.float32]]:
    """(n, R, D): the patches of the good images; with tiles some of each image, by chance."""
    count, images, dim = stages.masks.count, len(job.good_images), stages.backbone.dim
    kept, label = sample_size(images, count, dim) if stages.tiles else count, " ".join(["features", *names])
    with patch_store((images, kept, dim), job.folder) as patches:
        with summary.stage("features"):
            if stages.tiles:
                _sample(patches, stages, job, label)
                summary.say("sample", f"{kept:,} of {count:,} patches of each image, by chance")
            else:
                extract(patches, job.good_images, stages.frame, stages.crop, stages.engine, stages.masks.rows, label)
        yield patches


def _sample(out: NDArray[np.float32], stages: Stages, job: Job, label: str) -> None:
    """Fills `out` (images, n, D) with n patches of each image, by chance: all of them would not fit in memory."""
    images, count, _ = out.shape
    numbers = sample_numbers(job.options.seed, images, stages.masks.count, count)
    pictures = tensors(job.good_images, stages.frame, stages.crop)
    with Progress(label, images, unit="images") as progress:
        for i, (path, tensor) in enumerate(zip(job.good_images, pictures, strict=True)):
            out[i] = stages.tiled(f"{path}").vectors(tensor, numbers[i])
            progress.update(1)


def choose_sample(count: int, splits: Splits, seed: int) -> NDArray[np.int64]:
    """Numbers of the good images that set the ranges of int8: a quarter, `_MAX_SAMPLE` at most, ascending.

    If enough images are never held out, it takes those: then no held-out score is lost.
    """
    wanted = max(1, min(_MAX_SAMPLE, count // 4))
    everything = np.arange(count, dtype=np.int64)
    spare = np.setdiff1d(everything, splits.held_out)
    source = spare if len(spare) >= wanted else everything
    # another random stream: folds() shuffles with the seed itself, and a quarter of that would be one of its folds
    return np.sort(np.random.default_rng([seed, 1]).permutation(source)[:wanted])


def without(splits: Splits, sample: NDArray[np.int64]) -> Splits:
    """The splits without these images among the held-out ones. The method may still learn from them."""
    pairs = ((train, np.setdiff1d(held, sample)) for train, held in splits.pairs)
    kept = tuple((train, held) for train, held in pairs if len(held))
    lost = sum(len(held) for _, held in splits.pairs) - sum(len(held) for _, held in kept)
    return replace(
        splits, pairs=kept, text=f"{splits.text}, without {lost} good images that set ranges" if lost else splits.text
    )


def compare(point: MadePoint, reference: MadePoint, job: Job) -> FidelitySpec:
    """The point's fidelity, from the held-out images that both scored, and the test images if both kinds exist."""
    theirs = dict(zip(reference.held_out.tolist(), reference.calibration.good_scores, strict=True))
    labels = [image.defect is not None for image in job.tests]
    labelled = len(set(labels)) == 2
    return measure_fidelity(
        [theirs[number] for number in point.held_out.tolist()],
        point.calibration.good_scores,
        labels if labelled else (),
        reference.tests if labelled else (),
        point.tests if labelled else (),
    )


def point_spec(made: MadePoint, fidelity: FidelitySpec) -> PointSpec:
    """The point's part of the manifest, before its probes are answered."""
    return PointSpec(name=made.plan.name, engine=made.plan.engine, fidelity=fidelity, **made.specs)


def point_members(made: MadePoint, reference: MadePoint) -> Members:
    """The point's own members with their prefix. Models and masks that equal the reference's are shared."""
    shared = reference.members
    found: Members = {}
    for size, sight in zip(PREFIXES, made.sights, strict=False):
        own = dict(sight.fitted.members)
        for part in (sight.stages.models, sight.stages.masks.members):
            if not all(size + name in shared and _equal(value, shared[size + name]) for name, value in part.items()):
                own |= part
        found |= {f"points/{made.plan.name}/{size}{name}": value for name, value in own.items()}
    return found


def _equal(a: NDArray[Any] | bytes, b: NDArray[Any] | bytes) -> bool:
    if isinstance(a, bytes) or isinstance(b, bytes):
        return a == b
    return np.array_equal(a, b)
