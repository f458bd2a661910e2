"""The only reader and writer of ``*.bundle``; FORMAT.md specifies the file.

A bundle is a stored ZIP in one canonical layout: the manifest decides every byte that is not data. So the reader does
not interpret ZIP structures. It computes from the manifest what they must be, and compares. Compression, encryption,
zip64, overlaps, duplicates and garbage are therefore found in the same way: the bytes differ.

Over 400 lines: reader and writer share the layout, which no other file may know.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import re
import stat
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import BundleCorruptError, BundleError, BundleNotFoundError, SpecError
from edge_ad.spec import DTYPES, MANIFEST_NAME, Manifest, MemberSpec
from edge_ad.spec import codec as manifest_json
from edge_ad.system.files import write_file

__all__ = ["Bundle", "Members", "write_bundle"]

MAX_FILE_BYTES = 2**32 - 1  # offsets of a ZIP without zip64
ALIGNMENT = 64  # a cache line, and the widest vector register
CHUNK_BYTES = 2**18  # read and hashed at a time; stays in a core's cache

_COMMENT = re.compile(rb"edge-ad ([1-9][0-9]{0,8}) sha256:([0-9a-f]{64})\Z")
_COMMENT_LIMIT = len("edge-ad 999999999 sha256:") + 64

_LOCAL = struct.Struct("<4s5H3I2H")
_EXTRA = struct.Struct("<3H")  # id, length of the rest, alignment; zeros up to the data follow
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_SIZE_AT, _CRC_AT = 18, 16  # in a local header; in an entry of the central directory
_EXTRA_ID = 0xD935  # the alignment field of Android's zipalign, which ZIP tools pass over
_COMMON = (20, 0, 0, 0, 0x0021)  # version 2.0, no flags, stored, 1980-01-01 00:00: equal input, equal file
_MADE_BY, _MODE = 3 << 8 | 20, 0o100644 << 16  # Unix, whose file mode unzip then reads

_MODEL, _MASK = "model.", "roi/"  # members that an operating point may share with the reference
_SECOND = "second/"  # members of a second input size
_ALIGN = "align/"  # members that all operating points have in common

_AGAIN = "Copy the bundle again, or export it again; a ZIP tool cannot make or change one."
_REMEDIES = {
    errno.ENOSPC: "Free some space on that disk and write it again.",
    errno.EFBIG: "Write to a file system that takes files of this size, or choose a smaller coreset.",
    errno.ENOENT: "Make its directory first.",
    errno.EACCES: "Choose a place that you may use, and a file that no other program holds open.",
    errno.EROFS: "Choose a directory that can be written.",
    errno.EISDIR: "Give the path of a .bundle file.",
}

Payload = NDArray[Any] | bytes | bytearray | memoryview
Members = dict[str, NDArray[Any] | bytes]  # of a bundle, by the names of FORMAT.md


class Bundle:
    """A verified bundle, in memory that the process owns.

    Each byte of the file is read once: the bytes that were hashed are the bytes that are used. While the bundle is in
    use, the file may be replaced, overwritten, truncated or deleted.

    Immutable apart from `close`, and safe to share between threads. Arrays and blobs are read-only views of a member's
    memory, and stay valid after `close`. A member's memory is freed when no bundle and no view needs it.

    Attributes:
        path: the path that was opened.
        manifest: the manifest.
        id: first 16 hexadecimal digits of the SHA-256 of its manifest, which holds the hash of each member.
    """

    def __init__(self, path: Path, manifest: Manifest, identity: str, members: Mapping[str, _Member]) -> None:
        """For `open`, `at`, `sights` and `only` alone."""
        self.path: Final = path
        self.manifest: Final = manifest
        self.id: Final = identity
        self._members: Mapping[str, _Member] | None = members

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, points: Collection[str] | None = None) -> Bundle:
        """Checks every byte of the bundle at `path` and opens it.

        Args:
            path: the file.
            points: names of the operating points whose members are kept in memory; by default all. The members of the
                others are verified too, and freed at once.

        Raises:
            BundleNotFoundError: there is no such file.
            BundleVersionError: a newer edge-ad wrote it.
            BundleCorruptError: it is not a bundle, or it is truncated, altered or hostile, or it changed while it was
                read.
            BundleError: it is not a regular file, or it cannot be read, or there is not enough memory for it.
            SpecError: there is no such point.
        """
        where = Path(path)
        try:
            with open(where, "rb", buffering=0, opener=_open_at_once) as file:
                digest, manifest, members = _Reader(file, where).verify(points)
        except (FileNotFoundError, NotADirectoryError) as error:
            remedy = "Check the path; python -m export makes a bundle."
            raise BundleNotFoundError(f"there is no bundle at {where}", remedy=remedy) from error
        except (OSError, ValueError, OverflowError) as error:  # ValueError: NUL in the path
            raise _unusable(f"{where} cannot be read", error) from error
        except MemoryError as error:
            remedy = "Free some memory, or export a smaller coreset or fewer operating points."
            raise BundleError(f"there is not enough memory to read {where}", got=error, remedy=remedy) from error
        return cls(where, manifest, digest[:16], members)

    def array(self, name: str) -> NDArray[Any]:
        """Read-only view of an array member: dtype and shape of the manifest, C order, 64-byte aligned.

        The values are those of the export, bit for bit. A float array may hold NaN: its user must check.

        Raises:
            BundleCorruptError: there is no such member, or it is not an array.
            BundleError: the bundle is closed, or the member was not kept.
        """
        spec, data = self._find(name)
        if spec.dtype is None or spec.shape is None:
            raise BundleCorruptError(f"member {name} of {self.path} is not an array", remedy=_AGAIN)
        view: NDArray[Any] = np.ndarray(spec.shape, np.dtype(spec.dtype).newbyteorder("<"), buffer=data)
        return view

    def blob(self, name: str) -> memoryview:
        """Read-only view of a member's bytes, an array's too.

        Raises:
            BundleCorruptError: there is no such member.
            BundleError: the bundle is closed, or the member was not kept.
        """
        return self._find(name)[1]

    def payloads(self) -> dict[str, Payload]:
        """Every member by name, as `write_bundle` takes them.

        Raises:
            BundleError: the bundle is closed, or a member was not kept.
        """
        found = self._opened().items()
        return {name: self.blob(name) if member.spec.dtype is None else self.array(name) for name, member in found}

    def __contains__(self, name: object) -> bool:
        return name in self._opened()

    def at(self, point: str) -> Bundle:
        """The bundle of one operating point: manifest and members are those of the point.

        Closing one leaves the other open.

        Raises:
            SpecError: there is no such point.
            BundleError: the bundle is closed.
        """
        members = self._opened()
        own = {name: members[full] for name, full in _names_at(self.manifest, members, point).items()}
        return Bundle(self.path, self.manifest.at(point), self.id, own)

    def sights(self) -> tuple[Bundle, ...]:
        """A bundle of each input size of one operating point, as `Manifest.sights`: members have the names that they
        have in a bundle with one size.

        Closing one leaves the others open.

        Raises:
            BundleError: the bundle is closed.
        """
        first, *second = self.manifest.sights
        members = self._opened()
        own = {name: member for name, member in members.items() if not name.startswith(_SECOND)}
        found = [Bundle(self.path, first, self.id, own)]
        for spec in second:
            own = {name.removeprefix(_SECOND): m for name, m in members.items() if name.startswith(_SECOND)}
            found.append(Bundle(self.path, spec, self.id, own))
        return tuple(found)

    def only(self, prefix: str) -> Bundle:
        """The bundle with only the members whose names have this prefix. Closing one leaves the other open.

        Raises:
            BundleError: the bundle is closed.
        """
        members = {name: member for name, member in self._opened().items() if name.startswith(prefix)}
        return Bundle(self.path, self.manifest, self.id, members)

    def close(self) -> None:
        """Releases the members' memory; each is freed with its last view. Closing twice is allowed."""
        self._members = None

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find(self, name: str) -> tuple[MemberSpec, memoryview]:
        members = self._opened()
        if name not in members:
            raise BundleCorruptError(f"{self.path} has no member {name}", got=[*members], remedy=_AGAIN)
        spec, data = members[name]
        if data is None:
            remedy = "Open the bundle for that operating point too."
            raise BundleError(f"member {name} of {self.path} was not kept", remedy=remedy)
        return spec, data

    def _opened(self) -> Mapping[str, _Member]:
        members = self._members
        if members is None:
            raise BundleError(f"{self.path} is closed", remedy="Open it again.")
        return members


