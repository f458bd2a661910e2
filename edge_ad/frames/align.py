"""Finds the part in a frame: how it lies there, against where it lies in the reference.

The reference is a small grey copy of a good image. A frame is shrunk to its size, and both are freed of slow changes of
light. Then, in two steps:

    coarse   the reference in a few turns and sizes, each by normalised cross-correlation over all shifts (by FFT)
    fine     Gauss-Newton on the grey values, inverse compositional (Baker & Matthews, "Lucas-Kanade 20 Years On", 2004)

The confidence is the normalised cross-correlation of the reference with the frame as it was moved to it, over the part
and as far as the frame shows it. Export and runtime use the same code.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.frames.crop import resize
from edge_ad.frames.place import Matrix, Place, rescaled, still, warp
from edge_ad.spec import AlignSpec, Frame, Size

Plane = NDArray[np.float32]

_COARSE = 64  # pixels of the longer side of what the coarse step sees
_TURN_STEP, _SCALE_STEP = 4.0, 0.1  # between the poses of the coarse step: degrees, share
_LIGHT = 8  # of the longer side: changes of light over more than this share are taken out
_STEPS = (5, 3)  # of Gauss-Newton at most, at the coarse size and at the fine one
_RIDGE = 0.01  # of the curvature along shifts, added to that along all motions
_SOME = 0.2  # share of the part: with less of it in the frame, nothing can be made exact
_EMPTY = 1e-6  # below this a sum is none
_SETTLED = 1e-2  # pixels of the small copy: a smaller step is the last one
_FLAT = 1.0  # grey levels: a small copy with a smaller standard deviation shows nothing
_PRIOR = 0.02  # what a pose at the limit must be better by, in correlation: a round part has no turn of its own


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
        template, weight = _even(reference.astype(np.float32)), (mask > 0).astype(np.float32)
        sizes = dict.fromkeys((_level_size(spec.size, _COARSE), spec.size))
        self._levels = [_Level(template, weight, size, spec.motion) for size in sizes]
        self._part = (mask == 255).astype(np.float32).reshape(-1)
        self._coarse = _Coarse(self._levels[0], spec)

    def small(self, frame: Frame) -> NDArray[np.uint8]:
        """(h, w) u8: the grey copy of a frame, in which the part is looked for. Its colours may have either order."""
        return small_copy(frame, self.spec.size, self._white, self._pool)

    def find(self, frame: Frame) -> Place:
        """The place of the part in a checked frame."""
        return self.find_small(self.small(frame), (frame.shape[0], frame.shape[1]))

    def find_small(self, small: NDArray[np.uint8], frame_size: Size) -> Place:
        """The place of the part in a frame of (H, W) `frame_size`, from its small grey copy."""
        grey = small.astype(np.float32)
        if float(grey.std()) < _FLAT:
            return still(frame_size)
        plane = _even(grey)
        planes = [_resized(plane, level.size) for level in self._levels]
        pose = self._coarse(planes[0])
        for level, own, steps in zip(self._levels, planes, _STEPS[-len(planes) :], strict=True):
            pose = level.settle(own, pose, steps)
        confidence, seen = self._confidence(plane, pose), self._seen(self._levels[-1].matrix(pose))
        if not self._allowed(pose) or seen < self.spec.least_seen:
            confidence = min(confidence, 0.0)
        if not confidence >= self.spec.least:
            return still(frame_size, confidence)
        return Place(True, confidence, self._in_frame(pose, frame_size), frame_size, seen)

    def shows(self, place: Place) -> bool:
        """Whether a frame shows enough of a part that lies there."""
        return self._seen(rescaled(place.matrix, place.frame_size, self.spec.size)) >= self.spec.least_seen

    def _seen(self, matrix: Matrix) -> float:
        """Share of the part that a frame shows."""
        whole = float(self._part.sum())
        return float(self._part @ (self._levels[-1].seen_by(matrix) > 0)) / whole if whole else 0.0

    def _confidence(self, plane: Plane, pose: Matrix) -> float:
        """Normalised cross-correlation of the reference with the plane, moved to it."""
        fine = self._levels[-1]
        weight = fine.seen(pose)
        total = float(weight.sum())
        if total < _SOME * fine.total:
            return 0.0
        moved, spread = _normal(fine.moved(plane, pose), weight, total)
        template, unit = _normal(fine.template, weight, total)
        if min(spread, unit) < _EMPTY:
            return 0.0
        found = float(np.dot(moved * weight, template)) / total
        return found if math.isfinite(found) else 0.0

    def _allowed(self, pose: Matrix) -> bool:
        spec, (height, width) = self.spec, self.spec.size
        turn = abs(math.degrees(math.atan2(pose[1, 0], pose[0, 0])))
        scale = math.hypot(pose[0, 0], pose[1, 0])
        near = abs(pose[0, 2]) <= spec.most_shift + 0.01 and abs(pose[1, 2]) * width / height <= spec.most_shift + 0.01
        return bool(
            near and turn <= spec.most_turn + 0.5 and 1 / (1 + spec.most_scale + 0.01) <= scale
            and scale <= 1 + spec.most_scale + 0.01
        )  # fmt: skip

    def _in_frame(self, pose: Matrix, frame_size: Size) -> Matrix:
        """The pose as a matrix of pixels of a frame: they are smaller, and their centres lie elsewhere."""
        return rescaled(self._levels[-1].matrix(pose), self.spec.size, frame_size)


def small_copy(frame: Frame, size: Size, white_level: int, pool: native.Pool | None = None) -> NDArray[np.uint8]:
    """(h, w) u8: a grey copy of a checked frame; the mean of its colours, so their order does not matter."""
    small = resize(frame, size, pool, "area")
    channels = [small] if small.ndim == 2 else [small[:, :, channel] for channel in range(3)]
    total = channels[0].astype(np.float32)
    for channel in channels[1:]:
        total += channel
    if frame.dtype == np.uint16:
        total *= np.float32(255 / white_level)
    return np.rint(np.minimum(total / np.float32(len(channels)), 255)).astype(np.uint8)


def pose_of(turn_deg: float, scale: float, dy: float, dx: float, frame_size: Size) -> Place:
    """The place of a part that was turned clockwise and scaled about the middle of a frame of (H, W) `frame_size`, and
    shifted by shares `dy` and `dx` of its sides.
    """
    height, width = frame_size
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    linear = _posed(turn_deg, scale)[:, :2]
    offset = middle + np.array([dx * width, dy * height]) - linear @ middle
    return Place(True, 1.0, np.column_stack([linear, offset]), frame_size)


class _Level:
    """The reference at one size, and what Gauss-Newton needs of it.

    A pose is a (2, 3) matrix of (x, y) about the middle, with the shift as a share of the width.

    Attributes:
        size: (h, w).
        template: (h * w,) grey values.
        weight: (h, w), 1 where the part is.
        total: sum of the weights.
    """

    def __init__(self, template: Plane, weight: Plane, size: Size, motion: str) -> None:
        self.size, plane, self.weight = size, _resized(template, size), _resized(weight, size)
        self.template, self.total = plane.reshape(-1), float(self.weight.sum())
        height, width = size
        self._middle = np.array([(width - 1) / 2, (height - 1) / 2])
        self._x = np.arange(width, dtype=np.float32)
        self._y = np.arange(height, dtype=np.float32)[:, None]
        y, x = self._y - np.float32(self._middle[1]), self._x - np.float32(self._middle[0])
        dx, dy = (cv2.Sobel(plane, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
        steps = [dx, dy] if motion == "shift" else [dx, dy, dx * x + dy * y, dy * x - dx * y]
        self._descent = np.stack([step.reshape(-1) for step in steps])

    def settle(self, plane: Plane, pose: Matrix, steps: int) -> Matrix:
        """A pose that is nearly right, made exact by Gauss-Newton."""
        weight = self.seen(pose)
        total = float(weight.sum())
        template, unit = _normal(self.template, weight, total)
        if total < _SOME * self.total or unit < _EMPTY:
            return pose
        weighted = self._descent * (weight * np.float32(unit))
        normal = (weighted @ (self._descent * np.float32(unit)).T).astype(np.float64) / unit**2
        # what the picture says nothing of, such as the turn of a disc, must not move
        lever = np.array([1.0, 1, *[max(self.size) ** 2 / 12] * (len(normal) - 2)])
        normal += np.diag(_RIDGE * np.trace(normal[:2, :2]) / 2 * lever + _EMPTY)
        solve, wanted = np.linalg.inv(normal), (weighted @ template).astype(np.float64)
        for _ in range(steps):
            moved = _normal(self.moved(plane, pose), weight, total)[0]
            step = solve @ ((weighted @ moved).astype(np.float64) - wanted)
            pose = self._composed(pose, step)
            if np.abs(step[:2]).max() + np.abs(step[2:]).sum() * max(self.size) / 2 < _SETTLED:
                break
        return pose

    def moved(self, plane: Plane, pose: Matrix) -> Plane:
        """(h * w,) values of a plane, moved to the reference."""
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return warp(plane, self.matrix(pose), self.size, flags, cv2.BORDER_REPLICATE).reshape(-1)

    def seen(self, pose: Matrix) -> Plane:
        """(h * w,) weights of the pixels that lie inside the frame."""
        return self.seen_by(self.matrix(pose))

    def seen_by(self, matrix: Matrix) -> Plane:
        """The same, by a matrix of pixels."""
        height, width = self.size
        inside = self.weight.copy()
        for row, most in ((matrix[0], width - 0.5), (matrix[1], height - 0.5)):
            at = np.float32(row[0]) * self._x + (np.float32(row[1]) * self._y + np.float32(row[2]))
            inside *= (at >= -0.5) & (at <= most)
        return inside.reshape(-1)

    def matrix(self, pose: Matrix) -> Matrix:
        """The pose in pixels, whose centres are whole numbers."""
        linear = pose[:, :2]
        return np.column_stack([linear, self._middle + pose[:, 2] * self.size[1] - linear @ self._middle])

    def _composed(self, pose: Matrix, step: NDArray[np.float64]) -> Matrix:
        """The pose after the inverse of a step: shifts x and y in pixels, and a and b of (1 + a, -b; b, 1 + a)."""
        a, b = (step[2], step[3]) if len(step) == 4 else (0.0, 0.0)
        linear = pose[:, :2] @ (np.array([[1 + a, b], [-b, 1 + a]]) / ((1 + a) ** 2 + b * b))
        return np.column_stack([linear, pose[:, 2] - linear @ step[:2] / self.size[1]])


class _Coarse:
    """The reference in a few turns and sizes, as spectra."""

    def __init__(self, level: _Level, spec: AlignSpec) -> None:
        self._size = level.size
        turns, scales = _ladder(spec.most_turn, _TURN_STEP), [1 + s for s in _ladder(spec.most_scale, _SCALE_STEP)]
        self._poses = [(turn, scale) for scale in sorted(scales, key=lambda s: abs(s - 1)) for turn in turns]
        self._turns = len(turns)
        planes, masks = [], []
        for turn, scale in self._poses:
            matrix = level.matrix(_posed(turn, scale))
            own = warp(level.weight, matrix, self._size, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
            plane = level.template.reshape(self._size)
            plane = warp(plane, matrix, self._size, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
            plane = own * (plane - float((own * plane).sum()) / max(float(own.sum()), _EMPTY))
            planes.append(plane / max(float(np.sqrt((plane * plane).sum())), _EMPTY))
            masks.append(own)
        mean = np.mean(masks, axis=0, dtype=np.float32)
        self._planes, self._mask = (np.conj(np.fft.rfft2(a)).astype(np.complex64) for a in (np.stack(planes), mean))
        self._total = max(float(mean.sum()), _EMPTY)
        down, across = (_near(side, spec.most_shift) for side in self._size)
        self._near, self._shifts = (slice(None), down[:, None], across[None, :]), (down, across)
        ranges = max(spec.most_turn, 1e-6), max(spec.most_scale, 1e-6)
        away = [abs(turn) / ranges[0] + abs(scale - 1) / ranges[1] for turn, scale in self._poses]
        self._prior = (_PRIOR * np.array(away, np.float32))[:, None, None]

    def __call__(self, plane: Plane) -> Matrix:
        """The best pose of a plane of the level's size."""
        spectra = np.fft.rfft2(np.stack([plane, plane * plane]))
        mean, energy = np.fft.irfft2(spectra * self._mask, s=self._size)[self._near]
        spread = np.sqrt(np.maximum(energy - mean * mean / self._total, 1e-3 * float((plane * plane).mean()) + _EMPTY))
        numbers = np.arange(self._turns)  # the turns at the size of the reference, then the other sizes at the best one
        best, turn = self._best(spectra[0], spread, numbers)
        others = np.arange(turn + self._turns, len(self._poses), self._turns)
        if len(others):
            best = max(best, self._best(spectra[0], spread, others)[0])
        _, number, y, x = best
        dy, dx = int(self._shifts[0][y]), int(self._shifts[1][x])
        width = self._size[1]
        return _posed(*self._poses[number], dy / width, dx / width)

    def _best(
        self, spectrum: NDArray[np.complex64], spread: Plane, numbers: NDArray[np.intp]
    ) -> tuple[tuple[float, int, int, int], int]:
        """The best of some poses: its correlation, number, and place in the window; and its number among the turns."""
        found = np.fft.irfft2(spectrum * self._planes[numbers], s=self._size)[self._near]
        found = found / spread - self._prior[numbers]
        at, y, x = np.unravel_index(int(found.argmax()), found.shape)
        number = int(numbers[at])
        return (float(found[at, y, x]), number, int(y), int(x)), number % self._turns


def _posed(turn_deg: float, scale: float, dy: float = 0.0, dx: float = 0.0) -> Matrix:
    """A pose, as `_Level` has them."""
    angle = math.radians(turn_deg)
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[cosine, -sine, dx], [sine, cosine, dy]])


def _near(side: int, most_shift: float) -> NDArray[np.intp]:
    """The shifts along a side that are allowed, in pixels; those below 0 count from the end."""
    most = min(math.ceil(most_shift * side), (side - 1) // 2)
    return np.arange(-most, most + 1)


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


def _even(grey: Plane) -> Plane:
    """A plane without slow changes of light."""
    side = max(3, max(grey.shape) // _LIGHT | 1)
    slow = cv2.blur(cv2.blur(grey, (side, side)), (side, side))
    return grey - slow


def _normal(values: Plane, weight: Plane, total: float) -> tuple[Plane, float]:
    """Values with the weighted mean 0 and standard deviation 1, and the deviation that they had."""
    centred = values - np.float32(np.dot(values, weight) / total)
    spread = math.sqrt(max(float(np.dot(centred * centred, weight)) / total, 0.0))
    centred /= np.float32(max(spread, 1e-6))
    return centred, spread
