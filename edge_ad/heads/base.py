"""What every head is: from the patches of a frame to distances and a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle import Bundle
from edge_ad.errors import BundleCorruptError, NativeError, SpecError
from edge_ad.spec import IndexSpec, ProjectionSpec


@dataclass(frozen=True)
class Scored:
    """What a head says of a frame, in the method's own units; NaN or Inf where the patches hold some.

    Attributes:
        distances: (R,) float32, of the patches in the region of interest; (0,) where the method gives no map.
        score: of the frame.
    """

    distances: NDArray[np.float32]
    score: float


class Head(Protocol):
    """A method, fitted. Immutable and safe to share between threads."""

    @property
    def has_map(self) -> bool:
        """Whether it gives distances."""
        ...

    @property
    def search(self) -> str:
        """ "graph" where distances come from the HNSW graph, else "exact"."""
        ...

    def __call__(self, patches: NDArray[np.float32], *, exact: bool = False) -> Scored:
        """Scores the (P, D) float32 row-major patches of a grid; `exact` leaves the graph out."""
        ...


def read_array(bundle: Bundle, name: str, shape: tuple[int, ...], dtype: str = "float32") -> NDArray[Any]:
    """A member of the bundle that must have this shape and dtype, and be finite.

    Raises:
        BundleCorruptError: it is another.
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


def open_coreset(bundle: Bundle, index: IndexSpec, pool: native.Pool) -> native.Coreset:
    """The coreset of a bundle, prepared for exact search.

    Raises:
        BundleCorruptError: a member does not fit the manifest.
    """
    dim = bundle.manifest.backbone.dim
    vectors = read_array(bundle, "coreset", (index.size, dim))
    return bounded(bundle, vectors, index.projection, pool)


def bounded(
    bundle: Bundle,
    vectors: NDArray[np.float32],
    projection: ProjectionSpec | None,
    pool: native.Pool,
    part_rows: int | None = None,
) -> native.Coreset:
    """(N, D) vectors with the bundle's projection, if it has one.

    Raises:
        BundleCorruptError: the projection cannot be used.
    """
    if projection is None:
        return native.Coreset(vectors, part_rows=part_rows, pool=pool)
    basis = read_array(bundle, "projection/basis", (projection.dim, vectors.shape[1]))
    try:
        return native.Coreset(vectors, basis, part_rows=part_rows, pool=pool)
    except NativeError as error:
        raise BundleCorruptError(f"projection/basis: {error.what}", expected=error.expected, got=error.got) from error


def check_search(wanted: str, method: str, *, has_graph: bool) -> None:
    """Refuses a search that there is not.

    Raises:
        SpecError: unknown, or "graph" where the bundle has no graph.
    """
    if wanted not in ("auto", "exact", "graph"):
        raise SpecError("there is no such search", expected="auto, exact or graph", got=repr(wanted))
    if wanted == "graph" and not has_graph:
        raise SpecError(
            "this bundle has no graph",
            expected="search 'exact' or 'auto'",
            got="'graph'",
            remedy="Export again without --no-graph." if method == "patchcore" else "Only patchcore has one.",
        )


def largest(distances: NDArray[np.float32]) -> float:
    """The largest distance; NaN where one is NaN."""
    return float(distances.max())


def embed(patches: NDArray[np.float32], rows: NDArray[np.int32] | None) -> NDArray[np.float64]:
    """(D,) float64: the mean of the (P, D) patches, of those `rows`; None for all."""
    chosen = patches if rows is None else patches[rows]
    mean: NDArray[np.float64] = chosen.mean(axis=0, dtype=np.float64)
    return mean
