"""A trial: what an input size sees, with any local scale and smoothing, on good images that its coreset has not seen.

The images of a trial are held out fold by fold, as for the threshold of a bundle: each fold is scored against a coreset
of the others, and so are the synthetic defects on its images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad.frames.roi import RoiMasks
from edge_ad.heads.index import Index
from edge_ad.heads.local import Local, Smoothing
from edge_ad.system.progress import Progress
from export.fit.coresets import Coresets, Matched
from export.power import Known, SynthDefects, changed_by
from export.stages import Stages

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """Image scores of a candidate: of held-out good images, and of synthetic defects on them."""

    good: Scores
    defects: Scores

    @property
    def power(self) -> float:
        """How well the scores part them, from 0 to 1: for a mean defect, the share of good images that score less.

        A rate at a threshold would say the same by fewer numbers; where there are few images it says it worse.
        """
        below = np.searchsorted(np.sort(self.good), self.defects, side="left")
        return float(below.mean() / len(self.good))


def joined(first: Seen, second: Seen) -> Seen | None:
    """Two sizes as one point has them: the larger score, each in units of its good images' median; None if one is 0."""
    units = [float(np.median(seen.good)) for seen in (first, second)]
    if min(units) <= 0:
        return None
    return Seen(
        np.maximum(first.good / units[0], second.good / units[1]),
        np.maximum(first.defects / units[0], second.defects / units[1]),
    )


Setting = tuple[float, float]  # exponent of the local scale, and sigma of the smoothing; 0 for none


def seen(
    stages: Stages,
    paths: Sequence[Path],
    shown: NDArray[np.int64],
    drawn: SynthDefects,
    coresets: Coresets,
    settings: Sequence[Setting],
    known: Known,
) -> dict[Setting, Seen]:
    """What is seen at one input size, with each local scale and smoothing.

    Args:
        stages: at that size.
        paths: files of the good images that the coresets are made of.
        shown: numbers of those whose scores count.
        drawn: synthetic defects on these; `SynthDefect.image` counts `paths`.
        coresets: of the patches of the images.
        settings: to try.
        known: takes what the defects change.
    """
    patches, searches = coresets.patches, coresets.searches
    good: dict[Setting, list[float]] = {setting: [] for setting in settings}
    defective: dict[Setting, list[float]] = {setting: [] for setting in settings}
    label = "trial of {} x {}".format(*stages.backbone.input_size)
    with Progress(f"{label} with defects", len(drawn.defects), unit="defects") as progress:
        for name, (train, held) in zip(coresets.splits.labels, coresets.splits.pairs, strict=True):
            coreset = coresets.fold(train, name)
            local = locals_of(coresets.matched(coreset, train), stages.masks, settings)
            for image in np.intersect1d(held, shown).tolist():
                found = searches.good[image]  # `matched` has searched all good images
                for setting in settings:
                    good[setting].append(float(local[setting](found.distances, found.nearest).max()))
            defects = drawn.on(held)
            for defect, changed in zip(defects, changed_by(defects, paths, patches, stages, known), strict=True):
                estimate = searches.known(defect, changed, patches[defect.image])
                assert estimate is not None, "all good images are searched"
                for setting in settings:
                    Index.settle(estimate, changed.search(coresets.finder(coreset)), local[setting])
                    defective[setting].append(float(local[setting](estimate.distances, estimate.nearest).max()))
                progress.update(1)
    return {setting: Seen(np.array(good[setting]), np.array(defective[setting])) for setting in settings}


def locals_of(matched: Matched, masks: RoiMasks, settings: Sequence[Setting]) -> dict[Setting, Local]:
    """What a fold scores with, for each setting.

    Args:
        matched: of its coreset.
        masks: the patches that are inspected.
    """
    smoothings = {sigma: Smoothing(sigma, masks.grid, masks.rows) if sigma else None for _, sigma in settings}
    return {(a, sigma): Local(matched.factors(a) if a else None, smoothings[sigma]) for a, sigma in settings}
