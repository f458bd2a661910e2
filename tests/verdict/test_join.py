"""Joined scores and maps: the larger of the first and `factor` times the second, and NaN from either is kept."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.verdict.join import join, join_maps

numbers = st.floats(0, 1e6)


@given(first=numbers, second=numbers, factor=st.floats(1e-3, 1e3))
def test_it_is_the_larger_one(first: float, second: float, factor: float) -> None:
    found = join(first, second, factor)
    assert found >= first
    assert found >= factor * second
    assert found in (first, factor * second)


@pytest.mark.parametrize(("first", "second"), [(math.nan, 1.0), (1.0, math.nan), (math.nan, math.nan)])
def test_nan_is_never_passed_over(first: float, second: float) -> None:
    assert math.isnan(join(first, second, 0.5))
    rendered = join_maps(lambda: np.full((2, 3), first, np.float32), lambda: np.full((2, 3), second, np.float32), 0.5)
    assert np.isnan(rendered).all()


def test_what_is_too_large_is_infinite() -> None:
    assert join(1.0, 1e300, 1e300) == math.inf
    assert math.isnan(join(1.0, math.inf, 0.0))


def test_maps_are_joined_pixel_by_pixel() -> None:
    first = np.array([[1, 2], [0, 3]], np.float32)
    second = np.array([[4, 1], [0, 6]], np.float32)
    found = join_maps(lambda: first, second.copy, 0.5)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[2, 2], [0, 3]])
    np.testing.assert_array_equal(first, [[1, 2], [0, 3]])
