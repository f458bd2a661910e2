"""Finds the part in a frame: how it lies there, against where it lies in the reference.

The reference is a small grey copy of a good image. A frame is shrunk to its size, and both are freed of slow changes of
light. Then, in two steps:

    coarse   the reference in a few turns and sizes, each by normalised cross-correlation over all shifts (by FFT)
    fine     Gauss-Newton on the grey values, inverse compositional (Baker & Matthews, "Lucas-Kanade 20 Years On", 2004)

The confidence is the normalised cross-correlation of the reference with the frame as it was moved to it, over the part
and as far as the frame shows it. Export and runtime use the same code.
"""

from __future__ import annotations

import cmath
import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.frames.crop import resize
from edge_ad.frames.place import Matrix, Place, rescaled, still, warp
from edge_ad.native.moved import moved_products
from edge_ad.spec import AlignSpec, Frame, Size

Plane = NDArray[np.float32]
Sums = NDArray[np.float64]

_COARSE = 64  # pixels of the longer side of what the coarse step sees
_TURN_STEP, _SCALE_STEP = 4.0, 0.1  # between the poses of the coarse step: degrees, share
_LIGHT = 8  # of the longer side: changes of light over more than this share are taken out
_STEPS = ((5, 0.1), (3, 0.03))  # of Gauss-Newton at most, and pixels: a smaller step is the last one; coarse, fine
_RIDGE = 0.01  # of the curvature along shifts, added to that along all motions
_SOME = 0.2  # share of the part: with less of it in the frame, nothing can be made exact
_EMPTY = 1e-6  # below this a sum is none
_FLAT = 1.0  # grey levels: a small copy with a smaller standard deviation shows nothing
_MEAN = np.full((1, 3), 1 / 3, np.float32)  # of three colours; no third lies so near a half that it rounds otherwise
_PRIOR = 0.02  # what a pose at the limit must be better by, in correlation: a round part has no turn of its own


class Pose(NamedTuple):
    """Where the part lies, in complex numbers x + iy about the middle: `linear` z + `shift`.

    Attributes:
        linear: the scale, turned.
        shift: as a share of the width.
    """

    linear: complex
    shift: complex