class _Member(NamedTuple):
    spec: MemberSpec
    data: memoryview | None  # read-only; None if it was verified and not kept


def _names_at(manifest: Manifest, names: Collection[str], point: str) -> dict[str, str]:
    """Members of an operating point: name there -> name in the bundle.

    Raises:
        SpecError: there is no such point.
    """
    spec = manifest.find_point(point)
    if spec is None:
        return {name: name for name in names if not name.startswith("points/")}
    prefix = f"points/{point}/"
    own = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
    parts = [size + part for size in ("", _SECOND)[: 1 if spec.second is None else 2] for part in (_MODEL, _MASK)]
    shared = tuple(part for part in parts if not any(name.startswith(part) for name in own))
    return {name: name for name in names if name.startswith((*shared, _ALIGN))} | own


def write_bundle(
    path: str | os.PathLike[str],
    manifest: Manifest,
    members: Mapping[str, Payload],
    *,
    called: str | os.PathLike[str] | None = None,
) -> str:
    """Writes a bundle and returns its id.

    The bundle appears at `path` complete or not at all. An older file stays until then, and programs that have opened
    it keep it. A symbolic link is followed; a pipe or a device is written into. Equal input gives an equal file. Arrays
    are streamed (after a copy if not little-endian in C order) and must not change during the call. Calls from several
    threads are independent; if they write one path, the last to finish wins.

    Args:
        path: the target: a new file, a file to replace, a pipe or a device.
        manifest: everything but the members: `Manifest.members` is ignored and computed here.
        members: by name, in any order; uint8, int32 or float32 arrays of any shape, or bytes.
        called: the path that an error names, if this is a draft of another file.

    Raises:
        SpecError: the manifest, or a member's name or shape, is what a reader would refuse.
        BundleError: a member's dtype or the whole size is not allowed, or the file cannot be written.
    """
    named = os.fspath(called or path)
    payloads = {name: _payload(name, value) for name, value in members.items()}
    specs = {
        name: MemberSpec(data.nbytes, hashlib.sha256(data).hexdigest(), dtype, shape)
        for name, (data, dtype, shape) in sorted(payloads.items())
    }
    raw = manifest_json.manifest_to_json(dataclasses.replace(manifest, members=specs))
    version = manifest_json.version_of(manifest)
    layout, digest = _lay_out(specs, len(raw), version), hashlib.sha256(raw).hexdigest()
    if layout.file_size > MAX_FILE_BYTES:
        what, remedy = f"{named} would be too large", "Choose a smaller coreset."
        raise BundleError(what, expected=f"{MAX_FILE_BYTES} bytes at most", got=layout.file_size, remedy=remedy)
    data = [memoryview(raw), *(payloads[slot.name][0] for slot in layout.slots[1:])]
    try:
        write_file(Path(path), _file_parts(layout, data, digest, version))
    except (OSError, ValueError) as error:
        raise _unusable(f"{named} cannot be written", error) from error
    return digest[:16]


