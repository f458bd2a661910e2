"""The numbers that are watched, of one frame: a millisecond's fraction of work, on a few thousand of its pixels.

Brightness and colour come from a grid of pixels over the whole frame, sharpness from some rows and columns that are
read in full. Where the bundle has a region of interest, only what is inside it counts, wherever the part lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import FrameError
from edge_ad.frames.crop import resize
from edge_ad.frames.picture import to_picture
from edge_ad.frames.place import Place, rescaled, warp
from edge_ad.frames.roi import RoiMasks
from edge_ad.spec import BackboneSpec, FrameSpec, Pixels, Size

_GRID = 128  # samples along each side of a frame, for brightness, colour and the region
_LINES = 48  # rows, and as many columns, for the sharpness
_FINE = 512  # pixels along a line; longer lines are averaged to about so many
_FLAT = 1e-6  # variance of levels as shares of white: below it a region shows nothing that could be sharp


@dataclass(frozen=True)
class Statistic:
    """A number that is watched.

    Attributes:
        up, down: whether a rise, and a fall, is drift.
        least: a change of so much is none, however exact it is measured.
        share: the same, as a share of the value itself.
        good_only: whether it is of good parts alone; else of all parts that were found.
        digits: after the point, for people.
        unit: for people.
    """

    up: bool = True
    down: bool = True
    least: float = 0.0
    share: float = 0.0
    good_only: bool = False
    digits: int = 3
    unit: str = ""


STATISTICS: Mapping[str, Statistic] = {
    "brightness": Statistic(least=0.004),
    "sharpness": Statistic(share=0.01, digits=4),
    "blue": Statistic(least=0.001, digits=4),
    "red": Statistic(least=0.001, digits=4),
    "score": Statistic(down=False, share=0.01, good_only=True, digits=4),
    "rows": Statistic(share=0.01, good_only=True, digits=4),
    "shift_y": Statistic(least=0.002, digits=4, unit=" of the height"),
    "shift_x": Statistic(least=0.002, digits=4, unit=" of the width"),
    "turn": Statistic(least=0.1, digits=2, unit=" degrees"),
    "scale": Statistic(least=0.002, digits=4),
}
PLACED = ("shift_y", "shift_x", "turn", "scale")


class Gauge:
    """Measures frames. Immutable once made, and safe to share between threads.

    Args:
        frame: what the camera gives; no stack.
        backbone: of the reference point: where the crop lies.
        masks: its region of interest.

    Raises:
        FrameError: the frames are stacks.
    """

    def __init__(self, frame: FrameSpec, backbone: BackboneSpec, masks: RoiMasks) -> None:
        if frame.stack is not None:
            raise FrameError("drift is not watched in stacks", expected="one picture a frame", got="a stack")
        self._white = float(frame.white_level)
        self._inside = None if masks.pixels is None else _region(backbone, masks.pixels)

    def measure(self, frame: Pixels, place: Place | None = None) -> dict[str, float]:
        """Brightness, sharpness, colour and place of a frame; the colour of a grey one is left out.

        Args:
            frame: (H, W) or (H, W, 3) BGR, u8 or u16.
            place: where the part lies; None where nothing is looked for.

        Raises:
            FrameError: it is no such array.
        """
        if frame.dtype not in (np.uint8, np.uint16) or not (frame.ndim == 2 or frame.shape[2:] == (3,)):
            raise FrameError(
                "drift is not measured in this",
                expected="(H, W) or (H, W, 3) of uint8 or uint16",
                got=f"{frame.shape} {frame.dtype}",
            )
        inside = self._inside if place is None else self._inside_at(place)
        found = {} if place is None else _placed(place)
        if inside is not None and not inside.any():  # the part lies outside the picture
            return found
        white = 255.0 if frame.dtype == np.uint8 else self._white
        return {**_levels(frame, inside, white), "sharpness": _sharpness(frame, inside, white), **found}

    def _inside_at(self, place: Place) -> NDArray[np.bool_] | None:
        """The region where the part lies in this frame."""
        if self._inside is None or not place.moved:
            return self._inside
        size = (_GRID, _GRID)
        matrix = rescaled(place.matrix, place.frame_size, size)
        return warp(self._inside.view(np.uint8), matrix, size, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT) > 0


def _region(backbone: BackboneSpec, mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(_GRID, _GRID) bool over the whole frame, from the (H, W) mask of the crop."""
    (height, width), (y0, x0, y1, x1) = backbone.input_size, backbone.crop
    inside = np.zeros((_GRID, _GRID), np.bool_)
    y, x = (np.floor((np.arange(_GRID) + 0.5) * side / _GRID).astype(int) for side in (height, width))
    rows, columns = (y >= y0) & (y < y1), (x >= x0) & (x < x1)
    inside[np.ix_(rows, columns)] = mask[np.ix_(y[rows] - y0, x[columns] - x0)] > 0
    if not inside.any():  # smaller than a step of the grid
        at = np.argwhere(mask > 0).mean(axis=0)
        inside[int((at[0] + y0) * _GRID / height), int((at[1] + x0) * _GRID / width)] = True
    return inside


