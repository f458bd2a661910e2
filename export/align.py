"""`--align`: the reference that frames are aligned with, from the good images alone.

1. Of some good images, the one that the others look most like, and whose part lies in the middle of theirs, is the one
   that they are aligned with; or `--align-to` names it. A region of interest is drawn on this one.
2. The reference is the median of small copies of good images, aligned with that one.
3. Good images in which the part is not found are left out. Some of the others are moved at random, within the limits:
   how surely the part is found in them sets the confidence that a frame must reach.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle.file import Members
from edge_ad.errors import DatasetError
from edge_ad.frames.align import Aligner, pose_of, small_copy
from edge_ad.frames.check import check_frame, read_frame
from edge_ad.frames.crop import resize
from edge_ad.frames.picture import to_picture
from edge_ad.frames.place import Place
from edge_ad.spec import AlignSpec, Frame, FrameSpec, Size
from edge_ad.system.names import listed
from edge_ad.system.progress import Progress
from export.options import Options
from export.roi import DrawnRoi, read_roi
from export.roi_auto import AUTO, auto_region
from export.summary import Summary

SIDE = 128  # pixels of the longer side of the reference
PICTURE = 512  # pixels of the longer side of the picture of a good image
SHIFT, TURN_DEG, SCALE = 0.2, 20.0, 0.1  # how far a part may move
LEAST = 0.35  # of the confidence, whatever the good images say: other things reach 0.31 (bench/NOTES.md)
_SHARE = 0.75  # of the least confidence of a good image: what a frame must reach
_SEEN, _SEEN_REGION = 0.5, 0.97  # share that a frame must show: of the whole picture, of a region
_CANDIDATES, _OTHERS = 16, 32  # images that may be the one to align with; that are aligned with it
_ALIKE = 0.03  # candidates that the others look so nearly as much like are as good
_MOVED, _MOVES = 24, 0.8  # images that are moved; how far, of the limits
_TRIES = 40  # to find a move after which the frame still shows the region; each is smaller
_ODD = 0.1  # of the good images at most may not be found
_RIM = 0.04  # of the longer side: what is around a region shows its outline
_LISTED = 5  # names in a message
_NONE = np.zeros((16, 16, 3), np.uint8)


@dataclass(frozen=True)
class Alignment:
    """How an export follows the part.

    Attributes:
        aligner: finds it.
        region: region of interest in the reference; None for the whole frame.
        good_images: files in which it was found.
    """

    aligner: Aligner
    region: DrawnRoi | None
    good_images: list[Path]


def members_of(aligner: Aligner) -> Members:
    """The members of a bundle that hold what an aligner was made of."""
    return {"align/reference": aligner.reference, "align/mask": aligner.mask, "align/picture": aligner.picture}


def align(paths: Sequence[Path], frame: FrameSpec, options: Options, summary: Summary) -> Alignment:
    """Makes the reference, finds the region of interest in it, and measures how surely the part is found.

    Raises:
        DatasetError: the part is not found in many of the images: they do not show one part in much the same way.
        FrameError: an image cannot be read.
        SpecError: the region cannot be used.
    """
    whole = _Images.read(paths, frame)
    region = read_roi(options.roi, frame.size) if options.roi not in (None, AUTO) and frame.size else None
    spec = _spec(options.align or "", whole.size, region)
    aligner = _reference(whole, spec, _mask(region, whole.size), options)
    if options.roi == AUTO:
        there = [path for path, small in whole.smalls.items() if aligner.find_small(small, whole.size).found]
        found = auto_region(there, frame, options.roi_margin / 100, aligner)
        summary.say("region", found.sentence)
        region = found.region
        seen = _SEEN if region is None else _SEEN_REGION
        spec, mask = replace(aligner.spec, least_seen=seen), _mask(region, whole.size)
        aligner = Aligner(spec, aligner.reference, mask, aligner.picture, frame.white_level)
    places = {path: aligner.find_small(small, whole.size) for path, small in whole.smalls.items()}
    kept = [path for path in paths if places[path].found]
    lost = [path.name for path in paths if not places[path].found]
    if len(lost) > _ODD * len(paths):
        raise _not_alike(f"the part is not found in {len(lost)} of {len(paths)} good images: {listed(lost, _LISTED)}")
    if lost:
        summary.say("left out", f"{len(lost)} in which the part is not found: {listed(lost, _LISTED)}")
    return Alignment(_settled(aligner, places, kept, frame, options, summary), region, kept)


@dataclass(frozen=True)
class _Images:
    """Small grey copies of images, by their files, of (h, w) `size`."""

    smalls: dict[Path, NDArray[np.uint8]]
    size: Size
    frame: FrameSpec

    @classmethod
    def read(cls, paths: Sequence[Path], frame: FrameSpec) -> _Images:
        smalls: dict[Path, NDArray[np.uint8]] = {}
        size = frame.size
        with Progress("reference", len(paths), unit="images") as progress:
            for path in paths:
                pixels = _read(path, frame)
                size = size or (pixels.shape[0], pixels.shape[1])
                small = _small_size(size)
                smalls[path] = small_copy(pixels, small, frame.white_level)
                progress.update(1)
        assert size is not None
        return cls(smalls, _small_size(size), frame)


def _read(path: Path, frame: FrameSpec) -> Frame:
    return check_frame(read_frame(path), frame, os.fspath(path))


def _picture(path: Path, frame: FrameSpec) -> NDArray[np.uint8]:
    """(h, w, 3) u8 BGR: an image with `PICTURE` pixels on the longer side at most."""
    picture = to_picture(_read(path, frame), frame.white_level)
    shrink = min(1.0, PICTURE / max(picture.shape[:2]))
    size = (max(16, round(picture.shape[0] * shrink)), max(16, round(picture.shape[1] * shrink)))
    return np.asarray(resize(picture, size, None, "area"), np.uint8)


def _small_size(size: Size) -> Size:
    shrink = min(1.0, SIDE / max(size))
    return max(16, round(size[0] * shrink)), max(16, round(size[1] * shrink))


def _spec(motion: str, size: Size, region: DrawnRoi | None) -> AlignSpec:
    turns = motion != "shift"
    return AlignSpec(
        motion=motion,  # type: ignore[arg-type] # `Options` has checked it
        size=size,
        picture=size,
        most_shift=SHIFT,
        most_turn=TURN_DEG if turns else 0.0,
        most_scale=SCALE if turns else 0.0,
        least_seen=_SEEN if region is None else _SEEN_REGION,
        least=LEAST,
        good=0.0,
        images=1,
    )


def _mask(region: DrawnRoi | None, size: Size) -> NDArray[np.uint8]:
    """(h, w) u8, 255 where the part is, and 128 around it: all, or the region with its rim."""
    if region is None:
        return np.full(size, 255, np.uint8)
    small = cv2.resize(region.mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) > 0
    reach = 2 * max(1, round(_RIM * max(size))) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    around = cv2.dilate(small.astype(np.uint8), kernel)
    return np.where(small, np.uint8(255), np.uint8(128) * around)


def _reference(images: _Images, spec: AlignSpec, mask: NDArray[np.uint8], options: Options) -> Aligner:
    """The aligner of the median of images, which are aligned with one of them. That one gives the picture."""
    white, paths = images.frame.white_level, [*images.smalls]
    chosen = np.random.default_rng([options.seed, 5]).permutation(len(paths))[:_OTHERS]
    smalls = [images.smalls[paths[number]] for number in sorted(chosen.tolist())]
    if options.align_to is not None:
        path = options.align_to
        first = small_copy(_read(path, images.frame), spec.size, white)
    else:
        first = _most_typical(smalls, spec, mask, white)
        path = next(path for path, small in images.smalls.items() if small is first)
    picture = _picture(path, images.frame)
    spec = replace(spec, picture=picture.shape[:2])
    anchor = Aligner(spec, first, mask, picture, white)
    moved = [first.astype(np.float32)]
    for small in smalls:
        place = anchor.find_small(small, spec.size)
        if place.found and small is not first:
            seen = place.mask_at_reference(np.ones(spec.size, np.bool_))
            moved.append(np.where(seen, place.picture_at_reference(small), np.float32(np.nan)))
    if 2 * len(moved) < len(smalls):
        raise _not_alike(f"the part of {len(smalls)} good images is found in {len(moved)} of them only")
    median = np.rint(np.nanmedian(np.stack(moved), axis=0)).astype(np.uint8)
    return Aligner(spec, median, mask, picture, white)


def _most_typical(
    smalls: Sequence[NDArray[np.uint8]], spec: AlignSpec, mask: NDArray[np.uint8], white: int
) -> NDArray[np.uint8]:
    """The image that the others look most like; of several such ones, that whose part lies in the middle of theirs."""
    alike: list[float] = []
    away: list[float] = []
    for candidate in smalls[:_CANDIDATES]:
        aligner = Aligner(spec, candidate, mask, _NONE, white)
        places = [aligner.find_small(small, spec.size) for small in smalls if small is not candidate]
        alike.append(float(np.median([place.confidence for place in places])) if places else 0.0)
        found = [place for place in places if place.found]
        away.append(_away(found, spec) if found else math.inf)
    best = [number for number, value in enumerate(alike) if value >= max(alike) - _ALIKE]
    return smalls[min(best, key=lambda number: away[number])]


def _away(places: Sequence[Place], spec: AlignSpec) -> float:
    """How far the part of a candidate lies from the middle of the others' parts, in units of the limits."""
    poses = np.median([[*place.shift, place.turn_deg, place.scale - 1] for place in places], axis=0)
    limits = np.array([SHIFT * spec.size[0], SHIFT * spec.size[1], TURN_DEG, SCALE])
    return float(np.abs(poses / limits).sum())


