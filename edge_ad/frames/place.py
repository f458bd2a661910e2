"""Where a part lies in a frame, and what follows from it: pictures, masks and maps moved to the reference and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.spec import Size

Matrix = NDArray[np.float64]
_STILL: Matrix = np.array([[1.0, 0, 0], [0, 1, 0]])


@dataclass(frozen=True, eq=False)
class Place:
    """Where the part lies in a frame, against where it lies in the reference.

    Attributes:
        found: whether the part was found. If not, the frame is taken as it is: `matrix` moves nothing.
        confidence: normalised cross-correlation with the reference, -1..1; 0 where nothing can be compared.
        matrix: (2, 3) float64, from (x, y) in a reference of the frame's size to (x, y) in the frame, both in pixels,
            whose centres are whole numbers.
        frame_size: (H, W) of the frame.
        seen: share of the part that the frame shows; of the whole picture where the bundle has no region of interest.
            What it does not show is not inspected.
    """

    found: bool
    confidence: float
    matrix: Matrix
    frame_size: Size
    seen: float = 1.0

    @property
    def moved(self) -> bool:
        """Whether the part lies elsewhere than in the reference."""
        return bool((self.matrix != _STILL).any())

    @property
    def shift(self) -> tuple[float, float]:
        """(y, x) by which the middle of the frame has moved, in pixels of the frame."""
        middle = np.array([(self.frame_size[1] - 1) / 2, (self.frame_size[0] - 1) / 2])
        x, y = self.matrix[:, :2] @ middle + self.matrix[:, 2] - middle
        return float(y), float(x)

    @property
    def turn_deg(self) -> float:
        """The turn in degrees, clockwise in the picture."""
        return math.degrees(math.atan2(self.matrix[1, 0], self.matrix[0, 0]))

    @property
    def scale(self) -> float:
        """Size of the part over its size in the reference."""
        return math.sqrt(abs(float(np.linalg.det(self.matrix[:, :2]))))

    def to_dict(self) -> dict[str, Any]:
        """The place, ready for JSON."""
        y, x = self.shift
        moved = {"shift": [y, x], "turn_deg": self.turn_deg, "scale": self.scale, "seen": self.seen}
        return {"confidence": self.confidence, **moved}

    def picture_at_reference(self, picture: NDArray[Any]) -> NDArray[Any]:
        """A whole frame, (H, W) or (H, W, 3), moved to the reference; its border is repeated beyond it. For people."""
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return warp(picture, self.matrix, self.frame_size, flags, cv2.BORDER_REPLICATE)

    def mask_at_reference(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """An (H, W) bool mask of the frame, moved to the reference; what the frame does not show is outside."""
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        return warp(mask.astype(np.uint8), self.matrix, self.frame_size, flags, cv2.BORDER_CONSTANT) > 0

    def map_in_frame(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """An (H, W) map of the reference, where it lies in the frame; 0 beyond."""
        return warp(plane, self.matrix, self.frame_size, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)

    def mask_in_frame(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """An (H, W) bool mask of the reference, where it lies in the frame."""
        return warp(mask.astype(np.uint8), self.matrix, self.frame_size, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT) > 0


def still(frame_size: Size, confidence: float = 0.0, *, found: bool = False) -> Place:
    """The place of a part that has not moved, or was not found."""
    return Place(found, confidence, _STILL.copy(), frame_size)


def followed(render: Callable[[], NDArray[np.float32]], place: Place) -> NDArray[np.float32]:
    """The (H, W) map of a frame, from what renders it in the reference."""
    return place.map_in_frame(render()) if place.moved else render()


def rescaled(matrix: Matrix, size: Size, to: Size) -> Matrix:
    """A (2, 3) matrix of (x, y) in pixels of an (H, W) picture of `size`, for the same picture in the size `to`."""
    scale, half = np.array([to[1] / size[1], to[0] / size[0]]), np.array([0.5, 0.5])
    linear = matrix[:, :2] * scale[:, None] / scale[None, :]
    offset = scale * (matrix[:, 2] + half - matrix[:, :2] @ half) - half
    return np.column_stack([linear, offset + linear @ half])


def warp(picture: NDArray[Any], matrix: Matrix, size: Size, flags: int, border: int) -> NDArray[Any]:
    """A picture moved by a matrix into one of (H, W) `size`: `cv2.warpAffine`."""
    return cv2.warpAffine(picture, matrix, (size[1], size[0]), flags=flags, borderMode=border)
