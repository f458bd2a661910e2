"""The usual errors of an autoencoder at each place: see `edge_ad.heads.autoencoder`. The network is in
`export.autoencoder`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from edge_ad.heads.autoencoder import FACTORS, MEANS, SPREAD, USUAL, Autoencoder, AutoencoderSpec
from edge_ad.heads.base import Head
from edge_ad.heads.gaussian import Gaussians
from edge_ad.heads.local import Smoothing
from export.fit.base import Fitted, Material
from export.fit.padim import gaussians
from export.options import Options
from export.stages import GraphStages
from export.summary import Summary

if TYPE_CHECKING:
    from export.network import Network

AROUND = 1.0  # sigma, in places, of the Gaussian over which they share what they know
PRIOR = 0.1
LEAST = 1e-6  # a deviation


def open_network(options: Options) -> Network:
    """The network, before it is taught; of normal maps where frames are stacks."""
    from export.autoencoder import network  # which needs the package onnx

    return network.autoencoder(options, normals=options.lights is not None)


class Fit:
    """Means and deviations of the errors of the material's images; of the answers to normal maps, Gaussians."""

    def __init__(self, material: Material) -> None:
        self._material = material

    def fit(self, images: NDArray[np.int64], label: str) -> Head:
        """The head of these images; `label` is not used: there is nothing to wait for."""
        if self._answers:
            return self._judge(*gaussians(self._material.patches, images, np.arange(self._answers, dtype=np.int32)))
        return Autoencoder(*self._statistics(images), None)

    def finish(self, images: NDArray[np.int64], summary: Summary) -> Fitted:
        """Means and deviations, as the bundle has them."""
        from export.autoencoder import network

        found = cast(GraphStages, self._material.stages).network
        assert isinstance(found, network.Autoencoder), "`open_network` has made it"
        if self._answers:
            means, factors = gaussians(self._material.patches, images, np.arange(self._answers, dtype=np.int32))
            summary.say("answers", f"Gaussians of {self._answers} filters at {len(means):,} places")
            spec = AutoencoderSpec("autoencoder", found.steps, found.recipe.spoilt, self._answers)
            return Fitted(self._judge(means, factors), spec, None, {MEANS: means, FACTORS: factors})
        usual, spread = self._statistics(images)
        colour, structure = usual.mean(axis=0)
        summary.say(
            "errors", f"usual ones of {len(images)} good images: colour {colour:.4f}, structure {structure:.4f}"
        )
        spec = AutoencoderSpec("autoencoder", found.steps, found.recipe.spoilt)
        return Fitted(Autoencoder(usual, spread, None), spec, None, {USUAL: usual, SPREAD: spread})

    @property
    def _answers(self) -> int | None:
        """How many filters answer at a place; None for errors of pictures."""
        dim = self._material.patches.shape[2]
        return None if self._material.stages.frame.stack is None else dim

    def _judge(self, means: NDArray[np.float32], factors: NDArray[np.float32]) -> Head:
        return Gaussians(np.arange(means.shape[1], dtype=np.int32), means, factors, None, self._material.pool)

    def _statistics(self, images: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        masks = self._material.stages.masks
        return statistics(self._material.patches, images, Smoothing(AROUND, masks.grid, masks.rows))


def statistics(
    errors: NDArray[np.float32], images: NDArray[np.int64], smoothing: Smoothing
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Means and deviations (R, 2) float32 of the errors at each place and around it.

    A part lies a little elsewhere in each image, so places near an edge share what they know. To the variance of a
    place is added `PRIOR` of the variance of all, so that a place without errors has a scale too.

    Args:
        errors: (n, R, 2) float32 of all good images; may be memory-mapped.
        images: (k,) numbers of those to take.
        smoothing: over the places.
    """
    total, squares = (np.zeros(errors.shape[1:], np.float64) for _ in range(2))
    for image in images:
        own = errors[image].astype(np.float64)
        total += own
        squares += own**2
    mean, square = total / len(images), squares / len(images)
    overall = np.maximum(square.mean(axis=0) - mean.mean(axis=0) ** 2, 0)
    usual, spread = np.empty_like(mean), np.empty_like(mean)
    for number in range(mean.shape[1]):
        usual[:, number] = smoothing(mean[:, number].astype(np.float32))
        around = smoothing(square[:, number].astype(np.float32)) - usual[:, number] ** 2
        spread[:, number] = np.sqrt(np.maximum(around, 0) + PRIOR * overall[number])
    return usual.astype(np.float32), np.maximum(spread, LEAST).astype(np.float32)
