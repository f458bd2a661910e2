"""A trial: what an input size sees, with any local scale and smoothing, on good images that its coreset has not seen.

The images of a trial are held out fold by fold, as for the threshold of a bundle: each fold is scored against a coreset
of the others, and so are the synthetic defects on its images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.heads.local import Local, Smoothing
from edge_ad.system.progress import Progress
from export.coreset import project, select_coreset
from export.features import extract
from export.folds import folds
from export.local_scale import local_scale, row_neighbours, row_statistics
from export.power import Known, SynthDefects, changed_by
from export.projection import choose_basis
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


Found = tuple[NDArray[np.float32], NDArray[np.int32]]  # distances and coreset rows, each (n, R)


@dataclass(frozen=True)
class Fold:
    """A coreset of the images outside a fold, and what was scored against it.

    Attributes:
        coreset: of those images.
        factors: exponent -> (N,) factors of the rows.
        good: of the images in the fold.
        defects: of the synthetic defects on those.
    """

    coreset: native.Coreset
    factors: Callable[[float], NDArray[np.float32]]
    good: Found
    defects: Found


class Trial:
    """Held-out distances at one input size.

    Args:
        stages: at that size.
        paths: files of the good images in the trial.
        drawn: synthetic defects on them; `SynthDefect.image` counts `paths`.
        rows: patches to keep in the coreset of a fold, at most.
        seed: of the folds and the coresets.
        pool: threads.
        known: takes what the defects change; None remembers nothing.

    Attributes:
        folds: what they were scored against.
    """

    def __init__(
        self,
        stages: Stages,
        paths: Sequence[Path],
        drawn: SynthDefects,
        rows: int,
        seed: int,
        pool: native.Pool,
        known: Known | None = None,
    ) -> None:
        known = known or Known()
        self._stages, self._pool = stages, pool
        label = "trial of {} x {}".format(*stages.backbone.input_size)
        patches = np.empty((len(paths), stages.masks.count, stages.backbone.dim), np.float32)
        extract(patches, paths, stages.frame, stages.crop, stages.engine, stages.masks.rows, label)
        pairs = folds(len(paths), "crossfit", seed).pairs
        projected = project(patches, seed)
        coresets = [self._coreset(patches, projected, train, rows, seed) for train, _ in pairs]
        good = [self.search(coreset, patches[held]) for coreset, (_, held) in zip(coresets, pairs, strict=True)]
        distances = np.empty(patches.shape[:2], np.float32)
        for (_, held), (found, _) in zip(pairs, good, strict=True):
            distances[held] = found
        self.folds: list[Fold] = []
        with Progress(f"{label} with defects", len(drawn.defects), unit="defects") as progress:
            for coreset, (train, held), own in zip(coresets, pairs, good, strict=True):
                defects = drawn.on(held)
                at = np.searchsorted(held, [defect.image for defect in defects])
                scored: Found = own[0][at], own[1][at]  # as the good images; then what differs
                for number, changed in enumerate(changed_by(defects, paths, patches, stages, known)):
                    anew = self.search(coreset, changed.patches[None])
                    scored[0][number, changed.rows], scored[1][number, changed.rows] = anew[0][0], anew[1][0]
                    progress.update(1)
                factors = self._factors(coreset, patches, distances, train)
                self.folds.append(Fold(coreset, factors, own, scored))

    def seen(self, exponent: float, sigma: float) -> Seen:
        """The scores with this local scale and smoothing; 0 for none of them."""
        good = [self.scores(fold, fold.good, exponent, sigma) for fold in self.folds]
        defects = [self.scores(fold, fold.defects, exponent, sigma) for fold in self.folds]
        return Seen(np.concatenate(good), np.concatenate(defects))

    def scores(self, fold: Fold, found: Found, exponent: float, sigma: float) -> Scores:
        """(n,) image scores of what was found in the coreset of a fold."""
        masks = self._stages.masks
        local = Local(
            fold.factors(exponent) if exponent else None,
            Smoothing(sigma, masks.grid, masks.rows) if sigma else None,
        )
        return np.array([float(local(*one).max()) for one in zip(*found, strict=True)])

    def search(self, coreset: native.Coreset, patches: NDArray[np.float32]) -> Found:
        """Distances and rows, each (n, R), of (n, R, D) patches."""
        distances, rows = native.exact_search(coreset, patches.reshape(-1, patches.shape[2]), self._pool)
        return distances.reshape(patches.shape[:2]), rows.reshape(patches.shape[:2])

    def _coreset(
        self,
        patches: NDArray[np.float32],
        projected: NDArray[np.float32],
        train: NDArray[np.int64],
        rows: int,
        seed: int,
    ) -> native.Coreset:
        fraction = min(1.0, rows / (len(train) * patches.shape[1]))
        chosen = select_coreset(projected, train, fraction, seed, self._pool, "trial coreset", sample=True)
        vectors = np.ascontiguousarray(patches.reshape(-1, patches.shape[2])[chosen])
        return native.Coreset(vectors, choose_basis(vectors, seed), pool=self._pool)

    def _factors(
        self,
        coreset: native.Coreset,
        patches: NDArray[np.float32],
        distances: NDArray[np.float32],
        own: NDArray[np.int64],
    ) -> Callable[[float], NDArray[np.float32]]:
        """The local scale of a coreset by its exponent, from its own images' held-out distances."""
        sums, counts = row_statistics(coreset, patches, distances, own, self._pool)
        neighbours, mean = row_neighbours(coreset, self._pool), float(distances[own].mean(dtype=np.float64))
        return lambda exponent: local_scale(sums, counts, neighbours, mean, exponent)
