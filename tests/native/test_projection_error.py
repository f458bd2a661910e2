"""What the bounds take a projection to be is as near the true one as they say: else a nearest row could be missed.

Exactness of the search alone does not show it: rounding to codes usually leaves more room than a wrong error takes.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad import native
from edge_ad.native import _core
from tests.native.made import clusters
from tests.native.test_bounded_search import basis


def check(vectors: np.ndarray, rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Asserts what is claimed; returns by which share of its claim each projection is off."""
    coreset = native.Coreset(vectors, rows)
    centred = points.astype(np.longdouble) - np.array(coreset._core.mean, np.longdouble)
    left, _, right = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    polar = (left @ right).astype(np.longdouble)  # the nearest matrix with rows that are orthonormal
    inside = centred @ polar.T
    tails = np.sqrt(np.maximum((centred**2).sum(axis=1) - (inside**2).sum(axis=1), 0))
    used = []
    for wanted, tail, found in zip(inside, tails, _core.project(coreset._core, points), strict=True):
        values, its_tail, error, tail_error = found
        off = float(np.sqrt(((np.array(values, np.longdouble) - wanted) ** 2).sum()))
        # the reference's own rounding: that of the singular value decomposition
        slack = 1e-13 * float(np.sqrt((wanted**2).sum()) + tail)
        assert off <= error + slack
        assert abs(its_tail - float(tail)) <= tail_error + np.sqrt(slack * float(tail + slack)) + slack
        used.append(off / error if error else 0.0)
    return np.array(used)


@pytest.mark.parametrize(
    ("dim", "width"), [(16, 1), (16, 12), (48, 12), (127, 60), (300, 252), (384, 124), (1536, 188)]
)
def test_structured_data(each_isa: str, dim: int, width: int) -> None:
    vectors, points = clusters(1, 200, dim), clusters(2, 70, dim)
    rows = basis(vectors, width)
    for scale, offset in ((1.0, 0.0), (1e-3, 50.0), (1e6, -1e6), (1e-12, 0.0)):
        moved = [np.asarray(part * scale + offset, np.float32) for part in (vectors, points)]
        used = check(moved[0], rows, moved[1])
        assert used.max() < 1


def _worst(rows: np.ndarray, row: int, bits: int) -> np.ndarray:
    """A point all of whose numbers are rounded the same way as those of a row of the basis, when cut to `bits` bits."""
    row_values = rows[row].astype(np.float64)
    exponent = np.floor(np.log2(np.maximum(np.abs(row_values), 1e-30)))
    step = 2.0 ** (exponent - bits + 1)
    low = row_values - np.round(row_values / step) * step
    numbers = np.sign(row_values) * (1.0 + np.sign(low) * np.sign(row_values) * 0.499 * 2.0 ** (1 - bits))
    return np.asarray(numbers, np.float32)


@pytest.mark.parametrize("bits", [8, 11, 16])
@pytest.mark.parametrize("dim", [64, 384, 1536])
def test_rounding_that_adds_up(each_isa: str, dim: int, bits: int) -> None:
    vectors = clusters(3, 200, dim)
    vectors -= vectors.mean(axis=0)  # the mean of what is projected is near 0 and spoils no bits
    rows = basis(vectors, 60)
    points = np.stack([_worst(rows, row, bits) * np.float32(10.0**power) for row in range(60) for power in (0, 3)])
    assert check(vectors, rows, points).max() < 1


def test_what_has_no_bound(each_isa: str) -> None:
    vectors = clusters(4, 50, 20)
    points = clusters(5, 4, 20)
    points[0, 3], points[1, 4], points[2] = np.nan, np.inf, 1e30
    found = _core.project(native.Coreset(vectors, basis(vectors, 8))._core, points)
    assert [error for _, _, error, _ in found[:3]] == [-1.0, -1.0, -1.0]  # kUnusable
    assert 0 < found[3][2] < 1


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    dim=st.integers(1, 400),
    width=st.integers(1, 200),
    power=st.integers(-12, 12),
    offset=st.sampled_from([0.0, 1.0, -300.0]),
)
def test_any_data(seed: int, dim: int, width: int, power: int, offset: float) -> None:
    scale = 10.0**power
    vectors = np.asarray((clusters(seed, 40, dim) + offset) * scale, np.float32)
    points = np.asarray((clusters(seed + 1, 9, dim) + offset) * scale, np.float32)
    check(vectors, basis(vectors, min(width, dim)), points)
