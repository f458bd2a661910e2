"""Makes the bundle of an imported model, with the steps of the export: images -> frames -> crop -> graph -> patches ->
scores -> thresholds -> bundle. Nothing is fitted: the method comes with the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.calibration import rules
from edge_ad.errors import BackboneError, ParityError
from edge_ad.frames.crop import scale_box
from edge_ad.heads.base import Head
from edge_ad.registry import BASE_PRECISION
from edge_ad.spec import REFERENCE, Box, CalibrationSpec, FrameSpec, Manifest, Size, Tensor
from edge_ad.spec.calibration import AS_GIVEN
from edge_ad.system.cpu import default_threads
from edge_ad.system.files import check_outputs, scratch_for
from edge_ad.system.names import printable
from edge_ad.system.versions import timestamp
from export.drift import with_drift
from export.features import extract, patch_store, tensors
from export.finish import finish, producer_of
from export.fit import open_method
from export.fit.base import Fitted, Kept, Material, Method
from export.folds import Splits
from export.held_out import HeldOut, cross_fit
from export.importers.base import Given, Imported
from export.make_point import MadePoint, MadeSight
from export.options import Options
from export.pipeline import found_category, read_images
from export.plan import Plan
from export.roi import DrawnRoi
from export.stages import GraphStages, open_stages, prove_parity
from export.summary import Summary

NO_GRAPH = "exact only: there is no graph for it, as the package hnswlib is not installed"
_SCORES = 1e-4  # largest relative difference from the tool's own scores
_PROVEN = 3  # images
_FOREIGN = 1.0  # times the rows' distance from their mean: good patches lie nearer to a bank of their own network


@dataclass(frozen=True)
class Source:
    """The files of the model.

    Attributes:
        path: what was named; no output may replace it.
        weights: the same of the backbone's weights.
    """

    path: Path
    weights: Path | None


def make_bundle(
    imported: Imported, source: Source, options: Options, check: Callable[[], object] = lambda: None
) -> Summary:
    """Writes the bundle of a model.

    Args:
        options: of the export; `category` and `out` are set.
        check: is called before the target is written, and may refuse that.

    Raises:
        EdgeADError: the images do not fit the model, its patches are not those of its memory, or the target cannot be
            written.
    """
    timestamp()  # refuses a bad SOURCE_DATE_EPOCH
    category, where = found_category(options, None)
    out = options.out or Path(f"{category.name}.bundle")
    _check_target(out, source, category.train_good)
    summary = Summary(out)
    summary.say("model", f"{source.path} of {imported.tool}")
    summary.say("folder", where)
    options = replace(options, out=out, own={**options.own, **imported.own, **_graph_of(options, summary)})
    with summary.stage("images"):
        images, frame, _ = read_images(category, options, None, summary)
    size, crop = imported.view.at(frame.size)
    options = replace(options, method=imported.method, input_size=size, halo=0)
    with summary.stage("graph"):
        stages = _open(imported, options, frame, images, size, crop)
        prove_parity(stages, summary)
    for name, text in imported.notes:
        summary.say(name, text)
    made = _made(imported, stages, images, options, summary)
    manifest = Manifest(
        name=printable(category.name),
        created=timestamp(),
        producer={**producer_of(stages.engine), "imported from": imported.tool},
        frame=frame,
        roi=stages.roi,
        **made.specs,
    )
    manifest, members = with_drift(manifest, made.members, images, stages.masks, None, summary)
    check()
    finish(out, manifest, members, images[0], options, summary)
    return summary


def _check_target(out: Path, source: Source, images: Sequence[Path]) -> None:
    inputs = [("a good image", path) for path in images]
    inputs += [("the weights", source.weights)] if source.weights is not None else []
    files = [source.path] if source.path.is_file() else [path for path in source.path.iterdir() if path.is_file()]
    check_outputs([("--out", out)], [*inputs, *(("a file of the model", path) for path in files)])


def _graph_of(options: Options, summary: Summary) -> dict[str, bool]:
    """Whether patches are also searched by a graph, where there is something to search in."""
    if options.graph and find_spec("hnswlib") is None:
        summary.say("search", NO_GRAPH)
        return {"graph": False}
    return {}


def _open(
    imported: Imported, options: Options, frame: FrameSpec, images: Sequence[Path], size: Size, crop: Box | None
) -> GraphStages:
    """The stages. A centre crop is a region of interest: what lies around it is not looked at."""
    region = None
    if crop is not None and frame.size is not None:
        region = DrawnRoi(f"centre crop of {imported.tool}", _mask(frame.size, scale_box(crop, size, frame.size)))
    return open_stages(options, imported.network, frame, region, images, size, box=crop)


def _mask(frame: Size, box: Box) -> NDArray[np.bool_]:
    mask = np.zeros(frame, np.bool_)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


def _made(imported: Imported, stages: GraphStages, images: list[Path], options: Options, summary: Summary) -> MadePoint:
    """The one operating point: the model's memory, and thresholds from the images or from the model."""
    pool = native.Pool(options.threads or default_threads())
    nothing, everything = np.zeros(0, np.int64), np.arange(len(images), dtype=np.int64)
    splits = Splits(((nothing, everything),), nothing, AS_GIVEN)
    folder, backbone = scratch_for(summary.bundle).parent, stages.backbone
    kept = None if imported.rows is None else Kept(_fitting(imported.rows, stages), len(imported.rows), None)
    with patch_store((len(images), stages.masks.count, backbone.dim), folder) as patches:
        with summary.stage("features"):
            extract(patches, images, stages.frame, stages.crop, stages.engine, stages.masks.rows)
        material = Material(patches, images, stages, options, pool, splits, kept=kept)
        method = (imported.fit or open_method)(material)
        if kept is not None:
            _prove_near(kept.rows, patches, pool, summary)
        with summary.stage("calibration"):
            good = cross_fit(method, material, splits)
        fitted = _finished(method, summary)
    if imported.prove is not None:
        _prove_scores(imported.prove, stages, fitted.head, images[:_PROVEN], summary)
    calibration = _calibrated(imported, good, options, summary)
    plan = Plan(REFERENCE, BASE_PRECISION, "any", (backbone.input_size,))
    return MadePoint(plan, (MadeSight(stages, fitted, good, []),), 1.0, calibration, everything, [])


