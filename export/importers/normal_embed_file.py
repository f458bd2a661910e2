"""``normal_embed.json`` (`export.normal_embed`) of tools that compare the embedding of a torchvision ResNet.

The embedding is the mean of the last layer's vectors: what the network's own average pooling gives. The file brings a
threshold and no weights.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import BackboneError, SpecError
from edge_ad.heads.base import Head
from edge_ad.heads.centroid import METHOD, Centroid, CentroidSpec
from export.fit.base import Fitted, Material, Method
from export.importers.base import Asked, Format, Given, Imported, View, start_of
from export.importers.plain import PlainBackbone
from export.network import open_network
from export.normal_embed import read_normal_embed
from export.options import Options
from export.summary import Summary

LAYER = "layer4"
_LENGTHS = {"resnet18": 512, "resnet34": 512, "resnet50": 2048, "resnet101": 2048, "resnet152": 2048}
_LOOKED_AT = 4096  # bytes of a file, in which the name of its first keys stands
_RULE: Literal["percentile"] = "percentile"


def read(path: Path, asked: Asked) -> Imported:
    """The file as a bundle's centroid.

    Raises:
        SpecError: it is broken, or its centroid is not of the network's last layer.
        BackboneError: another network, or its weights are missing.
    """
    found = read_normal_embed(path)
    if found.backbone not in _LENGTHS:
        raise BackboneError(
            f"the network {found.backbone!r:.80} of {path} is not known",
            expected=", ".join(_LENGTHS),
            got=f"{found.backbone:.80}",
            remedy="Export from the good images: python -m export --method centroid.",
        )
    length = _LENGTHS[found.backbone]
    if len(found.centroid) != length:
        raise SpecError(
            f"the centroid of {path} is not of the last layer of {found.backbone}",
            expected=f"{length} numbers, as its average pooling gives",
            got=len(found.centroid),
            remedy="A file says nothing of layers: numbers of other ones have a meaning for their own tool alone.",
        )
    mean, std = found.mean, found.std
    given = {"backbone": found.backbone, "layers": (LAYER,), "weights": asked.weights, "mean": mean, "std": std}
    opened = open_network(Options("", **given))
    network = PlainBackbone(**{field.name: getattr(opened, field.name) for field in fields(opened)})
    centroid = np.array(found.centroid, np.float32)
    threshold = Given(found.threshold, _RULE, METHOD.usual[_RULE])

    def fit(_: Material) -> Method:
        return _Fixed(centroid)

    notes = (
        ("score", "cosine distance from the centroid; frames are resized to the input size of the file as a whole"),
    )
    view = View(size=found.input_size)
    return Imported("normal_embed.json", network, view, "centroid", fit=fit, given=threshold, notes=notes)


class _Fixed:
    """The centroid of the file, whatever the images."""

    def __init__(self, centroid: NDArray[np.float32]) -> None:
        self._centroid = centroid

    def fit(self, images: NDArray[np.int64], label: str) -> Head:
        """The head."""
        return Centroid(self._centroid, None)

    def finish(self, images: NDArray[np.int64], summary: Summary) -> Fitted:
        """The head and its member."""
        return Fitted(Centroid(self._centroid, None), CentroidSpec("centroid"), None, {"centroid": self._centroid})


def claims(path: Path) -> bool:
    """Whether it is JSON that begins like such a file, or has a centroid."""
    start = start_of(path, _LOOKED_AT) if path.is_file() else b""
    return start.lstrip()[:1] == b"{" and (b'"centroid"' in start or b'"backbone"' in start)


FORMAT = Format("normal_embed.json", "a JSON object with backbone, centroid and threshold", claims, read)
