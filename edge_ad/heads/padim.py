"""PaDiM: Defard et al., "PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and Localization"
(ICPR 2020).

Each patch position (i, j) has a Gaussian over C of the D numbers of its vectors, with mean mu and covariance Sigma =
1/(N-1) sum (x_k - mu)(x_k - mu)^T + eps I (Eq. 1). A patch's anomaly is its Mahalanobis distance from it, M(x) =
sqrt((x - mu)^T Sigma^-1 (x - mu)) (Eq. 2); the image score is the largest. No units: standard deviations of
the good images.

With Sigma = L L^T the distance is |L^-1 (x - mu)|: the bundle holds W = L^-1, lower triangular, by its columns, so that
a frame costs one pass over R C (C + 1) / 2 numbers. A position's Gaussian knows nothing of its neighbours': parts
must lie in the frame as they did in the good images.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.errors import BundleCorruptError
from edge_ad.heads.base import Opening, Scored, largest
from edge_ad.registry import Method, Option
from edge_ad.spec import HeadSpec
from edge_ad.spec.base import Range

MAX_CHANNELS = 2048  # a covariance has their square


@dataclass(frozen=True)
class PadimSpec(HeadSpec):
    """PaDiM: Mahalanobis distances from a Gaussian of each patch position.

    Attributes:
        channels: C, how many of the D numbers of a patch vector are used.
        regularization: what was added to the diagonal of each covariance.
    """

    channels: Annotated[int, Range(1, MAX_CHANNELS)]
    regularization: Annotated[float, Range(0, above=True)]


class Padim:
    """The head; see the module.

    Args:
        channels: (C,) int32 which numbers of a patch vector are used.
        means: (R, C) float32.
        factors: (R, C (C + 1) / 2) float32, the columns of W one after the other, from the diagonal down.
        rows: (R,) int32 patches of the region of interest; None where R = P.
        pool: threads.
    """

    has_map, search = True, "exact"

    def __init__(
        self,
        channels: NDArray[np.int32],
        means: NDArray[np.float32],
        factors: NDArray[np.float32],
        rows: NDArray[np.int32] | None,
        pool: native.Pool,
    ) -> None:
        self._channels, self._means, self._factors, self._rows, self._pool = channels, means, factors, rows, pool

    @classmethod
    def open(cls, opening: Opening) -> Padim:
        """The head of a bundle.

        Raises:
            BundleCorruptError: a member does not fit the manifest.
        """
        dim, count = opening.backbone.dim, opening.spec(PadimSpec).channels
        channels = opening.array("padim/channels", (count,), "int32")
        if not (channels.min() >= 0 and channels.max() < dim):
            raise BundleCorruptError(
                "padim/channels names channels that the patches do not have",
                expected=f"0..{dim - 1}",
                got=f"{channels.min()}..{channels.max()}",
            )
        means = opening.array("padim/means", (opening.patch_count, count))
        factors = opening.array("padim/factors", (opening.patch_count, count * (count + 1) // 2))
        return cls(channels, means, factors, opening.rows, opening.pool)

    def __call__(
        self, patches: NDArray[np.float32], *, exact: bool = False, rows: NDArray[np.int32] | None = None
    ) -> Scored:
        """Mahalanobis distances and the score of (P, D) patches, or of `rows` among them.

        With `rows` it takes no less time: their factors would have to be copied, which is as much work.
        """
        distances = native.mahalanobis(patches, self._channels, self._means, self._factors, self._pool, self._rows)
        if rows is not None:
            distances = distances[rows if self._rows is None else np.searchsorted(self._rows, rows)]
        rows = self._rows if rows is None else rows
        inside = patches if rows is None else patches[rows]
        # a NaN in a channel that is not used must also be found
        score = largest(distances) if np.isfinite(inside).all() else float("nan")
        return Scored(distances, score)


def channels_of(text: str) -> tuple[int, ...]:
    """The value of ``--channels``."""
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} are no channels: give a count, or several as 0,5,7")
    return tuple(int(part) for part in parts)


METHOD = Method(
    title="PaDiM",
    spec=PadimSpec,
    open=Padim.open,
    score="largest Mahalanobis distance of a patch from the Gaussian of its position",
    members={
        "padim/channels": "int32 (C): which of the D numbers of a patch are used",
        "padim/means": "float32 (R, C): means of the positions",
        "padim/factors": "float32 (R, C (C + 1) / 2): inverse Cholesky factors, column by column from the diagonal "
        "down",
    },
    options=(
        Option(
            "--channels",
            "how many channels, chosen at random, or which; by default 100, wide_resnet50_2 550",
            kind=channels_of,
            metavar="C|I,J,..",
        ),
    ),
    masked=True,
)
