"""The coreset: greedy k-centre selection in a random projection."""

from __future__ import annotations

import numpy as np
import pytest

from edge_ad import native
from edge_ad.native import reference
from export.coreset import PROJECTED_DIM, project, select_beyond, select_coreset, select_coresets

POOL = native.Pool(2)


def patches(images: int = 5, rows: int = 40, dim: int = 10, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (images, rows, dim)).astype(np.float32)


def select(found: np.ndarray, images: list[int] | None = None, fraction: float = 0.1, seed: int = 0) -> np.ndarray:
    chosen = np.array(range(len(found)) if images is None else images, np.int64)
    return select_coreset(found, chosen, fraction, seed, POOL)


def test_it_is_the_greedy_selection() -> None:
    found = patches()
    rows = select(found)
    flat = found.reshape(-1, 10)
    expected, _ = reference.k_center(flat, int(rows[0]), 19)
    np.testing.assert_array_equal(rows, expected)
    assert len(rows) == 20
    assert rows.dtype == np.int64


def test_rows_of_some_images_are_rows_of_all() -> None:
    found = patches(6)
    rows = select(found, [1, 3, 4], 0.25)
    assert len(rows) == 30
    assert set(rows // 40) == {1, 3, 4}
    part = found[[1, 3, 4]]
    alone = select(part, None, 0.25)
    np.testing.assert_array_equal(found.reshape(-1, 10)[rows], part.reshape(-1, 10)[alone])


@pytest.mark.parametrize(("fraction", "count"), [(1e-9, 1), (0.005, 1), (0.5, 100), (1.0, 200)])
def test_how_many(fraction: float, count: int) -> None:
    rows = select(patches(), fraction=fraction)
    assert len(rows) == count == len(set(rows.tolist()))


def test_duplicates_are_dropped_and_never_stick() -> None:
    found = np.repeat(patches(1, 8), 5, axis=0)  # five equal images
    rows = select(found, fraction=1.0)
    assert len(rows) == 8
    assert len(np.unique(found.reshape(-1, 10)[rows], axis=0)) == 8
    assert len(select(np.zeros((4, 9, 3), np.float32), fraction=1.0)) == 1


def test_the_seed_chooses_the_start() -> None:
    found = patches()
    starts = {int(select(found, fraction=1e-9, seed=seed)[0]) for seed in range(20)}
    assert len(starts) > 10
    np.testing.assert_array_equal(select(found, seed=7), select(found, seed=7))


def test_rows_from_a_sample_are_the_greedy_selection_of_it() -> None:
    found, images = patches(6, 200), np.array([0, 2, 3, 5])
    few = select_coreset(found, images, 0.01, 3, POOL, sample=True)  # 8 of 800, from 256
    assert len(few) == 8 == len(set(few.tolist()))
    assert set(few // 200) <= {0, 2, 3, 5}
    np.testing.assert_array_equal(few, select_coreset(found, images, 0.01, 3, POOL, sample=True))
    drawn = [set(select_coreset(found, images, 0.01, seed, POOL, sample=True).tolist()) for seed in range(20)]
    assert len(set.union(*drawn)) > 40  # without a sample all seeds come to much the same patches
    many = [select_coreset(found, images, 0.05, 3, POOL, sample=sample) for sample in (True, False)]
    np.testing.assert_array_equal(*many)  # 40 rows from 1,280 patches or fewer: all 800


def test_short_vectors_are_not_projected() -> None:
    found = patches(dim=PROJECTED_DIM)
    assert project(found, 0) is found


def test_rows_beyond_known_ones_go_on_where_the_selection_stopped() -> None:
    """The known rows are the first picks of the same points: the picks that follow are those of one run."""
    found, dim = patches(4, 50), 10
    rows = select(found, fraction=0.2)
    known = found.reshape(-1, dim)[rows[:10]]
    every = np.arange(4, dtype=np.int64)
    more = select_beyond(known, found, every, 30 / 200, 0, POOL)
    np.testing.assert_array_equal(more, rows[10:])


def test_rows_beyond_are_of_the_images_that_were_asked_for_and_none_is_known() -> None:
    found = patches(4, 50)
    found[1, 7] += 100  # the farthest of image 1; that of image 2 is not asked for
    found[2, 9] += 100
    rows = select_beyond(found[0], found, np.array([0, 1], np.int64), 0.1, 0, POOL)
    assert rows[0] == 57
    assert len(rows) == 10
    assert set(rows // 50) == {1}  # those of image 0 are known
    assert len(select_beyond(found[0], found, np.array([0], np.int64), 1.0, 0, POOL)) == 0


def test_the_projection_keeps_distances() -> None:
    found = patches(2, 60, 800)
    small = project(found, 3)
    assert (small.shape, small.dtype) == ((2, 60, PROJECTED_DIM), np.float32)
    a, b = (x.reshape(-1, x.shape[-1]) for x in (found, small))
    near = np.linalg.norm(a[:60] - a[60:], axis=1) / np.linalg.norm(b[:60] - b[60:], axis=1)
    assert near.min() > 0.7
    assert near.max() < 1.4
    np.testing.assert_array_equal(project(found, 3), small)
    assert not np.array_equal(project(found, 4), small)
    np.testing.assert_array_equal(project(found[:1], 3), small[:1])  # an image's does not depend on the others


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("sample", [False, True])
def test_coresets_side_by_side_are_those_made_one_by_one(threads: int, sample: bool) -> None:
    found = patches(8, 100, 70)
    choices = [(np.delete(np.arange(8), held), 0.01 * (1 + held % 2)) for held in range(3)]
    pool = native.Pool(threads)
    alone = [select_coreset(found, *choice, 3, pool, sample=sample) for choice in choices]
    together = select_coresets(found, choices, 3, pool, sample=sample)
    assert [len(rows) for rows in together] == [7, 14, 7]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(other, one)


def test_duplicates_end_one_of_several_selections_early() -> None:
    found = patches(3)
    found[:2] = found[0, 0]
    choices = [(np.array([0, 1]), 0.5), (np.array([1, 2]), 0.5)]
    few, many = select_coresets(found, choices, 0, native.Pool(2))
    assert len(few) == 1
    assert len(many) == found.shape[1]


def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    select_coreset(patches(), np.arange(5), 0.5, 0, POOL, "fold 1/4")
    assert "fold 1/4: 100 patches" in capsys.readouterr().err
