"""Heads: from patches to distances and a score. One module a method."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle import Bundle
from edge_ad.heads.base import Head, check_search
from edge_ad.heads.centroid import Centroid
from edge_ad.heads.knn import Knn
from edge_ad.heads.padim import Padim
from edge_ad.heads.patchcore import PatchCore
from edge_ad.heads.spade import Spade
from edge_ad.spec import KnnSpec, PadimSpec, PatchcoreSpec, SpadeSpec


def open_head(bundle: Bundle, rows: NDArray[np.int32] | None, pool: native.Pool, search: str = "auto") -> Head:
    """The head of a bundle.

    Args:
        rows: (R,) int32 ascending row-major patch numbers inside the region of interest; None for all.
        pool: threads.
        search: "auto", "exact" or "graph".

    Raises:
        BundleCorruptError: a member does not fit the manifest.
        SpecError: there is no such search, or no graph for it.
    """
    head, index = bundle.manifest.head, bundle.manifest.index
    if isinstance(head, PatchcoreSpec):
        assert index is not None  # `Manifest` has seen to it, here and below
        return PatchCore.open(bundle, head, index, rows, pool, search)
    check_search(search, head.method, has_graph=False)
    if isinstance(head, KnnSpec):
        assert index is not None
        return Knn.open(bundle, head, index, rows, pool)
    if isinstance(head, PadimSpec):
        return Padim.open(bundle, head, rows, pool)
    if isinstance(head, SpadeSpec):
        return Spade.open(bundle, head, rows, pool)
    return Centroid.open(bundle, rows)
