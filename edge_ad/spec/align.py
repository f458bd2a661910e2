"""How frames are aligned with a reference, in a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from edge_ad.spec.base import Range, Size, check_fields, require

Motion = Literal["shift", "similarity"]
MOTIONS: tuple[str, ...] = get_args(Motion)
MIN_REFERENCE, MAX_REFERENCE, MAX_PICTURE = 16, 256, 1024  # pixels of a side


@dataclass(frozen=True)
class AlignSpec:
    """How the part is found in a frame. Its reference and the mask of its part are members of the bundle.

    Attributes:
        motion: how parts move: ``shift``, or ``similarity``, which is shift, turn and scale.
        size: (h, w) of the reference, a small grey copy of good images.
        picture: (h, w) of the picture of a good image, in colours, where the part lies as in the reference. Where a
            frame that is moved shows nothing, its tensor is taken from there.
        most_shift: largest shift along each side, as a share of that side of the frame.
        most_turn: largest turn to either side, in degrees; 0 for ``shift``.
        most_scale: largest change of size, as a share; 0 for ``shift``.
        least_seen: share of the part that a frame must show; of the whole picture where no region is given.
        least: a part with less confidence than this is not found.
        good: the least confidence of a good image, when the export moved them within these limits.
        images: how many good images that were.
    """

    motion: Motion
    size: Annotated[Size, Range(MIN_REFERENCE, MAX_REFERENCE, form="(h, w), each ")]
    picture: Annotated[Size, Range(MIN_REFERENCE, MAX_PICTURE, form="(h, w), each ")]
    most_shift: Annotated[float, Range(0, 0.3)]
    most_turn: Annotated[float, Range(0, 30)]
    most_scale: Annotated[float, Range(0, 0.2)]
    least_seen: Annotated[float, Range(0, 1, above=True)]
    least: Annotated[float, Range(0, 1, above=True)]
    good: Annotated[float, Range(-1, 1)]
    images: Annotated[int, Range(1)]

    def __post_init__(self) -> None:
        check_fields(self, "align")
        still = self.motion != "shift" or self.most_turn == self.most_scale == 0
        require(
            still,
            "align.most_turn or align.most_scale does not fit the motion",
            expected="0 for shift",
            got=(self.most_turn, self.most_scale),
        )
