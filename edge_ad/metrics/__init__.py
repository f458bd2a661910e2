"""How well scores and anomaly maps tell defects from goods: exact, in NumPy, in bounded memory.

Every ranking metric here depends on one thing only: how many goods score above, and how many as high as, each
distinct score of a defect. Defects (or their pixels) are few, so they are sorted, and the goods are counted against
them block by block: no histogram, no grid of thresholds, no sorted copy of everything.

A metric that the images cannot give (only goods, only defects, no masks) is None, never 0 or 0.5. All functions are
thread-safe: functions of their arguments alone.
"""

from __future__ import annotations

from edge_ad.metrics.image import (
    Confusion,
    ImageMetrics,
    Rate,
    binary_auroc,
    image_metrics,
    wilson,
)
from edge_ad.metrics.pixel import PixelMetrics, PixelSample, pixel_metrics
from edge_ad.metrics.ranking import finite_scores

__all__ = [
    "Confusion",
    "ImageMetrics",
    "PixelMetrics",
    "PixelSample",
    "Rate",
    "binary_auroc",
    "finite_scores",
    "image_metrics",
    "pixel_metrics",
    "wilson",
]
