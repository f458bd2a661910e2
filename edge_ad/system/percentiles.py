"""Percentiles of times: one definition for all that is timed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def percentiles(values: ArrayLike, wanted: Sequence[float] = (50, 95, 99)) -> tuple[float, ...]:
    """The percentiles of one or more values. Each is a value that was measured, never one between two of them.

    Of n values in ascending order the p-th percentile is the one at place ceil((n - 1) p / 100), counted from 0: where
    the place falls between two values, the higher one (Hyndman & Fan 1996, type 7, without interpolation).
    """
    return tuple(float(value) for value in np.percentile(np.asarray(values), wanted, method="higher"))
