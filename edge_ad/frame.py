"""Frames: what a camera or a file gives, checked before anything is computed from it.

A frame is (H, W, 3) u8 in the colour order that the bundle declares, or (H, W) / (H, W, 1) grey, u8 or (where the
bundle declares 16 bits) u16. Nothing is guessed from its values: a dark frame stays dark.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import cv2
import numpy as np

from edge_ad.errors import FrameError
from edge_ad.image_file import image_size, truncated
from edge_ad.spec import MAX_FRAME_PIXELS, MIN_FRAME_SIDE, Frame, FrameSpec

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


def list_images(folder: Path) -> list[Path]:
    """Image files directly in `folder`, in natural order (img2 before img10), hidden files left out."""

    def natural(path: Path) -> list[tuple[int, int, str]]:
        return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", path.name.lower()) if p]

    images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
    return sorted((p for p in images if p.is_file()), key=natural)


def read_frame(path: str | os.PathLike[str]) -> Frame:
    """Reads an image file as (H, W) grey or (H, W, 3) BGR, u8 or u16; transparency is dropped, EXIF turns applied.

    Raises:
        FrameError: no such file, not an image, truncated, or more pixels than a frame may have.
    """
    name = os.fspath(path)
    try:
        data = Path(name).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        got = error.strerror if isinstance(error, OSError) else error
        raise FrameError(f"cannot read {name}", expected="an image file", got=got, remedy="Check the path.") from error
    if truncated(data):
        raise FrameError(f"{name} is truncated", expected="a whole image file", got=f"{len(data)} bytes of one")
    size = image_size(data)
    if size is not None:
        _check_size(size, name)
    try:
        # IMREAD_ANYCOLOR | ANYDEPTH: grey stays grey, 16 bits stay 16, alpha goes
        frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise FrameError(f"{name} cannot be decoded", expected="an image", got=str(error).strip()) from error
    if frame is None:
        raise FrameError(
            f"{name} cannot be decoded",
            expected="a PNG, JPEG, BMP, TIFF or WebP image",
            got=f"{len(data)} bytes of something else",
        )
    if frame.dtype not in (np.uint8, np.uint16):
        raise FrameError(f"{name} has pixels of {frame.dtype}", expected="8 or 16 bit pixels", got=frame.dtype)
    _check_size(frame.shape[:2], name)
    return frame


def check_frame(frame: object, spec: FrameSpec) -> Frame:
    """The frame itself, as (H, W) or (H, W, 3), if it is one that the bundle accepts.

    Args:
        frame: array as the module says; it may be read-only or a view with any strides.
        spec: what the bundle declares of its frames.

    Raises:
        FrameError: wrong type, dtype, shape or size.
    """
    if not isinstance(frame, np.ndarray):
        raise FrameError(
            "the frame is not an array",
            expected="a NumPy array, or the path of an image file",
            got=type(frame).__name__,
        )
    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = frame[:, :, 0]
    if not (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 3)):
        raise FrameError(
            "the frame has the wrong shape",
            expected=f"(H, W, 3) {spec.color_order.upper()}, (H, W) or (H, W, 1)",
            got=frame.shape,
            remedy="Drop an alpha channel with frame[..., :3]; inspect the frames of a batch one by one.",
        )
    if frame.dtype != np.uint8 and not (frame.dtype == np.uint16 and spec.bit_depth == 16):
        raise FrameError(
            "the frame has the wrong dtype",
            expected="uint8" if spec.bit_depth == 8 else "uint8 or uint16",
            got=frame.dtype,
            remedy="Give the camera's own pixels. For uint16 frames export with 16-bit images or --bit-depth 16.",
        )
    _check_size(frame.shape[:2], "the frame")
    return frame


def in_declared_order(frame: Frame, spec: FrameSpec) -> Frame:
    """A frame of an image file or a golden probe, which is BGR, in the order that the bundle declares for arrays."""
    if spec.color_order == "rgb" and frame.ndim == 3:
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    return frame


def _check_size(size: tuple[int, int], name: str) -> None:
    if min(size) < MIN_FRAME_SIDE or size[0] * size[1] > MAX_FRAME_PIXELS:
        raise FrameError(
            f"{name} has a size that cannot be inspected",
            expected=f"(H, W) each {MIN_FRAME_SIDE} or more and {MAX_FRAME_PIXELS:,} pixels at most",
            got=size,
            remedy="Crop or shrink it before inspection.",
        )
