"""PatchCore: Roth et al., "Towards Total Recall in Industrial Anomaly Detection" (CVPR 2022).

A patch's anomaly is the Euclidean distance to the nearest of the coreset's patches (Eq. 6); the image score is the
largest of them, re-weighted by Eq. 7 where asked for. Units: Euclidean distance of patch vectors.

Where the bundle says so, two steps come between (`edge_ad.heads.local`). Each distance is multiplied by a factor of the
row that it was measured from: below 1 where good patches vary much, above 1 where they hardly do. Then the values are
smoothed over the patch grid. The units stay those of a distance, as the factors are about 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.errors import BundleCorruptError
from edge_ad.heads.base import CORESET, INDEX_MEMBERS, Found, Opening, Scored, open_coreset
from edge_ad.heads.index import Estimate, Index, choose_search
from edge_ad.heads.local import Local, Reach, Smoothing
from edge_ad.registry import Method, Option
from edge_ad.spec import DISTANCES, HeadSpec
from edge_ad.spec.base import Range

REWEIGHT = Range(0, 1000)
LOCAL_SCALE = Range(0, 4)
SMOOTH = Range(0, 8)
SCALE, LEVELS, REACH = "coreset/scale", "coreset/levels", "coreset/reach"


@dataclass(frozen=True)
class PatchcoreSpec(HeadSpec):
    """PatchCore: distances to the nearest row of the coreset.

    Attributes:
        reweight_neighbors: b of Eq. 7 of the paper, or 0 for the plain maximum.
        local_scale: exponent a of the factors in `coreset/scale`, which distances are multiplied with; 0 for no
            factors.
        smooth: sigma, in patches, of the Gaussian that smooths the distances after that; 0 for none.
    """

    reweight_neighbors: Annotated[int, REWEIGHT] = 0
    local_scale: Annotated[float, LOCAL_SCALE] = 0.0
    smooth: Annotated[float, SMOOTH] = 0.0

    def describe(self) -> str:
        """The method, and each number that is not 0."""
        parts = (
            f"Eq. 7 b={self.reweight_neighbors}" if self.reweight_neighbors else "",
            f"local scale {self.local_scale:g}" if self.local_scale else "",
            f"smoothed by {self.smooth:g} patches" if self.smooth else "",
        )
        return ", ".join([self.method, *filter(None, parts)])


class PatchCore:
    """The head; see the module.

    Args:
        index: over the coreset; it knows the rows of the region of interest.
        neighbors: b of Eq. 7, 0 for none.
        rows: (R,) int32 patches of the region of interest, as the index has them; None for all.
        local: scale and smoothing.
    """

    has_map = True

    def __init__(
        self, index: Index, neighbors: int, rows: NDArray[np.int32] | None, local: Local | None = None
    ) -> None:
        self.index, self._neighbors, self._rows, self._local = index, neighbors, rows, local or Local()

    @classmethod
    def open(cls, opening: Opening) -> PatchCore:
        """The head of a bundle.

        Raises:
            BundleCorruptError: a member does not fit the manifest.
        """
        spec, graph_spec, rows, pool = opening.spec(PatchcoreSpec), opening.index.graph, opening.rows, opening.pool
        coreset = open_coreset(opening)
        chosen = choose_search(opening.search, coreset, has_graph=graph_spec is not None)
        graph = None
        if chosen == "graph" and graph_spec is not None:
            levels, links0, upper = (opening.bundle.array(f"graph/{part}") for part in ("levels", "links0", "upper"))
            graph = native.Graph(coreset, levels, links0, upper, graph_spec.entry)
        ef = graph_spec.ef if graph_spec else 1
        grid = opening.backbone.grid
        opened = Index(coreset, graph, ef=ef, grid_width=grid[1], rows=rows, pool=pool)
        scale = _open_scale(opening) if spec.local_scale else None
        smoothing = Smoothing(spec.smooth, grid, rows) if spec.smooth else None
        local = Local(scale, smoothing, _open_reach(opening) if scale is not None and graph is not None else None)
        return cls(opened, spec.reweight_neighbors, rows, local)

    @property
    def search(self) -> str:
        """ "graph" or "exact"."""
        return "graph" if self.index.has_graph else "exact"

    def __call__(
        self, patches: NDArray[np.float32], *, exact: bool = False, rows: NDArray[np.int32] | None = None
    ) -> Scored:
        """Distances to the coreset, scaled and smoothed, and the score of (P, D) patches, or of `rows` among them."""
        inside = self._rows if rows is None else rows
        found = self.find(patches, inside) if exact else self.index.nearest(patches, self._local_of(rows), inside)
        return self.judge(found, lambda number: patches[number if inside is None else int(inside[number])], rows)

    def find(self, patches: NDArray[np.float32], rows: NDArray[np.int32] | None) -> Found:
        """Exact distances to the coreset, and its nearest rows, of the `rows` of (P, D) patches."""
        return self.index.exact(patches, rows)

    def judge(
        self, found: Found, vector: Callable[[int], NDArray[np.float32]], rows: NDArray[np.int32] | None = None
    ) -> Scored:
        """The answer to a frame, or to `rows` of it, from its distances: scaled, smoothed, and the score."""
        distances, nearest = found
        values, vectors = self._local_of(rows)(distances, nearest), self.index.coreset.vectors
        if not np.isfinite(values).all():
            return Scored(values, float("nan"))
        score = image_score(values, nearest, vector, vectors, self._neighbors)
        return Scored(values, score, nearest=nearest)

    def settle(self, known: Estimate, search: Callable[[NDArray[np.int32]], Found]) -> Found:
        """What is known of a frame, made exact where the score asks for it: `Index.settle`. For `judge`."""
        Index.settle(known, search, self._local)
        return known.distances, known.nearest

    def _local_of(self, rows: NDArray[np.int32] | None) -> Local:
        return self._local if rows is None else self._local.of(rows)


def _open_scale(opening: Opening) -> NDArray[np.float32]:
    scale: NDArray[np.float32] = opening.array(SCALE, (opening.index.size,))
    if not scale.min() > 0:
        raise BundleCorruptError(f"{SCALE} cannot scale distances", expected="numbers above 0", got=scale.min())
    return scale


def _open_reach(opening: Opening) -> Reach:
    count = opening.bundle.array(LEVELS).size
    levels = opening.array(LEVELS, (count,))
    reach = opening.array(REACH, (opening.index.size, count))
    for name, array in ((LEVELS, levels), (REACH, reach)):
        if not (np.diff(array) >= 0).all():
            raise BundleCorruptError(f"{name} is not in order", expected="ascending numbers", got="others")
    return Reach(levels, reach)


def image_score(
    distances: NDArray[np.float32],
    nearest: NDArray[np.int32],
    vector: Callable[[int], NDArray[np.float32]],
    coreset: NDArray[np.float32],
    neighbors: int,
) -> float:
    """The score of an image, in units of distance.

    Args:
        distances, nearest: (R,) of the searched patches; distances as they are after scale and smoothing.
        vector: gives the (D,) patch of a number below R.
        coreset: (N, D) float32.
        neighbors: b of Eq. 7; 0 gives the plain maximum.
    """
    worst = int(distances.argmax())
    score = float(distances[worst])
    if neighbors == 0 or score == 0.0:
        return score
    return score * reweighting(vector(worst), coreset, int(nearest[worst]), neighbors)


def reweighting(patch: NDArray[np.float32], coreset: NDArray[np.float32], nearest: int, neighbors: int) -> float:
    """The factor of Eq. 7: 1 - exp(d*) / sum of exp(d_m) over the b coreset patches nearest to m*, m* included.

    Args:
        patch: (D,) the patch with the largest distance.
        coreset: (N, D).
        nearest: row of m*, the coreset patch nearest to it.
        neighbors: b.
    """
    center = coreset[nearest]
    count = min(neighbors, len(coreset))
    # |m - m*|^2 less the constant |m*|^2: one product, no (N, D) temporary
    around = np.einsum("nd,nd->n", coreset, coreset) - 2.0 * (coreset @ center)
    support = np.argpartition(around, count - 1)[:count]
    if nearest not in support:  # exact duplicates of m* can take its place
        support[-1] = nearest
    to_patch = np.sqrt(((coreset[support] - patch) ** 2).sum(axis=1, dtype=np.float64))
    exponents = np.exp(to_patch - to_patch.max())  # the largest exponent is 0: no overflow
    own = exponents[support == nearest][0]
    return float(1.0 - own / exponents.sum())


METHOD = Method(
    title="PatchCore",
    spec=PatchcoreSpec,
    open=PatchCore.open,
    score="largest distance of a patch to the coreset, Euclidean; scaled by `local_scale` and smoothed by `smooth` "
    "where they are not 0",
    members={
        **INDEX_MEMBERS,
        SCALE: "float32 (N): factors of the distances from each row, above 0; where `head.local_scale` is not 0",
        LEVELS: "float32 (L): ascending factors; where there are factors and a graph",
        REACH: "float32 (N, L): distance from each row to the nearest one whose factor is above the level, or the "
        "largest float32; ascending in a row; where there are levels",
        "graph/levels": "uint8: the HNSW graph, where `index.graph` is not null",
        "graph/links0": "int32: the same",
        "graph/upper": "int32: the same",
    },
    options=(
        CORESET,
        Option("--no-graph", "write no HNSW graph; exact search only", default=True, name="graph"),
        Option(
            "--reweight",
            "neighbours of Eq. 7 (9 is usual); 0 for none",
            default=0,
            limits=REWEIGHT,
            metavar="B",
        ),
        Option(
            "--local-scale",
            "exponent of the local scale: distances count less where held-out good patches vary much, and more where "
            "they hardly do; 0 for none; by default chosen by evidence",
            kind=float,
            limits=LOCAL_SCALE,
            metavar="A",
        ),
        Option(
            "--smooth",
            "sigma, in patches, of the Gaussian that smooths distances over the patch grid; 0 for none; by default "
            "chosen by evidence",
            kind=float,
            limits=SMOOTH,
            metavar="SIGMA",
        ),
    ),
    needs_index=True,
    tiles=True,
    searches=("graph", "exact"),
    distances=DISTANCES,
    masked=True,
    rule="tail",  # fewer misses than the highest scores at the same rejects (bench/NOTES.md)
)
