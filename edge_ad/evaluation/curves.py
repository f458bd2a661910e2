"""Draws ROC and PR curves, a histogram of scores and the confusion matrix as PNG, with matplotlib (extra `report`)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import EdgeADError
from edge_ad.evaluation.run import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = ("scores", "confusion", "roc", "pr")
GOOD, DEFECT, INK, FAINT = "#2b7a9b", "#c8553d", "#22282e", "#c9d1d8"
_SIZE_IN, _DPI = (4.4, 3.5), 150
_BINS = 32

Scores = NDArray[np.float64]


def require_matplotlib() -> None:
    """Raises EdgeADError, which names the pip command, if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise EdgeADError(
            "curves and report.html need matplotlib", got="none installed", remedy="pip install 'edge-ad[report]'"
        ) from error


def curves(result: Result, row: Mapping[str, Any]) -> dict[str, bytes]:
    """Name -> PNG: roc and pr (if there are good images and defects), scores and confusion (if there are images)."""
    good = np.sort([i.score for i in result.images if i.defect is None])
    defects = np.sort([i.score for i in result.images if i.defect is not None])
    found = {}
    if len(good) and len(defects):
        found["roc"], found["pr"] = _roc(good, defects, row), _pr(good, defects, row)
    if len(good) or len(defects):
        found["scores"] = _scores(good, defects, row["threshold"])
        found["confusion"] = _confusion(row)
    return found


def rates(good: Scores, defects: Scores) -> tuple[Scores, Scores, Scores]:
    """(false reject rate, share of defects caught, precision) at each distinct score, the highest first.

    Args:
        good, defects: ascending scores, one or more of each.
    """
    thresholds = np.unique(np.concatenate([good, defects]))[::-1]
    rejected = len(good) - np.searchsorted(good, thresholds, "left")
    caught = len(defects) - np.searchsorted(defects, thresholds, "left")
    return rejected / len(good), caught / len(defects), caught / (caught + rejected)


def _figure(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # without pyplot: opens no windows and changes no global state

    figure = Figure(figsize=_SIZE_IN, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(color=FAINT, labelcolor=INK, labelsize=9)
    return figure, axes


def _png(figure: Figure) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=11, color=INK, fontweight="bold")


def _unit(axes: Axes) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.04)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.grid(color=FAINT, alpha=0.5, linewidth=0.6)


def _roc(good: Scores, defects: Scores, row: Mapping[str, Any]) -> bytes:
    figure, axes = _figure("good images rejected", "defects caught")
    rejected, caught, _ = rates(good, defects)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
    axes.plot([0, *rejected], [0, *caught], color=GOOD, linewidth=2, solid_joinstyle="miter")
    axes.plot(row["false_reject"], 1 - row["miss"], "o", color=DEFECT, clip_on=False, label="at the threshold")
    _unit(axes)
    axes.legend(frameon=False, loc="lower right", fontsize=9, labelcolor=INK)
    _title(axes, f"ROC, AUROC {row['image_auroc']:.4f}")
    return _png(figure)


def _pr(good: Scores, defects: Scores, row: Mapping[str, Any]) -> bytes:
    figure, axes = _figure("defects caught (recall)", "share of defects in rejected images (precision)")
    _, caught, precision = rates(good, defects)
    share = len(defects) / (len(good) + len(defects))
    axes.plot([0, 1], [share, share], color=FAINT, linewidth=1, linestyle="--")
    axes.step([0, *caught], [precision[0], *precision], where="pre", color=GOOD, linewidth=2)
    if row["tp"]:
        at = row["tp"] / (row["tp"] + row["fp"])
        axes.plot(1 - row["miss"], at, "o", color=DEFECT, clip_on=False, label="at the threshold")
        axes.legend(frameon=False, loc="lower left", fontsize=9, labelcolor=INK)
    _unit(axes)
    _title(axes, f"Precision and recall, AP {row['image_ap']:.4f}")
    return _png(figure)


def _scores(good: Scores, defects: Scores, threshold: float) -> bytes:
    figure, axes = _figure("score", "images")
    everything = np.concatenate([good, defects, [threshold]])
    low, high = float(everything.min()), float(everything.max())
    width = (high - low) / _BINS or 1.0
    # the threshold is the edge of a bin, so that no bin holds images of both verdicts
    bins = threshold + width * np.arange(
        -np.ceil((threshold - low) / width) - 1, np.ceil((high - threshold) / width) + 2
    )
    for scores, color, name in ((good, GOOD, "good"), (defects, DEFECT, "defect")):
        if len(scores):
            axes.hist(scores, bins=bins.tolist(), color=color, alpha=0.75, label=f"{name} ({len(scores)})")
    axes.axvline(threshold, color=INK, linewidth=1.4, linestyle="--", label=f"threshold {threshold:.4g}")
    axes.locator_params(axis="y", integer=True)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    _title(axes, "Scores")
    return _png(figure)


def _confusion(row: Mapping[str, Any]) -> bytes:
    figure, axes = _figure("verdict", "label")
    counts = np.array([[row["tn"], row["fp"]], [row["fn"], row["tp"]]])
    wrong = np.array([[False, True], [True, False]])
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for (y, x), count in np.ndenumerate(counts):
        color = DEFECT if wrong[y, x] else GOOD
        axes.fill_between(
            [x - 0.5, x + 0.5], y - 0.5, y + 0.5, color=color, alpha=0.08 + 0.8 * share[y, x], linewidth=0
        )
        ink = "white" if share[y, x] > 0.6 else INK
        axes.text(x, y, str(count), ha="center", va="center", fontsize=20, color=ink)
    axes.set_xticks([0, 1], ["good", "anomalous"])
    axes.set_yticks([0, 1], ["good", "defect"])
    axes.set_xlim(-0.5, 1.5)
    axes.set_ylim(1.5, -0.5)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    _title(axes, f"Verdicts at threshold {row['threshold']:.4g}")
    return _png(figure)
