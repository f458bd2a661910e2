"""Scale and smoothing: the image score is brute force's to the bit, whatever the search."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ad import BundleCorruptError, EngineError, Runtime, native
from edge_ad.bundle.file import Bundle
from edge_ad.heads.index import Index
from edge_ad.heads.local import Local, Reach, Smoothing
from edge_ad.heads.patchcore import PatchCore, reweighting
from edge_ad.native import reference_local
from export.local_scale import factor_reach
from tests.edited import edited
from tests.heads.test_index import POOL, ring_graph
from tests.tiny import bad_frame

GRIDS = [(6, 7), (1, 42), (42, 1), (7, 6), (1, 1), (2, 3)]


def by_hand(values: np.ndarray, sigma: float, grid: tuple[int, int], rows: np.ndarray | None) -> np.ndarray:
    """The smoothed values, cell by cell in float32: in each row of the window, then down it, from inside out."""
    reach, one = math.ceil(3 * sigma), np.float32(1)
    weights = [np.float32(math.exp(-0.5 * (k / sigma) ** 2)) for k in range(reach + 1)]
    inside = np.arange(grid[0] * grid[1]) if rows is None else rows
    planes = []
    for filled in (values, np.full(len(inside), one)):
        plane = np.zeros(grid, np.float32)
        plane.reshape(-1)[inside] = filled
        planes.append(along(along(plane, weights).T, weights).T)
    sums, totals = (plane.reshape(-1)[inside] for plane in planes)
    return sums / totals


def along(plane: np.ndarray, weights: list[np.float32]) -> np.ndarray:
    height, width = plane.shape
    out = np.empty_like(plane)
    for x in range(width):
        for y in range(height):
            total = plane[y, x] * weights[0]
            for k in range(1, len(weights)):
                above = plane[y - k, x] if y >= k else np.float32(0)
                below = plane[y + k, x] if y + k < height else np.float32(0)
                total = np.float32(total + np.float32(np.float32(above + below) * weights[k]))
            out[y, x] = total
    return out


def brute_force(
    patches: np.ndarray,
    vectors: np.ndarray,
    factors: np.ndarray | None,
    sigma: float,
    grid: tuple[int, int],
    rows: np.ndarray | None,
    neighbors: int,
) -> tuple[np.ndarray, float]:
    distances, nearest = native.exact_search(native.Coreset(vectors), patches, POOL, rows)
    values = distances if factors is None else distances * factors[nearest]
    if sigma:
        values = by_hand(values, sigma, grid, rows)
    score = float(values.max())
    if neighbors and score:
        worst = int(values.argmax())
        score *= reweighting(patches[worst if rows is None else rows[worst]], vectors, int(nearest[worst]), neighbors)
    return values, score


@settings(max_examples=300)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 200),
    dim=st.integers(1, 9),
    grid=st.sampled_from(GRIDS),
    masked=st.booleans(),
    whole=st.booleans(),  # many ties and many duplicates
    factors=st.sampled_from(["none", "equal", "two", "wide", "one large", "one small"]),
    sigma=st.sampled_from([0.0, 0.05, 0.3, 0.7, 1.0, 2.5, 8.0]),
    neighbors=st.sampled_from([0, 3]),
    reaching=st.booleans(),
    breadth=st.sampled_from([1, 4, 20]),
)
def test_the_score_is_brute_forces_to_the_bit(
    seed: int,
    size: int,
    dim: int,
    grid: tuple[int, int],
    masked: bool,
    whole: bool,
    factors: str,
    sigma: float,
    neighbors: int,
    reaching: bool,
    breadth: int,
) -> None:
    generator, count = np.random.default_rng(seed), grid[0] * grid[1]
    vectors, patches = generator.normal(0, 1, (size, dim)), generator.normal(0, 2, (count, dim))
    if whole:
        vectors, patches = np.rint(3 * vectors), np.rint(patches)
    vectors, patches = vectors.astype(np.float32), patches.astype(np.float32)
    rows = np.flatnonzero(generator.random(count) < 0.5).astype(np.int32) if masked else None
    if rows is not None and len(rows) == 0:
        rows = np.array([count - 1], np.int32)
    scale = {
        "none": None,
        "equal": np.full(size, 0.7),
        "two": generator.choice([0.5, 1.0], size),
        "wide": np.exp(generator.normal(0, 1, size)),
        "one large": np.where(np.arange(size) == size // 2, 9.0, 0.9),
        "one small": np.where(np.arange(size) == size // 2, 0.1, 1.1),
    }[factors]
    scale = None if scale is None else scale.astype(np.float32)
    coreset = native.Coreset(vectors)
    index = Index(coreset, ring_graph(coreset, 2, seed), ef=breadth, grid_width=grid[1], rows=rows, pool=POOL)
    reach = Reach(*factor_reach(vectors, scale, None, POOL)) if reaching and scale is not None else None
    head = PatchCore(index, neighbors, rows, Local(scale, Smoothing(sigma, grid, rows) if sigma else None, reach))
    values, score = brute_force(patches, vectors, scale, sigma, grid, rows, neighbors)
    exact, graph = head(patches, exact=True), head(patches)
    np.testing.assert_array_equal(exact.distances, values)
    assert exact.distances.dtype == graph.distances.dtype == np.float32
    assert exact.score == score
    assert graph.score == score
    assert graph.distances.max() == values.max()
    assert graph.distances.argmax() == values.argmax()


def test_distances_alone_would_not_prove_it() -> None:
    """Else the test above proves nothing: a re-check of the largest distances misses the largest values."""
    wrong = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        vectors, patches = (generator.normal(0, s, (n, 4)).astype(np.float32) for s, n in ((1, 150), (2, 42)))
        coreset, scale = native.Coreset(vectors), np.exp(generator.normal(0, 1, 150)).astype(np.float32)
        index = Index(coreset, ring_graph(coreset, 2, seed), ef=1, grid_width=6, rows=None, pool=POOL)
        local = Local(scale, Smoothing(0.7, (7, 6), None))
        right = local(*index.exact(patches, None)).max()
        wrong += local(*index.nearest(patches)).max() != right
        assert local(*index.nearest(patches, local)).max() == right
    assert wrong >= 10


def test_few_are_checked_again_where_few_can_be_the_largest() -> None:
    """A frame with one clear defect: the windows around it, not the frame."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(0, 1, (500, 8)).astype(np.float32)
    patches = generator.normal(0, 1, (1024, 8)).astype(np.float32)
    patches[500] += 60
    coreset, scale = native.Coreset(vectors), generator.uniform(0.8, 1.25, 500).astype(np.float32)
    index = Index(coreset, ring_graph(coreset, 8, 0), ef=32, grid_width=32, rows=None, pool=POOL)
    asked: list[int] = []
    search = index.exact

    def counted(patches: np.ndarray, rows: np.ndarray | None) -> object:
        asked.append(len(patches) if rows is None else len(rows))
        return search(patches, rows)

    index.exact = counted  # type: ignore[method-assign, assignment]
    local = Local(scale, Smoothing(0.7, (32, 32), None))
    assert local(*index.nearest(patches, local)).max() == local(*search(patches, None)).max()
    assert sum(asked) < 100


