"""Makes an operating point: images -> patches through its own graph -> method -> held-out scores -> threshold.

The same function makes the reference and every other point. So the effects of a point's arithmetic on the patches are
also in its coreset and its threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle.file import Members
from edge_ad.calibration.rules import LABELLED
from edge_ad.data.layouts import TestImage
from edge_ad.registry import PRECISIONS
from edge_ad.spec import REFERENCE, CalibrationSpec, FidelitySpec, PointSpec, ProbesSpec, Size
from export.features import extract, patch_store
from export.fidelity import measure_fidelity
from export.fit import open_method
from export.fit.base import Fitted, Material
from export.folds import Splits
from export.held_out import calibrate, cross_fit, score_files
from export.options import Options
from export.plan import Plan
from export.stages import Stages
from export.summary import Summary

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


@dataclass(frozen=True)
class MadePoint:
    """An operating point without its probes.

    Attributes:
        held_out: numbers of the good images that were scored for its calibration, in the order of the scores.
        tests: image scores of `Job.tests`.
        members: member name of FORMAT.md, without a prefix -> member.
    """

    plan: Plan
    stages: Stages
    fitted: Fitted
    calibration: CalibrationSpec
    held_out: NDArray[np.int64]
    tests: list[float]

    @property
    def members(self) -> Members:
        return {**self.stages.models, **self.stages.masks.members, **self.fitted.members}

    @property
    def probes(self) -> ProbesSpec:
        """A placeholder in the manifest until the bundle's own runtime has answered the probes."""
        return ProbesSpec(1, self.stages.backbone.input_size, 1, PRECISIONS[self.plan.precision].tolerance)


def make_point(plan: Plan, stages: Stages, job: Job, summary: Summary) -> MadePoint:
    """Extracts, fits and calibrates through the stages of the point.

    Raises:
        EdgeADError: the images or options do not allow it.
    """
    options, splits = job.options, job.splits
    if PRECISIONS[plan.precision].own_models:
        splits = without(splits, job.sample)
    label = "features" if plan.name == REFERENCE else f"features {plan.name}"
    with patch_store((len(job.good_images), stages.masks.count, stages.backbone.dim), job.folder) as patches:
        with summary.stage("features"):
            extract(patches, job.good_images, stages.frame, stages.crop, stages.engine, stages.masks.rows, label)
        material = Material(patches, job.good_images, stages, options, job.pool, job.chosen.setdefault(plan.size, {}))
        with summary.stage("calibration"):
            method = open_method(material)
            held_out = cross_fit(method, material, splits)
        fitted = method.finish(splits.final, summary)
    tests: list[float] = []
    if job.tests:
        with summary.stage("test images"):
            tests = score_files([image.path for image in job.tests], fitted.head, stages, "test images")
    asks = options.rule in LABELLED
    defects = [score for score, image in zip(tests, job.tests, strict=True) if asks and image.defect is not None]
    calibration = calibrate(held_out, defects, splits, options, job.left_out, summary)
    numbers = np.concatenate([held for _, held in splits.pairs])
    return MadePoint(plan, stages, fitted, calibration, numbers, tests)


def choose_sample(count: int, splits: Splits, seed: int) -> NDArray[np.int64]:
    """Numbers of the good images that set the ranges of int8: a quarter, `_MAX_SAMPLE` at most, ascending.

    If enough images are never held out, it takes those: then no held-out score is lost.
    """
    wanted = max(1, min(_MAX_SAMPLE, count // 4))
    everything = np.arange(count, dtype=np.int64)
    spare = np.setdiff1d(everything, np.concatenate([held for _, held in splits.pairs]))
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
    return PointSpec(
        name=made.plan.name,
        engine=made.plan.engine,
        backbone=made.stages.backbone,
        head=made.fitted.spec,
        index=made.fitted.index,
        calibration=made.calibration,
        probes=made.probes,
        fidelity=fidelity,
    )


def point_members(made: MadePoint, reference: MadePoint) -> Members:
    """The point's own members with their prefix. Models and masks that equal the reference's are shared."""
    prefix, shared = f"points/{made.plan.name}/", reference.members
    own = dict(made.fitted.members)
    for part in (made.stages.models, made.stages.masks.members):
        if not all(name in shared and _equal(value, shared[name]) for name, value in part.items()):
            own |= part
    return {prefix + name: value for name, value in own.items()}


def _equal(a: NDArray[Any] | bytes, b: NDArray[Any] | bytes) -> bool:
    if isinstance(a, bytes) or isinstance(b, bytes):
        return a == b
    return np.array_equal(a, b)
