"""The native core: exact search, graph search, k-centre selection, Mahalanobis distances, resizing. Checks arguments.

Arrays are C-contiguous; only images need not be. ``Q`` queries and ``N`` coreset vectors have ``D`` float32 elements
each. Distances are Euclidean, not squared. Every call releases the GIL while it works. It returns to Python about once
a second, so that Ctrl-C works. :mod:`edge_ad.native.reference` does the same in plain NumPy.

The first use chooses the instruction set from what the CPU reports. ``EDGE_AD_FORCE_ISA`` (``portable``, ``avx2``,
``avxvnni``, ``avx512``, ``avx512vnni``, ``amx``, ``neon`` or ``neondot``) overrides the choice. Results are the same
for every number of threads. The last bits of a distance may differ between instruction sets.

Over 400 lines: this is the only checked interface of the core, and more than half of it is documentation.
"""

from __future__ import annotations

import math
import pathlib
import platform
import threading
from collections.abc import Iterator, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import NativeError, NativeMissingError
from edge_ad.native.arguments import require_array

try:
    from edge_ad.native import _core
except ImportError as error:
    _folder = pathlib.Path(__file__).parent
    _fits = [name for suffix in EXTENSION_SUFFIXES if (_folder / (name := f"_core{suffix}")).exists()]
    _build = f"pip install --no-build-isolation -e {_folder.parents[1]}"
    if not _fits:  # Python's own words for this are a "circular import"
        raise NativeMissingError(
            f"the native core of edge-ad is not built for this Python in {_folder}",
            expected=" or ".join(f"_core{suffix}" for suffix in EXTENSION_SUFFIXES),
            got=", ".join(sorted(path.name for path in _folder.glob("_core*.*") if path.suffix != ".pyi")) or "none",
            remedy=f"Build it: {_build} (once before: pip install scikit-build-core nanobind cmake ninja). "
            "Or start Python in another folder, to import an installed edge-ad.",
        ) from None
    raise NativeMissingError(
        "the native core of edge-ad cannot be loaded",
        expected=f"a build for this system and {platform.machine()}",
        got=f"{_folder / _fits[0]}: {error}",
        remedy=f"Install edge-ad again; in a checkout: {_build}.",
    ) from error

__all__ = [
    "FILTERS",
    "STRIPE_ROWS",
    "Coreset",
    "Graph",
    "KCenter",
    "Pool",
    "can_resample",
    "can_shrink",
    "exact_search",
    "graph_search",
    "guessed_search",
    "isa",
    "knn_search",
    "mahalanobis",
    "resample",
    "shrink",
    "supported_isas",
]

Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]

STRIPE_ROWS = 4  # kStripeRows in graph.hpp
SKETCH = 32  # kSketch in kernels.hpp
FILTERS = ("bilinear", "bicubic", "box")  # of `resample`; numbered as in resample.hpp
_MOST_THREADS = 1024
_CALL_MULTIPLY_ADDS = 1.5e10  # of one thread in one call into C++: a fraction of a second even without SIMD
_TILE_QUERIES = 192  # four tiles of AVX-512, a multiple of the others
_CALL_GRAPH_FLOATS = 1 << 24  # of queries, one call of graph search
_CALL_PICKS = 32
_MOST_SHRINK = 16  # kMostShrink in kernels.hpp
_MOST_SIDE = 2**24  # kMostSide in resample.hpp


def isa() -> str:
    """The instruction set in use, by its name in ``EDGE_AD_FORCE_ISA``.

    Raises:
        NativeError: EDGE_AD_FORCE_ISA names one that is unknown or that this CPU cannot run.
    """
    return _core.isa()


def supported_isas() -> tuple[str, ...]:
    """The instruction sets this CPU and operating system can run, best first. Never empty."""
    return tuple(_core.supported_isas())


