"""What a runtime sees of labelled images, and where their masks are: shared by the benches of accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad import Runtime
from edge_ad.data.layouts import TestImage
from edge_ad.errors import DatasetError
from edge_ad.frames.mask import marked_pixels
from edge_ad.spec import Size

SIZE = (256, 256)  # (H, W) at which maps and masks are compared


@dataclass(frozen=True, eq=False)
class Seen:
    """What a runtime says of n images.

    Attributes:
        scores: (n,) float64.
        anomalous: (n,) bool, at the threshold of the bundle.
        maps: (n, *SIZE) float32; None if the method has none.
        ms: (n,) milliseconds of each, reading the file left out.
    """

    scores: NDArray[np.float64]
    anomalous: NDArray[np.bool_]
    maps: NDArray[np.float32] | None
    ms: NDArray[np.float64]


def see(runtime: Runtime, images: Sequence[TestImage]) -> Seen:
    """Inspects the images, one after the other."""
    verdicts, maps = [], []
    for image in images:
        verdict = runtime.inspect(image.path)
        timings = verdict.timings
        verdicts.append((verdict.score, verdict.is_anomalous, timings["total"] - timings["read"]))
        if verdict.has_map:
            maps.append(cv2.resize(verdict.anomaly_map, SIZE[::-1], interpolation=cv2.INTER_AREA))
    scores, anomalous, ms = zip(*verdicts, strict=True)
    return Seen(np.array(scores), np.array(anomalous), np.stack(maps) if maps else None, np.array(ms))


def masks_of(images: Sequence[TestImage], size: Size = SIZE) -> NDArray[np.bool_]:
    """(n, *size) masks of the images; True on a defect.

    Raises:
        DatasetError: a defect has none.
    """
    masks = np.zeros((len(images), *size), np.bool_)
    for mask, image in zip(masks, images, strict=True):
        if image.defect is None:
            continue
        if image.mask is None:
            raise DatasetError(
                f"no mask for {image.path}", expected="one for every defect, for pixel AUROC", got="none"
            )
        pixels = marked_pixels(image.mask).astype(np.uint8)
        mask[:] = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_NEAREST) > 0
    return masks
