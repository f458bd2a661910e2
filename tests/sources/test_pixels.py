"""Pixel formats of GenICam, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

from edge_ad.errors import SourceError
from edge_ad.sources.pixels import FORMATS, frame_of

CODES = {form.name: code for code, form in FORMATS.items()}
RANDOM = np.random.default_rng(0)
SIZES = [(16, 16), (17, 19), (1, 1), (2, 3)]


def made(name: str, data: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The frame of some bytes, of which there are more than needed."""
    frame, full = frame_of(CODES[name], np.concatenate([data.reshape(-1), np.zeros(7, np.uint8)]), *size)
    assert full == FORMATS[CODES[name]].full
    return frame


@pytest.mark.parametrize("size", SIZES)
def test_grey(size: tuple[int, int]) -> None:
    grey = RANDOM.integers(0, 256, size, np.uint8)
    assert (made("Mono8", grey, size) == grey).all()
    wide = RANDOM.integers(0, 4096, size).astype("<u2")
    for name in ("Mono12", "Mono16"):
        frame = made(name, wide.view(np.uint8), size)
        assert frame.dtype == np.uint16
        assert (frame == wide).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["Mono12Packed", "Mono12p"])
def test_packed(size: tuple[int, int], name: str) -> None:
    """Written pixel by pixel, as the standards say."""
    pixels = RANDOM.integers(0, 4096, size)
    flat = [int(value) for value in pixels.reshape(-1)]
    flat += [0] * (len(flat) % 2)
    data = bytearray()
    for a, b in zip(flat[::2], flat[1::2], strict=True):
        if name == "Mono12Packed":
            data += bytes([a >> 4, (b & 15) << 4 | a & 15, b >> 4])
        else:
            data += (a | b << 12).to_bytes(3, "little")
    frame = made(name, np.frombuffer(bytes(data), np.uint8), size)
    assert frame.dtype == np.uint16
    assert (frame == pixels).all()


@pytest.mark.parametrize(("name", "order"), [("RGB8", [2, 1, 0]), ("BGR8", [0, 1, 2])])
def test_colours(name: str, order: list[int]) -> None:
    data = RANDOM.integers(0, 256, (16, 18, 3), np.uint8)
    assert (made(name, data, (16, 18)) == data[..., order]).all()


@pytest.mark.parametrize("name", ["BayerRG8", "BayerGR8", "BayerGB8", "BayerBG8"])
def test_a_mosaic_of_one_colour(name: str) -> None:
    """The first two pixels of the first rows have the colours that the name says: RG is R G, then G B."""
    colour = {"B": 30, "G": 90, "R": 200}
    first = name[5:7]
    rows = {"RG": ("RG", "GB"), "GR": ("GR", "BG"), "GB": ("GB", "RG"), "BG": ("BG", "GR")}[first]
    tile = np.array([[colour[pixel] for pixel in row] for row in rows], np.uint8)
    frame = made(name, np.tile(tile, (8, 9)), (16, 18))
    assert (frame[2:-2, 2:-2] == (30, 90, 200)).all()


def test_what_is_no_frame() -> None:
    with pytest.raises(SourceError, match=r"another format; expected Mono8, .*0x01100003.*pixel_format"):
        frame_of(0x01100003, np.zeros(100, np.uint8), 2, 2)
    with pytest.raises(SourceError, match="too short; expected 768 bytes of RGB8; got 767 bytes"):
        frame_of(CODES["RGB8"], np.zeros(767, np.uint8), 16, 16)
    with pytest.raises(SourceError, match="too short"):
        frame_of(CODES["Mono8"], np.zeros(7, np.uint8), 0, 16)
