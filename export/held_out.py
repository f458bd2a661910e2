"""Calibration: scores good images that the method has not seen, and chooses the threshold from the scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad.calibration import rules as calibration
from edge_ad.calibration.rules import describe_rule, resolution
from edge_ad.errors import DatasetError
from edge_ad.heads.base import Head
from edge_ad.spec import CalibrationSpec, Size
from edge_ad.system.progress import Progress
from edge_ad.verdict.anomaly_map import map_peak
from edge_ad.verdict.join import join
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
    for label, (train, held_out) in zip(splits.labels, splits.pairs, strict=True):
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


def join_factor(first: Sequence[float], second: Sequence[float], sizes: Sequence[Size]) -> float:
    """The factor that brings scores of the second size to the scale of the first: `edge_ad.spec.SecondSpec.factor`.

    Args:
        first, second: scores of the same held-out good images at the two sizes.
        sizes: (H, W) of the two, for a message.

    Raises:
        DatasetError: the scores have no scale, as most of them are 0.
    """
    medians = [float(np.median(scores)) for scores in (first, second)]
    if not (min(medians) > 0 and 0 < medians[0] / medians[1] < np.inf):
        raise DatasetError(
            "the scores at two input sizes cannot be joined",
            expected="median scores of held-out good images above 0",
            got=" and ".join(f"{m:g} at {h}x{w}" for m, (h, w) in zip(medians, sizes, strict=True)),
            remedy="Export without --second-size, or give good images that differ.",
        )
    return medians[0] / medians[1]


def joined(first: Sequence[float], second: Sequence[float], factor: float) -> list[float]:
    """Scores or peaks of the same images at two sizes, joined as the runtime does."""
    return [join(a, b, factor) for a, b in zip(first, second, strict=True)]


def calibrate(
    good: HeldOut, defects: list[float], splits: Splits, options: Options, summary: Summary
) -> CalibrationSpec:
    """The thresholds, with the scores that they were chosen from."""
    scores, peaks = good
    rule, value = options.rule, options.rule_value
    found = calibration.calibrate(rule, value, scores, peaks, defects, splits.text)
    among = f"{len(scores)} held-out good images" + (f" and {len(defects)} defects" if defects else "")
    bounds = "95% {:.4g}..{:.4g}".format(*found.interval)
    how = describe_rule(rule, value)
    summary.say("threshold", f"{found.threshold:.4g} ({bounds}): {how} of {among}, {splits.text}")
    if (note := resolution(rule, value, len(scores))) is not None:
        summary.say("note", note)
    return found