def _settled(
    aligner: Aligner,
    places: dict[Path, Place],
    kept: Sequence[Path],
    frame: FrameSpec,
    options: Options,
    summary: Summary,
) -> Aligner:
    """The aligner with the confidence that a frame must reach: from good images, as they are and moved."""
    generator = np.random.default_rng([options.seed, 6])
    chosen = [kept[number] for number in sorted(generator.permutation(len(kept))[:_MOVED].tolist())]
    confidences = [places[path].confidence for path in kept]
    errors: list[float] = []
    with Progress("moved images", len(chosen), unit="images") as progress:
        for path in chosen:
            pixels = _read(path, frame)
            moved, wanted = _moved(pixels, aligner, generator)
            found = aligner.find(moved)
            if found.found:
                confidences.append(found.confidence)
                middle = np.array([wanted.frame_size[1] / 2, wanted.frame_size[0] / 2, 1])
                apart = (found.matrix - wanted.matrix) @ middle
                errors.append(float(np.hypot(*apart)) / max(wanted.frame_size))
            progress.update(1)
    low = min(confidences)
    spec = replace(aligner.spec, least=max(LEAST, _SHARE * low), good=low, images=len(kept))
    again = f"{len(errors)} of {len(chosen)} that were moved at random"
    within = f", within {100 * float(np.median(errors)):.2f}% of the frame (median)" if errors else ""
    summary.say(
        "align",
        f"{spec.motion}: the part is found in {len(kept)} good images and again in {again}{within}; confidence "
        f"{low:.2f} or more, so it counts as found from {spec.least:.2f}",
    )
    return Aligner(spec, aligner.reference, aligner.mask, aligner.picture, frame.white_level)


