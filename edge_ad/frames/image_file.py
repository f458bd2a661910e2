"""Reads from the bytes of an image file, before it is decoded, whether it is complete and how large the image is.

OpenCV 5.0 refuses a truncated PNG, BMP, TIFF or WebP. Only its ``imdecode`` refuses a truncated JPEG: ``imread`` prints
``Premature end of JPEG file`` and gives the missing rows in grey, which would be inspected as if they were a part.
`truncated` does not depend on the function or the version of OpenCV. Nothing here decodes pixels or raises: wrong bytes
are left to the decoder. So is damage inside a complete file, which a decoder may repair without a message.

Sources: PNG (W3C, 3rd edition, section 5), JPEG (ITU-T T.81, annex B), BMP (Microsoft, "Bitmap Storage"); TIFF is in
`edge_ad.frames.tiff`.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from edge_ad.frames.tiff import TIFF_MAGIC, is_tiff, tiff_size

__all__ = ["HEAD_BYTES", "damage", "image_kind", "image_size", "truncated"]

HEAD_BYTES = 32  # of a file, enough for `image_kind`

_PNG, _JPEG, _BMP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"BM"
_EOI, _SOS = 0xD9, 0xDA
_ALONE = frozenset((0x01, 0xD8, *range(0xD0, 0xD8)))  # markers without a length: TEM, SOI, RST0..RST7
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame; the three are DHT, JPG and DAC
# In the entropy-coded bytes of a scan a marker is an FF not followed by 00 (a literal FF), FF (fill) or RSTn.
_NO_FILL = re.compile(rb"[^\xff]")
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


# The boxes of ISO 14496-12 that begin an AVIF or a HEIC image; a film begins with another.
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"
)
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_KINDS = (
    (_PNG, "PNG"),
    (_JPEG + b"\xff", "JPEG"),
    *((magic, "TIFF") for magic in TIFF_MAGIC),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\x59\xa6\x6a\x95", "Sun raster"),
    (b"#?RADIANCE\n", "Radiance HDR"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
)
_PNM = re.compile(rb"P[1-6]\s+[0-9#]|P7\nWIDTH ")


def image_kind(head: bytes) -> str | None:
    """The format of an image file, such as "PNG", from its first `HEAD_BYTES` bytes; None if it is not an image.

    OpenCV may not read the format: it cannot read HEIC and OpenEXR.
    """
    for magic, kind in _KINDS:
        if head.startswith(magic):
            return kind
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    if head.startswith(_BMP) and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"  # "BM" alone begins many a text
    if _PNM.match(head):
        return "PNM"
    return _BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None


def damage(data: bytes) -> str | None:
    """What is wrong in a PNG that cannot be decoded: the first chunk with a wrong checksum. None if there is none, and
    for other formats, which have no checksums."""
    if not data.startswith(_PNG):
        return None
    for kind, start, end in _png_chunks(data):
        if end > len(data):
            return f"the chunk at byte {start - 8} is longer than the file"
        if zlib.crc32(data[start - 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            name = kind.decode("ascii") if kind.isalpha() else "without a name"
            return f"the checksum of the chunk {name} at byte {start - 8} is wrong"
    return None


def truncated(data: bytes) -> bool:
    """Whether a PNG, JPEG or BMP file ends before its image does.

    Bytes after the end are legal: some cameras append data. False for every other format, also TIFF: there the decoder
    decides. Cost: a walk over the chunks or segments, 1 ms for about 5 MB of JPEG.
    """
    if data.startswith(_PNG):
        return not any(kind == b"IEND" and end <= len(data) for kind, _, end in _png_chunks(data))
    if data.startswith(_JPEG):
        return not any(marker == _EOI for marker, _, _ in _jpeg_segments(data))
    if data.startswith(_BMP):
        return _bmp_end(data) > len(data)
    # Cut within its signature, or nothing at all.
    return _PNG.startswith(data) or data == _JPEG[:1] or data == _BMP[:1]


def image_size(data: bytes) -> tuple[int, int] | None:
    """(H, W) of a PNG, JPEG, BMP or TIFF file from its header, so that a decompression bomb is refused
    undecoded.

    WebP needs no such care: it cannot hold more than 16,383 pixels a side. Of a TIFF it is the first page.
    The size is that of the stored pixels: an EXIF orientation, which OpenCV may apply, swaps H and W.

    Returns:
        None for other formats, or when the header is cut short or makes no sense.
    """
    if data.startswith(_PNG):
        size = _png_size(data)
    elif data.startswith(_JPEG):
        size = _jpeg_size(data)
    elif data.startswith(_BMP):
        size = _bmp_size(data)
    elif is_tiff(data):
        size = tiff_size(data)
    else:
        return None
    return size if size is not None and min(size) > 0 else None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, where its content starts, where the chunk ends) of every chunk whose head is there."""
    at = len(_PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length  # length, type, content, CRC
        yield kind, at + 8, end
        at = end


def _png_size(data: bytes) -> tuple[int, int] | None:
    for kind, start, _ in _png_chunks(data):
        if kind == b"IHDR" and start + 8 <= len(data):
            width, height = struct.unpack_from(">II", data, start)
            return height, width
        break
    return None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, where its content starts, where the segment ends) up to the end of the image.

    Segments are stepped over by their length, so that the end of a thumbnail inside EXIF is not taken for the
    end of the image.
    """
    at = 2
    while True:
        if data[at : at + 2] == b"\xff\xff":  # fill bytes
            found = _NO_FILL.search(data, at)
            at = len(data) - 1 if found is None else found.start() - 1
        if at + 2 > len(data) or data[at] != 0xFF:
            # Where a marker has to be is something else. Decoders skip to the next one: so does this.
            at = data.find(b"\xff", at + 1) if at + 2 <= len(data) else -1
            if at < 0:
                return
            continue
        marker = data[at + 1]
        at += 2
        if marker in _ALONE or marker == 0x00:
            continue
        if marker == _EOI:
            yield marker, at, at
            return
        if at + 2 > len(data):
            return
        end = at + max(2, int.from_bytes(data[at : at + 2], "big"))
        yield marker, at + 2, end
        at = end
        if marker == _SOS:
            found = _MARKER_IN_SCAN.search(data, at)
            if found is None:
                return
            at = found.start()


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    for marker, start, _ in _jpeg_segments(data):
        if marker in _SOF:
            if start + 5 > len(data):
                return None
            height, width = struct.unpack_from(">HH", data, start + 1)
            return height, width  # a height of 0 (given later by DNL) is not supported by libjpeg either
        if marker == _SOS:
            return None
    return None


def _bmp_size(data: bytes) -> tuple[int, int] | None:
    if len(data) < 18:
        return None
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12 and len(data) >= 22:  # OS/2
        width, height = struct.unpack_from("<HH", data, 18)
    elif header >= 36 and len(data) >= 26:
        width, height = struct.unpack_from("<ii", data, 18)
    else:
        return None
    return abs(height), width  # a negative height means rows from the top


def _bmp_end(data: bytes) -> int:
    """Where the file has to end. The size field counts for compressed pixels only: many writers leave it at 0."""
    size = _bmp_size(data)
    if size is None:
        return 54 if len(data) < 54 else 0
    height, width = size
    declared, _, pixels, header = struct.unpack_from("<IIII", data, 2)
    if header == 12:
        bits_at, compression = 24, 0
    else:
        if len(data) < 34:
            return 34
        bits_at, compression = 28, struct.unpack_from("<I", data, 30)[0]
    if len(data) < bits_at + 2:
        return bits_at + 2
    if compression not in (0, 3, 6):  # RLE8, RLE4, embedded JPEG or PNG
        return int(declared)
    (bits,) = struct.unpack_from("<H", data, bits_at)
    row: int = (max(0, width) * bits + 31) // 32 * 4
    end: int = pixels + row * height
    return end
