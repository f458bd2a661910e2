"""Times each native kernel: exact search, graph search, k-centre selection, sums of a moved picture. The answers are
asserted after the timing.
The data is random with clusters; a frame is 32 x 32 patches.

    pytest bench/test_search_kernels.py --benchmark-only
    EDGE_AD_FORCE_ISA=avx2 pytest bench/test_search_kernels.py --benchmark-only
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from edge_ad import native
from edge_ad.native import reference, reference_local
from edge_ad.native.local import Smoothing
from edge_ad.native.moved import moved_products
from export.projection import choose_basis

GRID_WIDTH = 32
THREADS = (1, 2)


def _clusters(seed: int, size: int, dim: int) -> np.ndarray:
    """(size, dim) float32 around 64 centres that do not depend on the seed, in 16 directions of spread."""
    centres = np.random.default_rng(0).normal(2.0, 1.0, (64, dim))
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(1).normal(0.0, 1.0, (16, dim)) / 4.0
    points = centres[rng.integers(64, size=size)] + rng.normal(size=(size, 16)) @ directions
    return np.ascontiguousarray(points + rng.normal(0.0, 0.05, (size, dim)), np.float32)


def _nearest_links(vectors: np.ndarray, width: int) -> np.ndarray:
    """(N, 2 * width) int32: for each vector `width` nearest ones and `width` at random, which connect it."""
    rng = np.random.default_rng(2)
    squared = (vectors * vectors).sum(1)
    links = rng.integers(len(vectors), size=(len(vectors), 2 * width)).astype(np.int32)
    for start in range(0, len(vectors), 1000):
        values = squared - 2.0 * (vectors[start : start + 1000] @ vectors.T)
        links[start : start + 1000, :width] = np.argpartition(values, width, axis=1)[:, :width]
    return links


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(("size", "dim"), [(1600, 128), (1600, 384), (16000, 384), (16000, 1536)])
def test_exact_search(benchmark: Any, size: int, dim: int, threads: int) -> None:
    vectors, queries = _clusters(3, size, dim), _clusters(4, GRID_WIDTH**2, dim)
    coreset, pool = native.Coreset(vectors), native.Pool(threads)
    benchmark.extra_info["isa"] = native.isa()
    distances, indices = benchmark(native.exact_search, coreset, queries, pool)
    some = np.arange(0, len(queries), 64, dtype=np.int32)
    wanted, nearest = reference.exact_search(vectors, queries, some)
    np.testing.assert_allclose(distances[some], wanted, rtol=1e-5)
    np.testing.assert_array_equal(indices[some], nearest)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(("size", "dim"), [(1600, 384), (16000, 384), (16000, 1536)])
def test_exact_search_by_bounds(benchmark: Any, size: int, dim: int, threads: int) -> None:
    """On real features: python -m bench.search_targets."""
    vectors, queries = _clusters(3, size, dim), _clusters(4, GRID_WIDTH**2, dim)
    pool = native.Pool(threads)
    coreset = native.Coreset(vectors, choose_basis(vectors, 0), pool=pool)
    benchmark.extra_info["isa"] = native.isa()
    distances, indices = benchmark(native.exact_search, coreset, queries, pool)
    wanted, nearest = native.exact_search(native.Coreset(vectors), queries, pool)
    np.testing.assert_array_equal(distances, wanted)
    np.testing.assert_array_equal(indices, nearest)


@pytest.mark.parametrize(("size", "dim"), [(1600, 128), (1600, 384), (16000, 384), (16000, 1536)])
def test_numpy_for_comparison(benchmark: Any, size: int, dim: int) -> None:
    """What exact search competes with: a BLAS product, then argmin, with NumPy's own threads."""
    vectors, queries = _clusters(3, size, dim), _clusters(4, GRID_WIDTH**2, dim)
    squared = (vectors * vectors).sum(1)

    def search() -> tuple[np.ndarray, np.ndarray]:
        values = squared - 2.0 * (queries @ vectors.T)
        nearest = values.argmin(1)
        least = values[np.arange(len(queries)), nearest] + (queries * queries).sum(1)
        return np.sqrt(np.maximum(least, 0.0)), nearest

    distances, _ = benchmark(search)
    wanted, _ = native.exact_search(native.Coreset(vectors), queries, native.Pool(1))
    np.testing.assert_allclose(distances, wanted, rtol=1e-2)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("count", [1, 4, 16])
