"""The rules of a lesson: which good images are held back, how much may be learned, and what it may cost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated

from edge_ad.errors import LearningError
from edge_ad.learning.report import Figures
from edge_ad.spec.base import Range, check_fields

ONE_IN = 5  # of the offered good images, which are held back
GROWTH, POWER_DROP = 0.2, 0.02


@dataclass(frozen=True)
class Limits:
    """What a lesson may cost.

    Attributes:
        growth: rows beyond those of the first bundle, as a share of them, by all lessons together.
        power_drop: how far detection power may fall: 0.02 is two points of a hundred.
    """

    growth: Annotated[float, Range(0, 10)] = GROWTH
    power_drop: Annotated[float, Range(0, 1)] = POWER_DROP

    def __post_init__(self) -> None:
        check_fields(self, "limits")

    def room(self, first: int, now: int) -> int:
        """How many rows may still be added to a coreset of `now` rows, where the first bundle had `first`."""
        return max(0, int(self.growth * first + 1e-9) - max(0, now - first))


def held_back(digests: Sequence[str], *, locked: bool) -> set[str]:
    """Which of the offered good images are held back: one in `ONE_IN`, by the digest of their files alone, so that an
    image is always on the same side. Where none would be, and none is locked yet, it is the one with the lowest digest.

    Args:
        digests: SHA-256 of the files.
        locked: whether good images are locked already.

    Raises:
        LearningError: there is one image alone, and none is locked: nothing could tell what the lesson did.
    """
    chosen = {digest for digest in digests if int(digest[:8], 16) % ONE_IN == 0}
    if not locked and not chosen and digests:
        chosen = {min(digests)}
    if not locked and len(set(digests)) == 1:
        raise LearningError(
            "the first lesson needs two good images: one is held back, to see what the lesson does",
            expected="2 or more",
            got=1,
            remedy="Give one more good image of the part; one that is accepted will do.",
        )
    if not locked and digests and chosen >= set(digests):  # something must be left to teach
        chosen = {min(digests)}
    return chosen


def check_power(figures: Sequence[Figures], limits: Limits) -> None:
    """Refuses a lesson that makes a point see less.

    Raises:
        LearningError: names the point and both figures.
    """
    for own in figures:
        if own.power is not None and own.power[0] - own.power[1] > limits.power_drop + 1e-9:
            raise LearningError(
                f"the lesson would blind the bundle: {own.point} would find fewer synthetic defects",
                expected=f"a detection power at most {100 * limits.power_drop:g} points below {own.power[0]:.1%}",
                got=f"{own.power[1]:.1%} of {own.synthetic} on {own.pictures} good pictures; threshold "
                "{:.4g} -> {:.4g}".format(*own.threshold),
                remedy="Are all of the images good? Give fewer, or export anew with good images of today.",
            )


def check_growth(points: Collection[str], limits: Limits, first: int, now: int) -> None:
    """Refuses a lesson for which no room is left.

    Raises:
        LearningError: names the operating points.
    """
    if points:
        raise LearningError(
            f"the bundle has learned as much as it may: {', '.join(sorted(points))}",
            expected=f"at most {limits.growth:.0%} more rows than the {first:,} of its first bundle",
            got=f"{now:,} rows",
            remedy="Export anew, with these good images among the others; or undo a lesson.",
        )
