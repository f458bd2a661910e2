"""Joins the answers at two input sizes: the larger of the first and `factor` times the second.

Small defects show at the larger size, large ones at the smaller, and the larger answer keeps both. The factor brings
distances of the second size to the scale of the first, so a joined answer is a distance at the first size.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def join(first: float, second: float, factor: float) -> float:
    """The joined score, or peak of a map, in double precision. NaN if either is NaN, so that no half is called good."""
    scaled = factor * second
    return math.nan if math.isnan(first) or math.isnan(scaled) else max(first, scaled)


def join_maps(
    first: Callable[[], NDArray[np.float32]], second: Callable[[], NDArray[np.float32]], factor: float
) -> NDArray[np.float32]:
    """The joined (H, W) float32 anomaly map of two maps of one size, which the functions render in frame pixels.

    Where only one of the two has the pixel in its region of interest, as borders are rounded, that one counts.
    """
    scaled = second()
    scaled *= np.float32(factor)
    return np.maximum(first(), scaled, out=scaled)
