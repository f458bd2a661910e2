"""PaDiM: Defard et al., "PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and Localization"
(ICPR 2020).

Each patch position (i, j) has a Gaussian over C of the D numbers of its vectors, with mean mu and covariance Sigma =
1/(N-1) sum (x_k - mu)(x_k - mu)^T + eps I (Eq. 1). A patch's anomaly is its Mahalanobis distance from it, M(x) =
sqrt((x - mu)^T Sigma^-1 (x - mu)) (Eq. 2); the image score is the largest. No units: standard deviations of
the good images.

With Sigma = L L^T the distance is |L^-1 (x - mu)|: the bundle holds W = L^-1, lower triangular, by its columns, so that
a frame costs one pass over R C (C + 1) / 2 numbers. A position's Gaussian knows nothing of its neighbours': parts
must lie in the frame as they did in the good images.

With `PadimSpec.map_sigma` the score is the peak of the anomaly map in place of the largest distance, as anomalib has
it: the distances are upsampled to the tensor and smoothed (`edge_ad.frames.spread`), and of a region of interest the
pixels of its patches count.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.errors import BundleCorruptError
from edge_ad.frames.spread import spread
from edge_ad.heads.base import Opening, Scored
from edge_ad.heads.gaussian import Gaussians
from edge_ad.registry import Method, Option
from edge_ad.spec import HeadSpec, Size
from edge_ad.spec.base import Range

MAX_CHANNELS = 2048  # a covariance has their square
MAP_SIGMA = Range(0, 32, above=True)


@dataclass(frozen=True)
class PadimSpec(HeadSpec):
    """PaDiM: Mahalanobis distances from a Gaussian of each patch position.

    Attributes:
        channels: C, how many of the D numbers of a patch vector are used.
        regularization: what was added to the diagonal of each covariance.
        map_sigma: sigma, in pixels of the tensor, of the Gaussian of the anomaly map whose peak is the score; None if
            the score is the largest distance.
    """

    channels: Annotated[int, Range(1, MAX_CHANNELS)]
    regularization: Annotated[float, Range(0, above=True)]
    map_sigma: Annotated[float, MAP_SIGMA] | None = field(default=None, metadata={"since": 5})

    def describe(self) -> str:
        """The method and its numbers, for a reader."""
        found = f"{self.method}, channels {self.channels:,}, regularization {self.regularization:,}"
        return found if self.map_sigma is None else f"{found}, peak of the map smoothed by {self.map_sigma:g} pixels"


@dataclass(frozen=True)
class Peak:
    """How distances become a map, whose peak is the score.

    Attributes:
        sigma_px: as `PadimSpec.map_sigma`.
        grid: (h, w) of the patches.
        size: (H, W) of the tensor.
    """

    sigma_px: float
    grid: Size
    size: Size

    def of(self, distances: NDArray[np.float32], rows: NDArray[np.int32] | None) -> float:
        """The peak of the map of (R,) distances, those of `rows` of the grid; NaN if a distance is NaN or Inf."""
        if not np.isfinite(distances).all():
            return float("nan")
        if rows is None:
            return float(spread(distances.reshape(self.grid), None, self.size, self.sigma_px).max())
        plane, inside = np.zeros(self.grid, np.float32), np.zeros(self.grid, np.bool_)
        plane.flat[rows], inside.flat[rows] = distances, True
        found = spread(plane, inside, self.size, self.sigma_px)
        down, across = (np.arange(of) * count // of for of, count in zip(self.size, self.grid, strict=True))
        return float(found[inside[np.ix_(down, across)]].max())  # pixels of the patches inside


class Padim(Gaussians):
    """The head; see the module.

    Args:
        channels, means, factors, rows, pool: as of `Gaussians`.
        peak: the score is the peak of the map; None for the largest distance.
    """

    def __init__(
        self,
        channels: NDArray[np.int32],
        means: NDArray[np.float32],
        factors: NDArray[np.float32],
        rows: NDArray[np.int32] | None,
        pool: native.Pool,
        peak: Peak | None = None,
    ) -> None:
        super().__init__(channels, means, factors, rows, pool)
        self._peak = peak

    @classmethod
    def open(cls, opening: Opening) -> Padim:
        """The head of a bundle.

        Raises:
            BundleCorruptError: a member does not fit the manifest.
        """
        spec, dim = opening.spec(PadimSpec), opening.backbone.dim
        count = spec.channels
        channels = opening.array("padim/channels", (count,), "int32")
        if not (channels.min() >= 0 and channels.max() < dim):
            raise BundleCorruptError(
                "padim/channels names channels that the patches do not have",
                expected=f"0..{dim - 1}",
                got=f"{channels.min()}..{channels.max()}",
            )
        means = opening.array("padim/means", (opening.patch_count, count))
        factors = opening.array("padim/factors", (opening.patch_count, count * (count + 1) // 2))
        sizes = opening.backbone.grid, opening.backbone.tensor_size
        peak = None if spec.map_sigma is None else Peak(spec.map_sigma, *sizes)
        return cls(channels, means, factors, opening.rows, opening.pool, peak)

    def _scored(self, distances: NDArray[np.float32], rows: NDArray[np.int32] | None) -> Scored:
        if self._peak is None:
            return super()._scored(distances, rows)
        return Scored(distances, self._peak.of(distances, rows), self._peak.sigma_px)


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
    score="largest Mahalanobis distance of a patch from the Gaussian of its position; where `map_sigma` is not null, "
    "the peak of their map",
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
