from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad import native
from edge_ad.errors import NativeError
from edge_ad.native import reference
from tests.native.made import clusters, integers, misaligned


@pytest.mark.parametrize("dim", [1, 3, 8, 15, 16, 17, 100, 384])
def test_picks_of_the_twin_with_ties(each_isa: str, pool: native.Pool, dim: int) -> None:
    for size in (1, 2, 7, 8, 9, 15, 16, 17, 63, 300):
        points = integers(size, size, dim)
        wanted, radius = reference.k_center(points, size // 2, 60)
        selection = native.KCenter(misaligned(points), size // 2, pool)
        assert selection.advance(60) == len(wanted) - 1
        np.testing.assert_array_equal(selection.selected, wanted)
        assert selection.radius == pytest.approx(radius, rel=1e-6)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**16), dim=st.integers(1, 20), spread=st.sampled_from([0.01, 0.3, 2.0]))
def test_picks_of_the_plain_algorithm_on_structured_data(seed: int, dim: int, spread: float) -> None:
    # Steps of 1/16 keep every squared distance exact in float32, so rounding cannot excuse a wrong skip.
    points = np.round(clusters(seed, 500, dim, spread) * 16) / 16
    points = np.ascontiguousarray(np.clip(points, -16, 16), np.float32)
    wanted, radius = reference.k_center(points, 7, 150)
    selection = native.KCenter(points, 7, native.Pool(2))
    selection.advance(150)
    np.testing.assert_array_equal(selection.selected, wanted)
    assert selection.radius == pytest.approx(radius, rel=1e-6)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_points_half_way_between_centres(each_isa: str, pool: native.Pool, seed: int, dim: int) -> None:
    """Few directions and many steps: points stand right at the border of what may be skipped."""
    points = integers(seed, 1000, dim, most=2000)
    wanted, radius = reference.k_center(points, 0, 300)
    selection = native.KCenter(points, 0, pool)
    selection.advance(300)
    np.testing.assert_array_equal(selection.selected, wanted)
    assert selection.radius == pytest.approx(radius, rel=1e-6)


def _basis(seed: int, dim: int) -> np.ndarray:
    square = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0]
    return np.ascontiguousarray(square[: native.SKETCH], np.float32)


