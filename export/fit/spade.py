"""SPADE's embeddings and gallery: see `edge_ad.heads.spade`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle.file import Members
from edge_ad.errors import SpecError
from edge_ad.heads.base import Head, embed
from edge_ad.heads.spade import Spade, SpadeSpec
from edge_ad.spec import ProjectionSpec
from export.fit.base import Fitted, Material
from export.projection import choose_basis
from export.summary import Summary

NEIGHBORS = 50  # the paper's K
MAX_GALLERY_BYTES = 2**31  # a bundle is smaller than 4 GiB


class Fit:
    """Embeddings of the material's images, and the patches of some that stand for all."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self._neighbors = NEIGHBORS if material.options.neighbors is None else material.options.neighbors
        self._embeddings = np.stack([embed(image, None) for image in material.patches]).astype(np.float32)
        rows, dim = material.patches.shape[1:]
        gallery = min(material.options.gallery_images, len(material.patches))
        if 4 * gallery * rows * dim > MAX_GALLERY_BYTES:
            raise SpecError(
                "the gallery is too large for a bundle",
                expected=f"{MAX_GALLERY_BYTES // (4 * rows * dim)} images at most",
                got=gallery,
                remedy="Give fewer --gallery-images.",
            )

    def fit(self, images: NDArray[np.int64], label: str) -> Head:
        """The head of these images; `label` is not used: there is nothing to wait for."""
        members = self._gallery(images)
        gallery = self._material.patches[images[members]]
        return self._head(images, members, gallery, self._basis(gallery))

    def finish(self, images: NDArray[np.int64], summary: Summary) -> Fitted:
        """Embeddings and gallery."""
        members = self._gallery(images)
        gallery = self._material.patches[images[members]]
        basis = self._basis(gallery)
        projection = None if basis is None else ProjectionSpec(len(basis))
        neighbors = min(self._neighbors, len(images))
        summary.say("gallery", f"{len(members)} of {len(images)} images; {neighbors} nearest for the score")
        arrays: Members = {"spade/embeddings": self._embeddings[images], "spade/members": members}
        arrays["spade/gallery"] = gallery
        if basis is not None:
            arrays["projection/basis"] = basis
        return Fitted(
            self._head(images, members, gallery, basis),
            SpadeSpec("spade", len(images), len(members), neighbors, projection),
            None,
            arrays,
        )

    def _basis(self, gallery: NDArray[np.float32]) -> NDArray[np.float32] | None:
        return choose_basis(gallery.reshape(-1, gallery.shape[2]), self._material.options.seed)

    def _head(
        self,
        images: NDArray[np.int64],
        members: NDArray[np.int32],
        gallery: NDArray[np.float32],
        basis: NDArray[np.float32] | None,
    ) -> Head:
        pool, (_, rows, dim) = self._material.pool, gallery.shape
        patches = native.Coreset(gallery.reshape(-1, dim), basis, part_rows=rows, pool=pool)
        return Spade(self._embeddings[images], members, patches, self._neighbors, None, pool)

    def _gallery(self, images: NDArray[np.int64]) -> NDArray[np.int32]:
        """(G,) int32: places in `images` of a greedy k-centre selection among their embeddings."""
        embeddings, options = self._embeddings[images], self._material.options
        start = int(np.random.default_rng(options.seed).integers(len(images)))
        picker = native.KCenter(embeddings, start, self._material.pool)
        picker.advance(min(options.gallery_images, len(images)) - 1)
        return np.sort(picker.selected)
