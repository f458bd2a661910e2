"""Pixel formats of GenICam: bytes of a buffer to a frame. Codes and layouts: PFNC (EMVA), GigE Vision 2.0.

A Bayer mosaic becomes BGR by OpenCV's bilinear interpolation. Pixels are not scaled: 12 bits are 0..4095.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SourceError
from edge_ad.sources.grabber import Frame

_Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class PixelFormat:
    """A pixel format.

    Attributes:
        name: as GenICam calls it.
        bits: bits of a pixel in the buffer.
        full: the value that is white.
        frame: makes the frame of (bytes, height, width).
    """

    name: str
    bits: int
    full: int
    frame: Callable[[_Bytes, int, int], Frame]


def _grey(data: _Bytes, height: int, width: int) -> Frame:
    return data.reshape(height, width)


def _wide(data: _Bytes, height: int, width: int) -> Frame:
    return data.view("<u2").reshape(height, width)


def _packed(data: _Bytes, height: int, width: int) -> Frame:
    """Mono12Packed of GigE Vision: two pixels in three bytes: high 8 bits, the low 4 of both, high 8 bits."""
    return _pairs(data, height, width, lambda a, b, c: (a << 4 | b & 15, c << 4 | b >> 4))


def _p(data: _Bytes, height: int, width: int) -> Frame:
    """Mono12p of PFNC: two pixels in three bytes, the lowest bits first."""
    return _pairs(data, height, width, lambda a, b, c: (a | (b & 15) << 8, c << 4 | b >> 4))


def _pairs(data: _Bytes, height: int, width: int, split: Callable[[Any, Any, Any], tuple[Any, Any]]) -> Frame:
    count = height * width
    padded = np.zeros(-(-count // 2) * 3, np.uint16)
    padded[: len(data)] = data
    pixels = np.empty((len(padded) // 3, 2), np.uint16)
    pixels[:, 0], pixels[:, 1] = split(*padded.reshape(-1, 3).T)
    return pixels.reshape(-1)[:count].reshape(height, width)


def _bayer(code: int) -> Callable[[_Bytes, int, int], Frame]:
    return lambda data, height, width: cv2.cvtColor(data.reshape(height, width), code)


def _rgb(data: _Bytes, height: int, width: int) -> Frame:
    return cv2.cvtColor(data.reshape(height, width, 3), cv2.COLOR_RGB2BGR)


def _bgr(data: _Bytes, height: int, width: int) -> Frame:
    return data.reshape(height, width, 3)


# OpenCV names a Bayer code by the second row's second and third pixel: GenICam's RG is OpenCV's BG
FORMATS: dict[int, PixelFormat] = {
    0x01080001: PixelFormat("Mono8", 8, 255, _grey),
    0x01100005: PixelFormat("Mono12", 16, 4095, _wide),
    0x010C0006: PixelFormat("Mono12Packed", 12, 4095, _packed),
    0x010C0047: PixelFormat("Mono12p", 12, 4095, _p),
    0x01100007: PixelFormat("Mono16", 16, 65535, _wide),
    0x01080008: PixelFormat("BayerGR8", 8, 255, _bayer(cv2.COLOR_BayerGB2BGR)),
    0x01080009: PixelFormat("BayerRG8", 8, 255, _bayer(cv2.COLOR_BayerBG2BGR)),
    0x0108000A: PixelFormat("BayerGB8", 8, 255, _bayer(cv2.COLOR_BayerGR2BGR)),
    0x0108000B: PixelFormat("BayerBG8", 8, 255, _bayer(cv2.COLOR_BayerRG2BGR)),
    0x02180014: PixelFormat("RGB8", 24, 255, _rgb),
    0x02180015: PixelFormat("BGR8", 24, 255, _bgr),
}
NAMES = tuple(form.name for form in FORMATS.values())


def frame_of(code: int, data: _Bytes, height: int, width: int) -> tuple[Frame, int]:
    """The frame of a buffer, (H, W) or (H, W, 3) BGR, and the value that is white. It may be a view of the buffer.

    Args:
        code: the pixel format, by its number in PFNC.
        data: bytes of the buffer; more than the frame needs may follow.
        height, width: pixels.

    Raises:
        SourceError: the format is not known here, or the buffer is too short.
    """
    form = FORMATS.get(code)
    if form is None:
        raise SourceError(
            "the camera sends pixels in another format",
            expected=", ".join(NAMES),
            got=f"0x{code:08x}",
            remedy="Set its option pixel_format.",
        )
    size = (height * width * form.bits + 7) // 8
    if min(height, width) <= 0 or len(data) < size:
        raise SourceError(
            "a buffer of the camera is too short", expected=f"{size} bytes of {form.name}", got=f"{len(data)} bytes"
        )
    return form.frame(data[:size], height, width), form.full
