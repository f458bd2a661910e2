"""An operating point that learns: which patches, the new rows, the new threshold, and figures before and after."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle.file import Bundle
from edge_ad.calibration import rules
from edge_ad.errors import EngineUnavailableError
from edge_ad.heads.base import Head
from edge_ad.heads.index import choose_search
from edge_ad.learning.policy import check_growth
from edge_ad.learning.report import Figures
from edge_ad.learning.task import Task
from edge_ad.spec import CalibrationSpec, IndexSpec, Manifest, PowerSpec
from export.coreset import covering_radius, select_outside
from export.features import extract, patch_store
from export.fit import open_method, spread_of
from export.fit.base import Fitted, Kept, Material
from export.folds import Splits
from export.held_out import HeldOut, add_scored, joined
from export.learn.power import Drawn, Seeing, compare
from export.make_point import MadePoint, MadeSight
from export.options import Options
from export.plan import Plan
from export.projection import choose_basis
from export.stages import Stages, size_text
from export.summary import Summary
from export.teach.again import open_sight, options_of

_NONE = np.zeros(0, np.int64)
_ONE = np.arange(1, dtype=np.int64)
_ALONE = Splits((), _ONE, "locked")

Drawing = Callable[[Sequence[Path]], Drawn]
Work = tuple[Options, native.Pool, Path]  # options, threads, folder for patches that do not fit into memory


@dataclass(frozen=True)
class LearnedPoint:
    """A point that has learned.

    Attributes:
        rejected: offered images that it rejects today.
        found: locked defects that it finds today.
        drawn: the synthetic defects that it was tested by.
    """

    made: MadePoint
    figures: Figures
    rejected: frozenset[Path]
    found: frozenset[Path]
    drawn: Drawn


@dataclass(frozen=True)
class _Sight:
    """An input size before it learns.

    Attributes:
        spec: the manifest of this size.
        patches: (n, R, D) of all images: offered, locked good ones, defects.
        factor: that brings its scores to the scale of the first size.
        values: (n, R) of the patches, by the head of today.
        scores: (n,) of the images.
    """

    spec: Manifest
    stages: Stages
    kept: Kept
    options: Options
    patches: NDArray[np.float32]
    head: Head
    factor: float
    values: NDArray[np.float32]
    scores: list[float]


def learn_point(
    bundle: Bundle, first: Bundle, name: str, task: Task, work: Work, drawn: Drawn | Drawing, summary: Summary
) -> LearnedPoint:
    """An operating point that has learned from the offered images.

    Args:
        first: the first bundle of the chain: its scores and its rows are what the lesson starts from.
        drawn: synthetic defects; or what draws them, on good images that the point accepts.

    Raises:
        EngineUnavailableError: it does not run here.
        LearningError: there is no room for more rows.
    """
    spec, images = bundle.manifest.at(name), [*task.offered, *task.goods, *task.defects]
    offered, goods = len(task.offered), len(task.goods)
    with contextlib.ExitStack() as stack:
        sights = [stack.enter_context(each) for each in _open(bundle, name, images, work, summary)]
        limit = spec.calibration.threshold
        rejected = np.array(_together(sights)) >= limit
        wrong = np.flatnonzero(rejected[:offered])
        rows = _add_rows(sights, wrong, limit, first.at(name).sights(), task, work)
        files = [images[at] for at in wrong] or images[:1]
        fitted = [_fit(sight, own, task, work, files) for sight, own in zip(sights, rows, strict=True)]
        scores, held = _scored(sights, fitted, range(offered, offered + goods))
        calibration = _calibrate(first.manifest.at(name).calibration, spec.calibration, held)
        free = [images[at] for at in np.flatnonzero(~rejected[: offered + goods])]
        drawn = drawn if isinstance(drawn, Drawn) else drawn(free)
        limits = limit, calibration.threshold
        seeing = [
            Seeing(sight.stages, (sight.head, own.head), (limits[0] / sight.factor, limits[1] / sight.factor))
            for sight, own in zip(sights, fitted, strict=True)
        ]
        compared = compare(drawn, seeing, sights[-1].factor, name)
        radius = tuple(covering_radius(sight.kept.rows, _seed(sight), work[1]) for sight in sights)
    after = np.array(scores) >= calibration.threshold
    parts = (slice(0, offered), slice(offered, offered + goods), slice(offered + goods, None))
    (offers, backs, hits) = [(int(rejected[part].sum()), int(after[part].sum())) for part in parts]
    figures = Figures(
        point=name,
        threshold=limits,
        rows=(sum(len(sight.kept.rows) for sight in sights), sum(_size(own.index) for own in fitted)),
        radius=radius,
        misses=(len(task.defects) - hits[0], len(task.defects) - hits[1]),
        defects=len(task.defects),
        held_back=backs,
        goods=goods,
        offered=offers,
        images=offered,
        power=compared.power,
        synthetic=compared.synthetic,
        pictures=compared.pictures,
    )
    found = frozenset(path for path, bad in zip(task.defects, rejected[offered + goods :], strict=True) if bad)
    made = _made(name, spec, sights, fitted, calibration, compared.spec)
    return LearnedPoint(made, figures, frozenset(images[at] for at in wrong), found, drawn)


def _made(
    name: str,
    spec: Manifest,
    sights: Sequence[_Sight],
    fitted: Sequence[Fitted],
    calibration: CalibrationSpec,
    power: PowerSpec | None,
) -> MadePoint:
    """The point as the export has it."""
    sizes = tuple(sight.stages.backbone.input_size for sight in sights)
    plan = Plan(name, spec.backbone.precision, "any", sizes)
    parts = tuple(MadeSight(sight.stages, own, HeldOut(), []) for sight, own in zip(sights, fitted, strict=True))
    return MadePoint(plan, parts, sights[-1].factor, calibration, _NONE, [], None if spec.power is None else power)


def _open(
    bundle: Bundle, name: str, images: list[Path], work: Work, summary: Summary
) -> Iterator[contextlib.AbstractContextManager[_Sight]]:
    """The input sizes of a point, each with the patches of all images and what its head says of them today."""
    own = bundle.at(name)
    factors = (1.0, 1.0 if own.manifest.second is None else own.manifest.second.factor)
    for sight, factor in zip(own.sights(), factors, strict=False):
        yield _open_sight(bundle, name, sight, images, work, (factor, summary))


@contextlib.contextmanager
def _open_sight(
    bundle: Bundle, name: str, sight: Bundle, images: list[Path], work: Work, more: tuple[float, Summary]
) -> Iterator[_Sight]:
    (given, pool, folder), (factor, summary) = work, more
    stages, kept = open_sight(bundle, name, sight, given, pool)
    _require_graph(sight.manifest, kept, pool)
    options = options_of(sight.manifest, given, summary)
    nothing = np.empty((0, stages.masks.count, stages.backbone.dim), np.float32)
    head = open_method(Material(nothing, [], stages, options, pool, _ALONE, kept=kept)).fit(_NONE, "as it is")
    with patch_store((len(images), stages.masks.count, stages.backbone.dim), folder) as patches:
        label = f"features {name} {size_text(stages)}"
        extract(patches, images, stages.frame, stages.crop, stages.engine, stages.masks.rows, label)
        scored = [head(np.ascontiguousarray(each), exact=True) for each in patches]
        values = np.stack([each.distances for each in scored])
        scores = [each.score for each in scored]
        yield _Sight(sight.manifest, stages, kept, options, patches, head, factor, values, scores)


def _require_graph(spec: Manifest, kept: Kept, pool: native.Pool) -> None:
    """Where the search of this PC takes the graph, a bundle without one would break its time limit."""
    if spec.index is None or spec.index.graph is None or find_spec("hnswlib") is not None:
        return
    opened = native.Coreset(kept.rows, choose_basis(kept.rows, spec.index.seed), pool=pool)
    if choose_search("auto", opened, has_graph=True) == "exact":
        return
    raise EngineUnavailableError(
        "this PC searches the bundle by its graph, and a new graph needs the package hnswlib",
        expected="hnswlib installed, so that the time of a frame stays what it is",
        got="it is not",
        remedy="Run pip install hnswlib.",
    )


def _together(sights: Sequence[_Sight]) -> list[float]:
    """Scores of all images, of the sizes together."""
    scores = [sight.scores for sight in sights]
    return scores[0] if len(scores) == 1 else joined(scores[0], scores[1], sights[1].factor)


@dataclass(frozen=True)
class _Rows:
    """What an input size learns: patches of false rejects, and which of them become rows."""

    points: NDArray[np.float32]
    chosen: NDArray[np.int64]


def _add_rows(
    sights: Sequence[_Sight], wrong: NDArray[np.int64], limit: float, firsts: Sequence[Bundle], task: Task, work: Work
) -> list[_Rows]:
    """The new rows of each input size.

    Raises:
        LearningError: there are some, and no room is left for any.
    """
    found = []
    for sight, first in zip(sights, firsts, strict=True):
        points = _exceeding(sight, wrong, limit / sight.factor)
        now, once, seed = len(sight.kept.rows), _size(first.manifest.index), _seed(sight)
        room, radius = task.limits.room(once, now), covering_radius(sight.kept.rows, seed, work[1])
        given = sight.kept.rows, points, radius, room, seed, work[1], "rows"
        chosen, beyond = select_outside(*given, sight.kept.scale)
        if beyond and not room:
            check_growth([size_text(sight.stages)], task.limits, once, now)
        found.append(_Rows(points, chosen))
    return found


def _exceeding(sight: _Sight, wrong: NDArray[np.int64], limit: float) -> NDArray[np.float32]:
    """(n, D): the patches of false rejects that exceeded; and those around them that smoothing counted in."""
    masks, spread = sight.stages.masks, spread_of(sight.spec)
    kernel = np.ones((2 * spread + 1, 2 * spread + 1), np.uint8)
    found = [np.empty((0, sight.stages.backbone.dim), np.float32)]
    for image in wrong:
        over = masks.to_grid((sight.values[image] >= limit).astype(np.float32)) > 0
        place = cv2.dilate(over.astype(np.uint8), kernel).astype(np.bool_)
        inside = place.ravel() if masks.rows is None else place.ravel()[masks.rows]
        found.append(sight.patches[image][inside])
    return np.concatenate(found)


def _fit(sight: _Sight, rows: _Rows, task: Task, work: Work, images: list[Path]) -> Fitted:
    """The method, fitted by the export's own code to the rows that are there and the new ones."""
    points, chosen = rows.points, {_ONE.tobytes(): rows.chosen}
    material = Material(
        points[None], images, sight.stages, sight.options, work[1], _ALONE, chosen=chosen, kept=sight.kept
    )
    return open_method(material).finish(_ONE if len(rows.chosen) else _NONE, Summary(task.bundle))


