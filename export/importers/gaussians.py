"""The Gaussians of anomalib's PaDiM as edge-ad's: means as they are, and each inverse covariance as the factor of it.

anomalib keeps P = Sigma^-1 of each position. The head of edge-ad takes W, lower triangular, with W^T W = P, so that
|W (x - mu)| is the same Mahalanobis distance. With J the order of rows turned round and J P J = K K^T (Cholesky), W is
(J K J)^T. The score of anomalib is the peak of the smoothed map: `edge_ad.heads.padim.PadimSpec.map_sigma`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle.file import Members
from edge_ad.errors import BackboneError, SpecError
from edge_ad.heads.base import Head
from edge_ad.heads.padim import MAP_SIGMA, MAX_CHANNELS, Padim, PadimSpec, Peak
from export.fit.base import Fitted, Material
from export.fit.padim import check_size
from export.summary import Summary

REGULARIZATION = 0.01  # in anomalib's MultiVariateGaussian; the inverse covariances have it
_CHUNK_FLOATS = 2**21  # of the matrices that are factored at a time
_NEAR = 1e-4  # of a matrix's largest number: what its factors may miss of it
_SAME_KERNEL = 1e-3  # of its largest number: float16 has that


@dataclass(frozen=True)
class Blur:
    """A Gaussian kernel.

    Attributes:
        sigma_px: its sigma.
        gain: sum of its numbers, which is 1 but for their rounding. It is one of the distances too, then.
    """

    sigma_px: float
    gain: float


@dataclass(frozen=True)
class Gaussians:
    """What a trained PaDiM knows.

    Attributes:
        means: (R, C) float32.
        inverses: (R, C, C) float32 inverse covariances.
        blur: what smooths its map.
        source: the file, for messages.
    """

    means: NDArray[np.float32]
    inverses: NDArray[np.float32]
    blur: Blur
    source: str

    def __post_init__(self) -> None:
        positions, count = self.means.shape
        if self.inverses.shape != (positions, count, count) or not 1 <= count <= MAX_CHANNELS or not positions:
            raise SpecError(
                f"the Gaussians of {self.source} do not fit one another",
                expected=f"means (R, C), inverse covariances (R, C, C), C of 1..{MAX_CHANNELS}",
                got=f"{self.means.shape}, {self.inverses.shape}",
                remedy="Was the model trained to its end? Export it once more.",
            )
        for name, array in (("means", self.means), ("inverse covariances", self.inverses)):
            if not np.isfinite(array).all():
                raise SpecError(f"the {name} of {self.source} hold NaN or Inf", expected="finite numbers", got="others")

    def fit(self, material: Material) -> Fixed:
        """The method, whatever the images.

        Raises:
            BackboneError: the network gives other patches than the Gaussians are of.
            SpecError: they are too large for a bundle, or an inverse covariance is none.
        """
        backbone = material.stages.backbone
        wanted, found = (backbone.grid[0] * backbone.grid[1], backbone.dim), self.means.shape
        if found != wanted:
            raise BackboneError(
                f"the Gaussians of {self.source} do not fit its network at this input size",
                expected=f"{wanted[0]} positions of {wanted[1]} channels, as the network gives them",
                got=f"{found[0]} of {found[1]}",
                remedy="Give the size that the model was trained for: --input-size.",
            )
        check_size(*found, remedy="Train it with fewer features, a smaller input size, or deeper layers.")
        factors = factors_of(self.inverses, self.source)
        factors *= np.float32(self.blur.gain)
        return Fixed(self.means, factors, self.blur.sigma_px, material)


class Fixed:
    """The Gaussians of a file as a method of the export."""

    def __init__(
        self, means: NDArray[np.float32], factors: NDArray[np.float32], sigma_px: float, material: Material
    ) -> None:
        self._channels = np.arange(means.shape[1], dtype=np.int32)
        self._means, self._factors, self._sigma_px, self._material = means, factors, sigma_px, material

    def fit(self, images: NDArray[np.int64], label: str) -> Head:
        """The head."""
        backbone = self._material.stages.backbone
        peak = Peak(self._sigma_px, backbone.grid, backbone.tensor_size)
        return Padim(self._channels, self._means, self._factors, None, self._material.pool, peak)

    def finish(self, images: NDArray[np.int64], summary: Summary) -> Fitted:
        """The head and its members."""
        positions, count = self._means.shape
        summary.say(
            "gaussians",
            f"{positions:,} positions, {count} channels; the score is the peak of the map, smoothed by "
            f"{self._sigma_px:g} pixels",
        )
        spec = PadimSpec("padim", count, REGULARIZATION, self._sigma_px)
        members: Members = {
            "padim/channels": self._channels,
            "padim/means": self._means,
            "padim/factors": self._factors,
        }
        return Fitted(self.fit(images, ""), spec, None, members)


def factors_of(inverses: NDArray[np.float32], source: str) -> NDArray[np.float32]:
    """(R, C (C + 1) / 2) float32: W of each (C, C) matrix, column by column from the diagonal down.

    Raises:
        SpecError: a matrix is not positive definite, or not symmetric.
    """
    positions, count, _ = inverses.shape
    factors = np.empty((positions, count * (count + 1) // 2), np.float32)
    columns, below = np.triu_indices(count)
    step = max(1, _CHUNK_FLOATS // count**2)
    for start in range(0, positions, step):
        part = inverses[start : start + step].astype(np.float64)
        even = (part + np.swapaxes(part, 1, 2)) / 2  # a quadratic form knows nothing of the rest
        try:
            found = np.swapaxes(np.linalg.cholesky(even[:, ::-1, ::-1])[:, ::-1, ::-1], 1, 2)
        except np.linalg.LinAlgError as error:
            raise _no_inverse(source, "one that is not positive definite") from error
        apart = np.abs(np.swapaxes(found, 1, 2) @ found - part).max(axis=(1, 2))
        if not (apart <= _NEAR * np.abs(part).max(axis=(1, 2))).all():
            raise _no_inverse(source, f"one whose factors miss it by {apart.max():.2g}")
        factors[start : start + step] = found[:, below, columns]
    return factors


def blur_of(kernel: NDArray[np.floating], source: str) -> Blur:
    """A (K, K) Gaussian kernel, K = 2 n + 1 with n = 4 sigma + 1/2 rounded down.

    Raises:
        SpecError: it is another kernel.
    """
    side = kernel.shape[-1]
    reach = side // 2
    if kernel.size == side * side and side % 2 == 1 and side >= 3:
        values = kernel.reshape(side, side).astype(np.float64)
        centre, out = values[reach, reach], max(1, reach // 2)  # about 2 sigma: rounding moves it least there
        beside = values[reach, reach + out]
        if centre > beside > 0:
            sigma = round(float(out * np.sqrt(0.5 / np.log(centre / beside))), 2)
            line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 0.01)) ** 2)
            near = np.abs(np.outer(line, line) / line.sum() ** 2 - values).max() <= _SAME_KERNEL * centre
            if near and reach == int(4 * sigma + 0.5) and MAP_SIGMA.holds(sigma):
                return Blur(sigma, float(values.sum()))
    raise SpecError(
        f"the map of {source} is not smoothed as anomalib's PaDiM does it",
        expected=f"a Gaussian kernel that ends at 4 sigma, sigma {MAP_SIGMA.text} pixels",
        got=f"another kernel, {tuple(kernel.shape)}",
    )


def _no_inverse(source: str, got: str) -> SpecError:
    return SpecError(
        f"an inverse covariance of {source} is none",
        expected="symmetric, positive definite matrices",
        got=got,
        remedy="Was the model trained to its end, in float32? Train it with more images.",
    )
