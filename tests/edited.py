"""A golden bundle written anew with something changed, for what no export would make."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle.file import Bundle, write_bundle
from edge_ad.spec import FidelitySpec, Manifest, PointSpec


def edited(source: Path, out: Path, members: dict[str, Any] | None = None, **fields: Any) -> Path:
    """A copy of the bundle `source` at `out`.

    Args:
        members: by name; None takes a member out.
        fields: of the manifest; a dict replaces fields inside a part: ``frame={"color_order": "rgb"}``.
    """
    manifest, kept = read(source)
    for name, value in (members or {}).items():
        if value is None:
            del kept[name]
        else:
            kept[name] = value
    parts = {
        name: dataclasses.replace(getattr(manifest, name), **value) if isinstance(value, dict) else value
        for name, value in fields.items()
    }
    write_bundle(out, dataclasses.replace(manifest, **parts), kept)
    return out


def pointed(
    source: Path,
    out: Path,
    points: dict[str, str],
    engine: str = "any",
    scale: float = 1.0,
) -> Path:
    """A copy of the bundle `source` at `out` with operating points that are the reference by other names.

    Args:
        points: name and precision of each; bf16 shares the reference's models, the others have copies.
        engine: that they are for.
        scale: of their thresholds.
    """
    manifest, kept = read(source)
    own = manifest.calibration
    pixel = None if own.pixel_threshold is None else own.pixel_threshold * scale
    calibration = dataclasses.replace(own, threshold=own.threshold * scale, pixel_threshold=pixel)
    found = []
    for name, precision in points.items():
        backbone = dataclasses.replace(manifest.backbone, precision=precision)
        fidelity = FidelitySpec(frames=len(own.good_scores), rank_correlation=1.0, score_error=0.0)
        parts = (backbone, manifest.head, manifest.index, calibration, manifest.probes, fidelity)
        found.append(PointSpec(name, engine, *parts))
        shared = ("model.", "roi/") if precision == "bf16" else ("roi/",)
        kept |= {f"points/{name}/{n}": v for n, v in read(source)[1].items() if not n.startswith(shared)}
    write_bundle(out, dataclasses.replace(manifest, points=tuple(found)), kept)
    return out


def read(source: Path) -> tuple[Manifest, dict[str, Any]]:
    """The manifest of a bundle, and copies of its members."""
    with Bundle.open(source) as bundle:
        kept = {
            name: np.array(bundle.array(name)) if spec.dtype else bytes(bundle.blob(name))
            for name, spec in bundle.manifest.members.items()
        }
        return bundle.manifest, kept
