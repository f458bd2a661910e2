"""Reads frames from files, and checks frames before anything is computed from them.

A frame is (H, W, 3) u8 in the colour order that the bundle declares, or (H, W) / (H, W, 1) grey, u8 or (where the
bundle declares 16 bits) u16. Pixel values are not scaled: a dark frame stays dark.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import cv2
import numpy as np

from edge_ad.errors import FrameError, ImageWarning
from edge_ad.frames.image_file import damage, image_kind, image_size, truncated
from edge_ad.frames.tiff import is_tiff, read_tiff
from edge_ad.spec import MAX_FRAME_PIXELS, MIN_FRAME_SIDE, FrameSpec, Pixels
from edge_ad.system.inputs import read_input

_NOT_READ = frozenset({"HEIC", "OpenEXR"})


def read_frame(path: str | os.PathLike[str]) -> Pixels:
    """Reads an image file as `decode_frame` does.

    Raises:
        FrameError: the file does not exist, is not an image, is damaged or truncated, or has too many pixels.
    """
    return decode_frame(read_bytes(path), os.fspath(path))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The bytes of an image file, not decoded.

    Raises:
        FrameError: it cannot be read.
    """
    name = os.fspath(path)
    try:
        return read_input(name)
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        got = error.strerror if isinstance(error, OSError) else error
        if os.path.islink(name) and not os.path.exists(name):
            got = f"a link to {os.readlink(name)}, which is not there"
        raise FrameError(f"cannot read {name}", expected="an image file", got=got, remedy="Check the path.") from error


