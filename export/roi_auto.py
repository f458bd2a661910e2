"""`--roi auto`: the region of interest from the good images alone.

1. In a small copy of each image, the background is what a flood from the border reaches (`export.synth.study`). The
   rest is the object: its holes and gaps closed, without specks. The image counts if the background is plain and
   the outline is clear.
2. Images whose object is far larger or smaller than usual are odd. They are left out, and counted.
3. GrabCut (Rother, Kolmogorov and Blake, 2004) corrects the outline in a band: a flood takes a soft shadow for object.
4. The region is the union over all images, closed, with a margin. Parts may move: where one is in any image is kept.
   Where half the margin already covers an image's object, step 3 can add nothing and is left out.

Defects and their masks are never looked at. Where this finds no object before a background, the whole frame is kept.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SpecError
from edge_ad.frames.align import Aligner
from edge_ad.frames.capture import open_frame
from edge_ad.frames.picture import to_picture
from edge_ad.frames.roi import filled
from edge_ad.spec import FrameSpec
from edge_ad.system.progress import Progress
from export.roi import DrawnRoi
from export.synth.shapes import blur
from export.synth.study import ground_of, is_plain

AUTO = "auto"  # the value of --roi
MARGIN = 0.02  # of the longer side, around the union
_SMALL = 256  # pixels of the longer side of the copies
_ODD = 0.1  # of the images at most may be odd, or show no object
_LEAST, _MOST = 0.01, 0.9  # share of the frame that an object, and the region, may have
_BORDER = 0.25  # share of the frame's border that an object may touch
_SHARP = 0.045  # of the range from black to white: an outline changes by more, light that falls off by 0.03 at most
_PART = 0.05  # of the largest part: smaller ones are specks
_AREAS = (0.5, 1.6)  # times the median area: beyond them an image is odd
_READERS = 8

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class AutoRoi:
    """What was found.

    Attributes:
        region: the region; None: the whole frame is kept.
        sentence: what was found, or why the whole frame is kept.
    """

    region: DrawnRoi | None
    sentence: str


def auto_region(
    paths: Sequence[Path], frame: FrameSpec, margin: float = MARGIN, aligner: Aligner | None = None
) -> AutoRoi:
    """The region that the objects of these good images lie in.

    Args:
        paths: good images.
        frame: what frames are; its size is None where the images differ in size.
        margin: around the objects, as a share of the longer side; below 0 the region ends inside them.
        aligner: moves each image to its reference first.

    Raises:
        FrameError: an image cannot be read.
        SpecError: a margin below 0 leaves nothing of the objects.
    """
    if frame.size is None:
        return _whole("the images differ in size")
    looks = _looks(paths, frame, aligner)
    things = {path: look for path, look in zip(paths, looks, strict=True) if isinstance(look, Small)}
    if len(paths) - len(things) > _ODD * len(paths):
        reasons = [look for look in looks if isinstance(look, str)]
        usual = max(dict.fromkeys(reasons), key=reasons.count)
        return _whole(f"{usual} in {reasons.count(usual)} of {len(paths)} images")
    areas = {path: thing.area for path, thing in things.items()}
    middle = float(np.median([*areas.values()]))
    usual_things = {p: t for p, t in things.items() if _AREAS[0] * middle <= areas[p] <= _AREAS[1] * middle}
    odd = len(paths) - len(usual_things)
    if odd > _ODD * len(paths):
        return _whole(f"the object has another size in {odd} of {len(paths)} images")
    union, least = _union(usual_things, frame, margin, aligner)
    share = float(union.mean())
    if share == 0:
        raise SpecError(
            "the margin leaves nothing of the objects",
            expected="a margin that is larger, or above 0",
            got=f"{100 * margin:g}% of the longer side",
            remedy="Give another --roi-margin.",
        )
    if share > _MOST:
        return _whole(f"the object takes {100 * share:.0f}% of the frame")
    large = cv2.resize(union.astype(np.float32), (frame.size[1], frame.size[0]), interpolation=cv2.INTER_LINEAR) > 0
    region = DrawnRoi(f"{AUTO} from {len(usual_things)} images", large)
    said = f"{100 * large.mean():.0f}% of the frame, from {len(usual_things)} good images"
    said += f", of whose objects it covers {100 * least:.1f}% or more"
    return AutoRoi(region, said + (f"; {odd} images with another object, or none, are left out" if odd else ""))


class Small:
    """An (h, w) bool mask in an eighth of the memory: there may be thousands of good images."""

    def __init__(self, mask: Mask) -> None:
        self._bits, self._width, self.area = np.packbits(mask, axis=1), mask.shape[1], int(mask.sum())

    @property
    def mask(self) -> Mask:
        """The mask, a new array."""
        return np.unpackbits(self._bits, axis=1, count=self._width).astype(np.bool_)


def _whole(reason: str) -> AutoRoi:
    return AutoRoi(None, f"the whole frame is kept: {reason}")


def _looks(paths: Sequence[Path], frame: FrameSpec, aligner: Aligner | None) -> list[Small | str]:
    """The object of each image, or why there is none."""
    found: list[Small | str] = []
    pool = ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1), thread_name_prefix="region")
    try:
        with Progress("region", len(paths), unit="images") as progress:
            for look in pool.map(lambda path: object_in(small_copy(path, frame, aligner)), paths):
                found.append(look if isinstance(look, str) else Small(look))
                progress.update(1)
    finally:
        pool.shutdown(cancel_futures=True)  # so that Ctrl-C does not wait for the rest
    return found


def small_copy(path: Path, frame: FrameSpec, aligner: Aligner | None = None) -> NDArray[np.uint8]:
    """(h, w, 3) u8 BGR: a copy of an image with `_SMALL` pixels on the longer side, or the image if it is smaller.

    With an aligner, it is moved to the reference.
    """
    pixels, _ = open_frame(path, frame)
    image = to_picture(pixels, frame.white_level)
    if aligner is not None:
        image = aligner.find(pixels).picture_at_reference(image)
    scale = min(1.0, _SMALL / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def object_in(small: NDArray[np.uint8]) -> Mask | str:
    """(h, w) bool: the object of a small picture by the flood alone, or why there is none."""
    shown = small.astype(np.float32) / np.float32(255)
    ground = ground_of(shown)
    rest = cv2.morphologyEx((~ground).astype(np.uint8), cv2.MORPH_CLOSE, _disc(max(1, min(ground.shape) // 80)))
    thing = _parts(filled(rest > 0))
    share, border = float(thing.mean()), np.concatenate([thing[0], thing[-1], thing[:, 0], thing[:, -1]]).mean()
    if share < _LEAST:
        return "there is no object"
    if share > _MOST or border > _BORDER:
        return "the object fills the frame"
    if _sharpness(shown, thing) < _SHARP:
        return "the object has no clear outline"
    return thing if is_plain(shown, ~thing) else "what surrounds the object is not plain"


def _sharpness(shown: NDArray[np.float32], thing: Mask) -> float:
    """How much pixel values change within 5 pixels at three quarters of the outline; the frame's border is none.

    Where light falls off towards the corners a flood ends too, but nothing changes there: that is no object.
    """
    change = cv2.morphologyEx(blur(shown, 1.0), cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)).max(axis=2)
    rim = thing & (cv2.erode(thing.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) == 0)
    return float(np.percentile(change[rim], 25)) if rim.any() else 0.0


def refined(small: NDArray[np.uint8], thing: Mask) -> Mask:
    """The object with its outline corrected by GrabCut, in a band around that of the flood."""
    band = _disc(max(3, min(thing.shape) // 32))
    labels = np.where(thing, np.uint8(cv2.GC_PR_FGD), np.uint8(cv2.GC_PR_BGD))
    labels[cv2.dilate(thing.astype(np.uint8), band) == 0] = cv2.GC_BGD
    labels[cv2.erode(thing.astype(np.uint8), band) > 0] = cv2.GC_FGD
    if not ((labels == cv2.GC_BGD).any() and (labels == cv2.GC_FGD).any()):  # thin, or all in the band
        return thing
    cv2.setRNGSeed(0)  # of this thread: GrabCut begins with random clusters
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, labels, None, *models, 2, cv2.GC_INIT_WITH_MASK)
    return _parts(filled((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)))


def _union(things: dict[Path, Small], frame: FrameSpec, margin: float, aligner: Aligner | None) -> tuple[Mask, float]:
    """(h, w) bool: the closed union of all objects with the margin, and the least share of an object that it covers."""
    shape = next(iter(things.values())).mask.shape
    reach = round(margin * max(shape))
    union, near = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    seen: list[Small] = []
    for path, small in things.items():
        thing = small.mask
        if not (thing & ~near).any():
            seen.append(small)
            continue
        thing = refined(small_copy(path, frame, aligner), thing)
        seen.append(Small(thing))
        union |= thing
        near = filled(cv2.dilate(union.astype(np.uint8), _disc(max(1, reach // 2))) > 0)
    move = cv2.dilate if reach > 0 else cv2.erode
    found = filled(move(filled(union).astype(np.uint8), _disc(abs(reach))) > 0)
    return found, min(float((found & thing.mask).sum() / thing.area) for thing in seen)


def _parts(mask: Mask) -> Mask:
    """The largest connected part, and all that are no specks beside it."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    found: Mask = (areas >= _PART * areas.max())[labels] & mask
    return found


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2), np.uint8)
