"""Coresets of good images, and what those of the folds say of images that they have not seen.

Neither the local scale nor the smoothing changes any of this. So the trials, which look for both, and the calibration,
which goes on with what they chose, ask the same `Coresets` where they learn from the same images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.heads.base import Found
from export.coreset import kept_share, project, select_beyond, select_coreset, select_coresets
from export.fit.base import Kept, Searches
from export.folds import Splits
from export.local_scale import local_scale, row_neighbours, row_statistics
from export.options import Options
from export.power import Nearby
from export.projection import choose_basis


@dataclass(frozen=True)
class Matched:
    """The held-out patches of a coreset's own images, matched with its rows: see `export.local_scale`.

    Attributes:
        sums, counts, neighbours: of the rows.
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.int64]
    neighbours: NDArray[np.int32]

    def factors(self, exponent: float) -> NDArray[np.float32]:
        """(N,) factors of the rows."""
        return local_scale(self.sums, self.counts, self.neighbours, exponent)


@dataclass(frozen=True)
class Picks:
    """How rows are picked.

    Attributes:
        share: of so many patches -> the share of them to keep.
        sample: as of `export.coreset.select_coreset`.
        seed: of the selection.
    """

    share: Callable[[int], float]
    sample: bool
    seed: int


def picks_of(options: Options) -> Picks:
    """How the options say that rows are picked."""
    return Picks(partial(kept_share, options.coreset), options.coreset is None, options.seed)


