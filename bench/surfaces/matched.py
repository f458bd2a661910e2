"""Matched filters on normals that were brought into register: what a defect adds, over how restless the place is.

    register   the mean surface is moved and lit as the capture is: a movement by Gauss-Newton, and a linear map of all
               normals (what wrong or other lights do). The capture is moved back by it, so that the mean of the good
               captures is sharp; three rounds of this make the mean
    difference from the mean, high-passed, in units of its covariance at the place, and cut off at `FAR` of them
    filters    those of the backbone `relief` (`export.relief`): lines in several directions, and hollows. An answer is
               the likelihood ratio of such a relief in independent noise of that covariance: the difference times the
               slopes of the relief, over the deviation that this has
    spread     of each answer over the good captures around the place: what is not independent

The map has the largest answer of a pixel. Sources: Turin, "An introduction to matched filters" (1960); Baker and
Matthews, "Lucas-Kanade 20 Years On" (2004). Nothing is trained by gradients, and no defect is shown to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from bench.surfaces.baseline import high_pass
from bench.surfaces.captures import Array, Capture
from export.relief import kernels

MEANS, STEPS = 3, 4  # rounds of the mean surface; steps of a fit
OUTLIER = 3.0  # times the median rest, beyond which a pixel is left out of a fit
FAR = 4.0  # deviations
FLOOR = 0.05  # of the median variance, added to that of each place
NEAR_PX, AROUND_PX = 0.8, 2.0  # sigma: of what places share of their covariance, of the spread of answers
LEAST, PRIOR = 0.15, 0.5  # of the median deviation of an answer; of its median spread, that is added


class Matched:
    """Normals against those of good captures at the same place.

    Args:
        train: good captures, judged at the same pixels.
    """

    def __init__(self, train: Sequence[Capture]) -> None:
        self._judged = train[0].judged
        self._surface = np.mean([one.normals for one in train], axis=0, dtype=np.float64).astype(np.float32)
        for _ in range(MEANS):
            own = Registration(self._surface, self._judged)
            self._surface = np.mean([own(one.normals) for one in train], axis=0, dtype=np.float64).astype(np.float32)
        self._register = Registration(self._surface, self._judged)
        rests = [high_pass(self._register(one.normals) - self._surface, self._judged) for one in train]
        self._mean = np.mean(rests, axis=0)
        left = np.stack(rests)[..., :2] - self._mean[..., :2]
        self._whiten(left)
        answers = np.stack([self._answers(one) for one in left])
        variance = np.stack([cv2.GaussianBlur(plane, (0, 0), AROUND_PX) for plane in (answers**2).mean(axis=0)])
        spread = np.sqrt(variance)
        self._spread = spread + PRIOR * np.median(spread[:, self._judged], axis=1)[:, None, None]

    def map(self, one: Capture) -> Array:
        """(h, w) float32; the score is its largest value."""
        rest = high_pass(self._register(one.normals) - self._surface, self._judged) - self._mean
        answers = np.abs(self._answers(rest[..., :2])) / self._spread
        return np.asarray(answers.max(axis=0) * self._judged, np.float32)

    def _whiten(self, left: Array) -> None:
        """Covariance of the (n, h, w, 2) rests of x and y, and what slopes do to them there."""
        size = left.shape[1:3]
        covariance = np.einsum("nhwi,nhwj->hwij", left, left) / len(left)
        covariance = cv2.GaussianBlur(covariance.reshape(*size, 4), (0, 0), NEAR_PX).reshape(*size, 2, 2)
        floor = FLOOR * np.median(np.trace(covariance, axis1=2, axis2=3)[self._judged])
        inverse = np.linalg.inv(covariance + floor * np.eye(2)) * self._judged[..., None, None]
        self._whitening = np.swapaxes(np.linalg.cholesky(inverse + 1e-12 * np.eye(2)), 2, 3)
        lengths = np.maximum(np.linalg.norm(self._surface, axis=2, keepdims=True), 1e-6)
        x, y, z = np.moveaxis(self._surface / lengths, 2, 0)
        turned = -z[..., None, None] * np.stack(
            [np.stack([1 - x * x, -x * y], -1), np.stack([-x * y, 1 - y * y], -1)], -2
        )
        self._from_white = np.einsum("hwji,hwkj->hwik", turned, self._whitening)
        weight = np.einsum("hwji,hwjk,hwkl->hwil", turned, inverse, turned)
        deviations = []
        for right, up in kernels():
            square = _filtered(weight[..., 0, 0], right * right) + _filtered(weight[..., 1, 1], up * up)
            square += 2 * _filtered(weight[..., 0, 1], right * up)
            deviations.append(np.sqrt(np.maximum(square, 0)))
        found = np.stack(deviations)
        least = LEAST * np.median(found[:, self._judged], axis=1)
        self._deviations = np.maximum(found, least[:, None, None])

    def _answers(self, rest: Array) -> Array:
        """(9, h, w) of the (h, w, 2) rest of a capture."""
        white = np.einsum("hwij,hwj->hwi", self._whitening, rest)
        size = np.linalg.norm(white, axis=2, keepdims=True)
        white *= np.minimum(1, FAR / np.maximum(size, 1e-6))
        slopes = np.einsum("hwij,hwj->hwi", self._from_white, white)
        found = [_filtered(slopes[..., 0], right) + _filtered(slopes[..., 1], up) for right, up in kernels()]
        return np.stack(found) / self._deviations


class Registration:
    """Brings normals into the place and the light of a mean surface.

    Args:
        surface: (h, w, 3) float32.
        judged: (h, w) bool, the pixels that count.
    """

    def __init__(self, surface: Array, judged: Array) -> None:
        self._surface, self._judged = surface, judged
        self._gradients = [cv2.Sobel(surface, -1, x, 1 - x, ksize=3) / 8 for x in (1, 0)]

    def __call__(self, normals: Array) -> Array:
        """(h, w, 3) float32 normals, moved and turned to the surface."""
        linear, shift = self.find(normals)
        return np.asarray(_moved(normals, -shift) @ np.linalg.inv(linear).T.astype(np.float32))

    def find(self, normals: Array) -> tuple[Array, Array]:
        """(3, 3) linear map of the surface's normals, and its movement (x, y) in pixels, that give these normals."""
        inside, linear, shift = self._judged, np.eye(3), np.zeros(2)
        for _ in range(STEPS):
            surface, right, down = (_moved(plane, shift) for plane in (self._surface, *self._gradients))
            a = surface[inside]
            rows = [np.zeros((len(a), 11), np.float32) for _ in range(3)]
            for channel, row in enumerate(rows):
                row[:, 3 * channel : 3 * channel + 3] = a
                row[:, 9], row[:, 10] = right[inside][:, channel], down[inside][:, channel]
            matrix, wanted = np.concatenate(rows), normals[inside].T.ravel()
            found = np.linalg.solve(matrix.T @ matrix + 1e-6 * np.eye(11), matrix.T @ wanted)
            linear, shift = found[:9].reshape(3, 3), shift - found[9:]
            rest = np.linalg.norm(normals - _moved(self._surface, shift) @ linear.T, axis=2)
            inside = self._judged & (rest < OUTLIER * np.median(rest[self._judged]))
        return linear, shift


def _moved(plane: Array, shift: Array) -> Array:
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
    size = plane.shape[1], plane.shape[0]
    return np.asarray(cv2.warpAffine(plane, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))


def _filtered(plane: Array, kernel: Array) -> Array:
    plane = np.ascontiguousarray(plane, np.float32)
    return np.asarray(cv2.filter2D(plane, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT))
