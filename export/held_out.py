"""Calibration: scores of goods that the method has not seen, and the threshold chosen from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad.anomaly_map import anomaly_map
from edge_ad.cli.progress import Progress
from edge_ad.heads.base import Head
from edge_ad.spec import CalibrationSpec
from export.calibrate import Splits, choose_threshold, resolution
from export.features import stream
from export.fit.base import Material, Method
from export.options import RULES, Options
from export.stages import Stages
from export.summary import Summary

Scores = tuple[list[float], list[float]]  # image scores; peaks of the anomaly maps, none where there is no map


def cross_fit(method: Method, material: Material, splits: Splits) -> Scores:
    """Scores and map peaks of the held-out goods of each split, by a head fitted to the split's other goods."""
    scores: list[float] = []
    peaks: list[float] = []
    for number, (train, held_out) in enumerate(splits.pairs, 1):
        label = f"fold {number}/{len(splits.pairs)}" if len(splits.pairs) > 1 else "held-out split"
        found = score_images(material.patches, held_out, method.fit(train, label), material.stages)
        scores += found[0]
        peaks += found[1]
    return scores, peaks


def score_images(patches: NDArray[np.float32], images: NDArray[np.int64], head: Head, stages: Stages) -> Scores:
    """Image scores and map peaks of some of the (n, R, D) patches, as the runtime gives them."""
    grid, size = stages.backbone.grid, stages.backbone.tensor_size
    inside = np.ones(grid, np.bool_) if stages.patch_mask is None else stages.patch_mask
    scores, peaks = [], []
    for image in images:
        found = head(np.ascontiguousarray(patches[image]), exact=True)
        scores.append(found.score)
        if head.has_map:
            plane = np.zeros(grid, np.float32)
            plane[inside] = found.distances
            peaks.append(float(anomaly_map(plane, stages.patch_mask, stages.mask, size, (0, 0, *size), size).max()))
    return scores, peaks


def score_files(paths: Sequence[Path], head: Head, stages: Stages, label: str) -> list[float]:
    """Image scores of image files, as the runtime gives them; `label` is that of the progress bar.

    Raises:
        EngineError: a patch is NaN or Inf.
        FrameError: an image cannot be read.
    """
    scores: list[float] = []
    with Progress(label, len(paths), unit="images") as progress:
        for patches in stream(paths, stages.frame, stages.crop, stages.engine, stages.rows):
            scores.append(head(patches, exact=True).score)
            progress.update(1)
    return scores


def calibrate(
    goods: Scores, defects: list[float], splits: Splits, options: Options, summary: Summary
) -> CalibrationSpec:
    """The thresholds, with all that they were chosen from."""
    scores, peaks = goods
    value = options.rule_value
    threshold, interval = choose_threshold(options.rule, value, scores, defects)
    # scores of defects are labelled, pixels are not: there the map's threshold comes from the goods alone
    rule, rule_value = ("percentile", RULES["percentile"]) if defects else (options.rule, value)
    pixel_threshold = choose_threshold(rule, rule_value, peaks)[0] if peaks else None
    how = f"{options.rule} {value:g}" if RULES[options.rule] else options.rule
    among = f"{len(scores)} held-out goods" + (f" and {len(defects)} defects" if defects else "")
    bounds = f"95% {interval[0]:.4g}..{interval[1]:.4g}"
    summary.say("threshold", f"{threshold:.4g} ({bounds}): {how} of {among}, {splits.text}")
    if (note := resolution(options.rule, value, len(scores))) is not None:
        summary.say("note", note)
    return CalibrationSpec(
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
