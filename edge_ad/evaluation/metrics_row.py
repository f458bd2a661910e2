"""The metrics of the saved scores and maps: a row of the summary, and notes for a reader.

Pixel metrics are measured in frame pixels. With a region of interest they use only its pixels: outside it the map is 0
by definition, and those pixels would count as true negatives although nothing was inspected there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle.file import Bundle
from edge_ad.bundle.roi import open_roi
from edge_ad.errors import FrameError
from edge_ad.evaluation.run import Inspected, Result, load_map, map_path
from edge_ad.frames.crop import scale_box
from edge_ad.frames.mask import marked_pixels
from edge_ad.metrics import ImageMetrics, PixelMetrics, PixelSample, Rate, image_metrics, pixel_metrics
from edge_ad.spec import Size
from edge_ad.system.names import listed
from edge_ad.system.percentiles import percentiles

_ASPECT_PX = 2.0  # a mask of another size may differ from the frame's aspect ratio by this much
_LISTED = 3  # names in a note

Keep = Callable[[Size], NDArray[np.bool_] | None]


@dataclass(frozen=True)
class Mask:
    """The content of a mask file.

    Attributes:
        pixels: (H, W) bool in frame pixels; None if it cannot be used.
        why: the reason then.
        resized: True if it had another size with the same aspect ratio.
    """

    pixels: NDArray[np.bool_] | None
    why: str | None = None
    resized: bool = False


def read_mask(path: str | Path, size: Size) -> Mask:
    """A mask image, as `marked_pixels` understands it.

    A mask of another size is resized (nearest neighbour) if it has the aspect ratio of the frame. If not, it belongs to
    another picture and is not used.

    Raises:
        DatasetError: it is unclear what the mask marks.
    """
    try:
        pixels = marked_pixels(path)
    except FrameError as error:
        return Mask(None, f"cannot be read ({error.what})")
    height, width = pixels.shape
    if (height, width) == size:
        return Mask(pixels)
    if abs(height * size[1] / width - size[0]) > _ASPECT_PX:
        return Mask(None, f"is {height} x {width}, the image {size[0]} x {size[1]}")
    nearest = cv2.resize(pixels.astype(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    return Mask(nearest > 0, resized=True)


def roi_of(bundle: Bundle) -> Keep:
    """A function from the size of a frame to the (H, W) bool pixels of its region of interest, None for all."""
    manifest = bundle.manifest
    if manifest.roi is None:
        return lambda size: None
    mask, backbone = np.array(open_roi(bundle).pixels), manifest.backbone

    def keep(size: Size) -> NDArray[np.bool_]:
        y0, x0, y1, x1 = scale_box(backbone.crop, backbone.input_size, size)
        kept = np.zeros(size, np.bool_)
        kept[y0:y1, x0:x1] = cv2.resize(mask, (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST) > 0
        return kept

    return keep


def metrics_row(result: Result, keep: Keep, has_roi: bool, folder: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The row of the summary and notes. A metric that these images cannot give is None."""
    facts, notes = result.facts, []
    if result.failed:
        notes.append(f"{len(result.failed)} images cannot be inspected and are left out ({result.failed[0][1]})")
    if lost := [image for image in result.images if not image.found]:
        good = sum(image.defect is None for image in lost)
        notes.append(f"the part was not found in {len(lost)} images ({good} of them good), which are rejected")
    labels = np.array([image.defect is not None for image in result.images], np.bool_)
    images = image_metrics(np.array([i.score for i in result.images], np.float64), labels, facts["threshold"])
    if result.images and not images.defects:
        notes.append("all test images are good: no ranking metrics and no miss rate")
    if result.images and not images.goods:
        notes.append("all test images are defects: no ranking metrics and no false reject rate")
    samples = _Samples(result.images, keep, folder)
    notes += samples.check()
    # without a defect pixel there are no pixel metrics, and the maps need not be read
    pixels = pixel_metrics(samples, facts["pixel_threshold"]) if samples.masked else None
    if pixels is not None and has_roi:
        notes.append("pixel metrics use only the pixels in the region of interest")
    ms = [image.ms for image in result.images]
    return {**_of_images(images, len(result.failed)), **_of_pixels(pixels), **_of_time(ms)}, tuple(notes)