# ---------------------------------------------------------------------------------------------------- smoothing


@settings(max_examples=100)
@given(seed=st.integers(0, 10**6), grid=st.sampled_from(GRIDS), sigma=st.floats(0.01, 8), masked=st.booleans())
def test_smoothing_is_by_hand(seed: int, grid: tuple[int, int], sigma: float, masked: bool) -> None:
    generator, count = np.random.default_rng(seed), grid[0] * grid[1]
    rows = np.unique(generator.integers(0, count, 1 + count // 2)).astype(np.int32) if masked else None
    values = generator.exponential(1, count if rows is None else len(rows)).astype(np.float32)
    found = Smoothing(sigma, grid, rows)(values)
    np.testing.assert_array_equal(found, by_hand(values, sigma, grid, rows))
    assert found.max() <= values.max() * (1 + 1e-5)


def test_borders_and_edges_are_not_dimmed() -> None:
    rows = np.flatnonzero(np.random.default_rng(0).random(48 * 48) < 0.5).astype(np.int32)
    for sigma in (0.3, 0.7, 2, 8):
        for smoothing, count in (
            (Smoothing(sigma, (48, 48), None), 48 * 48),
            (Smoothing(sigma, (48, 48), rows), len(rows)),
        ):
            np.testing.assert_allclose(smoothing(np.full(count, 3, np.float32)), 3, rtol=1e-6)


def test_the_gaussian() -> None:
    plane = np.zeros((21, 21), np.float32)
    plane[10, 10] = 1
    y, x = np.mgrid[-10:11, -10:11]
    expected = np.where(np.maximum(abs(y), abs(x)) <= 3, np.exp(-(y**2 + x**2) / 2), 0)
    found = Smoothing(1.0, (21, 21), None)(plane.reshape(-1)).reshape(21, 21)
    np.testing.assert_allclose(found[7:14, 7:14], (expected / expected.sum())[7:14, 7:14], rtol=1e-5)
    assert (found[expected == 0] == 0).all()


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), sigma=st.floats(0.1, 3))
def test_a_cell_depends_on_its_window_alone(seed: int, sigma: float) -> None:
    """To the bit, at any place of a grid of any size; and a larger value makes no cell smaller."""
    generator = np.random.default_rng(seed)
    radius = math.ceil(3 * sigma)
    side = 2 * radius + 1
    window = generator.exponential(1, (side, side)).astype(np.float32)
    found = set()
    for extra_y, extra_x in ((0, 0), (5, 16), (16, 5), (31, 31)):
        grid = (side + extra_y, side + extra_x)
        y, x = generator.integers(0, extra_y + 1), generator.integers(0, extra_x + 1)
        plane = generator.exponential(1, grid).astype(np.float32)
        plane[y : y + side, x : x + side] = window
        inside = np.zeros(grid, np.bool_)
        inside[y : y + side, x : x + side] = True
        rows = np.flatnonzero(inside | (generator.random(grid) < 0.5)).astype(np.int32)
        cells = Smoothing(sigma, grid, rows)(plane.reshape(-1)[rows])
        found.add(float(cells[np.searchsorted(rows, (y + radius) * grid[1] + x + radius)]))
        more = plane.reshape(-1)[rows] * generator.choice(np.array([1, 1 + 2**-23, 2], np.float32), len(rows))
        assert (Smoothing(sigma, grid, rows)(more) >= cells).all()
    assert len(found) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 42, 1000])