def decode_frame(data: bytes, name: str) -> Pixels:
    """The pixels of an image file as (H, W) grey or (H, W, 3) BGR, u8 or u16. Alpha is dropped; EXIF orientation is
    applied.

    It reads the first page of a TIFF file. If there are more, an `ImageWarning` says so.

    Args:
        name: of the file; messages begin with it.

    Raises:
        FrameError: it is not an image, is damaged or truncated, or has too many pixels.
    """
    kind = image_kind(data)
    if truncated(data):
        raise FrameError(
            f"{name} is truncated",
            expected=f"a whole {kind or 'image'} file",
            got=f"{len(data)} bytes without the end of the image",
            remedy="Copy or save it again.",
        )
    size = image_size(data)
    if size is not None:
        _check_size(size, name)
    frame = _decode_tiff(data, name) if is_tiff(data) else _decode(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if frame is None:
        raise _not_decoded(data, name, kind)
    if frame.dtype not in (np.uint8, np.uint16):
        raise FrameError(f"{name} has pixels of {frame.dtype}", expected="8 or 16 bit pixels", got=frame.dtype)
    _check_size(frame.shape[:2], name)
    return frame


def _decode(data: bytes, flags: int) -> Pixels | None:
    """The pixels, or None. IMREAD_ANYCOLOR | IMREAD_ANYDEPTH: grey stays grey, 16 bits stay 16, alpha goes."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        return None


def _decode_tiff(data: bytes, name: str) -> Pixels | None:
    """The pixels of a TIFF file. They equal those of a PNG with the same picture."""
    tiff = read_tiff(data)
    if tiff.pages > 1:
        text = "a TIFF file holds several pages; only the first one is used"
        warnings.warn(ImageWarning(text, name), stacklevel=3)
    if tiff.premultiplied:
        stored = _decode(tiff.data, cv2.IMREAD_UNCHANGED)
        if stored is not None and stored.ndim == 3 and stored.shape[2] == 4:
            return _unmultiplied(stored)
    frame = _decode(tiff.data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    return ~frame if tiff.inverted and frame is not None and frame.dtype == np.uint16 else frame


def _unmultiplied(stored: Pixels) -> Pixels:
    """(H, W, 3) colours of (H, W, 4) BGRA before they were multiplied by alpha."""
    colours, alpha, top = stored[..., :3], stored[..., 3:], np.iinfo(stored.dtype).max
    if (alpha == top).all() or (colours > alpha).any():  # or the file says so wrongly
        return colours.copy()
    whole = np.rint(colours * (top / np.maximum(alpha, 1).astype(np.float64)))
    return whole.astype(np.uint16) if stored.dtype == np.uint16 else whole.astype(np.uint8)


def _not_decoded(data: bytes, name: str, kind: str | None) -> FrameError:
    if kind is None:
        starts = "an empty file" if not data else f"{len(data)} bytes that begin with {data[:8]!r}"
        return FrameError(
            f"{name} cannot be decoded: it is not an image", expected="a PNG, JPEG, BMP, TIFF or WebP image", got=starts
        )
    if kind in _NOT_READ:
        return FrameError(
            f"{name} cannot be decoded: it is a {kind} image",
            expected="a PNG, JPEG, BMP, TIFF or WebP image",
            got=kind,
            remedy="Save it as PNG.",
        )
    return FrameError(
        f"{name} cannot be decoded: it is a damaged {kind} image",
        expected=f"a whole {kind} file, of a kind that OpenCV reads",
        got=damage(data) or f"{len(data)} bytes that OpenCV cannot decode; they may be cut off",
        remedy="Copy or save it again.",
    )


def check_frame(frame: object, spec: FrameSpec, name: str = "the frame") -> Pixels:
    """The frame itself, as (H, W) or (H, W, 3), if the bundle accepts it.

    Args:
        frame: array as the module says; it may be read-only or a view with any strides.
        spec: the frames that the bundle declares.
        name: the file that it was read from; messages begin with it.

    Raises:
        FrameError: wrong type, dtype, shape or size.
    """
    if not isinstance(frame, np.ndarray):
        raise FrameError(
            f"{name} is not an array",
            expected="a NumPy array, or the path of an image file",
            got=type(frame).__name__,
        )
    # the type first: NumPy loads np.ma when it is named, 28 ms that a start need not spend
    if type(frame) is not np.ndarray and isinstance(frame, np.ma.MaskedArray) and np.ma.is_masked(frame):
        raise FrameError(
            f"{name} has masked pixels",
            expected="every pixel",
            got=f"{int(np.ma.getmaskarray(frame).sum())} masked",
            remedy="Fill them, or export with a region of interest.",
        )
    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = frame[:, :, 0]
    if not (frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 3)):
        raise FrameError(
            f"{name} has the wrong shape",
            expected=f"(H, W, 3) {spec.color_order.upper()}, (H, W) or (H, W, 1)",
            got=frame.shape,
            remedy="Drop an alpha channel with frame[..., :3]; inspect the frames of a batch one by one.",
        )
    if frame.dtype != np.uint8 and not (frame.dtype == np.uint16 and spec.bit_depth == 16):
        raise FrameError(
            f"{name} has the wrong dtype",
            expected="uint8" if spec.bit_depth == 8 else "uint8 or uint16",
            got=frame.dtype,
            remedy="Give the camera's own pixels. For uint16 frames export with 16-bit images or --bit-depth 16.",
        )
    _check_size(frame.shape[:2], name)
    return frame


def in_declared_order(frame: Pixels, spec: FrameSpec) -> Pixels:
    """Converts a BGR frame from an image file or a golden probe, or a stack of them, to the order that the bundle
    declares for arrays."""
    if spec.color_order == "rgb" and frame.shape[-1] == 3 and frame.ndim >= 3:
        turned: Any = np.ascontiguousarray(frame[..., ::-1])
        return turned
    return frame


def _check_size(size: tuple[int, int], name: str) -> None:
    if min(size) < MIN_FRAME_SIDE or size[0] * size[1] > MAX_FRAME_PIXELS:
        raise FrameError(
            f"{name} has a size that cannot be inspected",
            expected=f"(H, W) each {MIN_FRAME_SIDE} or more and {MAX_FRAME_PIXELS:,} pixels at most",
            got=size,
            remedy="Crop or shrink it before inspection.",
        )
