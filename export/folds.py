"""Which goods are held out, so that the threshold comes from images that the method has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import DatasetError, SpecError

SPLIT_FROM = 500  # goods: with as many, a fifth can be spared for the threshold
SPLIT_SHARE = 0.2
MAX_HELD_OUT = 500  # by a split
FOLDS = 4


@dataclass(frozen=True)
class Splits:
    """How the goods are held out.

    Attributes:
        pairs: (train, held out), int64 indices in ascending order: the held-out goods are scored against a
            coreset of the train goods, and no good is held out twice.
        final: indices of the goods that the coreset of the bundle is made of.
        text: for `CalibrationSpec.split`: ``4-fold`` or ``split 20%``.
    """

    pairs: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]
    final: NDArray[np.int64]
    text: str


def folds(n: int, rule: str = "auto", seed: int = 0) -> Splits:
    """Splits n goods by a seeded shuffle.

    ``split`` holds out a fifth of them (500 at most), which the coreset never sees. ``crossfit`` makes 4
    folds (n when there are fewer goods), each scored against a coreset of the others, and the final coreset
    is made of all goods: nothing is spared, at 4 times the time. As it has a third more goods than each fold
    had, new goods lie a little nearer to it than the held-out ones did, so the threshold errs towards
    accepting (cf. CV+, Barber et al. 2021). ``auto`` splits from 500 goods on.

    Images of one part, or frames of one video, fall on both sides of any shuffle, and their scores then come
    out too low: give one image of a part.

    Raises:
        SpecError: no such rule.
        DatasetError: fewer than 2 goods.
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
