"""Bounds, smoothing and the proof of the largest cell, beside their twins: equal to the bit."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad.errors import NativeError
from edge_ad.native import _core, reference_local
from edge_ad.native.local import Smoothing, value_bounds
from tests.native.made import misaligned

GRIDS = [(1, 1), (1, 9), (9, 1), (2, 3), (7, 8), (15, 17), (4, 33)]


def gaussian(sigma: float, radius: int) -> np.ndarray:
    return np.array([math.exp(-0.5 * (k / sigma) ** 2) for k in range(radius + 1)], np.float32)


def some_rows(generator: np.random.Generator, grid: tuple[int, int], masked: bool) -> np.ndarray | None:
    count = grid[0] * grid[1]
    return np.unique(generator.integers(0, count, 1 + count // 2)).astype(np.int32) if masked else None


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    grid=st.sampled_from(GRIDS),
    radius=st.sampled_from([0, 1, 2, 3, 4, 7, 8, 24]),  # of more than the grid, too
    masked=st.booleans(),
    infinite=st.booleans(),
)
def test_smoothing_equals_its_twin(seed: int, grid: tuple[int, int], radius: int, masked: bool, infinite: bool) -> None:
    generator = np.random.default_rng(seed)
    rows, weights = some_rows(generator, grid, masked), gaussian(1 + radius / 3, radius)
    smoothing = Smoothing(weights, grid, rows)
    values = generator.exponential(1, grid[0] * grid[1] if rows is None else len(rows)).astype(np.float32)
    values[generator.random(len(values)) < 0.1] = np.inf if infinite else 3e38
    cells = smoothing(values)
    assert cells.dtype == np.float32
    np.testing.assert_array_equal(cells, reference_local.smooth(values, weights, grid, rows))
    np.testing.assert_array_equal(smoothing(misaligned(values)), cells)


@settings(max_examples=150)
@given(seed=st.integers(0, 10**6), count=st.sampled_from([0, 1, 3, 4, 5, 40]), levels=st.integers(0, 6))
def test_bounds_equal_their_twin(seed: int, count: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    given_levels = np.sort(generator.exponential(1, levels)).astype(np.float32)
    far = np.sort(generator.exponential(3, (7, levels)), axis=1).astype(np.float32)
    distances = generator.exponential(1, count).astype(np.float32)
    distances[generator.random(count) < 0.1] = 3e38
    nearest = generator.integers(0, 7, count).astype(np.int32)
    lost = generator.random(count) < 0.1
    distances[lost], nearest[lost] = np.inf, -1
    most = float(np.float32(given_levels.max(initial=0) + 1))
    got = value_bounds(given_levels, far, most, distances, nearest)
    expected = reference_local.value_bounds(given_levels, far, most, distances, nearest)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, expected)


class Frame:
    """Made values of a frame, of which some are open."""

    def __init__(self, seed: int, grid: tuple[int, int], radius: int, masked: bool, kind: str) -> None:
        generator = np.random.default_rng(seed)
        self.grid, self.rows = grid, some_rows(generator, grid, masked)
        self.weights = gaussian(1 + radius / 3, radius)
        count = grid[0] * grid[1] if self.rows is None else len(self.rows)
        self.values = generator.exponential(1, count).astype(np.float32)
        if kind == "ties":
            self.values = np.rint(self.values)
        self.open = generator.random(count) < generator.choice([0.1, 0.5, 1.0])
        more = generator.choice(np.array([1, 1.05, 1.5], np.float32), count)
        self.bounds = np.where(self.open, self.values * more, self.values)
        self.true = np.where(self.open, self.values * generator.choice(np.array([1, 1, 0.9], np.float32), count), 0)
        self.true = np.where(self.open, self.true, self.values).astype(np.float32)
        if kind == "infinite":
            odd = generator.random(count) < 0.05
            self.bounds[odd & self.open] = np.inf
            self.values[odd & generator.choice([True, False], count) & self.open] = np.inf
        if kind == "nan":
            self.bounds[(generator.random(count) < 0.05) & self.open] = np.nan
        self.smoothing = Smoothing(self.weights, grid, self.rows)

    def choose(self, least: int) -> np.ndarray:
        return self.smoothing.choose(self.values, self.bounds, self.open, least)

    def twin(self, least: int) -> np.ndarray:
        given = self.values, self.bounds, self.open, least, self.weights, self.grid, self.rows
        return reference_local.choose(*given)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    grid=st.sampled_from(GRIDS),
    radius=st.sampled_from([0, 1, 3, 8]),
    masked=st.booleans(),
    kind=st.sampled_from(["plain", "ties", "infinite", "nan"]),
    least=st.sampled_from([0, 1, 16, 1000]),
)
def test_what_is_chosen_equals_its_twin(
    seed: int, grid: tuple[int, int], radius: int, masked: bool, kind: str, least: int
) -> None:
    frame = Frame(seed, grid, radius, masked, kind)
    chosen = frame.choose(least)
    assert chosen.dtype == np.int32
    np.testing.assert_array_equal(chosen, frame.twin(least))
    assert frame.open[chosen].all()
    if len(chosen):
        assert len(chosen) >= min(least, int(frame.open.sum()))


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    grid=st.sampled_from(GRIDS),
    radius=st.sampled_from([0, 1, 3, 8]),
    masked=st.booleans(),
    kind=st.sampled_from(["plain", "ties", "infinite"]),
)
def test_in_the_end_the_largest_cell_is_certain(
    seed: int, grid: tuple[int, int], radius: int, masked: bool, kind: str
) -> None:
    frame = Frame(seed, grid, radius, masked, kind)
    right = frame.smoothing(frame.true)
    before = int(frame.open.sum())
    while len(chosen := frame.choose(1)):
        frame.values[chosen] = frame.bounds[chosen] = frame.true[chosen]
        frame.open[chosen] = False
    found = frame.smoothing(frame.bounds)
    assert found.max() == right.max()
    assert found.argmax() == right.argmax()
    assert frame.open.sum() <= before


def test_one_turn_is_enough_where_the_values_are_as_expected() -> None:
    for seed in range(20):
        frame = Frame(seed, (15, 17), 3, False, "plain")
        chosen = frame.choose(1)
        frame.bounds[chosen] = frame.values[chosen]
        frame.open[chosen] = False
        assert len(frame.choose(1)) == 0


def test_only_those_are_chosen_that_can_matter() -> None:
    """One high cell, and another patch that could be higher: its window is not looked at, but that patch is."""
    values = np.ones((32, 32), np.float32)
    values[5, 5] = 50
    bounds = values.copy()
    bounds[20, 20] = 90
    frame = Smoothing(gaussian(1, 3), (32, 32))
    chosen = frame.choose(values.reshape(-1), bounds.reshape(-1), np.ones(1024, np.bool_), 16)
    window = np.add.outer(32 * np.arange(2, 9), np.arange(2, 9)).reshape(-1)
    np.testing.assert_array_equal(chosen, np.append(window, 20 * 32 + 20))


def test_many_threads_share_one() -> None:
    frame = Frame(3, (15, 17), 3, True, "plain")
    cells, chosen = frame.smoothing(frame.values), frame.choose(16)

    def ask(_: int) -> bool:
        same = np.array_equal(frame.smoothing(frame.values), cells)
        return same and np.array_equal(frame.choose(16), chosen)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(200)))


@pytest.mark.parametrize(
    ("weights", "grid", "rows"),
    [
        (np.ones(2), (3, 3), None),
        (np.ones((2, 1), np.float32), (3, 3), None),
        (np.zeros(0, np.float32), (3, 3), None),
        (np.array([1, 0], np.float32), (3, 3), None),
        (np.array([1, np.nan], np.float32), (3, 3), None),
        (np.array([np.inf, 1], np.float32), (3, 3), None),
        (np.array([1e-30, 1], np.float32), (1, 1), None),  # sums of 0: nothing would be chosen, nothing proven
        (np.array([1e-30, 1e-30], np.float32), (3, 3), np.array([0, 8], np.int32)),
        (np.array([3e38, 1], np.float32), (3, 3), None),
        (np.ones(2, np.float32), (0, 3), None),
        (np.ones(2, np.float32), (3, -1), None),
        (np.ones(2, np.float32), (2**16, 2**16), None),
        (np.ones(2, np.float32), (3, 3), np.array([], np.int32)),
        (np.ones(2, np.float32), (3, 3), np.array([0, 9], np.int32)),
        (np.ones(2, np.float32), (3, 3), np.array([-1, 3], np.int32)),
        (np.ones(2, np.float32), (3, 3), np.array([3, 3], np.int32)),
        (np.ones(2, np.float32), (3, 3), np.array([4, 3, 5], np.int32)),
        (np.ones(2, np.float32), (3, 3), np.array([0, 3])),
    ],
)
def test_a_smoothing_that_cannot_be(weights: np.ndarray, grid: tuple[int, int], rows: np.ndarray | None) -> None:
    with pytest.raises(NativeError):
        Smoothing(weights, grid, rows)


def test_wrong_arguments() -> None:
    smoothing, right, flags = Smoothing(np.ones(2, np.float32), (3, 3)), np.ones(9, np.float32), np.ones(9, np.bool_)
    for wrong in (np.ones(8, np.float32), np.ones(9), np.ones((3, 3), np.float32), np.ones(18, np.float32)[::2], None):
        with pytest.raises(NativeError):
            smoothing(wrong)  # type: ignore[arg-type]
        for given_values in ((wrong, right), (right, wrong)):
            with pytest.raises(NativeError):
                smoothing.choose(*given_values, flags, 1)  # type: ignore[arg-type]
    for wrong_flags in (flags[:8], flags.view(np.uint8), np.ones(9, np.float32)):
        with pytest.raises(NativeError):
            smoothing.choose(right, right, wrong_flags, 1)
    core = _core.Smoothing(np.ones(2, np.float32), 3, 3, None)  # it looks again at what could leave its memory
    with pytest.raises(NativeError):
        core.smooth(right[:8], right.copy())
    with pytest.raises(NativeError):
        core.smooth(right, right[:8].copy())
    with pytest.raises(NativeError):
        core.choose(right, right, flags.view(np.uint8), 1, np.empty(8, np.int32))
    for rows in (np.array([2, 1], np.int32), np.array([9], np.int32), np.array([-1], np.int32), np.empty(0, np.int32)):
        with pytest.raises(NativeError):
            _core.Smoothing(np.ones(2, np.float32), 3, 3, rows)
    with pytest.raises(NativeError):
        _core.Smoothing(np.ones(1 << 17, np.float32), 1 << 15, 1 << 15, None)


@pytest.mark.parametrize("name", ["levels", "far", "distances", "nearest", "row"])
def test_bounds_with_wrong_arguments(name: str) -> None:
    right: dict[str, np.ndarray] = {
        "levels": np.ones(2, np.float32),
        "far": np.ones((4, 2), np.float32),
        "distances": np.ones(3, np.float32),
        "nearest": np.array([0, 3, 1], np.int32),
    }
    wrong = {"levels": np.ones(3, np.float32), "far": np.ones((4, 3), np.float32), "nearest": np.zeros(2, np.int32)}
    wrong |= {"distances": np.ones(3), "row": np.array([0, 4, 1], np.int32)}
    given_arrays = {**right, "nearest" if name == "row" else name: wrong[name]}
    with pytest.raises(NativeError):
        value_bounds(**given_arrays, largest=2.0)
    if name == "distances":  # the extension makes float32 of them
        return
    arrays = [given_arrays[part] for part in ("levels", "far", "distances", "nearest")]
    with pytest.raises((NativeError, TypeError)):
        _core.value_bounds(*arrays[:2], 2.0, *arrays[2:], np.empty(3, np.float32))
