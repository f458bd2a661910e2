"""Reads a picture of a stack: an image file as frames have them, or a TGA file, as older sets have them."""

from __future__ import annotations

import os
import struct

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import FrameError
from edge_ad.frames.check import check_frame, in_declared_order, read_frame
from edge_ad.spec import MAX_FRAME_PIXELS, FrameSpec, Pixels
from edge_ad.system.inputs import read_input

_HEAD = struct.Struct("<BBBHHBHHHHBB")
_COLOUR, _GREY, _PACKED = 2, 3, 8  # image types; packed ones are 8 more


def read_picture(path: str | os.PathLike[str], spec: FrameSpec) -> Pixels:
    """(H, W) or (H, W, 3) u8 or u16 of a file, in the colour order of `spec`.

    Raises:
        FrameError: it cannot be read, or `spec` does not accept it.
    """
    name = os.fspath(path)
    frame: Pixels = read_tga(name) if name.lower().endswith(".tga") else read_frame(name)
    return in_declared_order(check_frame(frame, spec, name), spec)


def read_tga(path: str) -> NDArray[np.uint8]:
    """(H, W) grey or (H, W, 3) BGR of a Truevision TGA file with 8, 24 or 32 bits, packed (RLE) or not.

    Source: Truevision TGA file format specification, version 2.0.

    Raises:
        FrameError: it cannot be read, is of another kind, or ends early.
    """
    try:
        data = read_input(path)
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else error
        raise FrameError(f"cannot read {path}", expected="an image file", got=got) from error
    head = _HEAD.unpack_from(data) if len(data) >= _HEAD.size else (0,) * 12
    skipped, mapped, kind, _, _, _, _, _, width, height, bits, flags = head
    packed, plain = bool(kind & _PACKED), kind & ~_PACKED
    if mapped or (plain, bits) not in ((_COLOUR, 24), (_COLOUR, 32), (_GREY, 8)) or min(width, height) < 1:
        raise FrameError(
            f"{path} cannot be decoded", expected="a TGA image of 8, 24 or 32 bits", got=f"type {kind}, {bits} bits"
        )
    if width * height > MAX_FRAME_PIXELS:
        raise FrameError(f"{path} is too large", expected=f"{MAX_FRAME_PIXELS:,} pixels at most", got=(height, width))
    depth, size, start = bits // 8, width * height * (bits // 8), _HEAD.size + skipped
    pixels = _unpacked(data, start, depth, size) if packed else data[start : start + size]
    if len(pixels) < size:
        raise FrameError(f"{path} is truncated", expected=f"{size} bytes of pixels", got=len(pixels))
    image = np.frombuffer(pixels, np.uint8, size).reshape(height, width, depth)
    image = image if flags & 0x20 else image[::-1]  # rows from the top, or from below
    image = image[:, ::-1] if flags & 0x10 else image
    return np.ascontiguousarray(image[..., 0] if depth == 1 else image[..., :3])


def _unpacked(data: bytes, at: int, depth: int, size: int) -> bytes:
    """The pixels of run-length packets; fewer where the file ends."""
    found = bytearray()
    while len(found) < size and at < len(data):
        count = (data[at] & 0x7F) + 1
        if data[at] & 0x80:
            found += data[at + 1 : at + 1 + depth] * count
            at += 1 + depth
        else:
            found += data[at + 1 : at + 1 + depth * count]
            at += 1 + depth * count
    return bytes(found[:size])
