"""The basis of exact search by bounds: what the export chooses, and what the runtime makes of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_ad import native
from edge_ad.errors import BundleCorruptError
from edge_ad.heads.base import Opening, open_coreset
from edge_ad.spec import IndexSpec, ProjectionSpec
from export.projection import WIDTHS, choose_basis, near_together
from tests.native.made import clusters

POOL = native.Pool(2)


def structured(seed: int, count: int, dim: int = 200) -> np.ndarray:
    """(count, dim) float32 with most of its spread in 20 directions."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(0).normal(size=(20, dim))
    return (rng.normal(size=(count, 20)) @ directions + rng.normal(0, 0.1, (count, dim))).astype(np.float32)


def opening(vectors: np.ndarray, basis: np.ndarray, index: IndexSpec) -> Opening:
    """With as much of a bundle as the coreset needs."""
    arrays = {"coreset": vectors, "projection/basis": basis}
    manifest = SimpleNamespace(backbone=SimpleNamespace(dim=vectors.shape[1]), index=index)
    bundle: Any = SimpleNamespace(array=arrays.__getitem__, manifest=manifest)
    return Opening(bundle, None, POOL, "exact", lambda models: pytest.fail("no engine is needed"))


def test_the_basis_is_orthonormal_seeded_and_spread() -> None:
    vectors = structured(1, 5000)
    basis = choose_basis(vectors, 3)
    assert basis is not None
    assert basis.shape[0] in WIDTHS
    assert basis.dtype == np.float32
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-5)
    np.testing.assert_array_equal(basis, choose_basis(vectors, 3))
    spread = (vectors @ basis.T).var(axis=0)
    assert spread.max() < 10 * spread.mean()  # of the first principal direction alone it is 60 / 20 of that or more
    assert spread.sum() > 0.9 * vectors.var(axis=0).sum()


def test_brute_force_where_it_is_as_fast() -> None:
    assert choose_basis(structured(1, 20), 0) is None
    assert choose_basis(clusters(1, 5000, 8), 0) is None
    assert choose_basis(np.zeros((1, 300), np.float32), 0) is None


@pytest.mark.parametrize("count", [1, 31, 32, 33, 1000])
def test_rows_are_put_in_order_and_none_is_lost(count: int) -> None:
    vectors = structured(2, count)
    basis = np.eye(60, 200, dtype=np.float32)
    order = near_together(vectors, basis)
    np.testing.assert_array_equal(np.sort(order), np.arange(count))
    np.testing.assert_array_equal(order, near_together(vectors, basis))


def test_a_bundle_s_projection_is_used_and_changes_nothing() -> None:
    vectors, queries = structured(3, 3000), structured(4, 100)
    basis = choose_basis(vectors, 0)
    assert basis is not None
    index = IndexSpec(3000, 3000, 0, None, ProjectionSpec(len(basis)))
    coreset = open_coreset(opening(vectors, basis, index))
    assert coreset.has_bounds
    plain = open_coreset(opening(vectors, basis, IndexSpec(3000, 3000, 0, None)))
    assert not plain.has_bounds
    found, wanted = (native.exact_search(of, queries, POOL) for of in (coreset, plain))
    np.testing.assert_array_equal(found[0], wanted[0])
    np.testing.assert_array_equal(found[1], wanted[1])


def test_a_projection_that_is_none_is_a_corrupt_bundle() -> None:
    vectors = structured(3, 300)
    basis = np.eye(60, 200, dtype=np.float32)
    index = IndexSpec(300, 300, 0, None, ProjectionSpec(60))
    for wrong in (2 * basis, basis[:59], np.zeros_like(basis), np.full_like(basis, np.nan)):
        with pytest.raises(BundleCorruptError, match="projection/basis"):
            open_coreset(opening(vectors, wrong, index))
