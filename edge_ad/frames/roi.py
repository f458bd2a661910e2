"""The region of interest of a crop: which pixels and patches are inspected.

A region is a mask of the frame's pixels. At export and in `Runtime.inspect` alike it comes to the patches in two steps:

    tensor_mask   a pixel of the tensor is inside if every frame pixel that it is made of is inside
    patch_mask    a patch is inside if its cell has any pixel of the tensor that is inside
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import FrameError
from edge_ad.frames.crop import scale_box
from edge_ad.spec import BackboneSpec, Box, Size

_BEYOND = {"area": 0.0, "bilinear": 0.5, "bicubic": 1.5}  # a filter's reach beyond a tensor pixel, in such pixels


@dataclass(frozen=True, eq=False)
class RoiMasks:
    """The part of a crop that is inspected. Without a region of interest it is the whole crop.

    Attributes:
        grid: (h, w) of the patches.
        pixels: (H, W) u8 of the tensor's size, 255 inside the region and 0 outside; None for all.
        patches: (h, w) bool, True for patches inside the region; None for all.
    """

    grid: Size
    pixels: NDArray[np.uint8] | None = None
    patches: NDArray[np.bool_] | None = None

    @property
    def rows(self) -> NDArray[np.int32] | None:
        """(R,) numbers of the patches inside, row-major; None for all."""
        return None if self.patches is None else np.flatnonzero(self.patches).astype(np.int32)

    @property
    def count(self) -> int:
        """How many those are."""
        return self.grid[0] * self.grid[1] if self.patches is None else int(self.patches.sum())

    @property
    def members(self) -> dict[str, NDArray[Any]]:
        """The masks as members of a bundle; none without a region."""
        if self.pixels is None or self.patches is None:
            return {}
        return {"roi/mask": self.pixels, "roi/patch_mask": self.patches.astype(np.uint8)}

    def to_grid(self, distances: NDArray[np.float32]) -> NDArray[np.float32]:
        """(h, w) float32 of the (R,) distances of the patches inside; 0 elsewhere."""
        if self.patches is None:
            return distances.reshape(self.grid)
        grid = np.zeros(self.grid, np.float32)
        grid[self.patches] = distances
        return grid

    def within(self, mask: NDArray[np.bool_], backbone: BackboneSpec) -> RoiMasks:
        """The part of this region that is also inside an (H, W) mask of a frame's pixels.

        Raises:
            FrameError: nothing is.
        """
        pixels = tensor_mask(mask, backbone.crop, backbone.input_size, backbone.resize)
        if self.pixels is not None:
            pixels &= self.pixels
        patches = patch_mask(pixels, self.grid, backbone.covered)
        if self.patches is not None:
            patches &= self.patches
        if not patches.any():
            raise FrameError(
                "the mask of this frame leaves nothing to inspect",
                expected="pixels inside the bundle's region of interest, more than one at the input size",
                got=f"{int(np.count_nonzero(mask))} of {mask.size} pixels of the frame, none of them there",
                remedy="Was the part found? A frame without one is no good part.",
            )
        return RoiMasks(self.grid, pixels, patches)


def check_mask(mask: object, frame_size: Size) -> NDArray[np.bool_]:
    """(H, W) bool of a mask that a caller gave for a frame of (H, W) `frame_size`.

    Args:
        mask: (H, W) bool, or u8 where every value above 0 is inside.

    Raises:
        FrameError: it is of another type, dtype or size, has masked pixels, or is empty.
    """
    remedy = "Give a bool array of the frame's height and width, True where the frame is to be inspected."
    if not isinstance(mask, np.ndarray) or mask.dtype not in (np.bool_, np.uint8):
        got = f"an array of {mask.dtype}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise FrameError("roi is no mask", expected="a NumPy array of bool or uint8", got=got, remedy=remedy)
    if mask.shape != frame_size:
        raise FrameError("roi has another size than the frame", expected=frame_size, got=mask.shape, remedy=remedy)
    if type(mask) is not np.ndarray and isinstance(mask, np.ma.MaskedArray) and np.ma.is_masked(mask):
        raise FrameError("roi has masked pixels", expected="every pixel", got="a masked array", remedy=remedy)
    if not mask.any():
        raise FrameError("roi is empty", expected="a pixel inside or more", got="none", remedy=remedy)
    return np.asarray(mask) > 0


def tensor_mask(mask: NDArray[np.bool_], crop: Box, input_size: Size, by: str) -> NDArray[np.uint8]:
    """(H, W) u8 of the crop's size: 255 where every frame pixel that a tensor pixel is made of is inside, else 0.

    This is strict: where what is outside is filled, nothing of it can reach the tensor.

    Args:
        mask: (H, W) bool of the frame.
        crop: box of the crop at the input size.
        input_size: (H, W) to which a whole frame is resized.
        by: the filter that resizes frames, as `edge_ad.spec.backbone.BackboneSpec.resize` has it.
    """
    y0, x0, y1, x1 = scale_box(crop, input_size, (mask.shape[0], mask.shape[1]))
    outside = np.where(mask[y0:y1, x0:x1], np.uint8(0), np.uint8(1))
    height, width = crop[2] - crop[0], crop[3] - crop[1]
    scales = [max(1.0, (y1 - y0) / height), max(1.0, (x1 - x0) / width)]
    reach = [math.ceil(_BEYOND[by] * scale) + 1 for scale in scales]  # frame pixels beyond those of a tensor pixel
    outside = cv2.dilate(outside, np.ones([2 * side + 1 for side in reach], np.uint8), borderValue=0)
    shares = outside.astype(np.float32)  # whole numbers would round a small share to 0
    shrinks = y1 - y0 >= height, x1 - x0 >= width
    both = shrinks[0] == shrinks[1]  # else one after the other
    shapes = [(width, height)] if both else [(shares.shape[1], height), (width, height)]
    for shape, shrink in zip(shapes, shrinks, strict=False):
        shares = cv2.resize(shares, shape, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
    return np.where(shares == 0, np.uint8(255), np.uint8(0))


def patch_mask(mask: NDArray[np.uint8], grid: Size, covered: Size | None = None) -> NDArray[np.bool_]:
    """(h, w) bool: patches whose cell has any pixel inside the region, so that the whole region is inspected.

    Args:
        covered: (H, W) that the grid covers, in pixels of the mask; None for the mask.
    """
    covered = covered or (mask.shape[0], mask.shape[1])
    rows = np.minimum(np.arange(mask.shape[0]) * grid[0] // covered[0], grid[0] - 1)
    columns = np.minimum(np.arange(mask.shape[1]) * grid[1] // covered[1], grid[1] - 1)
    patches = np.add.outer((rows * grid[1]).astype(np.int32), columns.astype(np.int32))  # of each pixel
    kept = np.zeros(grid[0] * grid[1], np.bool_)
    kept[patches[mask > 0]] = True
    return kept.reshape(grid)


def bounding_box(mask: NDArray[np.bool_]) -> Box:
    """Half-open box of a mask with a pixel inside or more."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask with its holes closed."""
    around = np.pad(mask.astype(np.uint8), 1)  # so that one flood reaches all that is outside
    cv2.floodFill(around, None, (0, 0), 2)
    return np.asarray(around[1:-1, 1:-1] != 2)
