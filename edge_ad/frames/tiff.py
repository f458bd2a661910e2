"""Reads the first directory of a TIFF file, and changes it so that OpenCV decodes it like a PNG.

OpenCV treats two cases wrongly:

    alpha that is not multiplied in (ExtraSamples 2)   8-bit colours come out multiplied by it; those of a PNG do not
    16 bits with white at 0 (MINISWHITE)               comes out inverted; the same with 8 bits comes out right

Nothing here raises: wrong bytes are left to the decoder.

Sources: TIFF 6.0 (Adobe, sections 2, 8 and 18) and BigTIFF.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["TIFF_MAGIC", "Tiff", "is_tiff", "read_tiff", "tiff_size"]

TIFF_MAGIC = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}  # + is BigTIFF
_KINDS = {3: "H", 4: "I", 16: "Q"}  # SHORT, LONG, LONG8
_SHORT = 3
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA = 254, 256, 257, 258, 262, 277, 338
_TAGS = frozenset({_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA})
_PREVIEW_OR_MASK = 1 | 4  # bits of NewSubfileType
_MOST_PAGES, _MOST_TAGS = 10_000, 4096
_ASSOCIATED, _UNASSOCIATED = 1, 2  # ExtraSamples: colours multiplied by alpha, or not


@dataclass(frozen=True)
class _Directory:
    """Values of tags that hold numbers, the first of each; where each stands; and the offset of the next directory."""

    values: dict[int, int]
    places: dict[int, tuple[int, str]]
    following: int


@dataclass(frozen=True)
class Tiff:
    """What must be known of a TIFF file besides its pixels.

    Attributes:
        data: the file, changed so that OpenCV decodes the stored pixels.
        pages: how many images it holds, without previews and masks.
        premultiplied: its colours are multiplied by its alpha, as a PNG's are not.
        inverted: its pixels, once decoded, have white at 0.
    """

    data: bytes
    pages: int
    premultiplied: bool
    inverted: bool


def is_tiff(data: bytes) -> bool:
    """Whether this begins as a TIFF or BigTIFF file."""
    return data[:4] in TIFF_MAGIC


def tiff_size(data: bytes) -> tuple[int, int] | None:
    """(H, W) of the first page; None where the header makes no sense."""
    first = _directory(data, _first_offset(data))
    if first is None or not {_WIDTH, _HEIGHT} <= first.values.keys():
        return None
    return first.values[_HEIGHT], first.values[_WIDTH]


def read_tiff(data: bytes) -> Tiff:
    """Reads what must be known before a TIFF file is decoded. A wrong header gives harmless values."""
    first = _directory(data, _first_offset(data))
    if first is None:
        return Tiff(data, 1, premultiplied=False, inverted=False)
    samples, extra = first.values.get(_SAMPLES, 1), first.values.get(_EXTRA)
    inverted = first.values.get(_PHOTOMETRIC) == 0 and first.values.get(_BITS) == 16 and samples == 1
    if inverted:  # said to be the other way round, it is decoded as it is stored, whatever the version of OpenCV
        data = _with(data, first, _PHOTOMETRIC, 1)
    if extra == _UNASSOCIATED:
        data = _with(data, first, _EXTRA, _ASSOCIATED)  # OpenCV multiplies by no alpha that is multiplied in already
    return Tiff(data, _pages(data, first), premultiplied=extra == _ASSOCIATED and samples == 4, inverted=inverted)


def _with(data: bytes, directory: _Directory, tag: int, value: int) -> bytes:
    place, layout = directory.places[tag]
    changed = bytearray(data)
    struct.pack_into(layout, changed, place, value)
    return bytes(changed)


def _pages(data: bytes, first: _Directory) -> int:
    pages, seen, at = 1, {_first_offset(data)}, first.following
    order, big = TIFF_MAGIC[data[:4]], b"+" in data[:4]
    count, entry, offset = ("Q", 20, "Q") if big else ("H", 12, "I")
    while at and at not in seen and len(seen) < _MOST_PAGES:
        seen.add(at)
        try:
            (entries,) = struct.unpack_from(order + count, data, at)
            at += struct.calcsize(order + count)
            tag, kind, _, value = struct.unpack_from(order + "HH" + 2 * offset, data, at)  # tags stand in their order
            (following,) = struct.unpack_from(order + offset, data, at + entries * entry)
        except (struct.error, OverflowError):
            break
        if order == ">" and kind == _SHORT:  # a number that is shorter than its field stands at its left
            value >>= 8 * (struct.calcsize(offset) - 2)
        pages += not (tag == _SUBFILE and value & _PREVIEW_OR_MASK)
        at = following
    return pages


def _first_offset(data: bytes) -> int | None:
    order, big = TIFF_MAGIC[data[:4]], b"+" in data[:4]
    try:
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    except struct.error:
        return None
    return int(at)


def _directory(data: bytes, at: int | None) -> _Directory | None:
    """The directory at an offset; None where it is not whole."""
    if at is None:
        return None
    order, big = TIFF_MAGIC[data[:4]], b"+" in data[:4]
    count, entry, value_at, offset = ("Q", 20, 12, "Q") if big else ("H", 12, 8, "I")
    values: dict[int, int] = {}
    places: dict[int, tuple[int, str]] = {}
    following = 0
    try:
        (entries,) = struct.unpack_from(order + count, data, at)
        start = at + struct.calcsize(order + count)
        for i in range(min(entries, _MOST_TAGS)):
            tag, kind, length = struct.unpack_from(order + "HH" + offset, data, start + i * entry)
            if tag not in _TAGS or kind not in _KINDS or length == 0:
                continue
            layout, place = order + _KINDS[kind], start + i * entry + value_at
            if length * struct.calcsize(layout) > struct.calcsize(offset):
                (place,) = struct.unpack_from(order + offset, data, place)
            if place + struct.calcsize(layout) <= len(data):
                (values[tag],) = struct.unpack_from(layout, data, place)
                places[tag] = (place, layout)
        if start + entries * entry + struct.calcsize(offset) <= len(data):
            (following,) = struct.unpack_from(order + offset, data, start + entries * entry)
    except (struct.error, OverflowError):
        return None
    return _Directory(values, places, following)
