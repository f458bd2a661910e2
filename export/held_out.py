"""Calibration: scores good images that the method has not seen, and chooses the threshold from the scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edge_ad.calibration import rules as calibration
from edge_ad.calibration.promise import promise
from edge_ad.calibration.rules import describe_rule
from edge_ad.calibration.tail import odd_images
from edge_ad.errors import DatasetError
from edge_ad.heads.base import Found, Head, Scored, TileHead
from edge_ad.heads.patchcore import PatchCore
from edge_ad.registry import METHODS
from edge_ad.spec import CalibrationSpec, Size
from edge_ad.system.progress import Progress
from edge_ad.verdict.anomaly_map import map_peak
from edge_ad.verdict.join import join
from export.features import tensors
from export.fit.base import Material, Method
from export.folds import Splits
from export.options import Options
from export.power import NO_DEFECTS, Changed, Known, SynthDefect, SynthDefects, changed_by, frames_with
from export.stages import Stages
from export.summary import Summary


@dataclass(frozen=True)
class HeldOut:
    """What heads say of images that they have not seen.

    Attributes:
        scores: image scores of the good images.
        peaks: peaks of their anomaly maps; empty if there is no map.
        synthetic: image scores of the synthetic defects on them, in the order of `defects_in_order`.
    """

    scores: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)
    synthetic: list[float] = field(default_factory=list)

    def joined(self, second: HeldOut, factor: float) -> HeldOut:
        """With those of the same images at a second size, as the runtime joins them."""
        return HeldOut(
            joined(self.scores, second.scores, factor),
            joined(self.peaks, second.peaks, factor),
            joined(self.synthetic, second.synthetic, factor),
        )


def cross_fit(
    method: Method,
    material: Material,
    splits: Splits,
    drawn: SynthDefects = NO_DEFECTS,
    known: Known | None = None,
) -> HeldOut:
    """The held-out images of each split, scored by a head fitted to the other images of the split.

    Args:
        drawn: synthetic defects on the images.
        known: what is known of what they change.
    """
    found = HeldOut()
    for label, (train, held_out) in zip(splits.labels, splits.pairs, strict=True):
        head, defects = method.fit(train, label), drawn.on(held_out)
        if material.stages.tiles:
            _score_tiled(found, material, held_out, head, defects, label)
            continue
        for image in held_out.tolist():
            add_scored(found, _score(material, image, head), head, material.stages)
        found.synthetic.extend(_score_defects(defects, material, head, known or Known(), label))
    return found


def defects_in_order(splits: Splits, drawn: SynthDefects) -> list[SynthDefect]:
    """The synthetic defects as `cross_fit` scores them, split by split."""
    return [defect for _, held_out in splits.pairs for defect in drawn.on(held_out)]


def add_scored(found: HeldOut, scored: Scored, head: Head, stages: Stages) -> None:
    """Adds the score of a good image and the peak of its map, as the runtime gives them."""
    found.scores.append(scored.score)
    if head.has_map:
        masks, backbone = stages.masks, stages.backbone
        plane = masks.to_grid(scored.distances)
        sizes = backbone.tensor_size, backbone.covered
        found.peaks.append(map_peak(plane, masks.patches, masks.pixels, *sizes, scored.sigma_px))


def _score(material: Material, image: int, head: Head) -> Scored:
    """The answer to a good image. Where the method has searched it before, nothing is searched."""
    patches, known = material.patches[image], material.searches.good.get(image)
    if known is None:
        return head(np.ascontiguousarray(patches), exact=True)
    return cast(TileHead, head).judge((known.distances.copy(), known.nearest), patches.__getitem__)


def _score_tiled(
    found: HeldOut,
    material: Material,
    images: NDArray[np.int64],
    head: Head,
    defects: Sequence[SynthDefect],
    label: str,
) -> None:
    """Adds the answers to good images, and to the synthetic defects on them, whose patches are in no memory.

    A defect changes a few tiles, and only those are looked at again. So a defect costs a small part of a frame.
    """
    stages, judge = material.stages, cast(TileHead, head)
    scores: dict[int, list[float]] = {}
    with Progress(f"held out, {label}", len(images) + len(defects), unit="frames") as progress:
        pictures = tensors([material.good_images[image] for image in images], stages.frame, stages.crop)
        for image, tensor in zip(images.tolist(), pictures, strict=True):
            tiled = stages.tiled(f"{material.good_images[image]}")
            known = tiled.find(tensor, judge)
            add_scored(found, judge.judge(known, tiled.vector(tensor)), head, stages)
            progress.update(1)
            own = [defect for defect in defects if defect.image == image]
            tiled = stages.tiled(f"{material.good_images[image]} with a synthetic defect")
            for frame in frames_with(own, material.good_images, stages.frame):
                spoiled = stages.crop(frame, from_file=True)
                seen = tiled.find(spoiled, judge, known=(tensor, known))
                scores.setdefault(image, []).append(judge.judge(seen, tiled.vector(spoiled)).score)
                progress.update(1)
    for image in dict.fromkeys(defect.image for defect in defects):
        found.synthetic.extend(scores[image])


def _score_defects(
    defects: Sequence[SynthDefect], material: Material, head: Head, known: Known, label: str
) -> Iterator[float]:
    """Scores of synthetic defects. A head that judges each patch by itself is asked for those that differ alone."""
    if not defects:
        return
    stages, patches, searches = material.stages, material.patches, material.searches
    judge = cast(TileHead, head) if METHODS[material.options.method].tiles else None
    at, found = -1, None
    with Progress(f"synthetic defects, {label}", len(defects), unit="defects") as progress:
        changes = changed_by(defects, material.good_images, patches, stages, known)
        for defect, changed in zip(defects, changes, strict=True):
            good = patches[defect.image]
            if judge is None:
                yield head(changed.on(good), exact=True).score
            elif (estimate := searches.known(defect, changed, good)) is not None:
                exact = cast(PatchCore, head).settle(estimate, changed.search(judge.find))
                yield judge.judge((exact[0].copy(), exact[1]), changed.vector(good)).score
            else:
                if found is None or defect.image != at:  # an image with several stands in a row
                    at, found = defect.image, judge.find(np.ascontiguousarray(good), None)
                yield judge.judge(with_changed(found, changed, judge), changed.vector(good)).score
            progress.update(1)


def with_changed(found: Found, changed: Changed, head: TileHead) -> Found:
    """What was found for a good image, and anew for the patches that a defect changes."""
    distances, rows = found[0].copy(), found[1].copy()
    if len(changed.rows):
        distances[changed.rows], rows[changed.rows] = head.find(changed.patches, None)
    return distances, rows


def score_files(paths: Sequence[Path], head: Head, stages: Stages, label: str) -> list[float]:
    """Image scores of image files, as the runtime gives them; `label` is that of the progress bar.

    Raises:
        EngineError: a patch is NaN or Inf.
        FrameError: an image cannot be read.
    """
    scores: list[float] = []
    with Progress(label, len(paths), unit="images") as progress:
        for scored in stages.scored(head, paths):
            scores.append(scored.score)
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
            remedy="Give one --input-size, good images that differ, or --white-level if they are dark.",
        )
    return medians[0] / medians[1]


def joined(first: Sequence[float], second: Sequence[float], factor: float) -> list[float]:
    """Scores or peaks of the same images at two sizes, joined as the runtime does."""
    return [join(a, b, factor) for a, b in zip(first, second, strict=True)]


def calibrate(
    good: HeldOut, defects: list[float], splits: Splits, options: Options, left_out: int, summary: Summary
) -> CalibrationSpec:
    """The thresholds, with the scores that they were chosen from."""
    scores, peaks = good.scores, good.peaks
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
