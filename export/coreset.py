"""The coreset: the few patches of the good images that stand for all of them.

Source: greedy k-centre (farthest point) selection, Gonzalez (1985), in a random projection, as Roth et al. (2022)
use it (Algorithm 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.cli.progress import Progress
from edge_ad.errors import DatasetError

PROJECTED_DIM = 128
_CHUNK = 16384  # rows
_PICKS = 64  # between two looks at the progress bar and at Ctrl-C


def select_coreset(
    patches: NDArray[np.float32], fraction: float, seed: int, pool: native.Pool, label: str = "coreset"
) -> NDArray[np.int64]:
    """Rows of `patches` that form the coreset, in the order they were picked.

    Fewer come back than asked for when the rest are exact duplicates of them. Memory: (N, 128) float32 beside
    `patches`, no distance matrix.

    Args:
        patches: (N, D) float32; may be memory-mapped.
        fraction: of N to keep, above 0 and at most 1.
        seed: of the projection and of the first pick.
        label: of the progress bar.

    Raises:
        DatasetError: there is no patch.
    """
    if len(patches) == 0:
        raise DatasetError("there are no patches to choose a coreset from", expected="1 or more", got=0)
    wanted = max(1, round(fraction * len(patches)))
    generator = np.random.default_rng(seed)
    picker = native.KCenter(project(patches, generator), int(generator.integers(len(patches))), pool)
    with Progress(label, wanted, unit="patches") as progress:
        progress.update(len(picker.selected))
        while len(picker.selected) < wanted:
            picked = picker.advance(min(_PICKS, wanted - len(picker.selected)))
            if picked == 0:  # only duplicates are left
                break
            progress.update(picked)
    return picker.selected.astype(np.int64)


def project(patches: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
    """(N, 128) float32 Gaussian random projection; the patches themselves where they are no longer than that."""
    if patches.shape[1] <= PROJECTED_DIM:
        return np.ascontiguousarray(patches)
    matrix = generator.standard_normal((patches.shape[1], PROJECTED_DIM)).astype(np.float32)
    matrix /= np.float32(np.sqrt(PROJECTED_DIM))
    projected = np.empty((len(patches), PROJECTED_DIM), np.float32)
    for start in range(0, len(patches), _CHUNK):
        np.matmul(patches[start : start + _CHUNK], matrix, out=projected[start : start + _CHUNK])
    return projected
