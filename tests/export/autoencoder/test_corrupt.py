"""The marks that teach an autoencoder to repair."""

from __future__ import annotations

import numpy as np
import pytest

from export.autoencoder.corrupt import corrupt, unit
from tests.export.autoencoder.made import dome
from tests.tiny import good_frame

SEEDS = range(60)


def colours(seed: int) -> np.ndarray:
    return good_frame(seed).astype(np.float32) / np.float32(255)


def spoilt(seed: int) -> np.ndarray:
    return corrupt(colours(1), colours(2), np.random.default_rng(seed))


def test_pictures_stay_pictures_and_the_given_ones_stay_as_they_are() -> None:
    good, other = colours(1), colours(2)
    for seed in SEEDS:
        found = corrupt(good, other, np.random.default_rng(seed))
        assert found.dtype == np.float32
        assert found.shape == good.shape
        assert 0 <= found.min() <= found.max() <= 1
    np.testing.assert_array_equal(good, colours(1))
    np.testing.assert_array_equal(other, colours(2))


def test_the_same_generator_gives_the_same_marks() -> None:
    for seed in SEEDS:
        np.testing.assert_array_equal(spoilt(seed), spoilt(seed))
    assert any((spoilt(0) != spoilt(seed)).any() for seed in SEEDS)


def test_marks_are_of_many_sizes_and_mostly_seen() -> None:
    shares = [float((np.abs(spoilt(seed) - colours(1)).max(axis=2) > 0.02).mean()) for seed in SEEDS]
    assert np.mean([share > 0 for share in shares]) >= 0.9
    assert min(shares) < 0.02 < 0.15 < max(shares)


@pytest.mark.parametrize("height", [16, 40])
def test_pictures_of_any_shape(height: int) -> None:
    picture = np.full((height, 64, 3), 0.5, np.float32)
    for seed in SEEDS:
        assert np.isfinite(corrupt(picture, picture, np.random.default_rng(seed))).all()


def test_normals_keep_their_length_and_holes_stay_holes() -> None:
    normals = dome(64)
    lengths = np.linalg.norm(normals, axis=2)
    assert {0.0, 1.0} == set(np.round(lengths.ravel(), 5).tolist())
    changed = 0
    for seed in SEEDS:
        found = corrupt(normals, normals, np.random.default_rng(seed), normals=True)
        np.testing.assert_allclose(np.linalg.norm(found, axis=2), lengths, atol=1e-5)
        changed += bool((np.abs(found - normals).max(axis=2) > 0.05).any())
    assert changed >= 0.9 * len(SEEDS)


def test_unit_makes_no_number_out_of_nothing() -> None:
    like = np.zeros((1, 2, 3), np.float32)
    like[0, 0, 2] = 1
    np.testing.assert_array_equal(unit(np.zeros((1, 2, 3), np.float32), like), np.zeros((1, 2, 3)))
    np.testing.assert_allclose(unit(np.full((1, 2, 3), 5, np.float32), like)[0, 0], [3**-0.5] * 3)
