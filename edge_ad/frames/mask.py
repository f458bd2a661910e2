"""Reads mask images, of a defect and of a region of interest, and says which pixels a mask marks.

Tools write masks in different ways. These are known, and the first that fits is taken:

    a colour mask of few colours, one of them black     what is not black is marked (palettes of label tools)
    two values, one of them 0                           the other is marked
    values of 0 to 32                                   label ids: what is above 0 is marked
    black and white                                     what is above half is marked; grey may stand at edges alone, as
                                                        JPEG and resizing leave it

Transparent pixels are not marked. If all opaque pixels have one colour, they are marked. Anything else is ambiguous and
an error. A mask with black and white exchanged cannot be detected: white always marks.
"""

from __future__ import annotations

import os

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import DatasetError
from edge_ad.frames.check import read_frame
from edge_ad.frames.image_file import image_kind
from edge_ad.spec import Pixels
from edge_ad.system.inputs import read_input

__all__ = ["marked_pixels"]

_MOST_IDS, _MOST_COLOURS = 32, 64
_NEAR_PX = 8  # of white, where grey is taken for an edge: the side of a block of JPEG
_LONE_SHARE = 0.1  # of what is not black may be grey and far from white
_LISTED = 6  # values in a message


def marked_pixels(path: str | os.PathLike[str]) -> NDArray[np.bool_]:
    """(H, W) bool: True where the mask image marks its picture.

    Raises:
        FrameError: the file cannot be read.
        DatasetError: it is unclear what the mask marks.
    """
    image = read_frame(path)
    data = read_input(path)
    lossless = image_kind(data) != "JPEG"
    opaque = _opaque(data, image)
    if opaque is not None:
        colours = image[opaque]
        if len(colours) and (colours == colours[0]).all():
            if not colours[0].any():
                raise _ambiguous(path, "black on a transparent ground")
            return opaque
        image = np.where(opaque if image.ndim == 2 else opaque[..., None], image, image.dtype.type(0))
    if image.ndim == 3:
        if lossless and (found := _coloured(image)) is not None:
            return found
        image = image.max(axis=2)
    if image.dtype == np.uint16 and image.max() <= 255:
        image = image.astype(np.uint8)
    return _marked(image, lossless, path)


def _opaque(data: bytes, image: Pixels) -> NDArray[np.bool_] | None:
    """(H, W) bool: where the file is opaque; None where it is so everywhere, or has no alpha."""
    raw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)  # `read_frame` has read it already
    if raw is None or raw.ndim != 3 or raw.shape[2] != 4 or raw.shape[:2] != image.shape[:2]:
        return None
    opaque: NDArray[np.bool_] = raw[..., 3] > np.iinfo(raw.dtype).max // 2
    return None if opaque.all() else opaque


def _coloured(image: Pixels) -> NDArray[np.bool_] | None:
    """What is not black, where the image has few colours and black, and is not just grey."""
    if image.dtype != np.uint8 or ((image[..., 0] == image[..., 1]) & (image[..., 1] == image[..., 2])).all():
        return None
    packed = image[..., 0].astype(np.int32) | image[..., 1].astype(np.int32) << 8 | image[..., 2].astype(np.int32) << 16
    colours = np.unique(packed)
    return packed > 0 if len(colours) <= _MOST_COLOURS and colours[0] == 0 else None


def _marked(values: Pixels, lossless: bool, path: str | os.PathLike[str]) -> NDArray[np.bool_]:
    top = int(np.iinfo(values.dtype).max)
    present = np.flatnonzero(np.bincount(values.ravel(), minlength=top + 1))
    if lossless:
        if len(present) == 1 or (len(present) == 2 and present[0] == 0):
            return values > 0
        if present[-1] <= _MOST_IDS:
            if present[0] > 0:
                raise _ambiguous(path, f"{_listed(present)}: label ids without 0 for what is good")
            return values > 0
        ids = (present > 0) & (present <= _MOST_IDS)
        if ids.any() and ((present <= _MOST_IDS) | (present == top)).all():
            raise _ambiguous(path, f"{_listed(present)}: label ids, and {top}, which may be a defect or be left out")
    white, black = values > top - top // 8, values <= top // 8
    if not present.any():
        return white
    if not white.any():
        raise _ambiguous(path, f"{_listed(present)}, none of them white")
    grey = ~(white | black)
    if grey.any():
        near = cv2.dilate(white.astype(np.uint8), np.ones((2 * _NEAR_PX + 1, 2 * _NEAR_PX + 1), np.uint8)) > 0
        if (grey & ~near).sum() > _LONE_SHARE * (~black).sum():
            raise _ambiguous(path, f"{_listed(present)}, with grey areas that are no edges")
    return values > top // 2


def _listed(present: NDArray[np.intp]) -> str:
    more = f", ... ({len(present)} values)" if len(present) > _LISTED else ""
    return f"values {', '.join(map(str, present[:_LISTED]))}{more}"


def _ambiguous(path: str | os.PathLike[str], got: str) -> DatasetError:
    return DatasetError(
        f"it is unclear what the mask {os.fspath(path)} marks",
        expected=f"0 and one other value, label ids of 0 to {_MOST_IDS}, or black and white with grey at edges alone",
        got=got,
        remedy="Save it with 0 for what is not marked and 255 for what is.",
    )
