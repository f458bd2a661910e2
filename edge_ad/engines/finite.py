"""Numbers that came of an engine, and must be finite."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from edge_ad.errors import EngineError


def require_finite(*numbers: ArrayLike, of: str, by: str, remedy: str) -> None:
    """Refuses what an engine gave of a frame where it is not finite: a network that overflows must never look good.

    Args:
        numbers: patches, or the distances and the score that were computed of them.
        of: the frame, for a reader.
        by: name and version of the engine, and the precision.

    Raises:
        EngineError: one of the numbers is NaN or Inf.
    """
    if not all(np.isfinite(part).all() for part in numbers):
        raise EngineError(
            f"the patches of {of} hold NaN or Inf", expected="finite numbers", got=f"from {by}", remedy=remedy
        )
