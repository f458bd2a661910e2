"""A bundle with two input sizes, made of two bundles: an oracle for each half is at hand, and no export is needed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from edge_ad import Runtime
from edge_ad.bundle.file import Bundle, write_bundle
from edge_ad.spec import SecondSpec
from tests.edited import edited, read

FACTOR = 1.5


def zoomed(golden_roi: Path, out: Path) -> Path:
    """The golden bundle with a region of interest, without the region: it sees the middle of the frame, in detail."""
    return edited(golden_roi, out, {"roi/mask": None, "roi/patch_mask": None}, roi=None)


def joined(first: Path, second: Path, out: Path, factor: float = FACTOR) -> Path:
    """The bundle `first` with the reference of `second` as its second input size. Thresholds stay those of `first`."""
    manifest, members = read(first)
    other, more = read(second)
    members |= {f"second/{name}": value for name, value in more.items() if not name.startswith(("probes/", "points/"))}
    spec = SecondSpec(other.backbone, other.head, other.index, factor)
    write_bundle(out, dataclasses.replace(manifest, second=spec), members)
    runtime = Runtime(out, threads=1, search="exact")
    answers = [runtime.probe(frame) for frame in members["probes/frames"]]
    scores = np.array([answer.score for answer in answers], np.float32)
    maps = np.stack([answer.anomaly_map for answer in answers])
    return edited(out, out, {"probes/scores": scores, "probes/maps": maps})


def without_second(source: Path, out: Path, *names: str) -> Path:
    """A copy of a bundle whose second size lacks these members."""
    with Bundle.open(source) as bundle:
        assert all(f"second/{name}" in bundle for name in names)
    return edited(source, out, dict.fromkeys([f"second/{name}" for name in names]))