def _moved(pixels: Frame, aligner: Aligner, generator: np.random.Generator) -> tuple[Frame, Place]:
    """A frame whose part was moved at random, within the limits and the picture, and where it then lies."""
    spec, size = aligner.spec, (pixels.shape[0], pixels.shape[1])
    there = np.vstack([aligner.find(pixels).matrix, [0, 0, 1]])
    for most in np.linspace(_MOVES, 0, _TRIES):
        dy, dx, turn, scale = generator.uniform(-most, most, 4)
        pose = turn * spec.most_turn, 1 + scale * spec.most_scale, dy * spec.most_shift, dx * spec.most_shift
        wanted = pose_of(*pose, size)
        if aligner.shows(wanted):
            break
    move = (np.vstack([wanted.matrix, [0, 0, 1]]) @ np.linalg.inv(there))[:2]
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
    return cv2.warpAffine(pixels, move, size[::-1], flags=flags, borderMode=border), wanted


def _not_alike(got: str) -> DatasetError:
    return DatasetError(
        "--align cannot follow the part",
        expected=f"good images of one part, turned by {TURN_DEG:g} degrees and moved by {100 * SHIFT:g}% of the frame "
        "at most",
        got=got,
        remedy="Export without --align, or give --roi auto or a region around the part if the background differs.",
    )
