"""Golden probes: frames in a bundle, with the answers that they must give on every PC."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle.file import Bundle
from edge_ad.errors import BundleCorruptError


@dataclass(frozen=True)
class Answer:
    """All results of the pipeline for a frame, with exact search.

    Attributes:
        patches: (P, D) float32, or those that were asked for.
        distances: (R,) float32, of the patches in the region of interest; (0,) where the method gives no map.
        anomaly_map: (H, W) float32 in frame pixels; (0, 0) where the method gives no map.
        score: the image score.
        confidence: that the part was found; None where the bundle takes every frame as it is.
    """

    patches: NDArray[np.float32]
    distances: NDArray[np.float32]
    anomaly_map: NDArray[np.float32]
    score: float
    confidence: float | None = None


@dataclass(frozen=True)
class Probe:
    """A frame (H, W, 3) u8 BGR and its expected answer, which has only the patches `rows`.

    Where frames are stacks, it is (N, H, W) or (N, H, W, 3), with the ambient picture if there is one.
    """

    frame: NDArray[np.uint8]
    rows: NDArray[np.int32]
    expected: Answer


def load_probes(bundle: Bundle) -> list[Probe]:
    """The probes of a bundle.

    Raises:
        BundleCorruptError: a member of theirs does not fit the manifest.
    """
    spec, backbone = bundle.manifest.probes, bundle.manifest.backbone
    names = ("frames", "rows", "patches", "distances", "maps", "scores")
    frames, rows, patches, distances, maps, scores = (bundle.array(f"probes/{name}") for name in names)
    count, (height, width) = spec.count, spec.size
    stack = bundle.manifest.frame.stack
    colour = (3,) if stack is None or frames.ndim == 5 else ()
    shapes = {
        "frames": (frames.shape, (count, *(() if stack is None else (stack.pictures,)), height, width, *colour)),
        "rows": (rows.shape, (spec.rows,)),
        "patches": (patches.shape, (count, spec.rows, backbone.dim)),
        "distances": (distances.shape[:1], (count,)),
        "maps": (maps.shape, (count, height, width) if bundle.manifest.has_map else (count, 0, 0)),
        "scores": (scores.shape, (count,)),
    }
    for name, (got, expected) in shapes.items():
        if got != expected:
            raise BundleCorruptError(f"probes/{name} has the wrong shape", expected=expected, got=got)
    for name, array in zip(names, (frames, rows, patches, distances, maps, scores), strict=True):
        dtype = {"frames": "uint8", "rows": "int32"}.get(name, "float32")
        if array.dtype != dtype:
            raise BundleCorruptError(f"probes/{name} has the wrong dtype", expected=dtype, got=array.dtype)
    if rows.size and not (rows.min() >= 0 and rows.max() < backbone.grid[0] * backbone.grid[1]):
        raise BundleCorruptError("probes/rows names patches outside the grid", expected=backbone.grid, got=rows.max())
    found = _confidences(bundle, count)
    return [
        Probe(frames[i], rows, Answer(patches[i], distances[i], maps[i], float(scores[i]), found[i]))
        for i in range(count)
    ]


def _confidences(bundle: Bundle, count: int) -> list[float] | list[None]:
    if bundle.manifest.align is None:
        return [None] * count
    found = bundle.array("probes/confidences")
    if found.shape != (count,) or found.dtype != np.float32 or not (np.abs(found) <= 1).all():
        raise BundleCorruptError(
            "probes/confidences does not fit the manifest",
            expected=f"({count},) float32, -1..1",
            got=f"{found.shape} {found.dtype}",
        )
    return [float(value) for value in found]


def deviations(expected: Answer, got: Answer) -> dict[str, float]:
    """Largest difference of each quantity, relative to the largest expected value of it; NaN counts as infinite.

    That of the confidence is absolute: 1 is its largest value.
    """
    pairs = {
        "patches": (got.patches, expected.patches),
        "distances": (got.distances, expected.distances),
        "map": (got.anomaly_map, expected.anomaly_map),
        "score": (np.array([got.score]), np.array([expected.score])),
    }
    found = {name: relative_difference(a, b) for name, (a, b) in pairs.items()}
    if expected.confidence is not None:
        known = got.confidence is not None and math.isfinite(got.confidence)
        found["confidence"] = abs((got.confidence or 0.0) - expected.confidence) if known else math.inf
    return found


def relative_difference(got: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """max |got - expected| / max |expected|; infinite where shapes differ or either holds NaN or Inf."""
    if got.shape != expected.shape or not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return float("inf")
    scale = float(np.abs(expected).max(initial=0.0))
    return float(np.abs(got - expected).max(initial=0.0)) / (scale or 1.0)
