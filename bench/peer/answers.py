"""What a method says of test images, on either side."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_ad.verdict.anomaly_map import anomaly_map


@dataclass(frozen=True, eq=False)
class Answers:
    """What a method says of the test images.

    Attributes:
        scores: (n,) float64.
        distances: (n, h, w) float32, of the patches.
        maps: (n, H, W) float32 at the input size.
    """

    scores: NDArray[np.float64]
    distances: NDArray[np.float32]
    maps: NDArray[np.float32]

    def with_our_maps(self) -> Answers:
        """The same with the anomaly maps that edge-ad makes of these distances."""
        return replace(self, maps=render(self.distances, self.maps.shape[1:]))

    def with_largest(self) -> Answers:
        """The same with the largest distance as the score."""
        return replace(self, scores=self.distances.max(axis=(1, 2)).astype(np.float64))


def render(distances: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """(n, H, W) anomaly maps of (n, h, w) distances, by edge-ad's stage."""
    height, width = size
    box = (0, 0, height, width)
    return np.stack([anomaly_map(plane, None, None, (height, width), box, (height, width)) for plane in distances])
