"""Whether the pictures of a camera are those of a camera that sees.

Each frame gets three marks. A mark is believed when it lasts: nine frames of ten are enough, and one good frame among
them changes nothing.

A video encoder that is given one picture again and again refines it, and spoils it again at each key frame. Its errors
cancel out over squares of 32 pixels, where light and movement do not. Mean difference of such squares within half a
second, medians, 640 x 480, x264: 0.00 to 0.03 grey levels at 2 Mbit/s, 0.06 to 0.15 at 0.5 Mbit/s; the largest 1.1.
A real camera of a still scene (bottles_by_hand.mp4, the quietest two seconds): 0.96; the largest 3.6.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from edge_ad.sources.grabber import Frame
from edge_ad.sources.options import CameraOptions
from edge_ad.sources.state import BLINDED, DARK, FROZEN, LIVE

_SAMPLE = 20_000  # pixels that are looked at for brightness
_SQUARE = 32  # pixels
_LARGEST = 10  # times the mean difference of squares that is allowed: may be that of one of them
_BEFORE_S = 0.5  # with what a picture is compared
_HASHED = 4_000_000  # bytes that are compared with those of the frame before; of larger frames every n-th row
_DARK, _BRIGHT = 0.001, 0.01  # part of the pixels that may be brighter, or darker
_SHARE = 0.9  # of the frames must have a mark
_FEW = 3  # frames: fewer say nothing
_BACK_S = 0.5  # a mark is gone when half of the frames of so many seconds lack it


@dataclass(frozen=True)
class Marks:
    """What one frame looks like: the same as the one before, all dark, all bright."""

    same: bool
    dark: bool
    blinded: bool


class Eye:
    """Marks frames, in the process that captures. A millisecond for a megapixel."""

    def __init__(self, options: CameraOptions) -> None:
        self._dark, self._blinded = options.dark_level, options.blinded_level
        self._level = options.frozen_level
        self._before: tuple[object, ...] = ()
        self._squares: deque[tuple[float, Frame]] = deque()

    def look(self, frame: Frame, full: int, at: float) -> Marks:
        """The marks of a frame, (H, W) or (H, W, 3), whose white is `full`, and that came at `at` seconds."""
        rows = frame[:: max(1, frame.nbytes // _HASHED)]
        now = (frame.shape, zlib.crc32(np.ascontiguousarray(rows).data))
        same, self._before = now == self._before, now
        if self._level > 0:
            same |= self._stands_still(frame, full, at)
        step = max(1, int((frame.shape[0] * frame.shape[1] / _SAMPLE) ** 0.5))
        pixels = frame[::step, ::step].reshape(-1, frame.shape[2] if frame.ndim == 3 else 1)
        bright = np.count_nonzero(pixels.max(axis=1) > self._dark * full) > _DARK * len(pixels)
        dim = np.count_nonzero(pixels.min(axis=1) < self._blinded * full) > _BRIGHT * len(pixels)
        return Marks(same, not bright, not dim)

    def _stands_still(self, frame: Frame, full: int, at: float) -> bool:
        grey = frame if frame.ndim == 2 else frame[..., 1]  # of colours the green one
        size = tuple(max(1, side // _SQUARE) for side in grey.shape[::-1])
        squares = cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA) * (255 / full)
        seen = self._squares
        seen.append((at, squares))
        while len(seen) > 1 and seen[1][0] <= at - _BEFORE_S:
            seen.popleft()
        before = seen[0]
        if before[0] > at - _BEFORE_S or before[1].shape != squares.shape:
            return False
        moved = np.abs(squares - before[1])
        return bool(moved.mean() < self._level and moved.max() < _LARGEST * self._level)


class _Lasting:
    """A mark that has lasted for so many seconds, and at least three frames."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: deque[tuple[float, bool]] = deque()
        self.on = False

    def see(self, at: float, marked: bool) -> bool:
        if self._seconds <= 0:
            return False
        seen = self._seen
        seen.append((at, marked))
        window = _BACK_S if self.on else self._seconds
        # one frame older than the window stays: it proves that the window is full
        while len(seen) > _FEW and seen[1][0] <= at - window:
            seen.popleft()
        if len(seen) >= _FEW:
            share = sum(mark for _, mark in seen) / len(seen)
            if self.on:
                self.on = share >= 0.5
            else:
                self.on = share >= _SHARE and seen[0][0] <= at - window
        return self.on

    def forget(self) -> None:
        """Frames from before a gap say nothing about those after it. A mark that is on stays on."""
        self._seen.clear()


class Health:
    """The health of a camera by the marks of its frames, in the process that reads."""

    def __init__(self, options: CameraOptions) -> None:
        self._lasting: Mapping[str, _Lasting] = {
            DARK: _Lasting(options.dark_s),
            BLINDED: _Lasting(options.blinded_s),
            FROZEN: _Lasting(options.frozen_s),
        }

    def see(self, at: float, marks: Marks) -> str:
        """The health after a frame that came at `at` seconds. Darkness is named before the standstill it brings."""
        given = {DARK: marks.dark, BLINDED: marks.blinded, FROZEN: marks.same}
        on = [name for name, lasting in self._lasting.items() if lasting.see(at, given[name])]
        return on[0] if on else LIVE

    def forget(self) -> None:
        """The camera was away."""
        for lasting in self._lasting.values():
            lasting.forget()
