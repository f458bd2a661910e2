"""PatchCore's coreset, its local scale, and the HNSW graph over it: see `edge_ad.heads.patchcore`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle.file import Members
from edge_ad.heads.base import Head
from edge_ad.heads.index import Index, choose_search
from edge_ad.heads.local import Local, Reach, Smoothing
from edge_ad.heads.patchcore import LEVELS, REACH, SCALE, PatchCore, PatchcoreSpec
from edge_ad.spec import GraphSpec, IndexSpec, ProjectionSpec
from export.coreset import kept_share
from export.features import tensors
from export.fidelity import choose_ef
from export.fit.base import Fitted, Material
from export.fit.coresets import Coresets, picks_of
from export.hnsw import EF_CONSTRUCTION, M, build_hnsw
from export.local_scale import factor_reach
from export.projection import choose_basis, near_together
from export.summary import Summary


def settings_of(spec: PatchcoreSpec) -> dict[str, Any]:
    """The options that make such a head again."""
    return {"reweight": spec.reweight_neighbors, "local_scale": spec.local_scale, "smooth": spec.smooth}


def spread_of(spec: PatchcoreSpec) -> int:
    """How far around a patch its value counts others in: where distances are smoothed, the reach of the Gaussian."""
    return math.ceil(3 * spec.smooth)


_SPREAD = (0, 1, 0.25, 0.75)  # quantiles of the factors that a reader is told
_FIDELITY_IMAGES = 8  # frames that graph search is compared with exact search on


class Fit:
    """Greedy k-centre coresets of the material's patches.

    With a local scale, all folds are searched once before the first head is made: `Coresets.distances`.
    """

    def __init__(self, material: Material) -> None:
        self._material = material
        given = material.patches, material.splits, picks_of(material.options), material.pool, material.chosen
        self._coresets = material.tried or Coresets(*given, material.kept, material.searches)

    def fit(self, images: NDArray[np.int64], label: str) -> Head:
        """The head over a coreset of these images."""
        coreset = self._coresets.fold(images, label)
        scale = self._scale(coreset, images) if self._material.options.local_scale else None
        self._coresets.release(images)
        return self._head(coreset, scale)

    def finish(self, images: NDArray[np.int64], summary: Summary) -> Fitted:
        """Coreset, local scale and graph."""
        options, kept = self._material.options, self._material.kept
        fresh = len(images) * self._material.patches.shape[1]
        total, old = fresh + (kept.patches if kept else 0), len(kept.rows) if kept else 0
        with summary.stage("coreset"):
            vectors = self._coresets.select(images, "coreset")
        text = f"{total:,} -> coreset {len(vectors):,} x {vectors.shape[1]} ({len(vectors) / total:.2%})"
        asked = old + (max(1, round(kept_share(options.coreset, fresh) * fresh)) if fresh else 0)
        missing = f"; {asked - len(vectors):,} exact duplicates" if len(vectors) < asked else ""
        before = f"; {old:,} of them from before" if kept else ""
        summary.say("patches", text + missing + before)
        with summary.stage("projection"):
            basis = choose_basis(vectors, options.seed)
        members: Members = {"coreset": vectors}
        order = None if basis is None else near_together(vectors, basis)
        if basis is not None:
            members = {"coreset": (vectors := vectors[order]), "projection/basis": basis}
        coreset = native.Coreset(vectors, basis, pool=self._material.pool)
        scale = None
        if options.local_scale:
            with summary.stage("local scale"):
                scale = self._scale(coreset, images, order)
            members[SCALE] = scale
            spread = "factors {:.2f}..{:.2f}, the middle half {:.2f}..{:.2f}".format(*np.quantile(scale, _SPREAD))
            summary.say("local scale", f"exponent {options.local_scale:g}: {spread}")
        if options.smooth:
            summary.say("smoothing", f"sigma {options.smooth:g} patches")
        graph, search, reach = None, None, None
        if options.graph and not self._material.stages.tiles:  # tiles are searched exactly
            with summary.stage("graph search"):
                graph, search, arrays = self._graph(coreset, summary)
                if scale is not None:
                    levels, far = factor_reach(vectors, scale, basis, self._material.pool)
                    reach, arrays = Reach(levels, far), {**arrays, LEVELS: levels, REACH: far}
            members |= arrays
        projection = None if basis is None else ProjectionSpec(len(basis))
        index = IndexSpec(len(vectors), total, options.seed, graph, projection)
        spec = PatchcoreSpec("patchcore", options.reweight, options.local_scale, options.smooth)
        return Fitted(self._head(coreset, scale, search, 1 if graph is None else graph.ef, reach), spec, index, members)

    def _scale(
        self, coreset: native.Coreset, images: NDArray[np.int64], order: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """(N,) float32 factors of the rows of a coreset of these images, from their held-out distances.

        Args:
            order: of the rows among those that were selected; the same by default.
        """
        material, kept = self._material, self._material.kept
        if kept is not None and kept.scale is not None:  # a new row counts as the known one that is nearest to it
            known_rows = native.Coreset(kept.rows, choose_basis(kept.rows, material.options.seed), pool=material.pool)
            return kept.scale[native.exact_search(known_rows, coreset.vectors, material.pool)[1]]
        return self._coresets.matched(coreset, images, order).factors(material.options.local_scale)

    def _head(
        self,
        coreset: native.Coreset,
        scale: NDArray[np.float32] | None,
        graph: native.Graph | None = None,
        ef: int = 1,
        reach: Reach | None = None,
    ) -> Head:
        """The head over a coreset, which searches its graph where that is faster, and can be: patches of a region are
        no whole grid."""
        stages, options = self._material.stages, self._material.options
        grid = stages.backbone.grid
        walks = graph is not None and stages.masks.rows is None
        if choose_search("auto", coreset, has_graph=walks) != "graph":
            graph, reach = None, None
        index = Index(coreset, graph, ef=ef, grid_width=grid[1], rows=None, pool=self._material.pool)
        smoothing = Smoothing(options.smooth, grid, stages.masks.rows) if options.smooth else None
        return PatchCore(index, options.reweight, None, Local(scale, smoothing, reach))

    def _graph(self, coreset: native.Coreset, summary: Summary) -> tuple[GraphSpec, native.Graph, Members]:
        stages, good_images = self._material.stages, self._material.good_images
        arrays = build_hnsw(coreset.vectors, self._material.options.seed)
        members: Members = {"graph/levels": arrays.levels, "graph/links0": arrays.links0, "graph/upper": arrays.upper}
        graph = native.Graph(coreset, arrays.levels, arrays.links0, arrays.upper, entry=arrays.entry)
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
        return GraphSpec(arrays.entry, M, EF_CONSTRUCTION, fidelity.ef, fidelity.recall), graph, members
