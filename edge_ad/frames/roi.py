"""The region of interest of a crop: which pixels and patches are inspected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.spec import Size


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