class Coresets:
    """Greedy k-centre coresets of good images.

    Args:
        patches: (n, R, D) float32 of all good images; may be memory-mapped.
        splits: how these are held out.
        picks: how rows are picked.
        pool: threads.
        chosen: as `export.fit.base.Material.chosen`; by default nothing was chosen before.
        kept: as `export.fit.base.Material.kept`.
        searches: takes what the folds find; by default a new one.
    """

    def __init__(
        self,
        patches: NDArray[np.float32],
        splits: Splits,
        picks: Picks,
        pool: native.Pool,
        chosen: dict[bytes, NDArray[np.int64]] | None = None,
        kept: Kept | None = None,
        searches: Searches | None = None,
    ) -> None:
        self.patches, self.splits = patches, splits
        self.chosen = {} if chosen is None else chosen
        self.searches = Searches() if searches is None else searches
        self._picks, self._pool, self._kept = picks, pool, kept
        self._folds: dict[bytes, native.Coreset] = {}
        self._matched: dict[bytes, Matched] = {}
        self._nearest: dict[bytes, NDArray[np.int32]] = {}  # (n, R): a near row for patches a coreset was chosen from
        self._bases: list[NDArray[np.float32] | None] = []  # one: it suits all folds, and any gives the same answers

    def select(self, images: NDArray[np.int64], label: str) -> NDArray[np.float32]:
        """(N, D): the rows of the coreset of some images, those that are kept from before first."""
        patches, kept, key = self.patches, self._kept, images.tobytes()
        if not len(images) and kept is not None:  # the only new image is held out
            return kept.rows
        if key not in self.chosen:
            share = self._picks.share(len(images) * patches.shape[1])
            given = self._projected, images, share, self._picks.seed, self._pool, label
            if kept is None:
                near = self._nearest[key] = self._unknown()
                self.chosen[key] = select_coreset(*given, sample=self._picks.sample, nearest=near)
            else:
                self.chosen[key] = select_beyond(self._projected_rows, *given)
        vectors = patches.reshape(-1, patches.shape[2])[self.chosen[key]]
        return vectors if kept is None else np.concatenate([kept.rows, vectors])

    def fold(self, images: NDArray[np.int64], label: str) -> native.Coreset:
        """The coreset of some images, prepared for search. It is kept until `release`."""
        key = images.tobytes()
        if key not in self.chosen and self._kept is None:
            self._select_folds()
        if key not in self._folds:
            vectors = self.select(images, label)
            if not self._bases:
                self._bases.append(choose_basis(vectors, self._picks.seed))
            self._folds[key] = native.Coreset(vectors, self._bases[0], pool=self._pool)
        return self._folds[key]

    def _select_folds(self) -> None:
        """Picks the rows of all folds."""
        share, rows = self._picks.share, self.patches.shape[1]
        fresh = [train for train, _ in self.splits.pairs if train.tobytes() not in self.chosen]
        if not fresh:
            return
        choices = [(train, share(len(train) * rows)) for train in fresh]
        nearest = [self._unknown() for _ in fresh]
        given = self._projected, choices, self._picks.seed, self._pool, "coresets of the folds"
        selected = select_coresets(*given, sample=self._picks.sample, nearest=nearest)
        for train, found, near in zip(fresh, selected, nearest, strict=True):
            self.chosen[train.tobytes()], self._nearest[train.tobytes()] = found, near

    def _unknown(self) -> NDArray[np.int32]:
        return np.full(self.patches.shape[:2], -1, np.int32)

    def release(self, images: NDArray[np.int64]) -> None:
        """Forgets the coreset of some images, and what was matched with its rows; what it found stays."""
        self._matched.pop(images.tobytes(), None)
        del self._folds[images.tobytes()]

    @cached_property
    def distances(self) -> NDArray[np.float32]:
        """(n, R) float32: of each image to the coreset of the fold that held it out; NaN for the others.

        All folds are searched for them, and their coresets are kept.
        """
        distances = np.full(self.patches.shape[:2], np.nan, np.float32)
        for label, (train, held_out) in zip(self.splits.labels, self.splits.pairs, strict=True):
            coreset = self.fold(train, label)
            for image in held_out.tolist():
                near = min(2, coreset.size)
                found, rows = native.knn_search(coreset, np.ascontiguousarray(self.patches[image]), near, self._pool)
                second = found[:, 1] if near == 2 else np.full(len(found), np.inf, np.float32)
                distances[image] = found[:, 0]
                self.searches.good[image] = Nearby(distances[image], np.ascontiguousarray(rows[:, 0]), second)
        return distances

    def finder(self, coreset: native.Coreset) -> Callable[[NDArray[np.float32], NDArray[np.int32]], Found]:
        """Searches a coreset for some of (k, D) patches, by their numbers."""
        return lambda patches, rows: native.exact_search(coreset, patches, self._pool, rows)

    def matched(
        self, coreset: native.Coreset, images: NDArray[np.int64], order: NDArray[np.int64] | None = None
    ) -> Matched:
        """The held-out patches of some images, matched with the rows of their coreset. Of a fold it is kept.

        So the images that a fold scores have no part in its factors, but they leak in a little: the distances are to
        the coresets of the other folds, which were made from those images too. Where none of the images was held out,
        which is so with one split, the patches are those of the images that were, and these are also scored for the
        threshold.

        Args:
            order: of the coreset's rows among those that `select` gave; the same by default.
        """
        key = images.tobytes()
        if (known := self._matched.get(key)) is not None and self._folds.get(key) is coreset:
            return known
        distances, pool = self.distances, self._pool
        held_out = np.flatnonzero(~np.isnan(distances[:, 0]))
        own = np.intersect1d(images, held_out)
        own = own if len(own) else held_out
        neighbours = row_neighbours(coreset, pool)
        nearest = self._nearest.get(key)
        if nearest is not None and order is not None:
            place = np.empty(len(order) + 1, np.int32)
            place[order], place[-1] = np.arange(len(order)), -1
            nearest = place[nearest]
        sums, counts = row_statistics(coreset, self.patches, distances, own, pool, nearest, neighbours)
        found = Matched(sums, counts, neighbours[1])
        if self._folds.get(key) is coreset:
            self._matched[key] = found
        return found

    @cached_property
    def _projected(self) -> NDArray[np.float32]:
        return project(self.patches, self._picks.seed)

    @cached_property
    def _projected_rows(self) -> NDArray[np.float32]:
        """(N, d) float32: the kept rows, projected in the same way."""
        assert self._kept is not None, "asked for only if rows are kept"
        return project(self._kept.rows[None], self._picks.seed)[0]
