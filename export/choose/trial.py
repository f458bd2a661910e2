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

from edge_ad.heads.base import Found
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


@dataclass(frozen=True)
class _Fold:
    """What a fold has found in the images that it holds out, as (distances, rows) of each picture.

    Attributes:
        matched: of its coreset.
        good: in the images.
        defects: in the synthetic defects on them.
    """

    matched: Matched
    good: list[Found]
    defects: list[Found]


class Trial:
    """Held-out distances at one input size.

    Args:
        stages: at that size.
        paths: files of the good images in the trial.
        shown: numbers of those whose scores count.
        drawn: synthetic defects on these; `SynthDefect.image` counts `paths`.
        coresets: of the patches of these images.
        known: takes what the defects change; by default nothing is remembered.
    """

    def __init__(
        self,
        stages: Stages,
        paths: Sequence[Path],
        shown: NDArray[np.int64],
        drawn: SynthDefects,
        coresets: Coresets,
        known: Known | None = None,
    ) -> None:
        self._masks, found, known = stages.masks, coresets.searches, known or Known()
        label = "trial of {} x {}".format(*stages.backbone.input_size)
        self._folds: list[_Fold] = []
        with Progress(f"{label} with defects", len(drawn.defects), unit="defects") as progress:
            for name, (train, held) in zip(coresets.splits.labels, coresets.splits.pairs, strict=True):
                coreset, defects, scored = coresets.fold(train, name), drawn.on(held), list[Found]()
                matched = coresets.matched(coreset, train)  # after this, all good images are searched
                changes = changed_by(defects, paths, coresets.patches, stages, known)
                for defect, changed in zip(defects, changes, strict=True):
                    anew = coresets.search(coreset, defect, changed)
                    scored.append(changed.found_on(found.good[defect.image], anew))
                    progress.update(1)
                self._folds.append(
                    _Fold(matched, [found.good[image] for image in np.intersect1d(held, shown).tolist()], scored)
                )

    def seen(self, exponent: float, sigma: float) -> Seen:
        """The scores with this local scale and smoothing; 0 for none of them."""
        masks, good, defects = self._masks, list[float](), list[float]()
        smoothing = Smoothing(sigma, masks.grid, masks.rows) if sigma else None
        for fold in self._folds:
            local = Local(fold.matched.factors(exponent) if exponent else None, smoothing)
            good += [float(local(*one).max()) for one in fold.good]
            defects += [float(local(*one).max()) for one in fold.defects]
        return Seen(np.array(good), np.array(defects))
