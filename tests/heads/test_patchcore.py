"""Eq. 6 and Eq. 7 of the PatchCore paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad import native
from edge_ad.heads.patchcore import PatchCore, image_score, reweighting


def by_the_paper(patch: np.ndarray, coreset: np.ndarray, nearest: int, neighbors: int) -> float:
    """Eq. 7 in exact order, with Python's floats."""
    others = sorted(range(len(coreset)), key=lambda i: (i != nearest, math.dist(coreset[i], coreset[nearest])))
    chosen = others[: min(neighbors, len(coreset))]
    apart = [math.dist(coreset[i].astype(np.float64), patch.astype(np.float64)) for i in chosen]
    top = max(apart)
    return 1 - math.exp(apart[0] - top) / sum(math.exp(a - top) for a in apart)


def scene(seed: int, rows: int = 40, dim: int = 6) -> tuple[np.ndarray, np.ndarray, int]:
    generator = np.random.default_rng(seed)
    coreset = generator.normal(0, 1, (rows, dim)).astype(np.float32)
    patch = generator.normal(0, 2, dim).astype(np.float32)
    return patch, coreset, int(np.linalg.norm(coreset - patch, axis=1).argmin())


@pytest.mark.parametrize("neighbors", [1, 2, 3, 9, 39, 40, 41, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_eq_7(seed: int, neighbors: int) -> None:
    patch, coreset, nearest = scene(seed)
    factor = reweighting(patch, coreset, nearest, neighbors)
    assert factor == pytest.approx(by_the_paper(patch, coreset, nearest, neighbors), rel=1e-5, abs=1e-7)
    assert 0 <= factor < 1


def test_one_neighbour_makes_the_score_zero() -> None:
    """The paper's formula says so: the only neighbour is m* itself."""
    patch, coreset, nearest = scene(0)
    assert reweighting(patch, coreset, nearest, 1) == 0


def test_equal_distances_share_the_weight() -> None:
    coreset = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
    assert reweighting(np.zeros(2, np.float32), coreset, 2, 4) == pytest.approx(0.75)


@pytest.mark.parametrize("copies", [2, 5, 20])
def test_duplicates_of_the_nearest_row(copies: int) -> None:
    """More duplicates of m* than b: whichever are taken, m* counts once and is never missing."""
    patch, coreset, nearest = scene(1)
    crowded = np.concatenate([np.repeat(coreset[nearest : nearest + 1], copies, axis=0), coreset])
    for row in (0, copies - 1, copies + nearest):
        factor = reweighting(patch, crowded, row, 4)
        count = min(4, copies + 1)
        assert factor == pytest.approx(by_the_paper(patch, crowded, row, 4), rel=1e-5)
        if count == 4:
            assert factor == pytest.approx(0.75, rel=1e-5)


class Searched:
    """An index that has searched already."""

    def __init__(self, distances: np.ndarray, nearest: np.ndarray, coreset: np.ndarray) -> None:
        self.found, self.coreset = (distances, nearest), native.Coreset(coreset)

    def exact(self, patches: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.found


@pytest.mark.parametrize("distance", [100.0, 1000.0, 1e5])
def test_large_distances_do_not_overflow(distance: float) -> None:
    coreset = np.array([[0.0], [0.5], [-3.0]], np.float32)
    patch = np.array([distance], np.float32)
    with np.errstate(all="raise", under="ignore"):
        factor = reweighting(patch, coreset, 1, 3)
    assert factor == pytest.approx(by_the_paper(patch, coreset, 1, 3), rel=1e-3)
    assert math.isfinite(factor)


def test_large_values_far_from_the_origin() -> None:
    """Squares cancel there, but neighbours are still found well enough for the weight to be a weight."""
    patch, coreset, nearest = scene(3)
    factor = reweighting(patch + 100, coreset + 100, nearest, 5)
    assert factor == pytest.approx(by_the_paper(patch + 100, coreset + 100, nearest, 5), rel=1e-2)


def test_the_score_is_the_largest_distance() -> None:
    patches = np.arange(12, dtype=np.float32).reshape(4, 3)
    coreset = np.zeros((2, 3), np.float32)
    distances = np.array([1, 5, 3, 5], np.float32)
    nearest = np.zeros(4, np.int32)
    score = image_score(distances, nearest, lambda number: patches[number], coreset, 0)
    assert score == 5.0
    assert isinstance(score, float)


def test_the_worst_patch_is_looked_up_through_the_region() -> None:
    patches, coreset, _ = np.random.default_rng(5).normal(0, 1, (10, 6)).astype(np.float32), scene(5)[1], 0
    rows = np.array([1, 4, 8], np.int32)
    apart = np.linalg.norm(patches[rows][:, None] - coreset[None], axis=2)
    distances, nearest = apart.min(axis=1).astype(np.float32), apart.argmin(axis=1).astype(np.int32)
    worst = int(distances.argmax())
    expected = distances[worst] * by_the_paper(patches[rows[worst]], coreset, int(nearest[worst]), 5)
    head = PatchCore(Searched(distances, nearest, coreset), 5, rows)  # type: ignore[arg-type]
    assert head(patches, exact=True).score == pytest.approx(expected, rel=1e-5)


def test_a_score_of_zero_stays_zero() -> None:
    patches = np.zeros((2, 3), np.float32)
    distances, nearest = np.zeros(2, np.float32), np.zeros(2, np.int32)
    assert image_score(distances, nearest, lambda number: patches[number], patches, 9) == 0.0


@settings(max_examples=80)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 30), neighbors=st.integers(1, 40))
def test_the_factor_is_a_share(seed: int, rows: int, neighbors: int) -> None:
    patch, coreset, nearest = scene(seed, rows)
    assert 0 <= reweighting(patch, coreset, nearest, neighbors) < 1