@pytest.mark.parametrize("dim", [32, 33, 47, 64, 100, 384])
def test_a_basis_changes_no_pick(each_isa: str, pool: native.Pool, dim: int) -> None:
    for size in (1, 2, 15, 16, 17, 63, 300, 5000):
        points = integers(size, size, dim)
        wanted, radius = reference.k_center(points, size // 2, 60)
        selection = native.KCenter(misaligned(points), size // 2, pool, misaligned(_basis(dim, dim)))
        assert selection.advance(60) == len(wanted) - 1
        np.testing.assert_array_equal(selection.selected, wanted)
        assert selection.radius == pytest.approx(radius, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-24, 1e-18, 1.0, 1e12])
@pytest.mark.parametrize(("away", "far"), [(0.0, 40), (1000.0, 40), (0.0, 3e4)])
def test_a_basis_changes_no_pick_of_points_in_few_directions(
    each_isa: str, pool: native.Pool, scale: float, away: float, far: float
) -> None:
    """All of the spread lies along the basis, so that distances of sketches are as large as the points' own; and a few
    points are so far away that their sketches err by more than the others lie apart."""
    basis = _basis(1, 48)
    flat = clusters(8, 3000, native.SKETCH, 0.5) @ basis
    odd = np.random.default_rng(2).normal(0, far, (20, 48))
    points = np.ascontiguousarray((np.concatenate([flat, odd]) + away) * scale, np.float32)
    start = len(points) - 1
    plain, sieved = native.KCenter(points, start, pool), native.KCenter(points, start, pool, basis)
    assert plain.advance(400) == sieved.advance(400)
    np.testing.assert_array_equal(sieved.selected, plain.selected)
    assert sieved.radius == plain.radius


def test_several_chunks_of_points(each_isa: str, pool: native.Pool) -> None:
    points = integers(5, 20_000, 6, most=50)
    wanted, _ = reference.k_center(points, 19_999, 200)
    selection = native.KCenter(points, 19_999, pool)
    selection.advance(200)
    np.testing.assert_array_equal(selection.selected, wanted)


def test_resumes_where_it_stopped_whatever_the_threads() -> None:
    points = clusters(1, 9000, 24)
    whole = native.KCenter(points, 3, native.Pool(1))
    assert whole.advance(100) == 100
    parts = native.KCenter(points, 3, native.Pool(3))
    assert [parts.advance(n) for n in (0, 1, 33, 66)] == [0, 1, 33, 66]
    np.testing.assert_array_equal(parts.selected, whole.selected)
    assert parts.radius == whole.radius


def test_which_pick_a_point_is_nearest_to(each_isa: str, pool: native.Pool) -> None:
    points = integers(9, 700, 5, most=100)
    selection = native.KCenter(points, 3, pool)
    selection.advance(80)
    apart = np.linalg.norm(points[:, None] - points[selection.selected], axis=2)
    np.testing.assert_array_equal(selection.nearest, apart.argmin(axis=1))  # of equal ones the first pick
    assert selection.nearest.dtype == np.int32
    selection.advance(1)
    assert selection.nearest.max() == 81


def test_duplicates_are_never_picked(pool: native.Pool) -> None:
    points = np.repeat(clusters(2, 20, 9), 5, axis=0)
    selection = native.KCenter(points, 42, pool)
    assert selection.advance(1000) == 19
    assert selection.advance(1) == 0
    assert selection.radius == 0.0
    assert len(np.unique(selection.selected // 5)) == 20


def test_every_point_lies_within_the_radius(each_isa: str, pool: native.Pool) -> None:
    points = clusters(3, 2000, 40)
    selection = native.KCenter(points, 0, pool)
    selection.advance(300)
    chosen = np.ascontiguousarray(points[selection.selected])
    distances, _ = native.exact_search(native.Coreset(chosen), points, pool)
    assert distances.max() == selection.radius
    assert selection.selected.dtype == np.int32


def test_calls_from_two_threads_take_turns(pool: native.Pool) -> None:
    points = clusters(4, 3000, 10)
    alone = native.KCenter(points, 0, pool)
    alone.advance(200)
    shared = native.KCenter(points, 0, pool)
    threads = [threading.Thread(target=shared.advance, args=(100,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(shared.selected, alone.selected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_points_that_are_not_finite_are_refused(each_isa: str, pool: native.Pool, bad: float) -> None:
    points = clusters(5, 100, 10)
    points[77, 3] = bad
    with pytest.raises(NativeError, match="not finite"):
        native.KCenter(points, 0, pool)


def test_arguments_are_checked(pool: native.Pool) -> None:
    points = clusters(6, 20, 4)
    for start in (-1, 20, 1.0):
        with pytest.raises(NativeError, match="start is out of its range"):
            native.KCenter(points, start, pool)  # type: ignore[arg-type]
    for wrong in (points.astype(np.float64), points[:, ::2], points[0], [[1.0]]):
        with pytest.raises(NativeError, match="points"):
            native.KCenter(wrong, 0, pool)  # type: ignore[arg-type]
    for empty in (points[:0], np.empty((3, 0), np.float32)):
        with pytest.raises(NativeError):
            native.KCenter(empty, 0, pool)
    wide = clusters(6, 20, 40)
    for basis in (_basis(0, 40)[:31], _basis(0, 41), _basis(0, 40).astype(np.float64)):
        with pytest.raises(NativeError, match="basis"):
            native.KCenter(wide, 0, pool, basis)
    for skewed in (_basis(0, 40) * np.float32(1.01), np.full((32, 40), np.nan, np.float32)):
        with pytest.raises(NativeError, match="not orthonormal"):
            native.KCenter(wide, 0, pool, skewed)
    with pytest.raises(NativeError, match="n is out of its range"):
        native.KCenter(points, 0, pool).advance(-1)