def _of_images(found: ImageMetrics, failed: int) -> dict[str, Any]:
    confusion = found.confusion
    return {
        "goods": found.goods,
        "defects": found.defects,
        "failed": failed,
        "image_auroc": found.auroc,
        "image_ap": found.ap,
        "image_f1_max": found.f1_max,
        "f1_threshold": found.f1_threshold,
        "threshold": found.threshold,
        "tp": confusion.tp,
        "fn": confusion.fn,
        "fp": confusion.fp,
        "tn": confusion.tn,
        **_of_rate("false_reject", found.false_reject),
        **_of_rate("miss", found.miss),
    }


def _of_rate(name: str, rate: Rate | None) -> dict[str, float | None]:
    values = (None, None, None) if rate is None else (rate.value, rate.low, rate.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def _of_pixels(found: PixelMetrics | None) -> dict[str, float | None]:
    names = ("auroc", "ap", "au_pro_30", "au_pro_05", "seg_f1")
    return {name if "pro" in name or "seg" in name else f"pixel_{name}": getattr(found, name, None) for name in names}


def _of_time(ms: Sequence[float]) -> dict[str, float | None]:
    values = percentiles(ms) if ms else (None, None, None)
    return dict(zip(("ms_p50", "ms_p95", "ms_p99"), values, strict=True))


class _Samples:
    """Map and mask of each image, loaded again in each iteration.

    If the region of interest is not a rectangle, an image is given in parts that hold only its pixels: one row of
    its good pixels, and one row for each defect region. Every metric is a sum over good pixels and over regions, so
    this does not change it.
    """

    def __init__(self, images: Sequence[Inspected], keep: Keep, folder: Path) -> None:
        self._images = [image for image in images if image.has_map]
        self._maps = len(self._images) == len(images)
        self._keep, self._folder = keep, folder
        self.masked = False

    def check(self) -> list[str]:
        """Reads every mask. Leaves out images whose mask is missing or unusable, and adds a note."""
        notes, usable = [], []
        missing: list[str] = []
        unusable: list[str] = []
        resized = empty = defects = 0
        for image in self._images:
            defects += image.defect is not None
            if image.mask is None:
                if image.defect is None:
                    usable.append(image)
                else:
                    missing.append(image.name)
                continue
            mask = read_mask(image.mask, self._load(image).shape)
            wrong = (
                "marks a defect in a good image"
                if mask.pixels is not None and _is_wrong(image, mask.pixels)
                else mask.why
            )
            if wrong is not None or mask.pixels is None:
                unusable.append(f"{image.name}: its mask {wrong}")
                continue
            usable.append(image)
            resized += mask.resized
            empty += image.defect is not None and not mask.pixels.any()
            self.masked = self.masked or bool(mask.pixels.any())
        self._images = usable
        if not self._maps:
            notes.append("this method gives no anomaly map: no pixel metrics")
        if missing:
            what = "no pixel metrics" if len(missing) == defects else "pixel metrics leave them out"
            notes.append(f"{len(missing)} of {defects} defects have no mask: {what}")
        if unusable:
            shown = listed(unusable, _LISTED, "; ")
            notes.append(f"masks that cannot be used, left out of pixel metrics: {shown}")
        if resized:
            notes.append(f"{resized} masks have another size than their image and are resized")
        if empty:
            notes.append(f"{empty} masks of defects are empty: all their pixels count as good")
        return notes

    def __iter__(self) -> Iterator[PixelSample]:
        for image in self._images:
            amap, is_defect = self._load(image), image.defect is not None
            size = (amap.shape[0], amap.shape[1])
            mask = None if image.mask is None else read_mask(image.mask, size).pixels
            kept = self._keep(size)
            if kept is None:
                yield PixelSample(image.name, amap, mask, is_defect)
            else:
                yield from _parts(image.name, amap, mask, kept)

    def _load(self, image: Inspected) -> NDArray[np.float32]:
        return load_map(map_path(self._folder, image.slug))


def _is_wrong(image: Inspected, mask: NDArray[np.bool_]) -> bool:
    return image.defect is None and bool(mask.any())


def _parts(
    name: str, amap: NDArray[np.float32], mask: NDArray[np.bool_] | None, kept: NDArray[np.bool_]
) -> Iterator[PixelSample]:
    """The good pixels inside the region as (1, n) without a mask, and each defect region as (1, n) of defect pixels."""
    good = amap[kept if mask is None else kept & ~mask]
    if len(good):
        yield PixelSample(name, good[None], None, is_defect=False)
    if mask is None:
        return
    count, labels = cv2.connectedComponents((mask & kept).astype(np.uint8), connectivity=8)
    for label in range(1, count):
        region = amap[labels == label]
        yield PixelSample(name, region[None], np.ones((1, len(region)), np.bool_), is_defect=True)
