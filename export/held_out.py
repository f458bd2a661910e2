"""Calibration: scores good images that the method has not seen, and chooses the threshold from the scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad.calibration import rules as calibration
from edge_ad.calibration.promise import promise
from edge_ad.calibration.rules import describe_rule
from edge_ad.calibration.tail import odd_images
from edge_ad.heads.base import Head
from edge_ad.spec import CalibrationSpec
from edge_ad.system.progress import Progress
from edge_ad.verdict.anomaly_map import map_peak
from export.features import stream
from export.fit.base import Material, Method
from export.folds import Splits
from export.options import Options
from export.stages import Stages
from export.summary import Summary

HeldOut = tuple[list[float], list[float]]  # image scores; peaks of the anomaly maps, empty if there is no map


def cross_fit(method: Method, material: Material, splits: Splits) -> HeldOut:
    """Scores and map peaks of the held-out images of each split, by a head fitted to the other images of the split."""
    scores: list[float] = []
    peaks: list[float] = []
    for number, (train, held_out) in enumerate(splits.pairs, 1):
        label = f"fold {number}/{len(splits.pairs)}" if len(splits.pairs) > 1 else "held-out split"
        found = score_images(material.patches, held_out, method.fit(train, label), material.stages)
        scores += found[0]
        peaks += found[1]
    return scores, peaks


def score_images(patches: NDArray[np.float32], images: NDArray[np.int64], head: Head, stages: Stages) -> HeldOut:
    """Image scores and map peaks of some of the (n, R, D) patches, as the runtime gives them."""
    masks, size = stages.masks, stages.backbone.tensor_size
    scores, peaks = [], []
    for image in images:
        found = head(np.ascontiguousarray(patches[image]), exact=True)
        scores.append(found.score)
        if head.has_map:
            peaks.append(map_peak(masks.to_grid(found.distances), masks.patches, masks.pixels, size))
    return scores, peaks


def score_files(paths: Sequence[Path], head: Head, stages: Stages, label: str) -> list[float]:
    """Image scores of image files, as the runtime gives them; `label` is that of the progress bar.

    Raises:
        EngineError: a patch is NaN or Inf.
        FrameError: an image cannot be read.
    """
    scores: list[float] = []
    with Progress(label, len(paths), unit="images") as progress:
        for patches in stream(paths, stages.frame, stages.crop, stages.engine, stages.masks.rows):
            scores.append(head(patches, exact=True).score)
            progress.update(1)
    return scores


def calibrate(
    good: HeldOut, defects: list[float], splits: Splits, options: Options, left_out: int, summary: Summary
) -> CalibrationSpec:
    """The thresholds, with the scores that they were chosen from."""
    scores, peaks = good
    rule, value = options.rule_for(len(scores))
    found = calibration.calibrate(rule, value, scores, peaks, defects, splits.text, left_out=left_out)
    among = f"{len(scores)} held-out good images" + (f" and {len(defects)} defects" if defects else "")
    bounds = "95% {:.4g}..{:.4g}".format(*found.interval)
    how = describe_rule(rule, value)
    summary.say("threshold", f"{found.threshold:.4g} ({bounds}): {how} of {among}, {splits.text}")
    summary.say("promise", promise(rule, value, found.threshold, scores))
    return found


def odd_ones(scores: Sequence[float], numbers: NDArray[np.int64], paths: Sequence[Path]) -> dict[Path, float]:
    """Odd good images -> their held-out scores, the highest first.

    Args:
        scores: of the held-out good images.
        numbers: of these images among `paths`.
    """
    return {paths[numbers[at]]: scores[at] for at in odd_images(np.array(scores))}
