"""The models that a bundle holds."""

from __future__ import annotations

from collections.abc import Mapping

from edge_ad.bundle.file import Bundle
from edge_ad.engines.base import Models

MEMBERS = {"onnx": ("model.onnx",), "ir": ("model.xml", "model.bin")}  # of a bundle, by kind of model


def models_of(bundle: Bundle, prefix: str = "") -> Models:
    """The models that a bundle holds: the members whose names are `prefix` and those of `MEMBERS`."""
    there = [names for names in MEMBERS.values() if prefix + names[0] in bundle]
    return models_among({name: bundle.blob(prefix + name) for names in there for name in names})


def common_models(bundle: Bundle) -> Models:
    """The backbone's models of an operating point: those of its first input size, of the kinds that every size has."""
    first, *others = (models_of(sight) for sight in bundle.sights())
    missing = {kind for kind in first.kinds for other in others if kind not in other.kinds}
    return Models(None if "onnx" in missing else first.onnx, None if "ir" in missing else first.ir)


def models_among(members: Mapping[str, memoryview | bytes]) -> Models:
    """The models whose files are among these, by the names of `MEMBERS`."""
    (onnx,), (xml, weights) = MEMBERS["onnx"], MEMBERS["ir"]
    return Models(members.get(onnx), (members[xml], members[weights]) if xml in members else None)
