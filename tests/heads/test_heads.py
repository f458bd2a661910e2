"""Each head against its paper's equations, written plainly; what is the same for all of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from edge_ad import native
from edge_ad.heads.base import Head
from edge_ad.heads.centroid import Centroid
from edge_ad.heads.knn import Knn
from edge_ad.heads.padim import Padim, Peak
from edge_ad.heads.spade import Spade

POOL = native.Pool(2)
PATCHES, DIM, IMAGES = 30, 12, 9
ROWS = np.array([2, 3, 11, 29], np.int32)


def goods(seed: int = 0, rows: int = PATCHES) -> np.ndarray:
    """(IMAGES, rows, DIM) float32."""
    return np.random.default_rng(seed).normal(1, 1, (IMAGES, rows, DIM)).astype(np.float32)


def frame(seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(1, 2, (PATCHES, DIM)).astype(np.float32)


def inside(patches: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    return patches if rows is None else patches[rows]


def gallery_of(images: np.ndarray) -> native.Coreset:
    """(G, R, D) patches, a part for each image."""
    return native.Coreset(np.ascontiguousarray(images.reshape(-1, DIM)), part_rows=images.shape[1])


def heads(rows: np.ndarray | None) -> dict[str, Head]:
    count = PATCHES if rows is None else len(rows)
    material = goods(rows=count)
    factors = np.random.default_rng(1).normal(0, 1, (count, 10)).astype(np.float32)
    embeddings = material.mean(axis=1)
    centroid = embeddings.mean(axis=0) / np.linalg.norm(embeddings.mean(axis=0))
    members = np.array([0, 4, 5], np.int32)
    return {
        "padim": Padim(np.array([0, 3, 5, 11], np.int32), material[0][:, [0, 3, 5, 11]].copy(), factors, rows, POOL),
        "knn": Knn(native.Coreset(material.reshape(-1, DIM)), 4, rows, POOL),
        "spade": Spade(embeddings, members, gallery_of(material[members]), 2, rows, POOL),
        "centroid": Centroid(centroid, rows),
    }


@pytest.mark.parametrize("rows", [None, ROWS], ids=["whole", "roi"])
def test_padim_is_scipy_s_mahalanobis(rows: np.ndarray | None) -> None:
    """With W the inverse Cholesky factor of a covariance."""
    distance = pytest.importorskip("scipy.spatial.distance")
    count, channels = PATCHES if rows is None else len(rows), np.array([1, 2, 6, 9], np.int32)
    rng = np.random.default_rng(3)
    means = rng.normal(1, 1, (count, 4)).astype(np.float32)
    roots = rng.normal(0, 1, (count, 4, 4))
    covariances = roots @ np.swapaxes(roots, 1, 2) + 0.1 * np.eye(4)
    inverse = np.linalg.inv(np.linalg.cholesky(covariances))
    packed = np.stack([np.concatenate([w[c:, c] for c in range(4)]) for w in inverse]).astype(np.float32)
    found = Padim(channels, means, packed, rows, POOL)(frame())
    wanted = [
        distance.mahalanobis(x[channels], m, np.linalg.inv(c))
        for x, m, c in zip(inside(frame(), rows), means, covariances, strict=True)
    ]
    np.testing.assert_allclose(found.distances, wanted, rtol=1e-4)
    assert found.score == found.distances.max()


@pytest.mark.parametrize("rows", [None, ROWS], ids=["whole", "roi"])
def test_padim_s_score_may_be_the_peak_of_its_map(rows: np.ndarray | None) -> None:
    """SciPy's Gaussian of the upsampled distances, mirrored without the last pixel; of a region the patches' pixels."""
    ndimage = pytest.importorskip("scipy.ndimage")
    grid, size, sigma = (5, 6), (20, 36), 1.5
    plain = heads(rows)["padim"]
    peak = Peak(sigma, grid, size)
    head = Padim(plain._channels, plain._means, plain._factors, rows, POOL, peak)  # type: ignore[attr-defined]
    found, distances = head(frame()), plain(frame()).distances
    np.testing.assert_array_equal(found.distances, distances)
    assert found.sigma_px == sigma
    inside = np.zeros(PATCHES, np.float32)
    inside[slice(None) if rows is None else rows] = 1
    values = inside.copy()
    values[inside > 0] = distances
    large = [cv2.resize(plane.reshape(grid), (size[1], size[0])).astype(np.float64) for plane in (values, inside)]
    above, below = (ndimage.gaussian_filter(plane, sigma, mode="mirror", truncate=4) for plane in large)
    cells = np.kron(inside.reshape(grid), np.ones((size[0] // grid[0], size[1] // grid[1]))) > 0
    assert found.score == pytest.approx((above / np.maximum(below, 1e-6))[cells].max(), rel=1e-5)


@pytest.mark.parametrize("rows", [None, ROWS], ids=["whole", "roi"])
@pytest.mark.parametrize("k", [1, 3, IMAGES * PATCHES])
def test_knn_is_scikit_learn_s(rows: np.ndarray | None, k: int) -> None:
    bank = goods().reshape(-1, DIM)
    found = Knn(native.Coreset(bank), k, rows, POOL)(frame())
    apart, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(bank).kneighbors(inside(frame(), rows))
    np.testing.assert_allclose(found.distances, apart.mean(axis=1), rtol=1e-5)
    assert found.score == found.distances.max()


@pytest.mark.parametrize("rows", [None, ROWS], ids=["whole", "roi"])
@pytest.mark.parametrize("k", [1, 2, 3, 50])
def test_spade_by_its_equations(rows: np.ndarray | None, k: int) -> None:
    material = goods(rows=PATCHES if rows is None else len(rows))
    members = np.array([1, 4, 5, 8], np.int32)
    found = Spade(material.mean(axis=1), members, gallery_of(material[members]), k, rows, POOL)(frame())
    patches = inside(frame(), rows).astype(np.float64)
    apart = np.linalg.norm(material.mean(axis=1) - patches.mean(axis=0), axis=1)
    assert found.score == pytest.approx(np.sort(apart)[:k].mean(), rel=1e-5)
    near = members[np.argsort(apart[members])[:k]]
    gallery = material[near].reshape(-1, DIM)
    wanted = np.linalg.norm(patches[:, None] - gallery[None], axis=2).min(axis=1)
    np.testing.assert_allclose(found.distances, wanted, rtol=1e-5)


@pytest.mark.parametrize("rows", [None, ROWS], ids=["whole", "roi"])
def test_centroid_is_a_cosine_distance(rows: np.ndarray | None) -> None:
    centroid = np.arange(1, DIM + 1) / np.linalg.norm(np.arange(1, DIM + 1))
    head = Centroid(centroid.astype(np.float32), rows)
    mean = inside(frame(), rows).mean(axis=0)
    found = head(frame())
    assert found.score == pytest.approx(1 - mean @ centroid / np.linalg.norm(mean), rel=1e-5)
    assert found.distances.shape == (0,)
    assert not head.has_map
    along = np.tile(centroid, (PATCHES, 1)).astype(np.float32)
    assert head(3 * along).score == pytest.approx(0, abs=1e-12)
    assert head(-along).score == pytest.approx(2)
    assert np.isnan(head(0 * along).score)


@pytest.mark.parametrize("rows", [None, ROWS], ids=["whole", "roi"])
@pytest.mark.parametrize("name", ["padim", "knn", "spade", "centroid"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_never_becomes_a_score(name: str, rows: np.ndarray | None, value: float) -> None:
    head, patches = heads(rows)[name], frame()
    assert np.isfinite(head(patches).score)
    patches[11, 7] = value  # in the region; for PaDiM a channel that it does not use
    with np.errstate(invalid="ignore"):
        found = head(patches)
    assert not (np.isfinite(found.score) and np.isfinite(found.distances).all())


@pytest.mark.parametrize("name", ["padim", "knn", "spade", "centroid"])
def test_outside_the_region_nothing_counts(name: str) -> None:
    head, changed = heads(ROWS)[name], frame()
    outside = np.setdiff1d(np.arange(PATCHES), ROWS)
    changed[outside] = 1e6
    before, after = head(frame()), head(changed)
    assert after.score == before.score
    np.testing.assert_array_equal(after.distances, before.distances)
