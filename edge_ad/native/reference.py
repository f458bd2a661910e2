"""The plain NumPy twin of every native kernel: slow, short, and the oracle for tests and benches.

Distances are computed in float64 from float32 arrays and returned as float32, so a native distance agrees
to float32 rounding; on integers small enough for float32 to hold every sum it agrees to the last bit.
Thread-safe: the functions keep no state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "bounded_search",
    "exact_search",
    "graph_search",
    "k_center",
    "knn_search",
    "mahalanobis",
    "moved_products",
    "resample",
    "shrink",
    "squared_distances",
]

Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]


def squared_distances(query: Float32Array, vectors: Float32Array) -> NDArray[np.float64]:
    """Squared Euclidean distances of one (D,) query from (N, D) vectors: (N,) float64, difference form.

    A distance too large for float32 is +inf, as in the native kernels.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        difference = vectors.astype(np.float64) - query.astype(np.float64)
        squared: NDArray[np.float64] = np.einsum("nd,nd->n", difference, difference)
    squared[squared > np.finfo(np.float32).max] = np.inf
    return squared


def exact_search(
    vectors: Float32Array, queries: Float32Array, rows: Int32Array | None = None
) -> tuple[Float32Array, Int32Array]:
    """Twin of :func:`edge_ad.native.exact_search`: (R,) Euclidean distances and (R,) indices."""
    distances, indices = knn_search(vectors, queries, 1, rows)
    return distances[:, 0], indices[:, 0]


def knn_search(
    vectors: Float32Array, queries: Float32Array, k: int, rows: Int32Array | None = None
) -> tuple[Float32Array, Int32Array]:
    """Twin of :func:`edge_ad.native.knn_search`: (R, k) Euclidean distances and (R, k) indices."""
    chosen = range(len(queries)) if rows is None else [int(row) for row in rows]
    distances = np.full((len(chosen), k), np.inf, np.float32)
    indices = np.full((len(chosen), k), -1, np.int32)
    for i, row in enumerate(chosen):
        squared = squared_distances(queries[row], vectors)
        squared[~np.isfinite(squared)] = np.inf
        nearest = squared.argsort(kind="stable")[:k]
        found = int(np.isfinite(squared[nearest]).sum())
        distances[i, :found] = np.sqrt(squared[nearest[:found]])
        indices[i, :found] = nearest[:found]
    return distances, indices


