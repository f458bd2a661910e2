"""What a bundle has learned since its export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_ad.spec.base import BundleId, Range, check_fields


@dataclass(frozen=True)
class TaughtSpec:
    """Good images that `edge-ad teach` or `edge-ad learn` added: rows of the coreset, and scores of the calibration.

    Attributes:
        bundle: id of the bundle that learned.
        images: how many good images it learned from.
        edge_ad: version that taught it.
        created: date and time of that.
    """

    bundle: BundleId
    images: Annotated[int, Range(1)]
    edge_ad: str
    created: str

    def __post_init__(self) -> None:
        check_fields(self, "taught")
