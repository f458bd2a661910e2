"""The coreset: a few patches that represent all patches of the good images.

Source: greedy k-centre (farthest point) selection, Gonzalez (1985), in a random projection, as Roth et al. (2022)
use it (Algorithm 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.system.progress import Progress
from export.projection import choose_basis

PROJECTED_DIM = 128
USUAL_SHARE, MOST_ROWS = 0.1, 4000  # of the patches, where no share is asked for
_PICKS = 64  # between two looks at the progress bar and at Ctrl-C
_DRAWN = 32  # patches for each wanted row, where rows are picked from a sample
_SAMPLE, _WIDE = 2048, 64  # points that show the spread of all, and least dimensions that this is worth
_ABREAST = 2**29  # bytes of projected patches that are chosen from at a time
_CANDIDATES = 8  # for each wanted row that is added to known ones: the patches farthest from those


def kept_share(asked: float | None, patches: int) -> float:
    """The share of so many patches to keep: the one asked for, or the usual one."""
    return asked if asked is not None else min(USUAL_SHARE, MOST_ROWS / patches)


def project(patches: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """(images, R, 128) float32 Gaussian random projection. If D is 128 or less, the patches are not projected.

    Args:
        patches: (images, R, D) float32; may be memory-mapped, and is read image by image.
        seed: of the projection.
    """
    images, rows, dim = patches.shape
    if dim <= PROJECTED_DIM:
        return patches
    matrix = np.random.default_rng(seed).standard_normal((dim, PROJECTED_DIM)).astype(np.float32)
    matrix /= np.float32(np.sqrt(PROJECTED_DIM))
    projected = np.empty((images, rows, PROJECTED_DIM), np.float32)
    for image, out in zip(patches, projected, strict=True):
        np.matmul(image, matrix, out=out)
    return projected


def select_coreset(
    projected: NDArray[np.float32],
    images: NDArray[np.int64],
    fraction: float,
    seed: int,
    pool: native.Pool,
    label: str = "coreset",
    *,
    sample: bool = False,
    nearest: NDArray[np.int32] | None = None,
) -> NDArray[np.int64]:
    """The coreset of some images: rows of the flattened (images * R) patches, in the order of the picks.

    It gives fewer rows than wanted if all other patches are exact duplicates of them. Memory: the projection of the
    images, no distance matrix.

    Args:
        projected: (n, R, d) float32 of all images, as `project` gives it.
        images: (k,) ascending numbers of the images to choose from.
        fraction: of the k * R patches to keep, above 0 and at most 1.
        seed: of the first pick.
        label: of the progress bar.
        sample: pick from a seeded sample of the patches, `_DRAWN` for each wanted row. Where the patches are many, that
            is several times as fast, and sees as much (bench/NOTES.md).
        nearest: (n, R) int32, takes for each patch that was looked at which of the rows is nearest, in the projection.
    """
    selection = _Selection(projected, images, fraction, seed, pool, sample)
    with Progress(label, selection.wanted, unit="patches") as progress:
        progress.update(1)  # the start
        while picked := selection.advance():
            progress.update(picked)
    selection.say_nearest(nearest)
    return selection.rows


def select_coresets(
    projected: NDArray[np.float32],
    choices: Sequence[tuple[NDArray[np.int64], float]],
    seed: int,
    pool: native.Pool,
    label: str = "coresets",
    *,
    sample: bool = False,
    nearest: Sequence[NDArray[np.int32] | None] | None = None,
) -> list[NDArray[np.int64]]:
    """What `select_coreset` gives for several choices of images, with the fraction of each, side by side.

    A pick is too short to be shared out well. So each thread of the pool makes those of another coreset.
    """
    size = max(len(images) for images, _ in choices) * projected.shape[1] * projected.shape[2] * projected.itemsize
    abreast = min(len(choices), pool.threads, max(1, _ABREAST // size))
    found: list[NDArray[np.int64]] = []
    wanted = sum(_wanted(projected, images, fraction) for images, fraction in choices)
    with Progress(label, wanted, unit="patches") as progress, ThreadPoolExecutor(abreast, "edge-ad-coreset") as threads:
        for first in range(0, len(choices), abreast):
            some = choices[first : first + abreast]
            own = [pool] if len(some) == 1 else [native.Pool(pool.threads // len(some)) for _ in some]

            def begin(choice: tuple[NDArray[np.int64], float], pool: native.Pool) -> _Selection:
                return _Selection(projected, *choice, seed, pool, sample)

            selections = list(threads.map(begin, some, own))
            progress.update(len(selections))  # the starts
            while picked := sum(threads.map(_Selection.advance, selections)):
                progress.update(picked)
            found += [selection.rows for selection in selections]
            for selection, own_nearest in zip(selections, (nearest or [])[first : first + abreast], strict=False):
                selection.say_nearest(own_nearest)
    return found


def _wanted(projected: NDArray[np.float32], images: NDArray[np.int64], fraction: float) -> int:
    return max(1, round(fraction * len(images) * projected.shape[1]))


class _Selection:
    """A greedy selection under way; the arguments are those of `select_coreset`."""

    def __init__(
        self,
        projected: NDArray[np.float32],
        images: NDArray[np.int64],
        fraction: float,
        seed: int,
        pool: native.Pool,
        sample: bool,
    ) -> None:
        rows, dim = projected.shape[1:]
        total, generator = len(images) * rows, np.random.default_rng(seed)
        self.wanted = _wanted(projected, images, fraction)
        if sample and total > _DRAWN * self.wanted:
            numbers = np.sort(generator.choice(total, _DRAWN * self.wanted, replace=False))
            points = projected[images[numbers // rows], numbers % rows]
        else:
            numbers = np.arange(total)
            chosen_from = projected if len(images) == len(projected) else projected[images]
            points = np.ascontiguousarray(chosen_from.reshape(-1, dim))
        start = int(generator.integers(len(points)))
        self._images, self._numbers, self._per_image = images, numbers, rows
        self._picker, self._count = native.KCenter(points, start, pool, _spread_of(points)), 1

    def advance(self) -> int:
        """Picks some more patches, and says how many: 0 when all are picked, or only duplicates are left."""
        picked = self._picker.advance(min(_PICKS, self.wanted - self._count))
        self._count += picked
        return picked

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows that were picked."""
        return self._rows_of(self._numbers[self._picker.selected])

    def say_nearest(self, out: NDArray[np.int32] | None) -> None:
        """Writes which row each patch that was looked at is nearest to."""
        if out is not None:
            out.reshape(-1)[self._rows_of(self._numbers)] = self._picker.nearest

    def _rows_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._images[numbers // self._per_image] * self._per_image + numbers % self._per_image


def _spread_of(points: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """(32, d) float32: the directions of most of the spread of (n, d) points; None where they would save nothing."""
    if points.shape[1] < _WIDE:
        return None
    sample = points[:: -(-len(points) // _SAMPLE)].astype(np.float64)
    sample -= sample.mean(axis=0)
    directions = np.linalg.eigh(sample.T @ sample)[1][:, : -native.SKETCH - 1 : -1]
    return np.ascontiguousarray(directions.T, np.float32)


def select_beyond(
    known: NDArray[np.float32],
    projected: NDArray[np.float32],
    images: NDArray[np.int64],
    fraction: float,
    seed: int,
    pool: native.Pool,
    label: str = "coreset",
) -> NDArray[np.int64]:
    """Rows to add to a coreset: the same greedy selection, as if the known rows had been picked first.

    So what is new is picked before what lies among the known rows. Candidates are the patches farthest from those.

    Args:
        known: (N, d) float32 projected rows.
        projected, images, fraction, seed, pool, label: as for `select_coreset`.
    """
    rows, dim = projected.shape[1:]
    points = np.ascontiguousarray(projected[images].reshape(-1, dim))
    wanted = max(1, round(fraction * len(points)))
    start = native.Coreset(known, choose_basis(known, seed), pool=pool)
    far = native.exact_search(start, points, pool)[0]
    candidates = np.sort(np.argsort(-far, kind="stable")[: _CANDIDATES * wanted])
    points, left = points[candidates], far[candidates].astype(np.float64) ** 2
    with Progress(label, wanted, unit="patches") as progress:
        picked = _farthest(points, left, np.ones(len(points)), wanted, 0.0, progress)
    selected = candidates[picked]
    return images[selected // rows] * rows + selected % rows


def _farthest(
    points: NDArray[np.float32],
    left: NDArray[np.float64],
    weights: NDArray[np.float64],
    most: int,
    least: float,
    progress: Progress,
) -> list[int]:
    """Numbers of points, each the one farthest from the rows and from those picked before.

    Args:
        points: (n, d).
        left: (n,) squared distances to the rows, weighted.
        weights: (n,) what the squared distance of each counts.
        most: how many to pick.
        least: squared distance that a point must be beyond.
    """
    squares = np.einsum("nd,nd->n", points, points, dtype=np.float64)
    picked: list[int] = []
    while len(picked) < most and left.max(initial=0) > least:
        pick = int(left.argmax())
        picked.append(pick)
        apart = squares + squares[pick] - 2 * (points @ points[pick])
        left = np.minimum(left, weights * np.maximum(apart, 0))
        left[pick] = 0
        progress.update(1)
    return picked


def covering_radius(rows: NDArray[np.float32], seed: int, pool: native.Pool) -> float:
    """A bound of how far a patch that a coreset was made of lies from its nearest row, from the rows alone.

    Greedy k-centre picks the patch that is farthest from all rows before it. So no two rows are nearer than the last
    pick was, and no patch that was not picked lies farther away than that: the smallest distance of two rows is at
    least the covering radius (Gonzalez 1985, Lemma 2). It is taken in the projection in which the rows were picked.

    Args:
        rows: (N, D) float32.
        seed: of the projection.

    Returns:
        The bound; 0 of a single row.
    """
    projected = project(rows[None], seed)[0]
    if len(projected) < 2:
        return 0.0
    coreset = native.Coreset(projected, choose_basis(projected, seed), pool=pool)
    return float(native.knn_search(coreset, projected, 2, pool)[0][:, 1].min())


def select_outside(
    rows: NDArray[np.float32],
    points: NDArray[np.float32],
    radius: float,
    most: int,
    seed: int,
    pool: native.Pool,
    label: str = "coreset",
    scale: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.int64], int]:
    """Points to add to a coreset, so that all of them lie within a radius of its rows: greedy k-centre, as if the rows
    had been picked first. A point within the radius of a row, or of one that was added, is not added.

    Args:
        rows: (N, D) float32.
        points: (n, D) float32.
        radius: in the projection: `covering_radius`.
        most: how many at most.
        seed: of the projection.
        scale: (N,) factors of the rows, where the bundle multiplies distances with them: a point then counts with the
            factor of the row nearest to it, as it will when a new row has that factor.

    Returns:
        (k,) numbers of the points, in the order of the picks; and how many lie beyond the radius of the rows.
    """
    if not len(points):
        return np.empty(0, np.int64), 0
    known, asked = project(rows[None], seed)[0], np.ascontiguousarray(project(points[None], seed)[0])
    start = native.Coreset(known, choose_basis(known, seed), pool=pool)
    distances, nearest = native.exact_search(start, asked, pool)
    weights = np.ones(len(asked)) if scale is None else scale[nearest].astype(np.float64) ** 2
    left = weights * distances.astype(np.float64) ** 2
    beyond = np.flatnonzero(left > radius**2)
    with Progress(label, min(most, len(beyond)), unit="patches") as progress:
        picked = _farthest(asked[beyond], left[beyond], weights[beyond], most, radius**2, progress)
    return beyond[np.array(picked, np.int64)], len(beyond)
