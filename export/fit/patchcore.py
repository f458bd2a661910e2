"""PatchCore's coreset, and the HNSW graph over it: see `edge_ad.heads.patchcore`."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle.file import Members
from edge_ad.heads.base import Head
from edge_ad.heads.index import Index
from edge_ad.heads.patchcore import PatchCore, PatchcoreSpec
from edge_ad.spec import GraphSpec, IndexSpec, ProjectionSpec
from export.coreset import project, select_coreset
from export.features import tensors
from export.fidelity import choose_ef
from export.fit.base import Fitted, Material
from export.hnsw import EF_CONSTRUCTION, M, build_hnsw
from export.projection import choose_basis, put_in_order
from export.summary import Summary

_FIDELITY_IMAGES = 8  # frames that graph search is compared with exact search on


class Fit:
    """Greedy k-centre coresets of the material's patches."""

    def __init__(self, material: Material) -> None:
        self._material = material

    def fit(self, images: NDArray[np.int64], label: str) -> Head:
        """The head over a coreset of these images."""
        coreset = self._select(images, label)
        return self._head(coreset, choose_basis(coreset, self._material.options.seed))

    def finish(self, images: NDArray[np.int64], summary: Summary) -> Fitted:
        """Coreset and graph."""
        options, total = self._material.options, len(images) * self._material.patches.shape[1]
        with summary.stage("coreset"):
            coreset = self._select(images, "coreset")
        text = f"{total:,} -> coreset {len(coreset):,} x {coreset.shape[1]} ({len(coreset) / total:.2%})"
        asked = max(1, round(options.coreset * total))
        missing = f"; {asked - len(coreset):,} exact duplicates" if len(coreset) < asked else ""
        summary.say("patches", text + missing)
        with summary.stage("projection"):
            basis = choose_basis(coreset, options.seed)
        members: Members = {"coreset": coreset}
        if basis is not None:
            members = {"coreset": (coreset := put_in_order(coreset, basis)), "projection/basis": basis}
        graph = None
        if options.graph:
            with summary.stage("graph search"):
                graph, arrays = self._graph(coreset, basis, summary)
            members |= arrays
        projection = None if basis is None else ProjectionSpec(len(basis))
        index = IndexSpec(len(coreset), total, options.seed, graph, projection)
        return Fitted(self._head(coreset, basis), PatchcoreSpec("patchcore", options.reweight), index, members)

    def _select(self, images: NDArray[np.int64], label: str) -> NDArray[np.float32]:
        options, patches, chosen = self._material.options, self._material.patches, self._material.chosen
        key = images.tobytes()
        if key not in chosen:
            pool = self._material.pool
            chosen[key] = select_coreset(self._projected, images, options.coreset, options.seed, pool, label)
        return patches.reshape(-1, patches.shape[2])[chosen[key]]

    @cached_property
    def _projected(self) -> NDArray[np.float32]:
        return project(self._material.patches, self._material.options.seed)

    def _head(self, coreset: NDArray[np.float32], basis: NDArray[np.float32] | None) -> Head:
        width, pool = self._material.stages.backbone.grid[1], self._material.pool
        index = Index(native.Coreset(coreset, basis, pool=pool), None, ef=1, grid_width=width, rows=None, pool=pool)
        return PatchCore(index, self._material.options.reweight, None)

    def _graph(
        self, coreset: NDArray[np.float32], basis: NDArray[np.float32] | None, summary: Summary
    ) -> tuple[GraphSpec, Members]:
        stages, good_images = self._material.stages, self._material.good_images
        arrays = build_hnsw(coreset, self._material.options.seed)
        members: Members = {"graph/levels": arrays.levels, "graph/links0": arrays.links0, "graph/upper": arrays.upper}
        rows = native.Coreset(coreset, basis, pool=self._material.pool)
        graph = native.Graph(rows, arrays.levels, arrays.links0, arrays.upper, entry=arrays.entry)
        # good images moved by a few pixels, off the patch grid, so that no coreset row is theirs; uses no test images
        chosen = good_images[:: max(1, len(good_images) // _FIDELITY_IMAGES)][:_FIDELITY_IMAGES]
        moved = (np.roll(tensor, (5, 3), axis=(1, 2)) for tensor in tensors(chosen, stages.frame, stages.crop))
        grids = [stages.engine(tensor) for tensor in moved]
        fidelity = choose_ef(graph, grids, stages.backbone.grid[1], stages.masks.rows, self._material.pool)
        summary.say(
            "graph search",
            f"ef {fidelity.ef}: recall {fidelity.recall:.3f}, mean distance error {fidelity.map_error:.2%}; "
            "image score exact",
        )
        return GraphSpec(arrays.entry, M, EF_CONSTRUCTION, fidelity.ef, fidelity.recall), members
