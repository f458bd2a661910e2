"""The region of interest: turns the user's input into the crop, the masks and the fill colour of a bundle."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import DatasetError, SpecError
from edge_ad.frames.crop import scale_box
from edge_ad.frames.mask import marked_pixels
from edge_ad.frames.roi import bounding_box, tensor_mask
from edge_ad.spec import Box, Size
from edge_ad.spec.base import is_box
from edge_ad.system.inputs import read_input

ALIGN_PX = 16  # the crop's edges, at the input scale: the stride of the deepest layer that PatchCore uses
_CIRCLE_CORNERS = 256  # of the polygon that replaces a circle


@dataclass(frozen=True)
class DrawnRoi:
    """A region of interest in frames of one size.

    Attributes:
        source: how it was given, for a reader.
        mask: (H, W) bool in frame pixels, True inside.
    """

    source: str
    mask: NDArray[np.bool_]

    @property
    def box(self) -> Box:
        """Half-open bounding box of the mask."""
        return bounding_box(self.mask)


def read_roi(text: str, frame_size: Size) -> DrawnRoi:
    """A region from ``y0,x0,y1,x1``, a mask image (white keeps) or polygons as JSON.

    A polygon file holds a list of (y, x) points, a list of such lists, or an object with either under "points"; or it
    is one of labelme, with polygons, rectangles, circles and masks of its brush, which are all kept. A mask is read by
    `marked_pixels`.

    Raises:
        SpecError: it cannot be read, is empty, or has another size than the frames.
    """
    if Path(text).suffix.lower() == ".json":
        region = DrawnRoi(f"polygon {Path(text).name}", _polygon_mask(Path(text), frame_size))
    elif Path(text).suffix or os.path.isfile(text):  # which takes text that can be no path, too
        region = DrawnRoi(f"mask {Path(text).name}", _image_mask(Path(text), frame_size))
    else:
        region = DrawnRoi(f"box {text}", _box_mask(text, frame_size))
    if not region.mask.any():
        raise SpecError("the region of interest is empty", expected=f"pixels inside {frame_size}", got=region.source)
    return region


def _box_mask(text: str, size: Size) -> NDArray[np.bool_]:
    try:
        y0, x0, y1, x1 = (int(part) for part in text.split(","))
    except ValueError as error:
        raise SpecError(
            "--roi is not understood",
            expected="y0,x0,y1,x1 in pixels, a mask image, or a polygon.json",
            got=repr(text),
        ) from error
    if not is_box((y0, x0, y1, x1), size):
        raise SpecError(
            "the box of --roi is empty or outside the frame",
            expected=f"0 <= y0 < y1 <= {size[0]} and 0 <= x0 < x1 <= {size[1]}",
            got=text,
        )
    mask = np.zeros(size, np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def _image_mask(path: Path, size: Size) -> NDArray[np.bool_]:
    try:
        mask = marked_pixels(path)
    except DatasetError as error:
        raise SpecError(f"--roi: {error}") from error
    if mask.shape != size:
        raise SpecError(
            "the mask of --roi has another size than the frames",
            expected=size,
            got=mask.shape,
            remedy="Draw it on one of the good images.",
        )
    return mask


def _polygon_mask(path: Path, size: Size) -> NDArray[np.bool_]:
    mask = np.zeros(size, np.uint8)
    try:
        points = json.loads(read_input(path))  # bytes: UTF-8 or UTF-16, with a byte order mark or without
        if isinstance(points, dict) and "shapes" in points:
            points = _labelme_polygons(path, points, mask)
        points = points["points"] if isinstance(points, dict) else points
        nested = bool(points) and isinstance(points[0][0], list)
        polygons = [np.asarray(p, np.float64) for p in (points if nested or mask.any() else [points])]
        ok = bool(polygons or mask.any()) and all(p.ndim == 2 and p.shape[1] == 2 and len(p) >= 3 for p in polygons)
    except (OSError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise SpecError(
            f"cannot read the polygon {path}",
            expected="JSON: [[y, x], [y, x], [y, x], ...], or a file of labelme",
            got=str(error),
        ) from error
    if not ok or not all(np.isfinite(p).all() and np.abs(p).max() < 2**20 for p in polygons):
        raise SpecError(f"{path} is not a polygon", expected="three or more finite (y, x) points", got=str(points)[:80])
    for polygon in polygons:
        cv2.fillPoly(mask, [np.rint(polygon[:, ::-1]).astype(np.int32)], 1)
    return mask.astype(np.bool_)


def _labelme_polygons(path: Path, content: dict[str, Any], mask: NDArray[np.uint8]) -> list[list[list[float]]]:
    """The shapes of a file of labelme, whose points are (x, y), as polygons of (y, x). Brushed ones go into `mask`.

    Raises:
        SpecError: it was drawn on an image of another size, or holds a shape without an area.
        ValueError, KeyError, TypeError: it is no file of labelme.
    """
    size = mask.shape[:2]
    drawn = (content.get("imageHeight"), content.get("imageWidth"))
    if None not in drawn and drawn != size:
        raise SpecError(
            f"{path} was drawn on an image of another size than the frames",
            expected=size,
            got=drawn,
            remedy="Draw it on one of the good images.",
        )
    polygons = []
    for shape in content["shapes"]:
        kind, points = shape.get("shape_type") or "polygon", np.asarray(shape["points"], np.float64)[:, ::-1]
        if kind == "mask":
            _brush(shape["mask"], points, mask)
            continue
        if kind in ("rectangle", "circle") and points.shape != (2, 2):
            raise ValueError(f"a {kind} of {len(points)} points in place of 2")
        if kind == "rectangle":
            (y0, x0), (y1, x1) = points
            points = np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])
        elif kind == "circle":  # its centre, and a point of its rim
            angle = np.linspace(0, 2 * np.pi, _CIRCLE_CORNERS, endpoint=False)
            points = points[0] + np.hypot(*(points[1] - points[0])) * np.stack([np.sin(angle), np.cos(angle)], axis=1)
        elif kind != "polygon":
            raise SpecError(f"{path} holds a {kind}", expected="polygons, rectangles, circles and masks", got=kind)
        polygons.append(points.tolist())
    return polygons


def _brush(coded: str, corners: NDArray[np.float64], mask: NDArray[np.uint8]) -> None:
    """Adds what labelme's brush has drawn: a PNG in base64, whose corners, both inside, are two (y, x).

    Raises:
        ValueError: it is none, or does not fit its corners or the image.
    """
    data = base64.b64decode(coded, validate=True)
    try:
        drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        raise ValueError(f"a mask of {len(data)} bytes that is no picture") from error
    (y0, x0), (y1, x1) = np.nan_to_num(corners, nan=-1).clip(-1, 2**20).astype(np.int64)
    inside = 0 <= y0 <= y1 < mask.shape[0] and 0 <= x0 <= x1 < mask.shape[1]
    if drawn is None or not inside or drawn.shape != (y1 - y0 + 1, x1 - x0 + 1):
        raise ValueError(f"a mask that is no picture of its corners {corners.tolist()} in {mask.shape}")
    mask[y0 : y1 + 1, x0 : x1 + 1] |= (drawn > 0).astype(np.uint8)


def roi_crop(region: DrawnRoi, input_size: Size, halo_px: int, align_px: int = ALIGN_PX) -> Box:
    """The crop that the engine gets, at the input scale: the region's box plus the halo, on multiples of `align_px`."""
    y0, x0, y1, x1 = scale_box(region.box, (region.mask.shape[0], region.mask.shape[1]), input_size)

    def down(value: int) -> int:
        return max(0, (value - halo_px) // align_px * align_px)

    def up(value: int, limit: int) -> int:
        return min(limit, -(-(value + halo_px) // align_px) * align_px)

    return (down(y0), down(x0), up(y1, input_size[0]), up(x1, input_size[1]))


def roi_mask(region: DrawnRoi, crop: Box, input_size: Size, by: str) -> NDArray[np.uint8]:
    """The region as `edge_ad.frames.roi.tensor_mask`.

    Raises:
        SpecError: the region is thinner than a tensor pixel.
    """
    mask = tensor_mask(region.mask, crop, input_size, by)
    if not mask.any():
        raise SpecError(
            "the region of interest is too thin",
            expected="more than a pixel at the input scale",
            got=f"box {region.box} of a frame resized to {input_size}",
            remedy="Widen it, or raise --input-size.",
        )
    return mask
