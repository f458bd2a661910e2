"""The reference of the drift monitor in a manifest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from edge_ad.spec.base import Matching, Range, Size, check_fields, require

MAX_IMAGES, MAX_THEN = 10_000, 480  # images; pixels of a side
_NAME = Matching(re.compile(r"[a-z0-9_]+"), 32, "1..32 of a-z 0-9 _")


@dataclass(frozen=True)
class DriftSpec:
    """What good images are like at export, for whoever watches whether frames still are. No verdict depends on it.

    Attributes:
        statistics: names of the numbers that were measured of each image: the columns of `drift/values`. A name that a
            reader does not know is passed over. The reference of scores is `calibration.good_scores`.
        images: how many good images were measured.
        then: (h, w) of the picture of a typical one, `drift/then`.
    """

    statistics: tuple[str, ...]
    images: Annotated[int, Range(1, MAX_IMAGES)]
    then: Annotated[Size, Range(1, MAX_THEN, form="(h, w), each ")]

    def __post_init__(self) -> None:
        check_fields(self, "drift")
        for name in self.statistics:
            _NAME.check(name, "drift.statistics")
        distinct = 0 < len(set(self.statistics)) == len(self.statistics) <= 64
        require(distinct, "drift.statistics has none, or one twice", expected="1..64 names", got=self.statistics)