def _integer(name: str, value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= most:
        raise NativeError(f"{name} is out of its range", expected=f"an integer, {least} .. {most}", got=repr(value))
    return int(value)


def _instance(name: str, value: object, wanted: type) -> None:
    if not isinstance(value, wanted):
        raise NativeError(
            f"{name} has the wrong type",
            expected=f"edge_ad.native.{wanted.__name__}",
            got=type(value).__name__,
        )


class Pool:
    """A pool of threads that stays alive. The calling thread works too, so ``threads=1`` starts no thread.

    Idle workers sleep. Calls from several Python threads take turns, but for as many as there are streams. A forked
    child starts its own workers at its first call. Safe to share between threads.

    Args:
        threads: how many threads work on a call, the caller included: 1 .. 1024.
        cores: CPU ids for the workers (Linux only): worker k = 1, 2, ... of stream s is pinned to
            ``cores[(s * threads + k) % len(cores)]``. The place k = 0 is free for the calling thread, which is never
            pinned.
        streams: how many calls run side by side, each on `threads` threads of its own: 1 .. 1024 threads in all.

    Raises:
        NativeError: an argument is out of its range, or a thread cannot be started or pinned.
    """

    def __init__(self, threads: int, cores: Sequence[int] | None = None, streams: int = 1) -> None:
        count = _integer("threads", threads, 1, _MOST_THREADS)
        calls = _integer("streams", streams, 1, _MOST_THREADS // count)
        chosen = [] if cores is None else [_integer("core", core, 0, 1 << 20) for core in cores]
        if cores is not None and (not chosen or len(set(chosen)) != len(chosen)):
            raise NativeError("cores cannot be used", expected="one or more CPU ids, none twice", got=chosen)
        self._core = _core.Pool(count, chosen, calls)

    @property
    def threads(self) -> int:
        """How many threads work on a call, the caller included."""
        return self._core.threads


class Coreset:
    """The vectors to search in. Immutable and thread-safe.

    Keeps a reference to the array, which must not change. The array may be read-only and memory-mapped. A row with NaN
    or Inf is never returned as the nearest.

    With a basis, exact search computes few distances. It projects the vectors onto the basis, keeps the projections as
    int8 codes, and gets lower bounds of all distances from them (proof: bounds.hpp). The answers are equal to the bit.

    Args:
        vectors: (N, D) float32, C-contiguous, N >= 1, D >= 1.
        basis: (d, D) float32 with orthonormal rows that span most of the vectors' spread, evenly; d <= 256.
            The answers are right with any such rows; with bad rows the search is slow. None: no bounds.
        part_rows: rows of a part, to search in some parts only; N by default. The last part may be shorter.
        pool: the threads that prepare; None: the calling thread.

    Raises:
        NativeError: an array is of another kind, or empty, or the basis is not orthonormal.
    """

    def __init__(
        self,
        vectors: Float32Array,
        basis: Float32Array | None = None,
        *,
        part_rows: int | None = None,
        pool: Pool | None = None,
    ) -> None:
        require_array("vectors", vectors, np.float32, (None, None))
        if basis is not None:
            require_array("basis", basis, np.float32, (None, vectors.shape[1]))
        if pool is None:
            pool = Pool(1)
        _instance("pool", pool, Pool)
        size = len(vectors)
        self._part_rows = size if part_rows is None else _integer("part_rows", part_rows, 1, max(1, size))
        self._vectors, self._bounded = vectors, basis is not None
        self._core = _core.Coreset(vectors, max(1, self._part_rows), basis, pool._core)

    @property
    def vectors(self) -> Float32Array:
        """The (N, D) float32 array given."""
        return self._vectors

    @property
    def size(self) -> int:
        """N, the number of vectors."""
        return int(self._vectors.shape[0])

    @property
    def has_bounds(self) -> bool:
        """Whether a basis was given."""
        return self._bounded

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-self.size // self._part_rows)

    @property
    def dim(self) -> int:
        """D, the number of elements of a vector."""
        return int(self._vectors.shape[1])


class Graph:
    """An HNSW graph over a coreset (Malkov and Yashunin 2018), read from plain arrays and checked.

    The arrays are copied, so later changes to them have no effect. Immutable and thread-safe.

    Args:
        coreset: the vectors of the nodes, in the same order.
        levels: (N,) uint8, the highest level of each node.
        links0: (N, M0) int32, neighbours on level 0, each row padded by -1 at its end.
        upper: (U, M) int32 with U = levels.sum(), padded likewise. The links of node i on level l >= 1 stand
            in row ``levels[:i].sum() + l - 1`` and point to nodes whose level is l or higher.
        entry: a node on the highest level.

    Raises:
        NativeError: the arrays are of another kind or do not make such a graph.
    """

    def __init__(
        self,
        coreset: Coreset,
        levels: NDArray[np.uint8],
        links0: Int32Array,
        upper: Int32Array,
        entry: int,
    ) -> None:
        _instance("coreset", coreset, Coreset)
        require_array("levels", levels, np.uint8, (coreset.size,))
        require_array("links0", links0, np.int32, (coreset.size, None))
        require_array("upper", upper, np.int32, (int(levels.sum(dtype=np.int64)), None))
        self._coreset = coreset
        self._entry = _integer("entry", entry, 0, coreset.size - 1)
        self._core = _core.Graph(coreset._core, levels, links0, upper, self._entry)

    @property
    def coreset(self) -> Coreset:
        """The vectors of the nodes."""
        return self._coreset

    @property
    def entry(self) -> int:
        """The node where a search without seeds starts."""
        return self._entry


def exact_search(
    coreset: Coreset,
    queries: Float32Array,
    pool: Pool,
    rows: Int32Array | None = None,
    parts: Int32Array | None = None,
) -> tuple[Float32Array, Int32Array]:
    """The nearest vector of the coreset for each query: the least distance, ties to the lowest index.

    What a query gets depends on the query and the coreset alone. Thread-safe.

    Args:
        coreset: where to search.
        queries: (Q, D) float32, Q >= 0.
        pool: the threads to use.
        rows: (R,) int32, which queries to search, in any order; None for all.
        parts: (P,) int32, ascending: which parts of the coreset to search; None for all.

    Returns:
        distances (R,) float32, Euclidean, and indices (R,) int32; R = Q without ``rows``. A query with NaN or
        Inf, or so far off that its squared distance overflows, gets +inf and -1.

    Raises:
        NativeError: an argument is of another kind, or a row is outside the queries.
    """
    distances, indices = knn_search(coreset, queries, 1, pool, rows, parts)
    return distances.reshape(-1), indices.reshape(-1)


def knn_search(
    coreset: Coreset,
    queries: Float32Array,
    k: int,
    pool: Pool,
    rows: Int32Array | None = None,
    parts: Int32Array | None = None,
) -> tuple[Float32Array, Int32Array]:
    """The k nearest vectors of the coreset for each query, nearest first, ties to the lowest index.

    What a query gets depends on the query and the coreset alone. Thread-safe.

    Args:
        coreset: where to search.
        queries: (Q, D) float32, Q >= 0.
        k: how many, 1 .. N.
        pool: the threads to use.
        rows: (R,) int32, which queries to search, in any order; None for all.
        parts: (P,) int32, ascending: which parts of the coreset to search; None for all.

    Returns:
        distances (R, k) float32, Euclidean, and indices (R, k) int32; R = Q without ``rows``. A query with NaN or
        Inf, or so far off that its squared distance overflows, gets +inf and -1.

    Raises:
        NativeError: an argument is of another kind, or a row is outside the queries.
    """
    _check_search(coreset, queries, pool, rows)
    k = _integer("k", k, 1, coreset.size)
    count = len(queries) if rows is None else len(rows)
    if parts is not None:
        require_array("parts", parts, np.int32, (None,))
    distances, indices = np.empty((count, k), np.float32), np.empty((count, k), np.int32)
    for part in _parts_of(count, coreset, pool):
        if rows is None:
            chosen, some = queries[part], None
        else:
            chosen, some = queries, rows[part]
        out = distances[part].reshape(-1), indices[part].reshape(-1)  # views: what is contiguous is not copied
        _core.exact_search(coreset._core, chosen, some, parts, k, pool._core, *out)
    return distances, indices


def guessed_search(
    coreset: Coreset,
    queries: Float32Array,
    guesses: Int32Array,
    neighbours: tuple[Float32Array, Int32Array],
    pool: Pool,
    rows: Int32Array | None = None,
) -> tuple[Float32Array, Int32Array]:
    """What `exact_search` gives, to the bit, sooner where a row is known that is near to a query.

    Rows that are nearer than the guess are near to the guess too. So they are looked for among its neighbours, which
    takes some ten distances; where there are too few neighbours to be sure, the query is searched for as always.
    Thread-safe.

    Args:
        coreset: where to search.
        queries: (Q, D) float32, Q >= 0.
        guesses: (R,) int32, a row of the coreset for each query that is searched; -1 for none. Any row will do.
        neighbours: distances (N, k) and indices (N, k) of the k rows nearest to each row: `knn_search` of the coreset's
            own vectors.
        pool: the threads to use.
        rows: (R,) int32, which queries to search, in any order; None for all.

    Returns:
        distances (R,) float32 and indices (R,) int32, as `exact_search`.

    Raises:
        NativeError: an argument is of another kind, a row is outside the queries, or a guess or a neighbour is none of
            the coreset's rows.
    """
    _check_search(coreset, queries, pool, rows)
    count = len(queries) if rows is None else len(rows)
    require_array("guesses", guesses, np.int32, (count,))
    apart, ids = neighbours
    require_array("the neighbours' distances", apart, np.float32, (coreset.size, None))
    require_array("the neighbours", ids, np.int32, apart.shape)
    distances, indices = np.empty(count, np.float32), np.empty(count, np.int32)
    for part in _parts_of(count, coreset, pool):
        chosen, some = (queries[part], None) if rows is None else (queries, rows[part])
        given = coreset._core, chosen, guesses[part], ids, apart, some, pool._core
        _core.guessed_search(*given, distances[part], indices[part])
    return distances, indices


def graph_search(
    graph: Graph,
    queries: Float32Array,
    pool: Pool,
    ef: int,
    grid_width: int,
    rows: Int32Array | None = None,
) -> tuple[Float32Array, Int32Array]:
    """An approximate nearest vector for each patch of a grid, by best-first search of an HNSW graph.

    The grid is searched in stripes of :data:`STRIPE_ROWS` rows. Inside a stripe a patch starts from the
    answers of its left and its upper neighbour if these were searched; otherwise from the entry point, down the
    levels (Malkov and Yashunin 2018, algorithm 5). Then algorithm 2 runs on level 0. If the coreset has a basis
    and is one part, the walk compares int8 codes, and full distances decide among the ef candidates. A distance
    has the same bits as :func:`exact_search` gives for that row, so it is never below the exact one. Thread-safe.
    The result is the same for every number of threads.

    Args:
        graph: where to search.
        queries: (Q, D) float32, row-major patches of a grid; Q is a multiple of ``grid_width``.
        pool: the threads to use.
        ef: how many candidates a search keeps, >= 1; a larger ef is slower and finds the nearest more often.
        grid_width: patches in a row of the grid.
        rows: (R,) int32, ascending: the patches to search (those inside the ROI); None for all.

    Returns:
        distances (R,) float32, Euclidean, and indices (R,) int32; +inf and -1 if the query holds NaN or Inf, or
        no node that was reached is at a finite distance.

    Raises:
        NativeError: an argument is of another kind, or the rows are not ascending or outside the queries.
    """
    _instance("graph", graph, Graph)
    _check_search(graph.coreset, queries, pool, rows)
    ef = min(_integer("ef", ef, 1, 2**31 - 1), graph.coreset.size)
    width = _integer("grid_width", grid_width, 1, 2**31 - 1)
    if len(queries) % width:
        raise NativeError("queries do not fill a grid", expected=f"a multiple of {width}", got=len(queries))
    if rows is not None and np.any(np.diff(rows) <= 0):
        raise NativeError("rows are not ascending", expected="each row greater than the one before", got=rows)
    count = len(queries) if rows is None else len(rows)
    distances, indices = np.empty(count, np.float32), np.empty(count, np.int32)
    stripe = width * STRIPE_ROWS
    step = stripe * math.ceil(_CALL_GRAPH_FLOATS / (stripe * graph.coreset.dim))
    for start in range(0, len(queries), step):
        if rows is None:
            part, some = slice(start, start + step), None
        else:
            first, last = np.searchsorted(rows, (start, start + step))
            part, some = slice(int(first), int(last)), rows[first:last] - np.int32(start)
        _core.graph_search(
            graph._core,
            queries[start : start + step],
            some,
            pool._core,
            ef,
            width,
            distances[part],
            indices[part],
        )
    return distances, indices


def mahalanobis(
    patches: Float32Array,
    channels: Int32Array,
    means: Float32Array,
    factors: Float32Array,
    pool: Pool,
    rows: Int32Array | None = None,
) -> Float32Array:
    """(R,) float32: |W (x - mean)| of each patch with the mean and the factor W of its own. Thread-safe.

    Args:
        patches: (P, D) float32.
        channels: (C,) int32, which of the D numbers make x, in the order of mean and W.
        means: (R, C) float32.
        factors: (R, C (C + 1) / 2) float32: lower triangular W, its columns one after the other, each from the
            diagonal down.
        pool: the threads to use.
        rows: (R,) int32, the patches to take; None for all, R = P.

    Raises:
        NativeError: an argument is of another kind, or a channel or row is outside the patches.
    """
    _instance("pool", pool, Pool)
    require_array("patches", patches, np.float32, (None, None))
    require_array("channels", channels, np.int32, (None,))
    if rows is not None:
        require_array("rows", rows, np.int32, (None,))
    count, dim = len(patches) if rows is None else len(rows), len(channels)
    require_array("means", means, np.float32, (count, dim))
    require_array("factors", factors, np.float32, (count, dim * (dim + 1) // 2))
    distances = np.empty(count, np.float32)
    _core.mahalanobis(patches, rows, channels, means, factors, pool._core, distances)
    return distances


def can_shrink(image: NDArray[np.generic], size: tuple[int, int]) -> bool:
    """Whether :func:`shrink` takes this image to this (H, W)."""
    if image.dtype != np.uint8 or not _side_by_side(image):
        return False
    return all(
        small >= 1 and large >= small and large % small == 0 and large // small <= _MOST_SHRINK
        for large, small in zip(image.shape[:2], size, strict=True)
    )


def shrink(image: NDArray[np.uint8], size: tuple[int, int], pool: Pool | None = None) -> NDArray[np.uint8]:
    """Area averages of ``image`` by whole factors: to the bit what OpenCV's ``INTER_AREA`` gives. Thread-safe.

    The sum of a block times the float32 nearest to 1 / area is rounded to the nearest integer, halves to even; of
    a block of 2 x 2, halves up.

    Args:
        image: (H, W) or (H, W, 3) uint8, may be read-only; the pixels of a row are contiguous, the rows need not be.
        size: (h, w), h >= 1, w >= 1; H / h and W / w are whole, at most 16 and may differ.
        pool: threads that help with an image of 1 MiB or more; None: the calling thread alone.

    Returns:
        (h, w) or (h, w, 3) uint8, a new array.

    Raises:
        NativeError: not such an image or size.
    """
    size = tuple(_integer("size", side, 1, 2**31 - 1) for side in size)  # type: ignore[assignment]
    if not isinstance(image, np.ndarray) or len(size) != 2 or not can_shrink(image, size):
        raise NativeError(
            "the image cannot be shrunk to this size",
            expected=f"uint8 (H, W) or (H, W, 3), pixels side by side, H and W whole multiples (1 .. {_MOST_SHRINK})",
            got=f"{_described(image)} to {size}",
        )
    if pool is not None:
        _instance("pool", pool, Pool)
    out = np.empty((*size, *image.shape[2:]), np.uint8)
    _core.shrink(image, out, None if pool is None else pool._core)
    return out


Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]


def resample(image: Pixels, size: tuple[int, int], filter: str, pool: Pool | None = None) -> Pixels:
    """``image`` at another size, by a filter with antialiasing: Pillow's, within one grey level. Thread-safe.

    "bilinear" is the triangle filter, "bicubic" that of Keys with a = -0.5. "box" takes each pixel by the share of it
    that lies in the new one: OpenCV's ``INTER_AREA`` within one grey level (Pillow's box takes whole pixels). A filter
    is as wide as the factor that a side shrinks by. So nothing aliases; torchvision's ``antialias=True`` means the
    same. The result is the same to the bit for every instruction set and number of threads.

    Args:
        image: (H, W) or (H, W, 3) uint8 or uint16, may be read-only; the pixels of a row are contiguous, the rows need
            not be. uint16 images take some ten times as long.
        size: (h, w), each 1 or more.
        filter: one of `FILTERS`.
        pool: threads that help with an image of 256 KiB or more; None: the calling thread alone.

    Returns:
        (h, w) or (h, w, 3), a new array of the image's dtype.

    Raises:
        NativeError: not such an image, size or filter.
    """
    sides: tuple[int, ...] = tuple(_integer("size", side, 1, _MOST_SIDE) for side in size)
    if not isinstance(image, np.ndarray) or len(sides) != 2 or not can_resample(image):
        raise NativeError(
            "the image cannot be resampled to this size",
            expected="uint8 or uint16 (H, W) or (H, W, 3), pixels side by side, and (h, w)",
            got=f"{_described(image)} to {sides}",
        )
    if filter not in FILTERS:
        raise NativeError("there is no such filter", expected=" or ".join(FILTERS), got=filter)
    if pool is not None:
        _instance("pool", pool, Pool)
    out: Pixels = np.empty((*sides, *image.shape[2:]), image.dtype)
    _core.resample(image, out, FILTERS.index(filter), None if pool is None else pool._core)
    return out


def can_resample(image: NDArray[np.generic]) -> bool:
    """Whether :func:`resample` takes this image."""
    return (
        image.dtype in (np.uint8, np.uint16)
        and _side_by_side(image)
        and 1 <= min(image.shape[:2]) <= max(image.shape[:2]) <= _MOST_SIDE
    )


def _side_by_side(image: NDArray[np.generic]) -> bool:
    """Whether it is (H, W) or (H, W, 3) with the pixels of a row, and their channels, next to each other."""
    item = image.itemsize
    return (image.ndim == 2 and image.strides[1] == item) or (
        image.ndim == 3 and image.shape[2] == 3 and image.strides[1:] == (3 * item, item)
    )


def _described(value: object) -> str:
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    return f"{value.dtype} of shape {value.shape}, strides {value.strides}"


def _parts_of(count: int, coreset: Coreset, pool: Pool) -> Iterator[slice]:
    """The queries of each call into C++."""
    whole = _TILE_QUERIES * pool.threads
    step = whole * math.ceil(_CALL_MULTIPLY_ADDS * pool.threads / (coreset.size * coreset.dim * whole))
    return (slice(start, start + step) for start in range(0, count, step))


def _check_search(coreset: Coreset, queries: Float32Array, pool: Pool, rows: Int32Array | None) -> None:
    _instance("coreset", coreset, Coreset)
    _instance("pool", pool, Pool)
    require_array("queries", queries, np.float32, (None, coreset.dim))
    if rows is None:
        return
    require_array("rows", rows, np.int32, (None,))
    if rows.size and not (int(rows.min()) >= 0 and int(rows.max()) < len(queries)):
        raise NativeError(
            "rows reach outside the queries",
            expected=f"0 <= row < {len(queries)}",
            got=f"{rows.min()} .. {rows.max()}",
        )


class KCenter:
    """Greedy k-centre (farthest point) selection, a few picks at a time.

    Each pick is the point farthest from all picked so far, ties to the lowest index. The radius is at most twice the
    best possible one (Gonzalez 1985). This is the coreset of PatchCore (Roth et al. 2022, algorithm 1, without the
    random projection). A distance is skipped when the triangle inequality, or a distance in fewer dimensions, proves
    that the point keeps its centre; the picks are those of the plain algorithm. Memory besides the points: some 20
    bytes a point, with a basis some 150 more.

    Keeps a reference to the points, which must not change. Calls from several threads take turns.

    Args:
        points: (N, D) float32, C-contiguous, N >= 1, D >= 1, finite.
        start: the first pick, 0 .. N - 1.
        pool: the threads to use.
        basis: (32, D) float32 with orthonormal rows that span most of the points' spread, such as their first principal
            directions. The picks are the same with any such rows, and sooner made with good ones; None: by the triangle
            inequality alone.

    Raises:
        NativeError: an argument is of another kind, a distance is NaN or Inf, or the basis is not orthonormal.
    """

    def __init__(self, points: Float32Array, start: int, pool: Pool, basis: Float32Array | None = None) -> None:
        require_array("points", points, np.float32, (None, None))
        if basis is not None:
            require_array("basis", basis, np.float32, (SKETCH, points.shape[1]))
        _instance("pool", pool, Pool)
        first = _integer("start", start, 0, len(points) - 1)
        self._pool, self._size = pool, len(points)
        self._lock = threading.Lock()
        self._core = _core.KCenter(points, first, basis, pool._core)

    def advance(self, n: int) -> int:
        """Pick up to ``n`` more centres and return how many were picked.

        Fewer only when every point left is an exact duplicate of a centre; those are never picked.

        Raises:
            NativeError: ``n`` is negative.
        """
        wanted, picked = _integer("n", n, 0, 2**31 - 1), 0
        while picked < wanted:
            with self._lock:
                now = self._core.advance(min(_CALL_PICKS, wanted - picked), self._pool._core)
            if now == 0:
                break
            picked += now
        return picked

    @property
    def selected(self) -> Int32Array:
        """(picks,) int32, a new array: the picked points in order, ``start`` first."""
        with self._lock:
            return np.array(self._core.selected, np.int32)

    @property
    def nearest(self) -> Int32Array:
        """(N,) int32, a new array: which pick each point is nearest to, by its place in `selected`."""
        found = np.empty(self._size, np.int32)
        with self._lock:
            self._core.nearest(found)
        return found

    @property
    def radius(self) -> float:
        """The largest distance of a point from its nearest centre. Euclidean."""
        with self._lock:
            return self._core.radius