class Aligner:
    """Finds the part in frames. Immutable once made, and safe to share between threads.

    Args:
        spec: the limits.
        reference: (h, w) u8 grey.
        mask: (h, w) u8: 255 where the part is, above 0 where its surroundings help to find it.
        picture: (h, w, 3) u8 BGR: a good image where the part lies as in the reference, for `Crop`.
        white_level: of u16 frames.
        pool: threads to shrink large frames with.
    """

    def __init__(
        self,
        spec: AlignSpec,
        reference: NDArray[np.uint8],
        mask: NDArray[np.uint8],
        picture: NDArray[np.uint8],
        white_level: int,
        pool: native.Pool | None = None,
    ) -> None:
        self.spec, self.reference, self.mask, self.picture = spec, reference, mask, picture
        self._white, self._pool = white_level, pool
        template, weight = _even(reference), (mask > 0).astype(np.float32)
        sizes = dict.fromkeys((_level_size(spec.size, _COARSE), spec.size))
        self._levels = [_Level(template, weight, size, spec.motion) for size in sizes]
        self._part = mask == 255
        self._coarse = _Coarse(self._levels[0], spec)

    def small(self, frame: Frame) -> NDArray[np.uint8]:
        """(h, w) u8: the grey copy of a frame, in which the part is looked for. Its colours may have either order."""
        return small_copy(frame, self.spec.size, self._white, self._pool)

    def find(self, frame: Frame) -> Place:
        """The place of the part in a checked frame."""
        return self.find_small(self.small(frame), (frame.shape[0], frame.shape[1]))

    def find_small(self, small: NDArray[np.uint8], frame_size: Size) -> Place:
        """The place of the part in a frame of (H, W) `frame_size`, from its small grey copy."""
        if float(cv2.meanStdDev(small)[1][0, 0]) < _FLAT:
            return still(frame_size)
        plane = _even(small)
        planes = [_resized(plane, level.size) for level in self._levels]
        pose = self._coarse(planes[0])
        for level, own, (steps, settled) in zip(self._levels, planes, _STEPS[-len(planes) :], strict=True):
            pose = level.settle(own, pose, steps, settled)
        fine = self._levels[-1]
        confidence, matrix = fine.confidence(plane, pose), fine.matrix(pose)
        seen = self._seen(matrix)
        if not self._allowed(pose) or seen < self.spec.least_seen:
            confidence = min(confidence, 0.0)
        if not confidence >= self.spec.least:
            return still(frame_size, confidence)
        return Place(True, confidence, rescaled(matrix, self.spec.size, frame_size), frame_size, seen)

    def shows(self, place: Place) -> bool:
        """Whether a frame shows enough of a part that lies there."""
        return self._seen(rescaled(place.matrix, place.frame_size, self.spec.size)) >= self.spec.least_seen

    def _seen(self, matrix: Matrix) -> float:
        """Share of the part that a frame shows."""
        whole = np.count_nonzero(self._part)
        height, width = self.spec.size
        x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
        shown = self._part
        for row, most in ((matrix[0], width - 0.5), (matrix[1], height - 0.5)):
            at = np.float32(row[0]) * x + (np.float32(row[1]) * y + np.float32(row[2]))
            shown = shown & (at >= -0.5) & (at <= most)
        return np.count_nonzero(shown) / whole if whole else 0.0

    def _allowed(self, pose: Pose) -> bool:
        spec, (height, width) = self.spec, self.spec.size
        turn, scale, most = math.degrees(cmath.phase(pose.linear)), abs(pose.linear), spec.most_scale + 0.01
        near = max(abs(pose.shift.real), abs(pose.shift.imag) * width / height) <= spec.most_shift + 0.01
        return near and abs(turn) <= spec.most_turn + 0.5 and 1 / (1 + most) <= scale <= 1 + most


def small_copy(frame: Frame, size: Size, white_level: int, pool: native.Pool | None = None) -> NDArray[np.uint8]:
    """(h, w) u8: a grey copy of a checked frame; the mean of its colours, so their order does not matter."""
    sides = list(zip(frame.shape[:2], size, strict=True))
    shrinks = all(large >= wanted for large, wanted in sides)
    # where a factor is not whole, OpenCV's area averages take ten times as long as the native core's
    box = frame.dtype == np.uint8 and shrinks and any(large % wanted for large, wanted in sides)
    small: NDArray[Any] = resize(frame, size, pool, "box" if box else "area")
    if small.dtype != np.uint8:
        small = small.astype(np.float32) * np.float32(255 / white_level if frame.dtype == np.uint16 else 1)
    if small.ndim == 3:
        small = np.asarray(cv2.transform(small, _MEAN))
    return small if small.dtype == np.uint8 else np.rint(np.minimum(small, 255)).astype(np.uint8)


def pose_of(turn_deg: float, scale: float, dy: float, dx: float, frame_size: Size) -> Place:
    """The place of a part that was turned clockwise and scaled about the middle of a frame of (H, W) `frame_size`, and
    shifted by shares `dy` and `dx` of its sides.
    """
    height, width = frame_size
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    turn = _posed(turn_deg, scale).linear
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    offset = middle + np.array([dx * width, dy * height]) - linear @ middle
    return Place(True, 1.0, np.column_stack([linear, offset]), frame_size)