def _scored(sights: Sequence[_Sight], fitted: Sequence[Fitted], held: range) -> tuple[list[float], HeldOut]:
    """Scores of all images by the new heads; and what calibration needs of the held-out ones."""
    scores, parts = [], []
    for sight, own in zip(sights, fitted, strict=True):
        found = HeldOut()
        for patches in sight.patches:
            add_scored(found, own.head(np.ascontiguousarray(patches), exact=True), own.head, sight.stages)
        scores.append(found.scores)
        parts.append(HeldOut(found.scores[held.start : held.stop], found.peaks[held.start : held.stop]))
    if len(sights) == 1:
        return scores[0], parts[0]
    factor = sights[1].factor
    return joined(scores[0], scores[1], factor), parts[0].joined(parts[1], factor)


def _calibrate(first: CalibrationSpec, now: CalibrationSpec, held: HeldOut) -> CalibrationSpec:
    """The thresholds by the bundle's own rule: from the scores that the first bundle kept, and those of the locked good
    images as the new bundle scores them. So no image counts twice, however many lessons there were."""
    kept = f"{len(first.good_scores)} scores of the first bundle"
    split = f"{len(held.scores)} locked good images, beside {kept}"
    scores, peaks = [*first.good_scores, *held.scores], [*first.good_peaks, *held.peaks]
    return rules.calibrate(now.rule, now.value, scores, peaks, (), split, left_out=first.left_out)


def _size(index: IndexSpec | None) -> int:
    assert index is not None, "a method that can be taught has one"
    return index.size


def _seed(sight: _Sight) -> int:
    assert sight.spec.index is not None, "a method that can be taught has one"
    return sight.spec.index.seed
