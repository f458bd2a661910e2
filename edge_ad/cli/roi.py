"""`edge-ad roi BUNDLE|FOLDER`: draws a region of interest, changes it, and says what may be wrong with it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle.file import Bundle
from edge_ad.bundle.probes import load_probes
from edge_ad.cli import OK, export, given_path
from edge_ad.data.layouts import TestImage, check_images, load_category
from edge_ad.errors import DatasetError, SpecError
from edge_ad.evaluation.metrics_row import roi_of
from edge_ad.frames.capture import picture_of
from edge_ad.frames.check import in_declared_order
from edge_ad.frames.crop import scale_box
from edge_ad.frames.mask import marked_pixels
from edge_ad.frames.roi import bounding_box, filled
from edge_ad.frames.roi_picture import roi_picture
from edge_ad.spec import Box, FrameSpec, Size
from edge_ad.system.files import check_outputs, check_target, is_stdout, write_output
from edge_ad.system.names import printable
from edge_ad.system.tables import named

HELP = "Draws a region of interest into a picture, changes it, checks it, and writes it as a mask for the export."

_SHAPE = "y0,x0,y1,x1, a mask image (white keeps), a polygon.json or a labelme file"
_PATCHES = 32  # along the longer side, where no bundle says how many there are
Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Subject:
    """What the region is of.

    Attributes:
        picture: (H, W, 3) u8 BGR, to draw on.
        source: what the region is, for a reader.
        mask: (H, W) bool, True inside.
        crop: box of the bundle's crop in the picture; None without a bundle.
        patch: (height, width) of a patch, in pixels of the picture.
        test: labelled images of the folder.
        files: what was read, for messages.
    """

    picture: Picture
    source: str
    mask: Mask
    crop: Box | None
    patch: tuple[float, float]
    test: Sequence[TestImage] = ()
    files: Sequence[tuple[str, Path]] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add = parser.add_argument
    add("source", type=given_path, metavar="BUNDLE|FOLDER", help="a bundle, or a category's folder of good images")
    add("--roi", metavar="SHAPE", help=f"the region of FOLDER: {_SHAPE}; by default auto, as the export finds it")
    add("--add", metavar="SHAPE", action="append", default=[], help="add this to the region; may be given again")
    add("--remove", metavar="SHAPE", action="append", default=[], help="take this out of it, after what is added")
    add("--on", type=given_path, metavar="IMAGE", help="draw on this image; by default on a good one")
    add("--picture", type=given_path, metavar="FILE.png", help="write the drawing there; default: NAME.roi.png")
    add("--out", type=given_path, metavar="MASK.png", help="write the region there, for `export --roi MASK.png`")


def run(options: argparse.Namespace) -> int:
    """Draws and checks; returns 0.

    Raises:
        EdgeADError: something cannot be read or written, or nothing is left of the region.
    """
    name = Path(os.path.abspath(options.source)).name.removesuffix(".bundle")
    picture = options.picture or Path(f"{name}.roi.png")
    outputs = [("--picture", picture), *([("--out", options.out)] if options.out else [])]
    for option, path in outputs:
        check_target(option, path)
    subject = _of_folder(options) if options.source.is_dir() else _of_bundle(options)
    shapes = [Path(text) for text in (options.roi, *options.add, *options.remove) if text is not None]
    check_outputs(outputs, [*subject.files, *(("a shape", path) for path in shapes)])
    mask = _edited(subject.mask, options.add, options.remove)
    if not mask.any():
        raise SpecError(
            f"nothing is left of the region of {options.source}",
            expected="a pixel inside or more",
            got=f"none, without what --remove takes out: {' and '.join(options.remove)}",
            remedy="Take out less, or leave --remove out.",
        )
    facts = {"region": subject.source, **_facts(mask, subject)}
    drawn = roi_picture(subject.picture, mask, subject.crop)
    write_output(picture, [cv2.imencode(".png", drawn)[1].tobytes()])
    if options.out:
        write_output(options.out, [cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()])
        facts["mask"] = f"{options.out}, for python -m export --roi {options.out}"
    text = named((label, printable(fact)) for label, fact in {**facts, "picture": f"{picture}"}.items())
    print(text, file=sys.stderr if any(is_stdout(path) for _, path in outputs) else sys.stdout)
    return OK


def _of_bundle(options: argparse.Namespace) -> Subject:
    if options.roi is not None:
        raise SpecError(
            "--roi is for a folder: a bundle has its region",
            expected="a folder, or --add and --remove",
            got=options.roi,
        )
    with Bundle.open(options.source) as bundle:
        manifest = bundle.manifest
        given = in_declared_order(load_probes(bundle)[0].frame, manifest.frame) if options.on is None else options.on
        picture = picture_of(given, manifest.frame)
        size = picture.shape[0], picture.shape[1]
        kept, backbone = roi_of(bundle.sights()[0])(size), manifest.backbone
    box = scale_box(backbone.crop, backbone.input_size, size)
    patch = (box[2] - box[0]) / backbone.grid[0], (box[3] - box[1]) / backbone.grid[1]
    source = "the whole frame" if manifest.roi is None else manifest.roi.source
    files = [("the bundle", options.source), *([("the image", options.on)] if options.on else [])]
    return Subject(picture, source, np.ones(size, np.bool_) if kept is None else kept, box, patch, files=files)


def _of_folder(options: argparse.Namespace) -> Subject:
    category = load_category(options.source)
    good_images, facts = check_images(category.train_good)
    if len(facts.sizes) != 1:
        raise DatasetError(
            "a region of interest needs images of one size", expected="all (H, W) alike", got=sorted(facts.sizes)
        )
    size = next(iter(facts.sizes))
    white = 65535 if facts.bit_depth == 8 else max(255, (1 << facts.max_value.bit_length()) - 1)
    frame = FrameSpec(size, bit_depth=facts.bit_depth, white_level=white)  # type: ignore[arg-type]
    picture = _picture(options.on or good_images[0], frame)
    if picture.shape[:2] != size:
        raise SpecError("--on has another size than the good images", expected=size, got=picture.shape[:2])
    if options.roi in (None, "auto"):
        found: Any = export.export_module("roi_auto").auto_region(good_images, frame)
        source, mask = found.sentence, np.ones(size, np.bool_) if found.region is None else found.region.mask
    else:
        source, mask = options.roi, _shape(options.roi, size)
    files = [("a good image", path) for path in category.train_good]
    files += [("a test image", image.path) for image in category.test]
    files += [("a mask", image.mask) for image in category.test if image.mask is not None]
    files += [("the image", options.on)] if options.on else []
    patch = max(size) / _PATCHES
    return Subject(picture, source, mask, None, (patch, patch), category.test, files)


def _picture(path: Path, frame: FrameSpec) -> Picture:
    return picture_of(path, frame)


def _shape(text: str, size: Size) -> Mask:
    mask: Mask = export.export_module("roi").read_roi(text, size).mask
    return mask


def _edited(mask: Mask, add: Sequence[str], remove: Sequence[str]) -> Mask:
    size = mask.shape[0], mask.shape[1]
    for text in add:
        mask = mask | _shape(text, size)
    for text in remove:
        mask = mask & ~_shape(text, size)
    return mask


def _facts(mask: Mask, subject: Subject) -> dict[str, str]:
    """What a reader should know of a region, a line each."""
    facts = {
        "frame": f"{mask.shape[0]} x {mask.shape[1]}",
        "share": f"{100 * mask.mean():.1f}% of the frame, box {','.join(map(str, bounding_box(mask)))}",
        "holes": _parts(filled(mask) & ~mask, subject.patch, "none: the region is closed"),
        "parts": _parts(mask, subject.patch, ""),
        "border": ", ".join(_touched(mask)) or "not touched",
    }
    return facts | dict(_defects(mask, subject.test))


def _parts(mask: Mask, patch: tuple[float, float], none: str) -> str:
    """How many connected parts there are, and how many of them are smaller than a patch."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return none
    small = int((stats[1:, cv2.CC_STAT_AREA] < patch[0] * patch[1]).sum())
    return f"{count - 1}" + (f", {small} smaller than a patch of {patch[0]:.0f} x {patch[1]:.0f} pixels" * bool(small))


def _touched(mask: Mask) -> Iterator[str]:
    for side, edge in (("top", mask[0]), ("bottom", mask[-1]), ("left", mask[:, 0]), ("right", mask[:, -1])):
        if edge.any():
            yield f"touched at the {side} by {int(edge.sum())} pixels"


def _defects(mask: Mask, test: Sequence[TestImage]) -> Iterator[tuple[str, str]]:
    """How much of the labelled defects lies outside. It is only told: no region is made from them."""
    inside = total = 0
    worst, where = 0.0, ""
    for image in test:
        if image.mask is None:
            continue
        marked = marked_pixels(image.mask)
        if marked.shape != mask.shape or not marked.any():
            continue
        lost, of = int((marked & ~mask).sum()), int(marked.sum())
        inside, total = inside + of - lost, total + of
        if lost / of > worst:
            worst, where = lost / of, f"; most in {image.path.parent.name}/{image.path.name}, {100 * lost / of:.1f}%"
    if total:
        yield "defects", f"{100 * (1 - inside / total):.2f}% of their pixels lie outside{where}"
