"""Chooses which good images are held out, so that the threshold comes from images that the method has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import DatasetError, SpecError

SPLIT_FROM = 500  # good images: with this many, a fifth can be used for the threshold only
SPLIT_SHARE = 0.2
MAX_HELD_OUT = 500  # by a split
FOLDS = 4


@dataclass(frozen=True)
class Splits:
    """How images were held out.

    Attributes:
        pairs: (train, held out), int64 indices in ascending order: the held-out images are scored against a coreset of
            the train images. No image is held out twice.
        final: indices of the images that the coreset of the bundle is made from.
        text: for `CalibrationSpec.split`: ``4-fold`` or ``split 20%``.
    """

    pairs: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]
    final: NDArray[np.int64]
    text: str

    @property
    def held_out(self) -> NDArray[np.int64]:
        """Numbers of all held-out images, in the order of the pairs: the order of their scores."""
        return np.concatenate([held for _, held in self.pairs])

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each pair, for progress bars."""
        count = len(self.pairs)
        return tuple(f"fold {i}/{count}" for i in range(1, count + 1)) if count > 1 else ("held-out split",) * count


def folds(n: int, rule: str = "auto", seed: int = 0) -> Splits:
    """Splits n good images by a seeded shuffle.

    ``split`` holds out a fifth of them (500 at most), which the coreset never sees. ``crossfit`` makes 4 folds (n if
    there are fewer images). Each fold is scored against a coreset of the others, and the final coreset is made from all
    images. So all images are used, but it takes 4 times as long. The final coreset has a third more images than that of
    a fold, so new good images are a little nearer to it than held-out ones were: the threshold accepts a little too
    much (cf. CV+, Barber et al. 2021). ``auto`` takes ``split`` from 500 images on.

    If there are several images of one part, or frames of one video, a shuffle puts them on both sides, and their scores
    are too low. Give one image of each part.

    Raises:
        SpecError: there is no such rule.
        DatasetError: there are fewer than 2 good images.
    """
    if rule not in ("auto", "split", "crossfit"):
        raise SpecError("there is no such calibration", expected="auto, split or crossfit", got=repr(rule))
    if n < 2:
        raise DatasetError(
            "there are too few good images to hold one out",
            expected="2 or more",
            got=n,
            remedy="Give 50 or more.",
        )
    order = np.random.default_rng(seed).permutation(n).astype(np.int64)
    everything = np.arange(n, dtype=np.int64)
    if rule == "split" or (rule == "auto" and n >= SPLIT_FROM):
        held = min(MAX_HELD_OUT, max(1, round(SPLIT_SHARE * n)))
        train, out = np.sort(order[held:]), np.sort(order[:held])
        return Splits(((train, out),), train, f"split {held / n:.0%}")
    parts = [np.sort(part) for part in np.array_split(order, min(FOLDS, n))]
    pairs = tuple((np.setdiff1d(everything, part, assume_unique=True), part) for part in parts)
    return Splits(pairs, everything, f"{len(parts)}-fold")
