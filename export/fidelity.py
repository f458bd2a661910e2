"""Measures how close graph search is to exact search, and how close an operating point is to the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_ad import native
from edge_ad.metrics import binary_auroc
from edge_ad.spec import FidelitySpec

WANTED_RECALL = 0.97
WANTED_CORRELATION = 0.98  # of an operating point, if no labelled images show how much it loses
_BREADTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True)
class SearchFidelity:
    """Graph search against exact search.

    Attributes:
        ef: how many candidates the search keeps.
        recall: share of patches whose nearest coreset row was found.
        map_error: mean relative error of the patch distances above 0.
    """

    ef: int
    recall: float
    map_error: float


def choose_ef(
    graph: native.Graph,
    grids: list[NDArray[np.float32]],
    grid_width: int,
    rows: NDArray[np.int32] | None,
    pool: native.Pool,
) -> SearchFidelity:
    """The smallest ef with a recall of `WANTED_RECALL`, or the largest ef that was tried.

    Args:
        graph: the graph.
        grids: (P, D) float32 patches of frames that are not in the coreset.
        grid_width, rows: as in `edge_ad.native.graph_search`.
    """
    exact = [native.exact_search(graph.coreset, grid, pool, rows)[0] for grid in grids]
    truth = np.concatenate(exact)
    for ef in _BREADTHS:
        found = np.concatenate([native.graph_search(graph, grid, pool, ef, grid_width, rows)[0] for grid in grids])
        # compares distances, not rows: if two coreset rows are equally near, both are right
        recall = float((found <= truth).mean())
        apart = truth > 0  # a distance of 0 has no relative error: the recall counts it
        error = float((found[apart] / truth[apart] - 1).mean()) if apart.any() else 0.0
        if recall >= WANTED_RECALL:
            break
    return SearchFidelity(ef, recall, error)


def measure_fidelity(
    reference: ArrayLike,
    scores: ArrayLike,
    labels: Sequence[bool] = (),
    reference_tests: ArrayLike = (),
    tests: ArrayLike = (),
) -> FidelitySpec:
    """How close a point's scores are to the reference's.

    Args:
        reference, scores: (n,) image scores of the same held-out good images.
        labels: whether each test image shows a defect; empty if there are no good images or no defects.
        reference_tests, tests: (len(labels),) image scores of the test images.
    """
    theirs, ours = np.asarray(reference, np.float64), np.asarray(scores, np.float64)
    areas: list[float | None] = [None, None]
    if labels:
        bad = np.asarray(labels, np.bool_)
        areas = [binary_auroc(s[~bad], s[bad]) for s in (np.asarray(tests), np.asarray(reference_tests))]
    return FidelitySpec(
        frames=len(ours),
        rank_correlation=rank_correlation(theirs, ours),
        score_error=float(np.abs(ours - theirs).mean() / (theirs.mean() or 1.0)),
        labelled=len(labels),
        auroc=areas[0],
        reference_auroc=areas[1],
    )


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's correlation of the ranks; equal values share their mean rank.

    It is 1 if a and b are equal. Otherwise it is 0 if all values of a, or all of b, are the same.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if np.array_equal(x, y):
        return 1.0
    ranks = [_ranks(x), _ranks(y)]
    x, y = (r - r.mean() for r in ranks)
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip(x @ y / norm, -1.0, 1.0)) if norm else 0.0


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2


def shortfall(found: FidelitySpec, max_drop: float, name: str = "the reference") -> str | None:
    """The reason to leave a point with this fidelity to the point `name` out of the bundle; None to keep it.

    It asks what the arithmetic of a point costs, so `name` has the same input sizes. Another size is no loss of
    fidelity: it may see more.

    If labelled images show how much a point loses, they decide. Without them, its scores must rank the held-out good
    images as `name` does. This is a strict test, as the scores of good images are close together.
    """
    if found.auroc is not None and found.reference_auroc is not None:
        if found.reference_auroc - found.auroc > max_drop:
            return (
                f"image AUROC {found.auroc:.4f} against {found.reference_auroc:.4f} of {name} on "
                f"{found.labelled} test images: more than --max-drop {max_drop:g} below"
            )
    elif found.rank_correlation < WANTED_CORRELATION:
        return (
            f"its scores of {found.frames} held-out good images have rank correlation {found.rank_correlation:.3f} "
            f"with those of {name}, below {WANTED_CORRELATION}, and no labelled test images show that it is good enough"
        )
    return None
