"""The interface of a head: it turns the patches of a frame into distances and a score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle.file import Bundle
from edge_ad.bundle.models import models_of
from edge_ad.engines.base import Engine, Models
from edge_ad.errors import BundleCorruptError, NativeError, SpecError
from edge_ad.registry import METHODS, Method, Option, one_of
from edge_ad.spec import BackboneSpec, IndexSpec, ProjectionSpec
from edge_ad.spec.base import Range

Spec = TypeVar("Spec")

# Shared by the methods that search in a coreset.
CORESET = Option(
    "--coreset",
    "share of the patches to keep, by default a tenth, 4,000 of them at most",
    kind=float,
    limits=Range(0, 1, above=True),
    metavar="FRACTION",
)
PROJECTION_MEMBERS = {"projection/basis": "float32 (d, D): orthonormal rows to 1e-3; where `projection` is not null"}
INDEX_MEMBERS = {"coreset": "float32 (N, D): the vectors to search in", **PROJECTION_MEMBERS}


@dataclass(frozen=True)
class Scored:
    """The answer of a head to a frame, in the method's own units. NaN or Inf if the patches hold some.

    Attributes:
        distances: (R,) float32, of the patches in the region of interest; (0,) if the method gives no map.
        score: score of the frame.
        sigma_px: of the Gaussian of the anomaly map, pixels of the tensor, where the method has one of its own, and the
            score is the peak of that map (`edge_ad.frames.spread`); None for the usual map.
        nearest: (R,) int32, the coreset rows that the distances are measured from; None where the head does not say.
            With the graph some are not the nearest.
    """

    distances: NDArray[np.float32]
    score: float
    sigma_px: float | None = None
    nearest: NDArray[np.int32] | None = None


class Head(Protocol):
    """A fitted method. Immutable and safe to share between threads."""

    @property
    def has_map(self) -> bool:
        """Whether it gives distances."""
        ...

    @property
    def search(self) -> str:
        """ "graph" if distances come from the HNSW graph, else "exact"."""
        ...

    def __call__(self, patches: NDArray[np.float32], *, exact: bool = False) -> Scored:
        """Scores the (P, D) float32 row-major patches of a grid. `exact` searches without the graph.

        The head of a method that is `masked` also takes `rows`: (R,) int32 ascending, some of the patches that it was
        opened for. It then scores these alone.
        """
        ...


Found = tuple[NDArray[np.float32], NDArray[np.int32]]  # distances and coreset rows of some patches


class TileHead(Head, Protocol):
    """A head that judges each patch by itself, wherever it lies (`edge_ad.registry.Method.tiles`).

    A frame that comes in tiles is searched tile by tile, and only distances and rows are kept.
    """

    def find(self, patches: NDArray[np.float32], rows: NDArray[np.int32] | None) -> Found:
        """Searches exactly: distances (r,) and coreset rows (r,) of the `rows` (all by default) of (P, D) patches."""
        ...

    def judge(
        self, found: Found, vector: Callable[[int], NDArray[np.float32]], rows: NDArray[np.int32] | None = None
    ) -> Scored:
        """The answer to a frame, from what was found for all its patches in the region of interest.

        Args:
            found: (R,) each; the distances may be used as they are.
            vector: gives the (D,) patch of a number below R.
            rows: (R,) numbers of those patches in the grid; None for the bundle's own region.
        """
        ...


@dataclass(frozen=True)
class Opening:
    """What a head is opened with: the bundle, and the settings of this PC.

    Attributes:
        bundle: the bundle of one operating point.
        rows: (R,) int32 ascending row-major numbers of the patches inside the region of interest; None for all.
        pool: threads.
        search: "auto", "exact" or "graph".
        open_engine: compiles models with the engine, device, threads and arithmetic of the backbone.
    """

    bundle: Bundle
    rows: NDArray[np.int32] | None
    pool: native.Pool
    search: str
    open_engine: Callable[[Models], Engine]

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.bundle.manifest.head.method

    def spec(self, kind: type[Spec]) -> Spec:
        """The method's part of the manifest. It has the class `kind`, which `METHOD` declares."""
        found = self.bundle.manifest.head
        assert isinstance(found, kind), f"{self.method} is declared with another spec"
        return found

    @property
    def backbone(self) -> BackboneSpec:
        """The backbone's part of the manifest."""
        return self.bundle.manifest.backbone

    @property
    def index(self) -> IndexSpec:
        """The coreset's part of the manifest. Only for a method that needs an index."""
        index = self.bundle.manifest.index
        assert index is not None, "`Manifest` has seen to it"
        return index

    @property
    def has_graph(self) -> bool:
        """Whether the bundle has a graph over the coreset."""
        index = self.bundle.manifest.index
        return index is not None and index.graph is not None

    @property
    def patch_count(self) -> int:
        """R, patches in the region of interest."""
        grid = self.backbone.grid
        return grid[0] * grid[1] if self.rows is None else len(self.rows)

    def array(self, name: str, shape: tuple[int, ...], dtype: str = "float32") -> NDArray[Any]:
        """A member of the bundle: `read_array`."""
        return read_array(self.bundle, name, shape, dtype)

    def network(self, name: str) -> Engine:
        """Compiles a network of the head's own in the same way as the backbone: the members ``NAME/model.*``.

        Raises:
            BundleCorruptError: the bundle has none that this engine runs.
            EngineError: the engine refuses it.
        """
        return self.open_engine(models_of(self.bundle, f"{name}/"))