def test_what_is_chosen_without_smoothing(count: int) -> None:
    """Patches by themselves fill no grid: it must not matter how they are laid out for the choice."""
    for seed in range(20):
        generator = np.random.default_rng(seed)
        values = np.rint(generator.exponential(3, count)).astype(np.float32)
        bounds = values * generator.choice(np.array([1, 1.5, 3], np.float32), count)
        open_patches = (bounds > values) | (generator.random(count) < 0.5)
        for least in (0, 1, 16):
            chosen = Local().choose(values, bounds, open_patches, least)
            one = np.ones(1, np.float32)
            expected = reference_local.choose(values, bounds, open_patches, least, one, (1, count))
            np.testing.assert_array_equal(chosen, expected)


# ---------------------------------------------------------------------------------------------------- fail closed


def a_head(scale: np.ndarray, sigma: float, graph: bool) -> PatchCore:
    vectors = np.random.default_rng(0).normal(0, 1, (100, 4)).astype(np.float32)
    coreset = native.Coreset(vectors)
    links = ring_graph(coreset, 2, 0) if graph else None
    index = Index(coreset, links, ef=1, grid_width=6, rows=None, pool=POOL)
    reach = Reach(*factor_reach(vectors, scale, None, POOL)) if graph else None
    return PatchCore(index, 0, None, Local(scale, Smoothing(sigma, (7, 6), None), reach))


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("broken", [[5], [0, 41], list(range(42))])
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_a_patch_that_is_no_number_makes_no_score(broken: list[int], value: float, graph: bool) -> None:
    patches = np.random.default_rng(0).normal(0, 1, (42, 4)).astype(np.float32)
    patches[broken, 1] = value
    scored = a_head(np.ones(100, np.float32), 0.05, graph)(patches)
    assert math.isnan(scored.score)
    assert not np.isfinite(scored.distances[broken]).any()


