"""A golden bundle written anew with something changed, for what no export would make."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle import Bundle, write_bundle
from edge_ad.spec import Manifest


def edited(source: Path, out: Path, members: dict[str, Any] | None = None, **fields: Any) -> Path:
    """A copy of the bundle `source` at `out`.

    Args:
        members: by name; None takes a member out.
        fields: of the manifest; a dict replaces fields inside a part: ``frame={"color_order": "rgb"}``.
    """
    with Bundle.open(source) as bundle:
        manifest: Manifest = bundle.manifest
        kept: dict[str, Any] = {
            name: np.array(bundle.array(name)) if spec.dtype else bytes(bundle.blob(name))
            for name, spec in manifest.members.items()
        }
    for name, value in (members or {}).items():
        if value is None:
            del kept[name]
        else:
            kept[name] = value
    for name, value in fields.items():
        part = dataclasses.replace(getattr(manifest, name), **value) if isinstance(value, dict) else value
        manifest = dataclasses.replace(manifest, **{name: part})
    write_bundle(out, manifest, kept)
    return out
