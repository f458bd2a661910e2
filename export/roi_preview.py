"""The preview of a region that an export writes: one good image, with what is kept, what is dropped, and the crop."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge_ad.frames.align import Aligner
from edge_ad.frames.capture import open_frame
from edge_ad.frames.crop import Crop
from edge_ad.frames.picture import to_picture
from edge_ad.frames.roi_picture import roi_picture
from edge_ad.spec import FrameSpec
from edge_ad.system.files import is_special, write_output
from export.options import Options
from export.roi import DrawnRoi
from export.roi_auto import AUTO


def preview_of(options: Options, out: Path) -> Path | None:
    """The file of the preview: the one that was asked for, or one beside the bundle where the region is to be found."""
    if options.roi_preview is not None or options.roi != AUTO or is_special(out):
        return options.roi_preview
    return out.with_name(f"{out.name.removesuffix('.bundle')}.roi.png")


def write_preview(
    target: Path, good: Path, frame: FrameSpec, region: DrawnRoi | None, crop: Crop, aligner: Aligner | None = None
) -> None:
    """Writes the preview of a region, or of the whole frame, as PNG. With an aligner the image is moved to where the
    region was drawn.

    Raises:
        EdgeADError: it cannot be written.
    """
    pixels, _ = open_frame(good, frame)
    picture = to_picture(pixels, frame.white_level)
    if aligner is not None:
        picture = aligner.find(pixels).picture_at_reference(picture)
    mask = np.ones(picture.shape[:2], np.bool_) if region is None else region.mask
    drawn = roi_picture(picture, mask, crop.box((mask.shape[0], mask.shape[1])))
    write_output(target, [cv2.imencode(".png", drawn)[1].tobytes()])