def _finished(method: Method, summary: Summary) -> Fitted:
    """The method as the bundle has it. That all rows were kept need not be told."""
    own = Summary(summary.bundle)
    fitted = method.finish(np.zeros(0, np.int64), own)
    own.lines[:] = [line for line in own.lines if line[0] != "patches"]
    summary.add(own)
    return fitted


def _fitting(rows: NDArray[np.float32], stages: GraphStages) -> NDArray[np.float32]:
    if rows.shape[1] != stages.backbone.dim:
        raise BackboneError(
            "the memory of the model does not fit its network",
            expected=f"rows of {stages.backbone.dim} numbers, as the layers {' '.join(stages.backbone.layers)} give",
            got=rows.shape[1],
        )
    return rows


def _prove_near(rows: NDArray[np.float32], patches: NDArray[np.float32], pool: native.Pool, summary: Summary) -> None:
    """Refuses a network whose patches of good images lie far from the model's rows: its weights are others.

    Raises:
        BackboneError: they do.
    """
    some = patches[:: max(1, len(patches) // 8)].reshape(-1, patches.shape[2])
    distances, _ = native.exact_search(native.Coreset(rows, None, pool=pool), np.ascontiguousarray(some), pool)
    near = float(np.median(distances))
    spread = float(np.median(np.linalg.norm(rows - rows.mean(axis=0), axis=1)))
    summary.say(
        "memory", f"{len(rows):,} rows, {spread:.4g} from their mean; patches of the images lie {near:.4g} from a row"
    )
    if not near < _FOREIGN * max(spread, float(np.finfo(np.float32).tiny)):
        raise BackboneError(
            "the patches of the good images are far from the memory of the model",
            expected=f"a median distance below {_FOREIGN * spread:.4g}, as the rows lie from their own mean",
            got=f"{near:.4g}",
            remedy="Give the weights that the model was trained with (--weights), and images of the same part.",
        )


def _prove_scores(
    prove: Callable[[Tensor], float], stages: GraphStages, head: Head, images: Sequence[Path], summary: Summary
) -> None:
    """Compares scores with those of the tool's own graph, on the same pixels.

    Raises:
        ParityError: they differ by more than `_SCORES`.
    """
    worst = 0.0
    for tensor in tensors(images, stages.frame, stages.crop):
        patches = stages.engine(tensor)
        rows = stages.masks.rows
        ours = head(patches if rows is None else patches[rows], exact=True).score
        theirs = prove(tensor)
        worst = max(worst, abs(ours - theirs) / max(abs(theirs), float(np.finfo(np.float32).tiny)))
    summary.say("scores", f"those of the model's own graph on {len(images)} images, within {worst:.1e} relative")
    if not worst <= _SCORES:
        raise ParityError(
            "the scores are not those of the model",
            expected=f"at most {_SCORES:g} relative",
            got=f"{worst:.3g}",
            remedy="Its graph has another form than PatchCore and PaDiM of anomalib have; please report it.",
        )


def _calibrated(imported: Imported, good: HeldOut, options: Options, summary: Summary) -> CalibrationSpec:
    """The thresholds: of the model, or of the images as they are."""
    n = len(good.scores)
    rule, value = options.rule_for(n)
    if imported.given is not None and options.false_reject is None:
        return _as_given(imported, imported.given, good, summary)
    found = rules.calibrate(rule, value, good.scores, good.peaks, (), AS_GIVEN)
    bounds = "95% {:.4g}..{:.4g}".format(*found.interval)
    how = rules.describe_rule(rule, value)
    summary.say("threshold", f"{found.threshold:.4g} ({bounds}): {how} of the {n} good images, taken as they are")
    summary.say(
        "note",
        "scores of images that the model has learned from are too low, and so is a threshold from them: give good "
        "images that it has not seen, or set it later with edge-ad calibrate",
    )
    return found


def _as_given(imported: Imported, given: Given, good: HeldOut, summary: Summary) -> CalibrationSpec:
    """The model's own threshold. That of the map comes from the images, as maps are made here in edge-ad's way."""
    usual = rules.calibrate(rules.PLAIN, rules.RULES[rules.PLAIN], good.scores, good.peaks, (), AS_GIVEN)
    over = sum(score >= given.score for score in good.scores)
    summary.say(
        "threshold",
        f"{given.score:.4g}, as {imported.tool} has set it; {over} of {len(good.scores)} good images reach it",
    )
    summary.say(
        "note", "--false-reject sets a threshold by the good images instead, which the model should not have seen"
    )
    split = f"{AS_GIVEN}; the threshold is that of {imported.tool}"
    same = (given.score, given.score)
    return replace(usual, rule=given.rule, value=given.value, threshold=given.score, interval=same, split=split)