class _Level:
    """The reference at one size, and what Gauss-Newton needs of it.

    Attributes:
        size: (h, w).
        template: (h, w) grey values.
        weight: (h, w), 1 where the part is.
    """

    def __init__(self, template: Plane, weight: Plane, size: Size, motion: str) -> None:
        self.size, self.template, self.weight = size, _resized(template, size), _resized(weight, size)
        self._least = max(_SOME * float(self.weight.sum()), _EMPTY)
        height, width = size
        self._middle = complex((width - 1) / 2, (height - 1) / 2)
        x = np.arange(width, dtype=np.float32) - np.float32(self._middle.real)
        y = (np.arange(height, dtype=np.float32) - np.float32(self._middle.imag))[:, None]
        dx, dy = (cv2.Sobel(self.template, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
        descent = [dx, dy] if motion == "shift" else [dx, dy, dx * x + dy * y, dy * x - dx * y]
        self._planes = np.stack([np.ones(size, np.float32), self.template, *descent])
        lever = np.array([1.0, 1, *[max(size) ** 2 / 12] * (len(descent) - 2)])
        self._ridge = np.diag(_RIDGE / 2 * lever)

    def settle(self, plane: Plane, pose: Pose, steps: int, settled: float) -> Pose:
        """A pose that is nearly right, made exact by so many steps of Gauss-Newton at most, or up to a small one."""
        for _ in range(steps):
            sums, about_mean = self._compared(plane, pose)
            if about_mean is None:
                break
            gain = math.sqrt(about_mean[2, 2] / about_mean[0, 0])
            # what the picture says nothing of, such as the turn of a disc, must not move
            normal = sums[3:, 3:] + self._ridge * (sums[3, 3] + sums[4, 4] + _EMPTY)
            dx, dy, *turn = np.linalg.solve(normal, gain * about_mean[3:, 0] - about_mean[3:, 2]).tolist()
            linear = pose.linear / complex(1 + turn[0], turn[1]) if turn else pose.linear
            pose = Pose(linear, pose.shift - linear * complex(dx, dy) / self.size[1])
            if max(abs(dx), abs(dy)) + sum(map(abs, turn)) * max(self.size) / 2 < settled:
                break
        return pose

    def confidence(self, plane: Plane, pose: Pose) -> float:
        """Normalised cross-correlation of the reference with a plane that is moved to it; 0 if there is nothing."""
        _, about_mean = self._compared(plane, pose)
        return 0.0 if about_mean is None else float(about_mean[0, 2] / math.sqrt(about_mean[0, 0] * about_mean[2, 2]))

    def _compared(self, plane: Plane, pose: Pose) -> tuple[Sums, Sums | None]:
        """Sums of products of the plane, moved to the reference, 1, the reference, and its change with each motion.

        Over the part, as far as the frame shows it. And the same about the means; None if one of the two is flat there,
        or too little is shown.
        """
        sums = moved_products(plane, self.matrix(pose), self.weight, self._planes)
        total = sums[1, 1]
        if not total >= self._least:
            return sums, None
        about_mean = sums - np.outer(sums[1], sums[1]) / total
        flat = not min(about_mean[0, 0], about_mean[2, 2]) >= _EMPTY * total
        return sums, None if flat else about_mean

    def matrix(self, pose: Pose) -> Matrix:
        """The pose in pixels, whose centres are whole numbers."""
        linear = pose.linear
        shift = self._middle + pose.shift * self.size[1] - linear * self._middle
        return np.array([[linear.real, -linear.imag, shift.real], [linear.imag, linear.real, shift.imag]])


class _Coarse:
    """The reference in a few turns and sizes, as spectra."""

    def __init__(self, level: _Level, spec: AlignSpec) -> None:
        self._width = level.size[1]
        turns, scales = _ladder(spec.most_turn, _TURN_STEP), [1 + s for s in _ladder(spec.most_scale, _SCALE_STEP)]
        self._poses = [(turn, scale) for scale in sorted(scales, key=lambda s: abs(s - 1)) for turn in turns]
        self._turns = len(turns)
        self._most = [min(math.ceil(spec.most_shift * side), (side - 1) // 2) for side in level.size]
        self._planes, masks = [], []
        for turn, scale in self._poses:
            matrix = level.matrix(_posed(turn, scale))
            own, plane = (
                warp(plane, matrix, level.size, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
                for plane in (level.weight, level.template)
            )
            plane = own * (plane - float((own * plane).sum()) / max(float(own.sum()), _EMPTY))
            self._planes.append(self._spectrum(plane / max(float(np.sqrt((plane * plane).sum())), _EMPTY)))
            masks.append(own)
        mean: Plane = np.mean(np.stack(masks), axis=0)
        self._mask, self._total = self._spectrum(mean), max(float(mean.sum()), _EMPTY)
        ranges = max(spec.most_turn, 1e-6), max(spec.most_scale, 1e-6)
        away = [abs(turn) / ranges[0] + abs(scale - 1) / ranges[1] for turn, scale in self._poses]
        self._prior = (_PRIOR * np.array(away, np.float32))[:, None, None]

    def __call__(self, plane: Plane) -> Pose:
        """The best pose of a plane of the level's size."""
        square = plane * plane
        spectrum = cv2.dft(plane)
        mean, energy = self._found(spectrum, self._mask), self._found(cv2.dft(square), self._mask)
        spread = np.sqrt(np.maximum(energy - mean * mean / self._total, 1e-3 * float(square.mean()) + _EMPTY))
        # the turns at the size of the reference, then the other sizes at the best one
        best = self._best(spectrum, spread, range(self._turns))
        others = range(best[1] + self._turns, len(self._poses), self._turns)
        if others:
            best = max(best, self._best(spectrum, spread, others))
        _, number, y, x = best
        return _posed(*self._poses[number], (y - self._most[0]) / self._width, (x - self._most[1]) / self._width)

    def _best(self, spectrum: Plane, spread: Plane, numbers: range) -> tuple[float, int, int, int]:
        """The best of some poses: its correlation, its number, and its place in the window."""
        found = np.stack([self._found(spectrum, self._planes[number]) for number in numbers])
        found /= spread
        found -= self._prior[numbers.start : numbers.stop : numbers.step]
        at, y, x = np.unravel_index(int(found.argmax()), found.shape)
        return float(found[at, y, x]), numbers[int(at)], int(y), int(x)

    def _spectrum(self, plane: NDArray[Any]) -> Plane:
        """Of a plane of the reference, moved so that the window of the shifts that are allowed begins at (0, 0)."""
        return np.asarray(cv2.dft(np.roll(plane, [-most for most in self._most], (0, 1))), np.float32)

    def _found(self, spectrum: Plane, own: Plane) -> Plane:
        """The cross-correlation in the window of the shifts that are allowed."""
        product = cv2.mulSpectrums(spectrum, own, 0, conjB=True)
        found = cv2.idft(product, flags=cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
        return np.asarray(found[: 2 * self._most[0] + 1, : 2 * self._most[1] + 1], np.float32)


def _posed(turn_deg: float, scale: float, dy: float = 0.0, dx: float = 0.0) -> Pose:
    """The pose of a turn clockwise, a scale, and shifts as shares of the width."""
    return Pose(cmath.rect(scale, math.radians(turn_deg)), complex(dx, dy))


def _level_size(size: Size, longer: int) -> Size:
    """(h, w) with so many pixels on the longer side, or `size` if that is smaller."""
    shrink = min(1.0, longer / max(size))
    return max(8, round(size[0] * shrink)), max(8, round(size[1] * shrink))


def _resized(plane: Plane, size: Size) -> Plane:
    if plane.shape == size:
        return plane
    return np.asarray(cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA), np.float32)


def _ladder(most: float, step: float) -> list[float]:
    """Values from -`most` to `most`, 0 among them, `step` apart or less."""
    count = math.ceil(most / step - 1e-9)
    return [most * number / count for number in range(-count, count + 1)] if count else [0.0]


def _even(grey: NDArray[np.uint8]) -> Plane:
    """A grey picture without slow changes of light."""
    side = max(3, max(grey.shape) // _LIGHT | 1)
    slow = cv2.blur(cv2.boxFilter(grey, cv2.CV_32F, (side, side)), (side, side))
    return np.asarray(grey - slow, np.float32)
