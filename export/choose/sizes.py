"""The input sizes that are worth a trial: the aspect ratio of the frames kept, at several areas."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from edge_ad.spec import MAX_SIDE, MIN_FRAME_SIDE, Box, Size
from export.tokens import STRIDE

AREAS = (256**2, 384**2)  # pixels that the backbone sees
_LONGEST = 8.0  # a frame that is longer than so many times its width is squeezed to that
_MOST_ENLARGED = 2.0  # times the side of a frame: more pixels than that hold nothing new


def candidate_sizes(
    frames: Iterable[Size], region: Box | None = None, areas: Sequence[int] = AREAS, stride: int = STRIDE
) -> list[Size]:
    """(H, W) of whole frames at several areas, ascending, each once.

    A frame is enlarged twice at most, and no side is longer than an engine takes; then there may be fewer sizes.

    Args:
        frames: the (H, W) of the good images; their median aspect ratio counts.
        region: box of the region of interest in a frame; then the areas are those of the crop, as the rest of a frame
            costs nothing.
        areas: wanted areas in pixels.
        stride: sides are multiples of it.
    """
    sizes = sorted(frames, key=lambda size: size[0] / size[1])
    height, width = sizes[len(sizes) // 2]
    ratio = min(max(height / width, 1 / _LONGEST), _LONGEST)
    share = 1.0 if region is None else (region[2] - region[0]) * (region[3] - region[1]) / (height * width)
    longest = MAX_SIDE // stride * stride
    most = min(_MOST_ENLARGED**2 * height * width, longest**2 / max(ratio, 1 / ratio))
    found: list[Size] = []
    for area in areas:
        whole = min(area / share, most)
        size = (_side(math.sqrt(whole * ratio), stride), _side(math.sqrt(whole / ratio), stride))
        if size not in found:
            found.append(size)
    return found


def _side(length: float, stride: int) -> int:
    return max(round(length / stride) * stride, stride * 2, -(-MIN_FRAME_SIDE // stride) * stride)
