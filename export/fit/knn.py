"""kNN's bank of patches: see `edge_ad.heads.knn`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle.file import Members
from edge_ad.errors import SpecError
from edge_ad.heads.base import Head
from edge_ad.heads.knn import Knn, KnnSpec
from edge_ad.spec import IndexSpec, ProjectionSpec
from export.coreset import USUAL_SHARE
from export.fit.base import Fitted, Material
from export.projection import choose_basis, near_together
from export.summary import Summary

NEIGHBORS = 3
MAX_BANK_BYTES = 2**31  # a bundle is smaller than 4 GiB


def settings_of(spec: KnnSpec) -> dict[str, Any]:
    """The options that make such a head again."""
    return {"neighbors": spec.neighbors}


class Fit:
    """Random samples of the material's patches; all of them with ``--coreset 1``."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self._neighbors = NEIGHBORS if material.options.neighbors is None else material.options.neighbors

    def fit(self, images: NDArray[np.int64], label: str) -> Head:
        """The head over a sample of these images; `label` is not used: there is nothing to wait for."""
        bank = self._sample(images)
        return self._head(bank, choose_basis(bank, self._material.options.seed))

    def finish(self, images: NDArray[np.int64], summary: Summary) -> Fitted:
        """The bank."""
        kept = self._material.kept
        total = len(images) * self._material.patches.shape[1] + (kept.patches if kept else 0)
        with summary.stage("bank"):
            bank = self._sample(images)
        before = f"; {len(kept.rows):,} of them from before" if kept else ""
        text = f"{total:,} -> bank {len(bank):,} x {bank.shape[1]} ({len(bank) / total:.2%}), at random"
        summary.say("patches", text + before)
        with summary.stage("projection"):
            basis = choose_basis(bank, self._material.options.seed)
        members: Members = {"coreset": bank}
        if basis is not None:
            members = {"coreset": (bank := bank[near_together(bank, basis)]), "projection/basis": basis}
        projection = None if basis is None else ProjectionSpec(len(basis))
        index = IndexSpec(len(bank), total, self._material.options.seed, None, projection)
        return Fitted(self._head(bank, basis), KnnSpec("knn", self._neighbors), index, members)

    def _head(self, bank: NDArray[np.float32], basis: NDArray[np.float32] | None) -> Head:
        pool = self._material.pool
        return Knn(native.Coreset(bank, basis, pool=pool), self._neighbors, None, pool)

    def _sample(self, images: NDArray[np.int64]) -> NDArray[np.float32]:
        """(N, D) float32: a seeded share of the patches of these images.

        Raises:
            SpecError: too few for K, or too many for a bundle.
        """
        patches, options, kept = self._material.patches, self._material.options, self._material.kept
        rows, dim = patches.shape[1:]
        total = len(images) * rows
        if not total and kept is not None:  # the only new image is held out
            return kept.rows
        wanted = max(1, round((USUAL_SHARE if options.coreset is None else options.coreset) * total))
        old = 0 if kept is None else len(kept.rows)
        if old + wanted < self._neighbors or 4 * (old + wanted) * dim > MAX_BANK_BYTES:
            raise SpecError(
                "--coreset makes too small or too large a bank of patches",
                expected=f"{self._neighbors} to {MAX_BANK_BYTES // (4 * dim)} patches",
                got=f"{wanted} of {total}",
                remedy="Give another --coreset, or fewer --neighbors.",
            )
        chosen = np.sort(np.random.default_rng(options.seed).permutation(total)[:wanted])
        bank = np.empty((wanted, dim), np.float32)
        bounds = np.searchsorted(chosen, np.arange(len(images) + 1) * rows)
        for image, first, last in zip(images, bounds, bounds[1:], strict=False):  # image by image: may be on disk
            bank[first:last] = patches[image][chosen[first:last] % rows]
        return bank if kept is None else np.concatenate([kept.rows, bank])