def _points(side: int, count: int) -> NDArray[np.intp]:
    return np.floor((np.arange(count) + 0.5) * side / count).astype(np.intp)


def _levels(frame: Pixels, inside: NDArray[np.bool_] | None, white: float) -> dict[str, float]:
    """The mean level as a share of white, and the shares that blue and red have in it."""
    samples = cv2.resize(frame, (_GRID, _GRID), interpolation=cv2.INTER_NEAREST)
    mask, count = None if inside is None else inside.view(np.uint8), 1 if frame.ndim == 2 else 3
    means = np.array(cv2.mean(samples, mask)[:count])
    found = {"brightness": float(min(means.mean() / white, 1.0))}
    if frame.ndim == 3:
        total = float(means.sum())
        found["blue"], found["red"] = (float(means[at]) / total if total else 1 / 3 for at in (0, 2))
    return found


def _sharpness(frame: Pixels, inside: NDArray[np.bool_] | None, white: float) -> float:
    """The root of the mean squared second difference along rows and columns, over the standard deviation of the levels:
    the same for a brighter frame, and less for one that is out of focus. 0 where there is nothing to see.
    """
    plane = frame if frame.ndim == 2 else frame[:, :, 1]
    numbers, curves, total, squares = 0, [], 0.0, 0.0
    for lines, region in ((plane, inside), (plane.T, None if inside is None else inside.T)):
        values, within = _lines(lines, region, white)
        bends = values[:, 2:] - 2 * values[:, 1:-1] + values[:, :-2]
        if within is not None:
            bends = bends[within[:, 2:] & within[:, 1:-1] & within[:, :-2]]
            values = values[within]
        curves.append(float(np.mean(bends * bends)) if bends.size else 0.0)
        numbers, total = numbers + values.size, total + float(values.sum(dtype=np.float64))
        squares += float(np.square(values, dtype=np.float64).sum())
    variance = squares / numbers - (total / numbers) ** 2 if numbers else 0.0
    return float(np.sqrt(np.mean(curves) / variance)) if variance > _FLAT else 0.0


def _lines(
    plane: Pixels, inside: NDArray[np.bool_] | None, white: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Some rows of a plane as shares of white, with neighbours averaged where they are long; which of it is inside."""
    rows, length = _points(plane.shape[0], min(_LINES, plane.shape[0])), plane.shape[1]
    step = max(1, length // _FINE)
    count = length // step
    picked = plane[rows, : count * step].astype(np.float32)
    values = picked[:, ::step].copy()
    for at in range(1, step):  # a mean over an axis so short takes NumPy ten times as long
        values += picked[:, at::step]
    values *= np.float32(1 / (white * step))
    if inside is None:
        return values, None
    across = np.minimum((np.arange(count) + 0.5) * step * _GRID / length, _GRID - 1).astype(np.intp)
    return values, inside[np.ix_(rows * _GRID // plane.shape[0], across)]


def _placed(place: Place) -> dict[str, float]:
    """Where the part lies, against the reference; nothing where it was not found."""
    if not place.found:
        return {}
    y, x = place.shift
    height, width = place.frame_size
    return dict(zip(PLACED, (y / height, x / width, place.turn_deg, place.scale), strict=True))


def rows_share(nearest: NDArray[np.int32], size: int) -> float:
    """The share of the `size` coreset rows that some patch of a frame is nearest to."""
    return len(np.unique(nearest)) / size


def thumbnail(frame: Pixels, white_level: int, most: int) -> NDArray[np.uint8]:
    """(h, w, 3) u8 BGR, a small copy for people, its longer side `most` at the most."""
    longest = max(frame.shape[:2])
    if longest <= most:
        return to_picture(frame, white_level)
    height, width = (max(1, round(side * most / longest)) for side in frame.shape[:2])
    size: Size = (height, width)
    return to_picture(resize(frame, size), white_level)