# ---------------------------------------------------------------------------------------------------- layout


class _Slot(NamedTuple):
    """The place of a member in the file, in bytes."""

    name: str
    header_at: int
    data_at: int
    size: int


class _Layout(NamedTuple):
    slots: Sequence[_Slot]  # in the order of the file: the manifest, then the members by name
    directory_at: int
    file_size: int


def _lay_out(members: Mapping[str, MemberSpec], manifest_size: int, version: int) -> _Layout:
    """Only arithmetic, so that any sizes in a hostile manifest are harmless."""
    slots, at = [], 0
    for name, size in ((MANIFEST_NAME, manifest_size), *((n, members[n].size) for n in sorted(members))):
        data_at = -(-(at + _LOCAL.size + len(name) + _EXTRA.size) // ALIGNMENT) * ALIGNMENT
        slots.append(_Slot(name, at, data_at, size))
        at = data_at + size
    entries_size = sum(_CENTRAL.size + len(slot.name) for slot in slots)
    return _Layout(slots, at, at + entries_size + _END.size + len(_comment("0" * 64, version)))


def _local_header(slot: _Slot, crc: int) -> bytes:
    extra_size = slot.data_at - slot.header_at - _LOCAL.size - len(slot.name)
    fixed = _LOCAL.pack(b"PK\3\4", *_COMMON, crc, slot.size, slot.size, len(slot.name), extra_size)
    extra = _EXTRA.pack(_EXTRA_ID, extra_size - 4, ALIGNMENT).ljust(extra_size, b"\0")
    return fixed + slot.name.encode() + extra


def _directory(layout: _Layout, crcs: Sequence[int], digest: str, version: int) -> bytes:
    """Central directory, end record and comment: the file from `directory_at` on."""
    entries = b""
    for (name, header_at, _, size), crc in zip(layout.slots, crcs, strict=True):
        head = (b"PK\1\2", _MADE_BY, *_COMMON, crc, size, size)
        entries += _CENTRAL.pack(*head, len(name), 0, 0, 0, 0, _MODE, header_at) + name.encode()
    count, comment = len(layout.slots), _comment(digest, version)
    end = _END.pack(b"PK\5\6", 0, 0, count, count, len(entries), layout.directory_at, len(comment))
    return entries + end + comment


def _comment(digest: str, version: int) -> bytes:
    return f"edge-ad {version} sha256:{digest}".encode()


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


# ---------------------------------------------------------------------------------------------------- reading


def _open_at_once(path: str, flags: int) -> int:
    # O_NONBLOCK: opening a FIFO would wait for a writer. O_NOCTTY: a terminal must not become ours.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


class _Reader:
    """Reads and checks an open file, in the order of FORMAT.md.

    It does not map the file. If a disk fails or a file shrinks, `read` gives an error, but a process with a map is
    killed (SIGBUS). A map would also show what is written to the file later.
    """

    def __init__(self, file: FileIO, path: Path) -> None:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{path} is not a regular file", remedy=_REMEDIES[errno.EISDIR])
        self.file, self.path, self.size = file, path, status.st_size

    def verify(self, points: Collection[str] | None) -> tuple[str, Manifest, dict[str, _Member]]:
        """SHA-256 of the manifest, the manifest, and its members; see `Bundle.open`."""
        version, digest = self.read_comment()
        raw = self.read_manifest(digest, version)
        try:
            manifest = manifest_json.manifest_from_json(raw, version)
        except SpecError as error:
            what = f"{self.path}: {error.what}"
            raise BundleCorruptError(what, expected=error.expected, got=error.got, remedy=_AGAIN) from error
        layout, specs = _lay_out(manifest.members, len(raw), version), manifest.members
        if layout.file_size != self.size:
            self.fail("the file has the wrong size", f"{layout.file_size} bytes", self.size)
        self.compare_headers(layout, digest, version)
        kept = {*specs} if points is None else {n for p in points for n in _names_at(manifest, specs, p).values()}
        members = {
            slot.name: _Member(
                specs[slot.name], self.read_member(slot, specs[slot.name].sha256, keep=slot.name in kept)
            )
            for slot in layout.slots[1:]
        }
        return digest, manifest, members

    def read_comment(self) -> tuple[int, str]:
        """Format version, and SHA-256 of the manifest, from the archive comment."""
        if not 0 < self.size <= MAX_FILE_BYTES:
            self.fail("the file has not the size of a bundle", f"1..{MAX_FILE_BYTES} bytes", self.size)
        length = min(self.size, _COMMENT_LIMIT)
        match = _COMMENT.search(self.read(self.size - length, length))
        if match is None:
            self.fail("this is no bundle, or its end is cut off or damaged", "the comment of a bundle")
        version = int(match[1])
        manifest_json.check_version(version, self.path)
        return version, match[2].decode()

    def read_manifest(self, digest: str, version: int) -> bytes:
        size = _u32(self.read(_SIZE_AT, 4), 0)
        if size > manifest_json.MAX_MANIFEST_BYTES:
            self.fail("the manifest is too large", f"{manifest_json.MAX_MANIFEST_BYTES} bytes at most", size)
        raw = self.read(_lay_out({}, size, version).slots[0].data_at, size)
        found = hashlib.sha256(raw).hexdigest()
        if found != digest:
            self.fail("the manifest is damaged", f"SHA-256 {digest}", found)
        return raw

    def compare_headers(self, layout: _Layout, digest: str, version: int) -> None:
        """All bytes but the data. A member's two CRC-32 must agree; SHA-256 proves the data."""
        found = self.read(layout.directory_at, self.size - layout.directory_at)
        crcs, at = [], 0
        for slot in layout.slots:
            crcs.append(_u32(found, at + _CRC_AT))
            at += _CENTRAL.size + len(slot.name)
        if found != _directory(layout, crcs, digest, version):
            self.fail("the ZIP directory is not what the manifest makes it")
        for slot, crc in zip(layout.slots, crcs, strict=True):
            if self.read(slot.header_at, slot.data_at - slot.header_at) != _local_header(slot, crc):
                self.fail(f"the ZIP header of {slot.name} is not what the manifest makes it")

    def read_member(self, slot: _Slot, sha256: str, *, keep: bool) -> memoryview | None:
        """The member's bytes, read-only and aligned, hashed while they are read; None if they are not to be kept."""
        block = np.empty((slot.size if keep else min(slot.size, CHUNK_BYTES)) + ALIGNMENT, np.uint8)
        start = -block.ctypes.data % ALIGNMENT
        data = block.data[start : start + slot.size]
        digest = hashlib.sha256()
        for at in range(0, slot.size, CHUNK_BYTES):
            size = min(CHUNK_BYTES, slot.size - at)
            part = data[at : at + size] if keep else data[:size]
            self.fill(part, slot.data_at + at)
            digest.update(part)
        if digest.hexdigest() != sha256:
            self.fail(f"member {slot.name} is damaged", f"SHA-256 {sha256}", digest.hexdigest())
        block.flags.writeable = False  # the base of all arrays: none of them can be made writeable
        return data.toreadonly() if keep else None

    def read(self, at: int, size: int) -> bytes:
        if at + size > self.size:  # before anything of that size is allocated
            self.fail("the file is cut off", f"{at + size} bytes or more", self.size)
        data = bytearray(size)
        self.fill(memoryview(data), at)
        return bytes(data)

    def fill(self, data: memoryview, at: int) -> None:
        self.file.seek(at)
        done = 0
        while done < len(data):
            count = self.file.readinto(data[done:])
            if not count:
                self.fail("the file shrank while it was read", f"{len(data)} bytes at {at}", done)
            done += count

    def fail(self, what: str, expected: object = None, got: object = None) -> NoReturn:
        raise BundleCorruptError(f"{self.path}: {what}", expected=expected, got=got, remedy=_AGAIN)


# ---------------------------------------------------------------------------------------------------- writing


def _payload(name: str, value: Payload) -> tuple[memoryview, Any, tuple[int, ...] | None]:
    """Bytes of a member, and dtype and shape of an array."""
    if not isinstance(value, np.ndarray):
        view = memoryview(value)
        return view if view.c_contiguous else memoryview(bytes(view)), None, None
    if value.dtype.name not in DTYPES:
        what, remedy = f"{name} has a dtype that no member may have", "Convert it first."
        raise BundleError(what, expected=" or ".join(DTYPES), got=value.dtype, remedy=remedy)
    flat = np.ascontiguousarray(value, value.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
    return flat.data, value.dtype.name, value.shape


def _file_parts(layout: _Layout, data: Sequence[memoryview], digest: str, version: int) -> Iterator[memoryview | bytes]:
    """The whole file, in order; data is passed through without a copy."""
    crcs = []
    for slot, payload in zip(layout.slots, data, strict=True):
        crcs.append(zlib.crc32(payload))
        yield _local_header(slot, crcs[-1])
        yield payload
    yield _directory(layout, crcs, digest, version)


def _unusable(what: str, error: Exception) -> BundleError:
    number = error.errno if isinstance(error, OSError) else None
    remedy = _REMEDIES.get(number or 0, "Check the path and the disk.")
    return BundleError(what, got=os.strerror(number) if number else error, remedy=remedy)
