"""Truncation and size from bytes, against what OpenCV really reads, at every place a file can be cut."""

from __future__ import annotations

import re
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.frames import image_file
from edge_ad.frames.image_file import image_size, truncated

H, W = 37, 45  # odd, so that BMP rows are padded and H is not W


def _pixels() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def _encode(suffix: str, image: np.ndarray, *options: int) -> bytes:
    ok, data = cv2.imencode(suffix, image, list(options))
    assert ok
    return bytes(data.tobytes())


def _with_thumbnail(jpeg: bytes) -> bytes:
    """The JPEG with another whole JPEG, its SOI and EOI included, in an EXIF segment."""
    thumbnail = _encode(".jpg", _pixels()[::4, ::4])
    content = b"Exif\0\0" + thumbnail
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


def _files() -> dict[str, bytes]:
    image, grey = _pixels(), _pixels()[:, :, 0]
    jpeg = _encode(".jpg", image)
    return {
        "png": _encode(".png", image),
        "png grey": _encode(".png", grey),
        "png 16 bit": _encode(".png", image.astype(np.uint16) * 257),
        "jpeg": jpeg,
        "jpeg grey": _encode(".jpg", grey),
        "jpeg progressive": _encode(".jpg", image, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "jpeg restart markers": _encode(".jpg", image, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        "jpeg thumbnail": _with_thumbnail(jpeg),
        "jpeg fill bytes": jpeg[:2] + b"\xff\xff\xff" + jpeg[2:],
        "bmp": _encode(".bmp", image),
        "bmp grey": _encode(".bmp", grey),
        "bmp 32 bit": _encode(".bmp", np.dstack([image, grey])),
    }


FILES = _files()


def _decode(data: bytes) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_is_whole_and_tells_its_size(name: str) -> None:
    data = FILES[name]
    assert _decode(data) is not None, "the fixture itself has to be readable"
    assert not truncated(data)
    assert image_size(data) == (H, W)


@pytest.mark.parametrize("name", FILES)
def test_every_cut_is_found(name: str) -> None:
    data = FILES[name]
    assert [n for n in range(1, len(data)) if not truncated(data[:n])] == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("tail", [b"\0" * 64, b"\r\n", b"serial=1234 gain=2", b"\xff\xd8\xff\xe0\0\x10JFIF"])
def test_bytes_after_the_end_are_legal(name: str, tail: bytes) -> None:
    assert not truncated(FILES[name] + tail)


@pytest.mark.parametrize("name", [n for n in FILES if not n.startswith("bmp")])
def test_a_tail_of_zeros_is_found(name: str) -> None:
    """A PC that lost its power leaves such files: right length, no content."""
    data = FILES[name]
    assert truncated(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


def test_a_cut_after_the_thumbnail_is_found() -> None:
    data = FILES["jpeg thumbnail"]
    end_of_thumbnail = data.index(b"\xff\xd9") + 2
    assert end_of_thumbnail < len(data) - 2
    assert truncated(data[:end_of_thumbnail])


def test_bmp_whose_size_field_is_wrong_is_judged_by_its_rows() -> None:
    data = FILES["bmp"]
    for declared in (0, 1, len(data) + 1000):
        wrong = data[:2] + struct.pack("<I", declared) + data[6:]
        assert _decode(wrong) is not None
        assert not truncated(wrong)
        assert truncated(wrong[:-1])


def test_bmp_with_rows_from_the_top() -> None:
    data = FILES["bmp"]
    flipped = data[:22] + struct.pack("<i", -H) + data[26:]
    assert image_size(flipped) == (H, W)
    assert not truncated(flipped)
    assert truncated(flipped[:-1])


def test_os2_bmp() -> None:
    rows = bytes((W * 3 + 3) // 4 * 4 * H)
    data = b"BM" + struct.pack("<IIIIHHHH", 26 + len(rows), 0, 26, 12, W, H, 1, 24) + rows
    decoded = _decode(data)
    assert decoded is not None
    assert decoded.shape[:2] == (H, W)
    assert image_size(data) == (H, W)
    assert not truncated(data)
    assert truncated(data[:-1])


def test_compressed_bmp_is_judged_by_its_size_field() -> None:
    header = struct.pack("<IiiHHIIiiII", 40, W, H, 1, 8, 1, 0, 0, 0, 0, 0)
    body = bytes(1024) + bytes((0, 1))  # palette, end of the bitmap
    data = b"BM" + struct.pack("<III", 54 + len(body), 0, 54 + 1024) + header + body
    assert not truncated(data)
    assert truncated(data[:-1])


@pytest.mark.parametrize("suffix", [".tif", ".webp"])
def test_what_is_left_to_the_decoder_it_refuses(suffix: str) -> None:
    """`truncated` says nothing of these formats; this holds OpenCV to refusing them."""
    data = _encode(suffix, _pixels())
    assert not truncated(data)
    assert _decode(data[: len(data) // 2]) is None


@pytest.mark.parametrize("image", [_pixels(), _pixels()[:, :, 0], _pixels().astype(np.uint16) * 257])
def test_size_of_tiff(image: np.ndarray) -> None:
    assert image_size(_encode(".tif", image)) == (H, W)


def test_size_of_big_endian_and_big_tiff() -> None:
    entries = struct.pack(">HHIHH", 256, 3, 1, W, 0) + struct.pack(">HHII", 257, 4, 1, H)
    assert image_size(b"MM\0*" + struct.pack(">IH", 8, 2) + entries) == (H, W)
    big = struct.pack("<HHQQ", 256, 4, 1, W) + struct.pack("<HHQQ", 257, 16, 1, H)
    assert image_size(b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2) + big) == (H, W)


def test_a_bomb_tells_its_size_undecoded() -> None:
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 50_000, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr))
    assert image_size(png) == (50_000, 60_000)
    jpeg = FILES["jpeg"]
    at = jpeg.index(b"\xff\xc0") + 5
    assert image_size(jpeg[:at] + struct.pack(">HH", 65_000, 64_000) + jpeg[at + 4 :]) == (65_000, 64_000)
    bmp = FILES["bmp"]
    assert image_size(bmp[:18] + struct.pack("<ii", 100_000, 90_000) + bmp[26:]) == (90_000, 100_000)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a" + bytes(100), b"not an image at all", b"\x89PNX\r\n\x1a\n" + bytes(64)]
)
def test_other_bytes_say_nothing(data: bytes) -> None:
    assert image_size(data) is None


def test_sides_of_nought_are_no_size() -> None:
    bmp = FILES["bmp"]
    assert image_size(bmp[:18] + struct.pack("<ii", 0, H) + bmp[26:]) is None
    assert image_size(bmp[:18] + struct.pack("<ii", -W, H) + bmp[26:]) is None


@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd8\xff\xda", b"BM", b"II*\0", b"MM\0+"]),
    st.binary(max_size=400),
)
def test_random_bytes_raise_nothing(magic: bytes, rest: bytes) -> None:
    assert truncated(magic + rest) in (True, False)
    size = image_size(magic + rest)
    assert size is None or min(size) > 0


@given(st.sampled_from(sorted(FILES)), st.integers(0, 20_000), st.integers(0, 255))
def test_a_flipped_byte_raises_nothing(name: str, at: int, value: int) -> None:
    data = bytearray(FILES[name])
    data[at % len(data)] = value
    assert truncated(bytes(data)) in (True, False)
    image_size(bytes(data))


class Watched(bytes):
    """Counts the bytes that are looked at."""

    looked = 0

    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        self.looked += len(found) if isinstance(found, bytes) else 1
        return found

    def find(self, part: Any, start: Any = 0, *end: Any) -> int:
        found = super().find(part, start, *end)
        self.looked += (found if found >= 0 else len(self)) - start
        return found


@pytest.mark.parametrize("unit", [b"\xff", b"\xff\x01", b"\xff\xe0\0\2", b"\0", b"\xff\xda\0\2"])
def test_hostile_bytes_are_looked_at_a_few_times(unit: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often they seem to begin something: were it once for each place, a file would take hours."""
    data = Watched(b"\xff\xd8" + unit * (200_000 // len(unit)))

    class Searched:
        def __init__(self, pattern: re.Pattern[bytes]) -> None:
            self.pattern = pattern

        def search(self, data: Watched, at: int) -> re.Match[bytes] | None:
            found = self.pattern.search(data, at)
            data.looked += (found.end() if found else len(data)) - at
            return found

    for name in ("_MARKER_IN_SCAN", "_NO_FILL"):
        monkeypatch.setattr(image_file, name, Searched(getattr(image_file, name)))
    assert truncated(data)
    assert len(data) / 2 < data.looked < 8 * len(data)
