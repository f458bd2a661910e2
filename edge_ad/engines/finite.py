"""Checks that the numbers from an engine are finite."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from edge_ad.errors import EngineError


def require_finite(*numbers: ArrayLike, of: str, by: str, remedy: str) -> None:
    """Refuses numbers that are not finite, so that a frame on which the network overflows is never called good.

    Args:
        numbers: patches, or the distances and the score computed from them.
        of: name of the frame, for the message.
        by: name and version of the engine, and the precision, for the message.

    Raises:
        EngineError: one of the numbers is NaN or Inf.
    """
    if not all(np.isfinite(part).all() for part in numbers):
        raise EngineError(
            f"the patches of {of} hold NaN or Inf", expected="finite numbers", got=f"from {by}", remedy=remedy
        )