def test_exact_search_of_a_few_patches(benchmark: Any, count: int, threads: int) -> None:
    """What the exact re-check of an approximate frame pays."""
    vectors, queries = _clusters(3, 16000, 384), _clusters(4, GRID_WIDTH**2, 384)
    rows = np.arange(count, dtype=np.int32)
    coreset, pool = native.Coreset(vectors), native.Pool(threads)
    distances, indices = benchmark(native.exact_search, coreset, queries, pool, rows)
    wanted, nearest = reference.exact_search(vectors, queries, rows)
    np.testing.assert_allclose(distances, wanted, rtol=1e-5)
    np.testing.assert_array_equal(indices, nearest)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("ef", [8, 32])
@pytest.mark.parametrize(("size", "dim"), [(16000, 384)])
def test_graph_search(benchmark: Any, size: int, dim: int, ef: int, threads: int) -> None:
    vectors, queries = _clusters(3, size, dim), _clusters(4, GRID_WIDTH**2, dim)
    coreset, pool = native.Coreset(vectors), native.Pool(threads)
    graph = native.Graph(
        coreset,
        np.zeros(size, np.uint8),
        _nearest_links(vectors, 16),
        np.empty((0, 16), np.int32),
        0,
    )
    distances, indices = benchmark(native.graph_search, graph, queries, pool, ef, GRID_WIDTH)
    exact, nearest = native.exact_search(coreset, queries, pool)
    found = indices == nearest
    benchmark.extra_info["recall"] = float(found.mean())
    assert (distances >= exact).all()
    np.testing.assert_array_equal(distances[found], exact[found])
    assert found.mean() > 0.8


