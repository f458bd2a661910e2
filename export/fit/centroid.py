"""The centroid of the embeddings of the good images: see `edge_ad.heads.centroid`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import BackboneError
from edge_ad.heads.base import Head, embed
from edge_ad.heads.centroid import Centroid, CentroidSpec
from edge_ad.spec import Manifest
from export.fit.base import Fitted, Material
from export.normal_embed import NormalEmbed, write_normal_embed
from export.options import Options
from export.summary import Summary


class Fit:
    """The mean direction of the material's embeddings."""

    def __init__(self, material: Material) -> None:
        self._embeddings = np.stack([embed(image, None) for image in material.patches])

    def fit(self, images: NDArray[np.int64], label: str) -> Head:
        """The head of these images; `label` is not used: there is nothing to wait for."""
        return Centroid(mean_direction(self._embeddings[images]), None)

    def finish(self, images: NDArray[np.int64], summary: Summary) -> Fitted:
        """The centroid."""
        centroid = mean_direction(self._embeddings[images])
        summary.say("centroid", f"of {len(images)} images, {len(centroid)} numbers; this method gives no map")
        return Fitted(Centroid(centroid, None), CentroidSpec("centroid"), None, {"centroid": centroid})


def mean_direction(embeddings: NDArray[np.float64]) -> NDArray[np.float32]:
    """(D,) float32 of length 1: the mean direction of (n, D) embeddings, which may have any length.

    Raises:
        BackboneError: they have no direction, or no common one.
    """
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if lengths.min() > 0:
        mean = (embeddings / lengths).mean(axis=0)
        length = float(np.linalg.norm(mean))
        if length > 1e-6:
            return (mean / length).astype(np.float32)
    raise BackboneError(
        "the embeddings of the good images have no mean direction",
        expected="vectors that are not 0",
        got=f"lengths from {lengths.min():.3g}",
        remedy="Choose other --layers or another --backbone.",
    )


def write_more(options: Options, manifest: Manifest, members: Mapping[str, Any]) -> dict[str, str]:
    """Writes ``--normal-embed``.

    Raises:
        BundleError: it cannot be written.
    """
    backbone, path = manifest.backbone, options.normal_embed
    numbers = tuple(members["centroid"].tolist())
    size, threshold = backbone.input_size, manifest.calibration.threshold
    write_normal_embed(path, NormalEmbed(backbone.name, size, backbone.mean, backbone.std, numbers, threshold))
    return {"normal embed": str(path)}
