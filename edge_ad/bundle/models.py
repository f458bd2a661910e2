"""The models that a bundle holds."""

from __future__ import annotations

from edge_ad.bundle.file import Bundle
from edge_ad.engines.base import Models

MEMBERS = {"onnx": ("model.onnx",), "ir": ("model.xml", "model.bin")}  # of a bundle, by kind of model


def models_of(bundle: Bundle, prefix: str = "") -> Models:
    """The models that a bundle holds: the members whose names are `prefix` and those of `MEMBERS`."""
    found = {
        kind: [bundle.blob(prefix + name) for name in names]
        for kind, names in MEMBERS.items()
        if prefix + names[0] in bundle
    }
    ir = (found["ir"][0], found["ir"][1]) if "ir" in found else None
    return Models(found["onnx"][0] if "onnx" in found else None, ir)