def read_array(bundle: Bundle, name: str, shape: tuple[int, ...], dtype: str = "float32") -> NDArray[Any]:
    """A member of the bundle that must have this shape and dtype, and be finite.

    Raises:
        BundleCorruptError: it is not.
    """
    array = bundle.array(name)
    if array.shape != shape or array.dtype != dtype:
        raise BundleCorruptError(
            f"{name} has another shape or dtype than the manifest says",
            expected=f"{shape} {dtype}",
            got=f"{array.shape} {array.dtype}",
        )
    if dtype == "float32" and array.size and not np.isfinite([array.min(), array.max()]).all():
        raise BundleCorruptError(f"{name} holds NaN or Inf", expected="finite numbers", got="others")
    return array


def open_coreset(opening: Opening) -> native.Coreset:
    """The coreset of a bundle, prepared for exact search.

    Raises:
        BundleCorruptError: a member does not fit the manifest.
    """
    index = opening.index
    vectors = opening.array("coreset", (index.size, opening.backbone.dim))
    return bounded(opening, vectors, index.projection)


def bounded(
    opening: Opening,
    vectors: NDArray[np.float32],
    projection: ProjectionSpec | None,
    part_rows: int | None = None,
) -> native.Coreset:
    """(N, D) vectors with the bundle's projection, if it has one.

    Raises:
        BundleCorruptError: the projection cannot be used.
    """
    if projection is None:
        return native.Coreset(vectors, part_rows=part_rows, pool=opening.pool)
    basis = opening.array("projection/basis", (projection.dim, vectors.shape[1]))
    try:
        return native.Coreset(vectors, basis, part_rows=part_rows, pool=opening.pool)
    except NativeError as error:
        raise BundleCorruptError(f"projection/basis: {error.what}", expected=error.expected, got=error.got) from error


def check_search(wanted: str, method: Method, *, has_graph: bool) -> None:
    """Refuses a search that the method or the bundle does not have.

    Raises:
        SpecError: the search is unknown, or it is "graph" and the bundle has no graph.
    """
    if wanted not in ("auto", "exact", "graph"):
        raise SpecError("there is no such search", expected="auto, exact or graph", got=repr(wanted))
    if wanted == "graph" and not (has_graph and "graph" in method.searches):
        searching = METHODS.having(lambda other: "graph" in other.searches)
        have = "has" if len(searching) == 1 else "have"
        raise SpecError(
            "this bundle has no graph",
            expected="search 'exact' or 'auto'",
            got="'graph'",
            remedy="Export again without --no-graph and --tiles."
            if "graph" in method.searches
            else f"Only {one_of(searching, 'and')} {have} one.",
        )


def largest(distances: NDArray[np.float32]) -> float:
    """The largest distance; NaN if one is NaN."""
    return float(distances.max())


def embed(patches: NDArray[np.float32], rows: NDArray[np.int32] | None) -> NDArray[np.float64]:
    """(D,) float64: the mean of the (P, D) patches, or of the `rows` among them."""
    chosen = patches if rows is None else patches[rows]
    mean: NDArray[np.float64] = chosen.mean(axis=0, dtype=np.float64)
    return mean
