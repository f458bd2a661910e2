"""A baseline without a network: how far normals are from the usual ones, as a multiple of what is usual at the place.

    fit       a capture's lights and place differ a little from others'. So the mean surface is fitted to it: one linear
              map of all normals (what wrong or other lights do), and one movement (by the gradient of the mean surface)
    high-pass of what is left, slow changes are taken away: a shape that a scratch or dent does not have
    spread    the mean is that of one half of the good captures, the spread that of the other half about this mean

`Place` does this where a capture shows a place that the good ones show; with `modes` it also takes away the largest
principal changes of good captures (a linear model of them). `Anywhere` knows no place: it is the high-pass of normals
over the one spread that good captures have. Nothing is trained by gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from bench.surfaces.captures import Array, Capture

SLOW_PX, SMOOTH_PX = 4.0, 0.7  # sigma: of what is taken away; of what is added up
ROUNDS, FAR = 3, 3.0  # of the fit; times the median rest, beyond which a pixel is left out of it


def high_pass(values: Array, inside: Array) -> Array:
    """(h, w, 3) less their Gaussian mean over the (h, w) bool pixels inside; 0 elsewhere."""
    weight = inside.astype(np.float32)[..., None]
    share = np.maximum(cv2.GaussianBlur(weight, (0, 0), SLOW_PX), 1e-3)[..., None]
    return np.asarray((values - cv2.GaussianBlur(values * weight, (0, 0), SLOW_PX) / share) * weight)


class Place:
    """Normals against those of good captures at the same place.

    Args:
        train: good captures, judged at the same pixels.
        modes: how many principal changes of the good captures do not count.
    """

    def __init__(self, train: Sequence[Capture], modes: int = 0) -> None:
        self._judged = train[0].judged
        self._surface = np.mean([one.normals for one in train], axis=0, dtype=np.float64).astype(np.float32)
        self._moved = [cv2.Sobel(self._surface, -1, x, 1 - x, ksize=3) / 8 for x in (1, 0)]
        rests = np.stack([self._rest(one) for one in train])
        own, held_out = rests[::2], rests[1::2]
        self._mean = own.mean(axis=0)
        self._modes = np.zeros((0, own[0].size), np.float32)
        if modes:
            self._modes = np.linalg.svd(own - self._mean, full_matrices=False)[2][:modes]
        left = np.stack([self._unusual(rest) for rest in held_out])
        variance = self._plane((left**2).mean(axis=0).reshape(-1, 3).sum(axis=1))
        # a place is as restless as its neighbours: few captures say little of one pixel
        variance = np.maximum(cv2.GaussianBlur(variance, (0, 0), 1.0), 0.7 * cv2.dilate(variance, np.ones((3, 3))))
        self._spread = np.sqrt(variance + np.median(variance[self._judged]))

    def map(self, one: Capture) -> Array:
        """(h, w) float32; the score is its largest value."""
        left = np.zeros_like(self._surface)
        left[self._judged] = self._unusual(self._rest(one)).reshape(-1, 3)
        left = cv2.GaussianBlur(left / self._spread[..., None], (0, 0), SMOOTH_PX)
        return np.asarray(np.linalg.norm(left, axis=2) * self._judged, np.float32)

    def _unusual(self, rest: Array) -> Array:
        away = rest - self._mean
        return np.asarray(away - self._modes.T @ (self._modes @ away))

    def _rest(self, one: Capture) -> Array:
        """(3 J,) what the fitted mean surface leaves of a capture at the J judged pixels, high-passed."""
        inside, left = self._judged, one.normals
        for _ in range(ROUNDS):
            a, moved = self._surface[inside], [each[inside] for each in self._moved]
            rows = [np.zeros((len(a), 11), np.float32) for _ in range(3)]
            for channel, row in enumerate(rows):
                row[:, 3 * channel : 3 * channel + 3] = a
                row[:, 9], row[:, 10] = moved[0][:, channel], moved[1][:, channel]
            matrix, wanted = np.concatenate(rows), one.normals[inside].T.ravel()
            found = np.linalg.solve(matrix.T @ matrix + 1e-6 * np.eye(11), matrix.T @ wanted).astype(np.float32)
            fitted = self._surface @ found[:9].reshape(3, 3).T + found[9] * self._moved[0] + found[10] * self._moved[1]
            left = one.normals - fitted
            size = np.linalg.norm(left, axis=2)
            inside = self._judged & (size < FAR * np.median(size[self._judged]))
        return high_pass(left, self._judged)[self._judged].ravel()

    def _plane(self, values: Array) -> Array:
        plane = np.zeros(self._judged.shape, np.float32)
        plane[self._judged] = values
        return plane


class Anywhere:
    """The high-pass of normals, over the spread that it has in good captures; no place is known."""

    def __init__(self, train: Sequence[Capture]) -> None:
        self._spread = float(np.sqrt(np.mean([(high_pass(one.normals, one.judged) ** 2).mean() for one in train])))

    def map(self, one: Capture) -> Array:
        """(h, w) float32; the score is its largest value."""
        left = cv2.GaussianBlur(high_pass(one.normals, one.judged) / self._spread, (0, 0), SMOOTH_PX)
        return np.asarray(np.linalg.norm(left, axis=2) * one.judged, np.float32)
