"""The preview of `--align` that an export writes: the reference, and good images before and after they are aligned."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.frames.align import Aligner
from edge_ad.frames.check import check_frame, read_frame
from edge_ad.frames.picture import to_picture
from edge_ad.spec import FrameSpec
from edge_ad.system.files import is_special, write_output
from export.options import Options
from export.roi import DrawnRoi

_SHOWN = 4  # good images: those that are moved most
_SIDE = 240  # pixels of the longer side of each
_GREEN, _YELLOW, _GREY = (0, 220, 0), (0, 220, 220), (90, 90, 90)

Picture = NDArray[np.uint8]


def align_preview_of(options: Options, out: Path) -> Path | None:
    """The file of the preview, beside the bundle; None without --align, or where the bundle goes into a pipe."""
    if options.align is None or is_special(out):
        return None
    return out.with_name(f"{out.name.removesuffix('.bundle')}.align.png")


def write_align_preview(
    target: Path, good_images: Sequence[Path], frame: FrameSpec, region: DrawnRoi | None, aligner: Aligner
) -> None:
    """Writes the preview as PNG. Above: the part that is looked for, and good images as they are. Below: the reference,
    and the images aligned. A cross stands at the same place in each; the region is green, and follows the part.

    Raises:
        EdgeADError: it cannot be written.
    """
    found = []
    for path in good_images[:64]:
        pixels = check_frame(read_frame(path), frame, os.fspath(path))
        found.append((path, aligner.find(pixels)))
    found.sort(key=lambda one: -float(np.hypot(*one[1].shift)) - abs(one[1].turn_deg))
    reference, mask = (cv2.cvtColor(plane, cv2.COLOR_GRAY2BGR) for plane in (aligner.reference, aligner.mask))
    columns = [np.vstack([_small(np.where(mask > 0, reference, reference // 3)), _crossed(_small(reference))])]
    for path, place in found[:_SHOWN]:
        picture = to_picture(check_frame(read_frame(path), frame, os.fspath(path)), frame.white_level)
        moved = place.picture_at_reference(picture)
        if region is not None and region.mask.shape == picture.shape[:2]:
            _outline(picture, place.mask_in_frame(region.mask))
            _outline(moved, region.mask)
        columns.append(np.vstack([_crossed(_small(picture)), _crossed(_small(moved))]))
    height = max(column.shape[0] for column in columns)
    framed = [_framed(column, height) for column in columns]
    write_output(target, [cv2.imencode(".png", np.hstack(framed))[1].tobytes()])


def _small(picture: Picture) -> Picture:
    scale = _SIDE / max(picture.shape[:2])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    by = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=by), np.uint8)


def _crossed(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    cv2.line(picture, (0, height // 2), (width - 1, height // 2), _YELLOW, 1)
    cv2.line(picture, (width // 2, 0), (width // 2, height - 1), _YELLOW, 1)
    return picture


def _outline(picture: Picture, mask: NDArray[np.bool_]) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(picture, contours, -1, _GREEN, max(2, max(picture.shape[:2]) // 150))


def _framed(column: Picture, height: int) -> Picture:
    below = height - column.shape[0]
    return np.asarray(cv2.copyMakeBorder(column, 2, 2 + below, 2, 2, cv2.BORDER_CONSTANT, value=_GREY), np.uint8)
