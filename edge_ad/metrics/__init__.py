"""How well scores and anomaly maps separate defects from good images: exact, in NumPy, in bounded memory.

For each distinct score of a defect, a ranking metric needs two counts: how many good scores are above it, and how many
are equal to it. Defects (or their pixels) are few, so they are sorted. The good scores are counted block by block.
There is no histogram, no grid of thresholds, no sorted copy of everything.

A metric that the images cannot give (only good images, only defects, no masks) is None, never 0 or 0.5. All functions
are thread-safe, as they keep no state.
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
