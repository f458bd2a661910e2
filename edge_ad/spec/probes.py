"""The golden probes in a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_ad.spec.base import Range, TensorSize, check_fields


@dataclass(frozen=True)
class ProbesSpec:
    """Golden probes: frames with the answers that they must give on every PC.

    Attributes:
        count: P, how many.
        size: (H, W) of each.
        rows: how many patches of each are stored.
        tolerance: largest relative difference of patches, distances, map and score.
    """

    count: Annotated[int, Range(1, 64)]
    size: TensorSize
    rows: int
    tolerance: Annotated[float, Range(0, 1, above=True, below=True)]

    def __post_init__(self) -> None:
        check_fields(self, "probes")
