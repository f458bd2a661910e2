"""Turns a frame into the tensor for the engine: crop, resize, fill outside the region of interest.

Export and runtime use the same code. So the images of the coreset are processed exactly like a frame on the PC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.frames.picture import to_u8
from edge_ad.frames.place import Place, rescaled, warp
from edge_ad.spec import RESIZES, BackboneSpec, Box, Frame, FrameSpec, RoiSpec, Size, Tensor

_FINER = 2  # times the input size, at which a frame is moved: moving blurs by a part of a pixel


def scale_box(box: Box, size: Size, frame_size: Size) -> Box:
    """Scales a box in a (H, W) image of `size` to a frame of `frame_size`. Each side stays 1 pixel or more."""
    scale_y, scale_x = frame_size[0] / size[0], frame_size[1] / size[1]
    y0, y1 = round(box[0] * scale_y), round(box[2] * scale_y)
    x0, x1 = round(box[1] * scale_x), round(box[3] * scale_x)
    y0, x0 = min(y0, frame_size[0] - 1), min(x0, frame_size[1] - 1)
    return (y0, x0, max(y1, y0 + 1), max(x1, x0 + 1))


def resize(image: Frame, size: Size, pool: native.Pool | None = None, by: str = RESIZES[0]) -> Frame:
    """`image` at (H, W) `size`, always a new array, as a camera may reuse its buffer while the tensor waits.

    Args:
        pool: threads that the native core uses for a large image.
        by: "area" gives area averages where the image shrinks, and bilinear values where it grows. If the factors are
            whole numbers, the native core averages, equal to OpenCV to the bit. "bilinear" and "bicubic" are the
            filters of `edge_ad.native.resample`; so is "box", which is "area" within one grey level. No filter aliases.
            A normal map has area averages alone.
    """
    if image.shape[:2] == size:
        return image.copy()
    if image.dtype != np.float32 and by in native.FILTERS:
        pixels: Any = image
        if not native.can_resample(pixels):  # pixels of a row that lie apart
            pixels = pixels.copy(order="C")
        return native.resample(pixels, size, by, pool)
    if native.can_shrink(image, size):
        return native.shrink(image.view(np.uint8), size, pool)
    shrinks = image.shape[0] >= size[0] and image.shape[1] >= size[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), interpolation=interpolation)


class Crop:
    """Makes tensors from frames. Immutable and safe to share between threads.

    Args:
        frame: the frames that the bundle declares.
        backbone: input size, crop and resize filter.
        roi: region of interest or None.
        mask: (H, W) u8 of the crop's size, 255 where pixels are kept and 0 where they are filled; None without ROI.
        pool: threads to shrink large frames with; None: the calling thread alone.
        beyond: (h, w, 3) u8 BGR picture of a whole good frame: where a frame that is moved shows nothing, it is taken
            from there; by default the border is repeated.
        find: finds the part in a checked frame; None where parts are not followed, or whoever calls has found it.
    """

    def __init__(
        self,
        frame: FrameSpec,
        backbone: BackboneSpec,
        roi: RoiSpec | None,
        mask: NDArray[np.uint8] | None,
        pool: native.Pool | None = None,
        beyond: NDArray[np.uint8] | None = None,
        find: Callable[[Frame], Place] | None = None,
    ) -> None:
        self._find = find
        self._frame, self._pool, self._resize = frame, pool, backbone.resize
        self._input_size, self._box, self._size = backbone.input_size, backbone.crop, backbone.tensor_size
        self._outside = None if mask is None else (mask == 0).astype(np.uint8)
        self._fill = None  # without a mask it would be as large as the tensor, for nothing
        if mask is not None:
            kind = np.uint8 if frame.stack is None else np.float32
            self._fill = np.full((*self._size, 3), (0, 0, 0) if roi is None else roi.fill, kind)

        self._beyond = None
        if beyond is not None:
            y0, x0, y1, x1 = self.box((beyond.shape[0], beyond.shape[1]))
            self._beyond = resize(beyond[y0:y1, x0:x1], self._size, pool, self._resize)

    @property
    def frame(self) -> FrameSpec:
        """The frames that the bundle declares."""
        return self._frame

    def box(self, frame_size: Size) -> Box:
        """The crop in pixels of a frame of (H, W) `frame_size`."""
        return scale_box(self._box, self._input_size, frame_size)

    def __call__(self, frame: Frame, *, from_file: bool = False, place: Place | None = None) -> Tensor:
        """(1, H, W, 3) BGR tensor of a checked frame: u8, or float32 of a normal map.

        Args:
            from_file: its colours are BGR, whatever is declared.
            place: where the part lies: the frame is moved to the reference. By default it is found.
        """
        if place is None and self._find is not None:
            place = self._find(frame)
        follows = place is not None and place.moved
        crop = self._follow(frame, place) if place is not None and follows else self._cut(frame)
        if crop.dtype != np.float32:  # a normal map keeps its precision
            crop = to_u8(crop, self._frame.white_level)
        if crop.ndim == 2:
            crop = cv2.cvtColor(crop, cv2.COLOR_GRAY2BGR)
        elif self._frame.color_order == "rgb" and not from_file:
            crop = cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)
        if place is not None and follows and self._beyond is not None:
            hidden = self._hidden(place)
            if hidden is not None:
                cv2.copyTo(self._beyond, hidden, crop)
        if self._outside is not None and self._fill is not None:
            cv2.copyTo(self._fill, self._outside, crop)  # into the crop, which resize has made
        tensor: Any = np.ascontiguousarray(crop)[None]
        return tensor

    def _cut(self, frame: Frame) -> Frame:
        """The crop of a frame, resized."""
        y0, x0, y1, x1 = self.box((frame.shape[0], frame.shape[1]))
        return resize(frame[y0:y1, x0:x1], self._size, self._pool, self._resize)

    def _follow(self, frame: Frame, place: Place) -> Frame:
        """The crop of a frame that is moved to the reference, resized.

        A large frame is shrunk first: moving each of its pixels would take longer than the network.
        """
        size = frame.shape[0], frame.shape[1]
        finer = _FINER * self._input_size[0], _FINER * self._input_size[1]
        if size[0] > finer[0] and size[1] > finer[1]:
            frame, size = resize(frame, finer, self._pool, self._resize), finer
        y0, x0, y1, x1 = self.box(size)
        matrix = rescaled(place.matrix, place.frame_size, size)
        matrix[:, 2] += matrix[:, :2] @ np.array([x0, y0], np.float64)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = warp(frame, matrix, (y1 - y0, x1 - x0), flags, cv2.BORDER_REPLICATE)
        return resize(moved, self._size, self._pool, self._resize)

    def _hidden(self, place: Place) -> NDArray[np.uint8] | None:
        """(H, W) u8 of the tensor's size, 1 where a pixel is made of more than the frame shows; None for nowhere."""
        (height, width), (y0, x0, _, _) = self._size, self._box
        matrix = rescaled(place.matrix, place.frame_size, self._input_size)
        x, y = np.arange(width) + float(x0), (np.arange(height) + float(y0))[:, None]
        shown: NDArray[np.bool_] | None = None
        for row, side in ((matrix[0], self._input_size[1]), (matrix[1], self._input_size[0])):
            reach = (abs(row[0]) + abs(row[1])) / 2  # half of what a pixel covers
            along, across = row[0] * x, row[1] * y + row[2]
            low, high = reach - 0.51, side - 0.49 - reach
            if along.min() + across.min() >= low and along.max() + across.max() <= high:
                continue
            at = along + across
            inside = (at >= low) & (at <= high)
            shown = inside if shown is None else shown & inside
        return None if shown is None or shown.all() else (~shown).astype(np.uint8)
