"""Detection power in a manifest: the scores of synthetic defects on held-out good images."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Annotated

from edge_ad.spec.base import Finite, Matching, Range, check_fields, require

MOST_DEFECTS = 100_000
_KIND = Matching(re.compile(r"[a-z0-9_-]+"), 32, "1..32 of a-z 0-9 _ -")


@dataclass(frozen=True)
class PowerSpec:
    """Scores of synthetic defects, put on good images that the method had not seen. No real defect is among them.

    Their scores are kept and not how many were found, so that the power can be told for any threshold.

    Attributes:
        kinds: kinds of synthetic defects.
        sizes: largest extents, as parts of the frame's shorter side, ascending.
        contrasts: changes of pixel values, as parts of white, ascending.
        cells: for each defect ``(kind * S + size) * C + contrast``, with the numbers of its kind, size and contrast,
            and the counts S and C of sizes and contrasts.
        scores: its image score.
        images: how many held-out good images they were put on.
        seed: seed of the defects.
    """

    kinds: tuple[str, ...]
    sizes: Annotated[tuple[float, ...], Range(0, 1, above=True)]
    contrasts: Annotated[tuple[float, ...], Range(0, 1, above=True)]
    cells: tuple[int, ...]
    scores: tuple[Finite, ...]
    images: Annotated[int, Range(1)]
    seed: Annotated[int, Range(0)]

    def __post_init__(self) -> None:
        check_fields(self, "power")
        for kind in self.kinds:
            _KIND.check(kind, "power.kinds")
        for name, values in (("sizes", self.sizes), ("contrasts", self.contrasts)):
            rising = all(a < b for a, b in itertools.pairwise(values))
            require(rising, f"power.{name} is not in order", expected="ascending", got=values)
        require(
            len(set(self.kinds)) == len(self.kinds), "power.kinds has one twice", expected="each once", got=self.kinds
        )
        count = len(self.kinds) * len(self.sizes) * len(self.contrasts)
        require(0 < count <= MOST_DEFECTS, "power has no cells", expected=f"1..{MOST_DEFECTS}", got=count)
        require(
            self.images <= len(self.cells) == len(self.scores) <= MOST_DEFECTS,
            "power.cells does not fit power.scores, or power.images",
            expected=f"as many numbers, {MOST_DEFECTS} at most, and no more images",
            got=(len(self.cells), len(self.scores), self.images),
        )
        require(
            all(0 <= cell < count for cell in self.cells),
            "power.cells is out of range",
            expected=f"0..{count - 1}",
            got=self.cells,
        )
