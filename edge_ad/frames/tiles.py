"""Tiles of a picture that is too large for the engine: where they lie, and which patches of each are used.

The tiles overlap, and each gives the patches on its side of the middle of an overlap. So the patches of all tiles make
one grid, and each lies as far from the border of its tile as it can. At a border a network sees zeros, or whatever it
pads with, in place of the picture.

All tiles begin where the coarsest layer has a vector (`edge_ad.spec.TilesSpec.align`). So every layer is sampled at
the places where it would be sampled in the whole picture.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.frames.roi import RoiMasks
from edge_ad.spec import BackboneSpec, Box, Tensor


@dataclass(frozen=True, eq=False)
class Tile:
    """One tile.

    Attributes:
        box: its pixels in the picture, which it may leave below and on the right by less than `TilesSpec.align`.
        rows: (r,) int32 row-major numbers, in the tile's grid, of the patches that are used.
        numbers: (r,) int32 their places among the R patches of the region of interest, ascending.
    """

    box: Box
    rows: NDArray[np.int32]
    numbers: NDArray[np.int32]

    def cut(self, tensor: Tensor) -> Tensor:
        """(1, h, w, 3) of a (1, H, W, 3) tensor, mirrored where the picture ends."""
        y0, x0, y1, x1 = self.box
        part = tensor[0, y0:y1, x0:x1]
        below, right = y1 - y0 - part.shape[0], x1 - x0 - part.shape[1]
        if below or right:
            part = cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REFLECT_101)
        tile: Any = np.ascontiguousarray(part)[None]
        return tile

    def same(self, a: Tensor, b: Tensor) -> bool:
        """Whether the tile has the same pixels in two tensors."""
        y0, x0, y1, x1 = self.box
        return np.array_equal(a[0, y0:y1, x0:x1], b[0, y0:y1, x0:x1])


def tiles_of(backbone: BackboneSpec, masks: RoiMasks) -> tuple[Tile, ...]:
    """The tiles of a crop that have patches of the region of interest; none where the engine gets the crop whole."""
    tiles = backbone.tiles
    if tiles is None:
        return ()
    numbers = np.full(backbone.grid, -1, np.int32)
    if masks.patches is None:
        numbers[:] = np.arange(numbers.size, dtype=np.int32).reshape(numbers.shape)
    else:
        numbers[masks.patches] = np.arange(masks.count, dtype=np.int32)
    down, across = tiles.starts(backbone.tensor_size)
    found = []
    for y, first_y, last_y in _parts(down, tiles.size[0], tiles.stride, backbone.grid[0]):
        for x, first_x, last_x in _parts(across, tiles.size[1], tiles.stride, backbone.grid[1]):
            own = numbers[first_y:last_y, first_x:last_x]
            inside = own >= 0
            if not inside.any():
                continue
            cells_y = np.arange(first_y, last_y) - y // tiles.stride
            cells_x = np.arange(first_x, last_x) - x // tiles.stride
            rows = cells_y[:, None] * backbone.engine_grid[1] + cells_x[None, :]
            box = (y, x, y + tiles.size[0], x + tiles.size[1])
            found.append(Tile(box, rows[inside].astype(np.int32), own[inside]))
    return tuple(found)


def _parts(starts: Sequence[int], tile: int, stride: int, cells: int) -> list[tuple[int, int, int]]:
    """(first pixel, first used cell, one past the last used cell) of the tiles of a side."""
    seams = [(b + a + tile) // 2 // stride for a, b in itertools.pairwise(starts)]
    return list(zip(starts, [0, *seams], [*seams, cells], strict=True))