@pytest.mark.parametrize("graph", [False, True])
def test_values_that_overflow_make_no_score(graph: bool) -> None:
    patches = np.random.default_rng(0).normal(0, 1e5, (42, 4)).astype(np.float32)
    with np.errstate(all="raise", under="ignore"):
        assert math.isnan(a_head(np.full(100, 3e38, np.float32), 0.7, graph)(patches).score)


def members_of(golden: Path, factors: np.ndarray | float) -> dict[str, np.ndarray]:
    """What a bundle with factors needs; one number stands for all rows."""
    with Bundle.open(golden) as bundle:
        vectors = np.array(bundle.array("coreset"))
    scale = np.full(len(vectors), factors, np.float32)
    levels, reach = factor_reach(vectors, scale, None, POOL)
    return {"coreset/scale": scale, "coreset/levels": levels, "coreset/reach": reach}


@pytest.mark.parametrize(
    "scale",
    [None, np.ones(3, np.float32), np.ones(308, np.int32), np.zeros(1, np.float32), -1.0, 0.0, np.nan, np.inf],
    ids=str,
)
def test_a_member_that_cannot_scale(golden: Path, tmp_path: Path, scale: object) -> None:
    right, head = members_of(golden, 1.0), {"local_scale": 0.5}
    assert Runtime(edited(golden, tmp_path / "good.bundle", right, head=head), search="graph")
    if isinstance(scale, float):
        factors = right["coreset/scale"].copy()
        factors[7], scale = scale, factors
    members = {**right, "coreset/scale": scale}
    if scale is None:
        del members["coreset/scale"]
    path = edited(golden, tmp_path / "bad.bundle", members, head=head)
    with pytest.raises(BundleCorruptError, match="coreset/scale"):
        Runtime(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("coreset/levels", None),
        ("coreset/reach", None),
        ("coreset/levels", lambda levels: levels[:, None]),
        ("coreset/levels", lambda levels: levels * [1, 2, 1, 1, 1]),
        ("coreset/levels", lambda levels: levels * np.nan),
        ("coreset/reach", lambda reach: reach[:, 1:]),
        ("coreset/reach", lambda reach: reach[1:]),
        ("coreset/reach", lambda reach: reach * [1, 1, 1, 1, 0]),
        ("coreset/reach", lambda reach: np.where(reach > 0, np.float32(np.inf), reach)),
    ],
)
def test_members_that_bound_nothing(golden: Path, tmp_path: Path, name: str, change: object) -> None:
    """They are for graph search, which they must not mislead; exact search does without."""
    members = members_of(golden, 1.0)
    if callable(change):
        members[name] = np.ascontiguousarray(change(members[name]), np.float32)
    else:
        del members[name]
    path = edited(golden, tmp_path / "bad.bundle", members, head={"local_scale": 0.5})
    assert Runtime(path, search="exact")
    with pytest.raises(BundleCorruptError, match=name):
        Runtime(path, search="graph")


def test_a_frame_whose_values_overflow_is_an_error(golden: Path, tmp_path: Path) -> None:
    path = edited(golden, tmp_path / "a.bundle", members_of(golden, 3.4e38), head={"local_scale": 4.0, "smooth": 1.0})
    with pytest.raises(EngineError, match="NaN or Inf"):
        Runtime(path).inspect(bad_frame(1))


def test_factors_of_1_and_no_smoothing_change_nothing(golden: Path, tmp_path: Path) -> None:
    path = edited(golden, tmp_path / "a.bundle", members_of(golden, 1.0), head={"local_scale": 1.0})
    plain, scaled = (Runtime(p, search="exact").inspect(bad_frame(1)) for p in (golden, path))
    assert scaled.score == plain.score
    np.testing.assert_array_equal(scaled.anomaly_map, plain.anomaly_map)