@pytest.mark.parametrize("threads", THREADS)
def test_guessed_search(benchmark: Any, threads: int) -> None:
    """Points of a greedy coreset, each with the row that it was picked by."""
    points, pool = _clusters(9, 20_480, 192), native.Pool(threads)
    selection = native.KCenter(points, 0, pool)
    selection.advance(4000 - 1)
    coreset, guesses = native.Coreset(points[selection.selected]), selection.nearest
    neighbours = native.knn_search(coreset, coreset.vectors, 32, pool)
    found = benchmark(native.guessed_search, coreset, points, guesses, neighbours, pool)
    for one, other in zip(found, native.exact_search(coreset, points, pool), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("sieve", ["triangles", "sketches"])
def test_k_center(benchmark: Any, sieve: str, threads: int) -> None:
    points, pool = _clusters(5, 40_960, 128), native.Pool(threads)
    basis = None
    if sieve == "sketches":
        basis = np.ascontiguousarray(np.linalg.svd(points[:2048], full_matrices=False)[2][: native.SKETCH])

    def select() -> native.KCenter:
        selection = native.KCenter(points, 0, pool, basis)
        selection.advance(4096 - 1)
        return selection

    selection = benchmark.pedantic(select, rounds=3)
    chosen = selection.selected
    assert len(np.unique(chosen)) == 4096
    distances, _ = native.exact_search(native.Coreset(points[chosen]), points, pool)
    assert distances.max() == selection.radius
    wanted, _ = reference.k_center(points, 0, 20)
    np.testing.assert_array_equal(chosen[:21], wanted)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("k", [3, 50])
@pytest.mark.parametrize(("size", "dim"), [(1600, 384), (16000, 384)])
def test_knn_search(benchmark: Any, size: int, dim: int, k: int, threads: int) -> None:
    vectors, queries = _clusters(3, size, dim), _clusters(4, GRID_WIDTH**2, dim)
    coreset, pool = native.Coreset(vectors), native.Pool(threads)
    benchmark.extra_info["isa"] = native.isa()
    distances, _ = benchmark(native.knn_search, coreset, queries, k, pool)
    some = np.arange(0, len(queries), 64, dtype=np.int32)
    np.testing.assert_allclose(distances[some], reference.knn_search(vectors, queries, k, some)[0], rtol=1e-5)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("channels", [100, 550])
def test_mahalanobis(benchmark: Any, channels: int, threads: int) -> None:
    """PaDiM's share of a frame: 3 ms at most for 100 channels are wanted (bench/NOTES.md)."""
    rng, count, pool = np.random.default_rng(0), GRID_WIDTH**2, native.Pool(threads)
    patches = rng.normal(size=(count, 1536)).astype(np.float32)
    chosen = np.sort(rng.permutation(1536)[:channels]).astype(np.int32)
    means = rng.normal(size=(count, channels)).astype(np.float32)
    factors = rng.normal(size=(count, channels * (channels + 1) // 2)).astype(np.float32)
    found = benchmark(native.mahalanobis, patches, chosen, means, factors, pool)
    benchmark.extra_info["isa"] = native.isa()
    some = np.arange(0, count, 64, dtype=np.int32)
    wanted = reference.mahalanobis(patches, chosen, means[some], factors[some], some)
    np.testing.assert_allclose(found[some], wanted, rtol=1e-4)


def _values(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights of a Gaussian of one patch, values of a frame and the most that they can be."""
    rng = np.random.default_rng(7)
    values = rng.gamma(20, 0.05, side * side).astype(np.float32)
    return np.exp(-0.5 * np.arange(4.0) ** 2).astype(np.float32), values, values * np.float32(1.2)


@pytest.mark.parametrize("side", [32, 48])
def test_smoothing(benchmark: Any, side: int) -> None:
    weights, values, _ = _values(side)
    found = benchmark(Smoothing(weights, (side, side)), values)
    np.testing.assert_array_equal(found, reference_local.smooth(values, weights, (side, side)))


@pytest.mark.parametrize("side", [32, 48])
def test_smoothing_by_numpy(benchmark: Any, side: int) -> None:
    """What the kernel competes with."""
    weights, values, _ = _values(side)
    benchmark(reference_local.smooth, values, weights, (side, side))


@pytest.mark.parametrize("side", [32, 48])
def test_choice_of_what_to_search_again(benchmark: Any, side: int) -> None:
    weights, values, bounds = _values(side)
    smoothing, given = Smoothing(weights, (side, side)), (values, bounds, np.ones(len(values), np.bool_), 16)
    found = benchmark(smoothing.choose, *given)
    np.testing.assert_array_equal(found, reference_local.choose(*given, weights, (side, side)))


def _moving(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A picture, the matrix that it is moved by, weights, and the planes of the motion `similarity`."""
    rng = np.random.default_rng(6)
    picture = cv2.GaussianBlur(rng.normal(0, 50, (side, side)).astype(np.float32), (5, 5), 1)
    planes = rng.normal(0, 5, (6, side, side)).astype(np.float32)
    return picture, np.array([[0.98, 0.1, 3], [-0.1, 0.98, -2]]), np.ones((side, side), np.float32), planes


@pytest.mark.parametrize("side", [64, 128])
def test_moved_products(benchmark: Any, side: int) -> None:
    given = _moving(side)
    benchmark.extra_info["isa"] = native.isa()
    wanted = reference.moved_products(*given)
    np.testing.assert_allclose(benchmark(moved_products, *given), wanted, atol=1e-5 * np.diag(wanted).max())


@pytest.mark.parametrize("side", [64, 128])
def test_moved_products_by_opencv_and_numpy(benchmark: Any, side: int) -> None:
    """What the kernel competes with. All pixels count here, also those that the frame does not show."""
    picture, matrix, weights, planes = _moving(side)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

    def products() -> np.ndarray:
        moved = cv2.warpAffine(picture, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        values = np.concatenate([moved[None], planes]).reshape(7, -1)
        return (values * weights.reshape(-1)) @ values.T

    assert benchmark(products).shape == (7, 7)
