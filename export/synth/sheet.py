"""Contact sheets: what the synthetic defects of a kind look like, each beside the good image that it is on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.frames.picture import to_picture
from edge_ad.spec import Box, Frame

TILE_PX, _BAR_PX = 160, 16
_AROUND, _LEAST_PX = 2.2, 48  # a tile shows so many times the defect, and at least so many pixels


class Sample(NamedTuple):
    """A defect on a sheet: what it says, and the same part of the frame without it and with it."""

    title: str
    good: NDArray[np.uint8]
    spoiled: NDArray[np.uint8]


def sample(title: str, good: Frame, spoiled: Frame, box: Box, white: int) -> Sample:
    """The part of a picture around a defect, without and with it."""
    top, left, side = _around(box, (good.shape[0], good.shape[1]))
    parts = [to_picture(image[top : top + side, left : left + side], white) for image in (good, spoiled)]
    filters = cv2.INTER_CUBIC if side < TILE_PX else cv2.INTER_AREA
    before, after = (cv2.resize(part, (TILE_PX, TILE_PX), interpolation=filters) for part in parts)
    return Sample(title, before, after)


def contact_sheet(heading: str, samples: Sequence[Sample], columns: int) -> NDArray[np.uint8]:
    """(H, W, 3) u8: the samples in rows of `columns`, under a heading."""
    cells = [_cell(one) for one in samples]
    cells += [np.zeros_like(cells[0])] * (-len(cells) % columns)
    rows = [np.hstack(cells[first : first + columns]) for first in range(0, len(cells), columns)]
    bar = np.full((2 * _BAR_PX, rows[0].shape[1], 3), 40, np.uint8)
    cv2.putText(bar, heading, (4, 21), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return np.vstack([bar, *rows])


def _cell(one: Sample) -> NDArray[np.uint8]:
    bar = np.full((_BAR_PX, 2 * TILE_PX, 3), 24, np.uint8)
    cv2.putText(bar, one.title, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (220, 220, 220), 1, cv2.LINE_AA)
    cell = np.vstack([bar, np.hstack([one.good, one.spoiled])])
    return np.pad(cell, ((1, 1), (1, 1), (0, 0)))


def _around(box: Box, size: tuple[int, int]) -> tuple[int, int, int]:
    """(top, left, side) of a square inside the frame around a box."""
    y0, x0, y1, x1 = box
    side = min(max(int(_AROUND * max(y1 - y0, x1 - x0)), _LEAST_PX), *size)
    top = min(max((y0 + y1 - side) // 2, 0), size[0] - side)
    left = min(max((x0 + x1 - side) // 2, 0), size[1] - side)
    return top, left, side
