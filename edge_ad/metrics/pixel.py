"""Metrics of anomaly maps. The first pass over the images collects defect pixels, the second counts good pixels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SpecError
from edge_ad.metrics.ranking import Ranks, check_threshold, rank

PRO_LIMITS = (0.30, 0.05)  # false positive rates up to which the PRO curve is integrated
_BLOCK = 1 << 22  # pixels that are sorted, or looked up, at once


@dataclass(frozen=True)
class PixelMetrics:
    """The result of `pixel_metrics`. A value that these images cannot give is None.

    Attributes:
        images: how many were used.
        unmasked: names of the defects that were left out because they have no mask.
        good_pixels, defect_pixels: over all images that were used.
        regions: connected defect regions (8 neighbours).
        auroc, ap: as for images, over all pixels.
        au_pro_30, au_pro_05: area under the PRO curve up to a false positive rate of 0.30 or 0.05, divided by it.
        threshold: threshold of `seg_f1`, in units of the maps.
        seg_f1: F1 score of the pixels at the threshold, over all images.
    """

    images: int
    unmasked: tuple[str, ...]
    good_pixels: int
    defect_pixels: int
    regions: int
    auroc: float | None
    ap: float | None
    au_pro_30: float | None
    au_pro_05: float | None
    threshold: float
    seg_f1: float | None


@dataclass(frozen=True, eq=False)
class PixelSample:
    """The anomaly map of a test image and its true mask. Checked on construction.

    Attributes:
        name: of the image, for messages.
        anomaly_map: (H, W) float32, finite.
        mask: (H, W) bool, True where the defect is. None for a good image means that all its pixels are good. None for
            a defect means unknown, and the image is left out. A defect with an empty mask has good pixels only.
        is_defect: the label of the image.

    Raises:
        SpecError: map or mask has a wrong dtype or shape, the map holds NaN or Inf, or a good image has a mask that is
            not empty.
    """

    name: str
    anomaly_map: NDArray[np.float32]
    mask: NDArray[np.bool_] | None
    is_defect: bool

    def __post_init__(self) -> None:
        amap, mask = self.anomaly_map, self.mask
        if amap.dtype != np.float32 or amap.ndim != 2 or not amap.size:
            got = f"{amap.dtype} {amap.shape}"
            raise SpecError(f"the anomaly map of {self.name} cannot be evaluated", expected="(H, W) float32", got=got)
        if not np.isfinite(amap).all():
            raise SpecError(f"the anomaly map of {self.name} holds NaN or Inf", expected="finite values")
        if mask is None:
            return
        if mask.shape != amap.shape:
            raise SpecError(
                f"the mask of {self.name} has another size than its anomaly map",
                expected=f"(H, W) {amap.shape}",
                got=mask.shape,
            )
        if mask.dtype != np.bool_:
            raise SpecError(
                f"the mask of {self.name} has another dtype",
                expected="bool, True where the defect is",
                got=mask.dtype,
                remedy="Compare a mask image with 127.",
            )
        if not self.is_defect and mask.any():
            raise SpecError(
                f"{self.name} is labelled good, but its mask marks a defect",
                expected="an empty mask, or none",
                got=f"{np.count_nonzero(mask)} pixels",
                remedy="Correct the label or the mask.",
            )


def pixel_metrics(samples: Iterable[PixelSample], threshold: float) -> PixelMetrics:
    """The metrics of anomaly maps, over all pixels of all images.

    AUROC and average precision are defined as for images. AU-PRO is the area under the PRO curve (Bergmann et al. 2021,
    "The MVTec Anomaly Detection Dataset", and its evaluation code). For each threshold, y is the share of a defect
    region that reaches it, averaged over all regions, and x is the share of all good pixels that reach it. The
    trapezoidal rule integrates over the distinct thresholds up to a false positive rate, with interpolation at the end,
    and the area is divided by that rate. The area under a mean is the mean of the areas, so each defect pixel adds its
    own area and no curve is made. SegF1 uses a threshold from good images only (Heckler-Kram et al. 2025, "The MVTec
    AD 2 Dataset").

    Args:
        samples: iterated over twice, one at a time: a list, or an object whose `__iter__` loads them again. Memory
            is one sample, 16 MB, and up to 80 bytes for each defect pixel. Maps may differ in size.
        threshold: of the anomaly maps; a pixel is anomalous when its value is at least this.

    Raises:
        SpecError: the threshold is NaN or Inf, or the samples can be iterated over only once. `PixelSample` has
            checked the rest.
    """
    check_threshold(threshold)
    if iter(samples) is samples:
        raise SpecError("the samples are needed twice", expected="a list or the like", got="an iterator")
    seen = _collect(samples, _float32_at_least(threshold))
    defects = len(seen.values)
    auroc = ap = None
    pros: list[float | None] = [None, None]
    if defects and seen.good:
        ranks = rank(seen.values, _good_blocks(samples, max(_BLOCK, defects)))
        if ranks.good != seen.good:
            raise SpecError("the samples changed", expected=f"{seen.good} good pixels again", got=ranks.good)
        auroc, ap = ranks.auroc(), ranks.average_precision()
        pros = [*_au_pro(ranks, seen, PRO_LIMITS)]
    return PixelMetrics(
        images=seen.images,
        unmasked=tuple(seen.unmasked),
        good_pixels=seen.good,
        defect_pixels=defects,
        regions=seen.regions,
        auroc=auroc,
        ap=ap,
        au_pro_30=pros[0],
        au_pro_05=pros[1],
        threshold=float(threshold),
        seg_f1=2 * seen.tp / (seen.tp + seen.fp + defects) if defects else None,
    )


@dataclass(frozen=True)
class _Seen:
    """The result of one pass over the samples: (K,) defect pixels, values float32 and regions int32, and counts."""

    values: NDArray[np.float32]
    region_of: NDArray[np.int32]
    regions: int
    good: int
    tp: int
    fp: int
    images: int
    unmasked: list[str]


def _collect(samples: Iterable[PixelSample], threshold: np.float32) -> _Seen:
    values: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
    region_of: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    regions = good = tp = fp = images = 0
    unmasked = []
    for sample in samples:
        if sample.mask is None and sample.is_defect:
            unmasked.append(sample.name)
            continue
        images += 1
        anomalous = sample.anomaly_map >= threshold
        fp += int(np.count_nonzero(anomalous))
        good += sample.anomaly_map.size
        if sample.mask is None:
            continue
        inside = sample.anomaly_map[sample.mask]
        caught = int(np.count_nonzero(anomalous & sample.mask))
        tp, fp, good = tp + caught, fp - caught, good - len(inside)
        count, labels = cv2.connectedComponents(sample.mask.astype(np.uint8), connectivity=8)
        values.append(inside)
        region_of.append(labels[sample.mask] + np.int32(regions - 1))
        regions += count - 1
    return _Seen(np.concatenate(values), np.concatenate(region_of), regions, good, tp, fp, images, unmasked)


def _good_blocks(samples: Iterable[PixelSample], size: int) -> Iterator[NDArray[np.float32]]:
    """All good pixels, in blocks of at least as many pixels as there are defect pixels. So the look-up of the defect
    pixels in a block costs no more than sorting it. A block is valid until the next one is taken."""
    block, held = np.empty(size, np.float32), 0
    for sample in samples:
        if sample.mask is None and sample.is_defect:
            continue
        good = sample.anomaly_map.reshape(-1) if sample.mask is None else sample.anomaly_map[~sample.mask]
        while len(good):
            part, good = good[: size - held], good[size - held :]
            block[held : held + len(part)] = part
            held += len(part)
            if held == size:
                yield block
                held = 0
    if held:
        yield block[:held]


def _au_pro(ranks: Ranks, seen: _Seen, limits: Iterable[float]) -> list[float]:
    """The area under the PRO curve up to each false positive rate, divided by it."""
    false_positives = [limit * ranks.good for limit in limits]
    steps = [ranks.step_areas(limit) for limit in false_positives]
    sums = [np.zeros(seen.regions) for _ in false_positives]
    for start in range(0, len(seen.values), _BLOCK):
        which = np.searchsorted(ranks.values, seen.values[start : start + _BLOCK])
        region_of = seen.region_of[start : start + _BLOCK]
        for step, total in zip(steps, sums, strict=True):
            total += np.bincount(region_of, weights=step[which], minlength=seen.regions)
    pixels = np.bincount(seen.region_of, minlength=seen.regions)
    return [
        min(1.0, float((total / pixels).mean()) / limit) for total, limit in zip(sums, false_positives, strict=True)
    ]


def _float32_at_least(threshold: float) -> np.float32:
    """The lowest float32 that is at least the threshold. A float32 map compares with it exactly."""
    nearest = np.float32(threshold)
    above: np.float32 = np.nextafter(nearest, np.float32(np.inf))
    return nearest if float(nearest) >= threshold else above
