"""The arithmetic of the comparison: AUROC of a run, means and errors over seeds, tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.peer.answers import Answers
from edge_ad.metrics import binary_auroc

TOLERANCE = 0.005  # of AUROC


@dataclass(frozen=True, eq=False)
class Truth:
    """Of the test images: kinds (None: good), and (n, H, W) bool masks at the input size; None without masks."""

    kinds: tuple[str | None, ...]
    masks: NDArray[np.bool_] | None

    def image_auroc(self, answers: Answers, left_out: Sequence[str] = ()) -> float:
        """Of the images whose kind is not left out."""
        defect = np.array([kind is not None for kind in self.kinds])
        kept = self._kept(left_out)
        return binary_auroc(answers.scores[kept & ~defect], answers.scores[kept & defect])

    def pixel_auroc(self, answers: Answers, left_out: Sequence[str] = ()) -> float:
        """Of all pixels of the images whose kind is not left out; NaN without masks."""
        if self.masks is None:
            return math.nan
        kept = self._kept(left_out)
        maps, masks = answers.maps[kept], self.masks[kept]
        return binary_auroc(maps[~masks], maps[masks])

    def _kept(self, left_out: Sequence[str]) -> NDArray[np.bool_]:
        return np.array([kind not in left_out for kind in self.kinds])


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error."""

    mean: float
    error: float


def over_seeds(values: Sequence[float]) -> Estimate:
    """The mean over seeds; its error is NaN for a single seed."""
    error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return Estimate(float(np.mean(values)), error)


def difference(ours: Sequence[float], theirs: Sequence[float], *, paired: bool) -> Estimate:
    """Ours less theirs: by seed where both sides made the same draws (`paired`), else of the two means."""
    if paired:
        return over_seeds([a - b for a, b in zip(ours, theirs, strict=True)])
    a, b = over_seeds(ours), over_seeds(theirs)
    return Estimate(a.mean - b.mean, math.hypot(a.error, b.error))


def verdict(found: Estimate) -> str:
    """Whether a difference keeps the tolerance; beyond it, whether two standard errors leave it there."""
    if abs(found.mean) <= TOLERANCE:
        return "yes"
    side = "edge-ad higher" if found.mean > 0 else "edge-ad lower"
    if abs(found.mean) - 2 * found.error > TOLERANCE:
        return f"NO, {side}"
    return f"no, {side}, not beyond the noise"


Figures = list[tuple[float, float]]  # image and pixel AUROC for each seed


def parity_lines(rows: Sequence[tuple[str, Figures, Figures, bool]]) -> list[str]:
    """A Markdown table: a line for each name and metric, of (name, edge-ad's, anomalib's, paired)."""
    lines = ["| | AUROC | anomalib | edge-ad | difference | within 0.005 |", "|---|---|---|---|---|---|"]
    for name, ours, theirs, paired in rows:
        for place, metric in enumerate(("image", "pixel")):
            a, b = [[figures[place] for figures in side] for side in (ours, theirs)]
            if np.isnan(a).any():
                continue  # no masks
            found = difference(a, b, paired=paired)
            lines.append(
                f"| {name} | {metric} | {_show(over_seeds(b), b)} | {_show(over_seeds(a), a)} "
                f"| {found.mean:+.4f} ± {found.error:.4f} | {verdict(found)} |"
            )
    return lines


def ladder_lines(steps: Mapping[str, Figures]) -> list[str]:
    """A Markdown table: mean image and pixel AUROC of each step, and what it changed of the one before it."""
    lines = ["| step | image | change | pixel | change |", "|---|---|---|---|---|"]
    before: Figures | None = None
    for name, figures in steps.items():
        cells = []
        for place in (0, 1):
            now = [each[place] for each in figures]
            change = ""
            if np.isnan(now).any():
                cells += ["-", ""]
                continue
            if before is not None:
                found = difference(now, [each[place] for each in before], paired=True)
                change = f"{found.mean:+.4f} ± {found.error:.4f}"
            cells += [f"{np.mean(now):.4f}", change]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        before = figures
    return lines


def _show(found: Estimate, values: Sequence[float]) -> str:
    return f"{found.mean:.4f} ({min(values):.4f}..{max(values):.4f})"
