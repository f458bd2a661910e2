"""The folder of results, on this PC's file systems or at a URL.

    fleet.json                  what the results are of; written first
    parts/part-00007.parquet    the rows of shard 7, in the order of the work list; whole or not there
    summary.json                counts, when all parts are there
    fleet.lock                  held by the process that writes (not at a URL)

`parts` is a folder of its own so that ``pandas.read_parquet("results/parts")`` reads nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_ad import __version__
from edge_ad.errors import BundleError, EdgeADError, SpecError
from edge_ad.fleet.remote import exists_url, is_url, list_url, read_url, write_url
from edge_ad.fleet.tables import facts_of
from edge_ad.system.files import write_output
from edge_ad.system.locks import locked

FLEET, SUMMARY, PARTS, LOCK = "fleet.json", "summary.json", "parts", "fleet.lock"
_FORMAT = 1
_PART = re.compile(r"part-(\d{5,})\.parquet")


@dataclass(frozen=True)
class Identity:
    """What results are of. Threads, workers and the like are not part of it: they change no score.

    Attributes:
        bundle: id of the bundle.
        options: of the Runtime, as given.
        images: how many there are.
        images_sha256: digest of the work list.
        shard_size: images in a part.
    """

    bundle: str
    options: Mapping[str, Any]
    images: int
    images_sha256: str
    shard_size: int
    edge_ad: str = __version__
    format: int = _FORMAT

    def facts(self, shard: int) -> dict[str, str]:
        """What a part says of itself: one that says anything else is not of these results, or not of this shard."""
        options = json.dumps(dict(self.options), sort_keys=True)
        return {"images": self.images_sha256, "bundle": self.bundle, "options": options, "shard": f"{shard}"}


class Results:
    """A folder of results.

    Args:
        out: path or URL.
    """

    def __init__(self, out: str) -> None:
        self.out = out.rstrip("/") if is_url(out) else os.path.abspath(out)

    @contextlib.contextmanager
    def claimed(self, identity: Identity) -> Iterator[None]:
        """Makes the folder one of these results, or takes it up where an earlier run left it.

        Meanwhile no other process of this kind may: at a URL, where nothing can be locked, this is the caller's care.
        (Two would do the work twice; as a part is always of the same images, no row is lost or doubled.)

        Raises:
            EdgeADError: it holds other results or other files, cannot be written, or another process writes there.
        """
        if is_url(self.out):
            self._take(identity)
            yield
            return
        folder = Path(self.out)
        if folder.exists() and not folder.is_dir():
            raise SpecError("--out is a file", expected="a folder, or a path where one can be made", got=folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            present = {entry.name for entry in os.scandir(folder)}
        except OSError as error:
            raise EdgeADError(f"cannot write {folder}", got=error.strerror, remedy="Give another --out.") from error
        others = sorted(name for name in present - {FLEET, LOCK} if not name.startswith("."))
        if others and FLEET not in present:
            raise SpecError(
                f"{folder} holds other files",
                expected="a new folder, or results of edge-ad fleet",
                got=others[0],
                remedy="Give another --out.",
            )
        busy = EdgeADError(f"another edge-ad fleet writes into {folder}", remedy="Wait for it, or give another --out.")
        with locked(folder / LOCK, busy):
            for left in folder.glob(f"{PARTS}/.part-*.tmp"):  # of a run that was killed while it wrote
                left.unlink(missing_ok=True)
            self._take(identity)
            yield

    def parts(self, identity: Identity, bounds: list[tuple[int, int]]) -> dict[int, int]:
        """The shards whose part is there and whole -> what was tried again for it."""
        found = {}
        for name in self._names():
            matched = _PART.fullmatch(name)
            number = int(matched[1]) if matched else len(bounds)
            known = facts_of(self.read(number)) if number < len(bounds) else None
            if known is None:
                continue
            facts, rows = known
            start, stop = bounds[number]
            if identity.facts(number).items() <= facts.items() and rows == stop - start:
                retries = facts.get("retries", "")
                found[number] = int(retries) if retries.isdecimal() else 0
        return found

    def read(self, shard: int) -> bytes:
        """The file of a shard.

        Raises:
            EdgeADError: it cannot be read.
        """
        return self._read(part_name(shard))

    def write(self, shard: int, data: bytes) -> None:
        """Writes the file of a shard, whole or not at all.

        Raises:
            EdgeADError: it cannot be written; names the file.
        """
        self._write(part_name(shard), data)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes the summary."""
        self._write(SUMMARY, json.dumps(summary, indent=1).encode())

    def _take(self, identity: Identity) -> None:
        own = json.loads(json.dumps(asdict(identity)))
        if not self._exists(FLEET):
            self._write(FLEET, json.dumps(own, indent=1).encode())
            return
        try:
            known = json.loads(self._read(FLEET))
        except (ValueError, RecursionError):
            known = None
        if not isinstance(known, dict):
            raise EdgeADError(f"{self._path(FLEET)} cannot be read", remedy="Give another --out.")
        differs = [name for name in own if known.get(name) != own[name]]
        if differs and not is_url(self.out) and not self._names():  # of a run that failed at once, as by a wrong option
            self._write(FLEET, json.dumps(own, indent=1).encode())
        elif differs:
            raise BundleError(
                f"{self.out} holds results of another run",
                expected=", ".join(f"{name} {_short(known.get(name))}" for name in differs),
                got=", ".join(f"{name} {_short(own[name])}" for name in differs),
                remedy="Give another --out, or the same bundle, images and options as then.",
            )

    def _names(self) -> list[str]:
        if is_url(self.out):
            return [url.rpartition("/")[2] for url in list_url(f"{self.out}/{PARTS}")]
        folder = Path(self.out, PARTS)
        return sorted(os.listdir(folder)) if folder.is_dir() else []

    def _path(self, name: str) -> str:
        return f"{self.out}/{name}"

    def _exists(self, name: str) -> bool:
        return exists_url(self._path(name)) if is_url(self.out) else os.path.exists(self._path(name))

    def _read(self, name: str) -> bytes:
        if is_url(self.out):
            return read_url(self._path(name))
        try:
            return Path(self.out, name).read_bytes()
        except OSError as error:
            raise EdgeADError(f"cannot read {self._path(name)}", got=error.strerror) from error

    def _write(self, name: str, data: bytes) -> None:
        if is_url(self.out):
            write_url(self._path(name), data)
        else:
            write_output(Path(self.out, name), [data])


def part_name(shard: int) -> str:
    """The name of a shard's file in the folder of results."""
    return f"{PARTS}/part-{shard:05d}.parquet"


def _short(value: object) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {each}" for name, each in value.items() if each is not None) + ")"
    text = str(value)
    return f"{text[:12]}..." if len(text) > 16 else text
