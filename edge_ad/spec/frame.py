"""The frames and the region of interest in a manifest."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from edge_ad.spec.base import (
    MAX_FRAME_PIXELS,
    MAX_SIDE,
    MIN_FRAME_SIDE,
    Box,
    BoxInside,
    Colors,
    Range,
    Size,
    check_fields,
    require,
)
from edge_ad.spec.lights import StackSpec

WHITE_LEVELS = Range(255, 65535)


@dataclass(frozen=True)
class FrameSpec:
    """What the camera gives.

    Attributes:
        size: (H, W) that every good image had, or None when they differed.
        color_order: order of the channels of an (H, W, 3) array. Image files need no order: they are decoded correctly.
        bit_depth: 8, or 16 when u16 frames are accepted beside u8.
        white_level: the u16 value that is white: 65535, or 4095 for a 12-bit camera.
        stack: the frame is a stack of pictures under these lights; None if it is one picture. The fields above are of
            each picture.
    """

    size: Annotated[Size, Range(MIN_FRAME_SIDE, 2**20, form="(H, W), each ")] | None
    color_order: Literal["bgr", "rgb"] = "bgr"
    bit_depth: Literal[8, 16] = 8
    white_level: Annotated[int, WHITE_LEVELS] = 65535
    stack: StackSpec | None = field(default=None, metadata={"since": 4})

    def __post_init__(self) -> None:
        check_fields(self, "frame")
        require(
            self.size is None or math.prod(self.size) <= MAX_FRAME_PIXELS,
            "frame.size is out of range",
            expected=f"{MAX_FRAME_PIXELS} pixels at most",
            got=self.size,
        )


@dataclass(frozen=True)
class RoiSpec:
    """The region of interest. Its mask and patch mask are members of the bundle.

    Attributes:
        source: how it was given, for a reader: ``box 10,20,200,300``, ``mask roi.png``, ``polygon roi.json``,
            ``auto from 40 images``.
        box: bounding box of the region, in pixels of a frame of `frame.size`.
        halo_px: margin around the box in the crop, pixels at the input scale.
        fill: (B, G, R) mean colour of the region over the good images; it replaces pixels where the mask is black.
    """

    source: str
    box: Annotated[Box, BoxInside()]
    halo_px: Annotated[int, Range(0, MAX_SIDE)]
    fill: Colors

    def __post_init__(self) -> None:
        check_fields(self, "roi")