def _inside(
    vectors: Float32Array, queries: Float32Array, basis: Float32Array
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """(N, d + 1) projected vectors with their tails, (Q, d + 1) queries, and the scale of codes."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    points = [part.astype(np.float64) - mean for part in (vectors, queries)]
    inside = [part @ basis.T.astype(np.float64) for part in points]
    tails = [
        np.sqrt(np.maximum((part**2).sum(1) - (projected**2).sum(1), 0.0))
        for part, projected in zip(points, inside, strict=True)
    ]
    rows, asked = (np.column_stack([a, t - tails[0].mean()]) for a, t in zip(inside, tails, strict=True))
    return rows, asked, max(float(np.abs(rows).max()) / 127, 1e-30)


def _codes(inside: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    return np.clip(np.rint(inside / scale), -127, 127)


def bounded_search(
    vectors: Float32Array, queries: Float32Array, basis: Float32Array
) -> tuple[Float32Array, Int32Array, NDArray[np.bool_]]:
    """Twin of :func:`edge_ad.native.exact_search` with bounds: (Q,) distances, (Q,) indices, (Q, N) what it computed.

    Takes finite input only. It works in float64, so only the codes are rounded.
    """
    rows, asked, scale = _inside(vectors, queries, basis)
    codes, query_codes = _codes(rows, scale), _codes(asked, scale)
    error = np.linalg.norm(rows - scale * codes, axis=1).max()
    distances, indices = np.empty(len(queries), np.float32), np.empty(len(queries), np.int32)
    computed = np.zeros((len(queries), len(vectors)), np.bool_)
    for i, query in enumerate(queries):
        between = scale * np.sqrt(((codes - query_codes[i]) ** 2).sum(axis=1))
        squared = squared_distances(query, vectors)
        first = float(np.sqrt(squared[between.argmin()]))
        own = np.linalg.norm(asked[i] - scale * query_codes[i])
        computed[i] = between - own - error <= first * (1 + 1e-6)
        squared[~computed[i]] = np.inf
        indices[i] = squared.argmin()
        distances[i] = np.sqrt(squared[indices[i]])
    return distances, indices, computed


class _Walk:
    """Best-first search on the arrays of one HNSW graph (Malkov and Yashunin 2018, algorithms 2 and 5)."""

    def __init__(
        self,
        vectors: Float32Array,
        levels: NDArray[np.uint8],
        links0: Int32Array,
        upper: Int32Array,
        entry: int,
        codes: NDArray[np.float64] | None = None,
    ) -> None:
        self.vectors, self.levels, self.links0, self.upper, self.entry = vectors, levels, links0, upper, entry
        self.codes = codes
        self.upper_start = np.cumsum(levels, dtype=np.int64) - levels

    def links(self, node: int, level: int) -> list[int]:
        row = self.links0[node] if level == 0 else self.upper[self.upper_start[node] + level - 1]
        return [int(link) for link in row if link >= 0]

    def measure(self, query: NDArray[Any], nodes: list[int]) -> NDArray[np.float64]:
        """What the walk compares: squared distances, or half those of the codes minus a term of the query."""
        if self.codes is None:
            return squared_distances(query, self.vectors[nodes])
        return (self.codes[nodes] ** 2).sum(axis=1) // 2 - self.codes[nodes] @ query

    def descend(self, query: NDArray[Any]) -> int:
        node = self.entry
        least = float(self.measure(query, [node])[0])
        for level in range(int(self.levels[node]), 0, -1):
            moved = True
            while moved:
                moved = False
                links = self.links(node, level)
                for link, squared in zip(links, self.measure(query, links), strict=True):
                    if squared < least:
                        least, node, moved = float(squared), link, True
        return node

    def search(self, query: NDArray[Any], seeds: list[int], ef: int) -> list[tuple[float, int]]:
        """Up to ef nodes with their measured values, nearest first."""
        beam: list[tuple[float, int]] = []  # nearest first
        expanded: set[int] = set()
        visited: set[int] = set()

        def visit(nodes: list[int]) -> None:
            fresh = [node for node in dict.fromkeys(nodes) if node not in visited]
            visited.update(fresh)
            for node, squared in zip(fresh, self.measure(query, fresh), strict=True):
                if squared < (beam[-1][0] if len(beam) == ef else np.inf):
                    place = sum(other <= squared for other, _ in beam)
                    beam.insert(place, (float(squared), node))
                    del beam[ef:]

        visit(seeds or [self.descend(query)])
        while (node := next((node for _, node in beam if node not in expanded), None)) is not None:
            expanded.add(node)
            visit(self.links(node, 0))
        return beam


def graph_search(
    vectors: Float32Array,
    levels: NDArray[np.uint8],
    links0: Int32Array,
    upper: Int32Array,
    entry: int,
    queries: Float32Array,
    ef: int,
    grid_width: int,
    rows: Int32Array | None = None,
    stripe_rows: int = 4,
    basis: Float32Array | None = None,
) -> tuple[Float32Array, Int32Array]:
    """Twin of :func:`edge_ad.native.graph_search`, its seeds included: (R,) distances and (R,) indices.

    With the basis of the coreset it walks on codes, and the input must be finite.
    """
    codes: NDArray[np.float64] | None = None
    asked: NDArray[Any] = queries
    if basis is not None:
        inside, points, scale = _inside(vectors, queries, basis)
        codes, asked = _codes(inside, scale), _codes(points, scale)
    walk = _Walk(vectors, levels, links0, upper, entry, codes)
    chosen = range(len(queries)) if rows is None else [int(row) for row in rows]
    answers: dict[tuple[int, int], int] = {}
    distances, indices = np.full(len(chosen), np.inf, np.float32), np.full(len(chosen), -1, np.int32)
    for i, row in enumerate(chosen):
        y, x = divmod(row, grid_width)
        neighbours = [(y, x - 1)] + ([(y - 1, x)] if y % stripe_rows else [])
        seeds = [answers[place] for place in neighbours if answers.get(place, -1) >= 0]
        beam = walk.search(asked[row], seeds, ef)
        if codes is not None:
            nodes = [node for _, node in beam]
            beam = sorted(zip(squared_distances(queries[row], vectors[nodes]).tolist(), nodes, strict=True))
        squared, nearest = beam[0] if beam else (np.inf, -1)
        answers[y, x] = nearest
        distances[i], indices[i] = np.sqrt(squared), nearest
    return distances, indices


def k_center(points: Float32Array, start: int, n: int) -> tuple[Int32Array, float]:
    """Twin of :class:`edge_ad.native.KCenter` after ``advance(n)``: the picks, start first, and the radius.

    The plain greedy algorithm (Gonzalez 1985): the point farthest from all centres, ties to the lowest index,
    until ``n`` more are picked or none is farther than 0.
    """
    selected = [start]
    least = squared_distances(points[start], points)
    while len(selected) <= n and least.max() > 0:
        selected.append(int(least.argmax()))
        least = np.minimum(least, squared_distances(points[selected[-1]], points))
    return np.array(selected, np.int32), float(np.sqrt(least.max()))


def mahalanobis(
    patches: Float32Array,
    channels: Int32Array,
    means: Float32Array,
    factors: Float32Array,
    rows: Int32Array | None = None,
) -> Float32Array:
    """Twin of :func:`edge_ad.native.mahalanobis`: (R,) float32."""
    chosen = patches if rows is None else patches[rows]
    dim = len(channels)
    columns, below = np.triu_indices(dim)  # row-major upper triangle: the columns of the lower one
    distances = np.empty(len(chosen), np.float32)
    for i, (patch, mean, packed) in enumerate(zip(chosen, means, factors, strict=True)):
        factor = np.zeros((dim, dim))
        factor[below, columns] = packed
        distances[i] = np.linalg.norm(factor @ (patch[channels].astype(np.float64) - mean))
    return distances


def moved_products(
    picture: Float32Array, matrix: NDArray[np.float64], weights: Float32Array, planes: Float32Array
) -> NDArray[np.float64]:
    """Twin of :func:`edge_ad.native.moved.moved_products`: (1 + N, 1 + N) float64."""
    height, width = picture.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    inside, corners, parts = np.ones(picture.shape, np.bool_), [], []
    for row, most in zip(matrix.astype(np.float32), (width - 1, height - 1), strict=True):
        at = row[0] * x + (row[1] * y + row[2])
        inside &= (at >= -0.5) & (at <= most + 0.5)
        at = np.where(at > 0, np.minimum(at, np.float32(most)), np.float32(0))  # NaN reads the first pixel
        corners.append(np.minimum(at.astype(np.int64), most - 1))
        parts.append(at - corners[-1].astype(np.float32))
    (x0, y0), (fx, fy) = corners, parts
    above = picture[y0, x0] + fx * (picture[y0, x0 + 1] - picture[y0, x0])
    below = picture[y0 + 1, x0] + fx * (picture[y0 + 1, x0 + 1] - picture[y0 + 1, x0])
    values = np.stack([above + fy * (below - above), *planes]).reshape(len(planes) + 1, -1).astype(np.float64)
    products: NDArray[np.float64] = (values * np.where(inside, weights, 0).reshape(-1)) @ values.T
    return products


def shrink(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Twin of :func:`edge_ad.native.shrink`: (h, w) or (h, w, 3) uint8, equal to the bit."""
    (height, width), (factor_y, factor_x) = size, (image.shape[0] // size[0], image.shape[1] // size[1])
    blocks = image.reshape(height, factor_y, width, factor_x, *image.shape[2:])
    sums = blocks.sum(axis=(1, 3), dtype=np.uint32)
    if factor_y == factor_x == 2:
        return ((sums + 2) >> 2).astype(np.uint8)
    return np.rint(sums.astype(np.float32) * (np.float32(1) / np.float32(factor_y * factor_x))).astype(np.uint8)


_FRACTION = 4  # bits behind the point of a row that was filtered


def resample(image: NDArray[Any], size: tuple[int, int], filter: str) -> NDArray[Any]:
    """Twin of :func:`edge_ad.native.resample`: (h, w) or (h, w, 3) uint8 or uint16, equal to the bit."""
    top = int(np.iinfo(image.dtype).max)
    weights, bits = _filter_matrix(image.shape[1], size[1], filter)
    rows = np.einsum("yi...,xi->yx...", image.astype(np.int64), weights)
    rows = _rounded(rows, bits - _FRACTION, top << _FRACTION)
    weights, bits = _filter_matrix(image.shape[0], size[0], filter)
    return _rounded(np.einsum("ix...,yi->yx...", rows, weights), bits + _FRACTION, top).astype(image.dtype)


def _rounded(sums: NDArray[np.int64], bits: int, top: int) -> NDArray[np.int64]:
    return np.clip((sums + (1 << (bits - 1))) >> bits, 0, top)


def _filter_matrix(old: int, new: int, filter: str) -> tuple[NDArray[np.int64], int]:
    """(new, old) int64: weights of the old pixels in each new one, each row with the sum 2^bits; and the bits."""
    scale = old / new
    wide = max(scale, 1.0)
    reach = {"bilinear": wide, "bicubic": 2.0 * wide, "box": wide / 2.0 + 0.5}[filter]
    sums, peaks = [], []
    for i in range(new):
        centre = (i + 0.5) * scale
        first, last = int(max(centre - reach + 0.5, 0.0)), min(int(centre + reach + 0.5), old)
        away = np.arange(first, last) - centre + 0.5
        x = np.abs(away / wide)
        if filter == "box":
            weights = np.clip(wide / 2.0 + 0.5 - np.abs(away), 0.0, 1.0)
        elif filter == "bilinear":
            weights = np.where(x < 1, 1 - x, 0.0)
        else:
            outer = np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0.0)
            weights = np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, outer)
        sums.append((first, np.cumsum(weights)))
        peaks.append(np.abs(weights).max() / sums[-1][1][-1])
    bits = 18
    while max(peaks) * 2**bits > 32766:
        bits -= 1
    matrix = np.zeros((new, old), np.int64)
    for row, (first, total) in zip(matrix, sums, strict=True):
        row[first : first + len(total)] = np.diff(np.floor(total * (2**bits / total[-1]) + 0.5), prepend=0.0)
    return matrix, bits
