"""The audit: a file of JSON lines, to which records are added and from which none is taken.

Each record carries the SHA-256 of itself and that of the record before. So a record that was changed, taken out or put
in between is found, and the line is named. Records that are missing at the end cannot be found in this file alone; they
show in the bundle, whose id the audit then does not know.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_ad.errors import EdgeADError, LearningError
from edge_ad.system.files import open_appended

FIRST = "0" * 64  # what the first record names as the one before
Record = dict[str, Any]


@dataclass(frozen=True)
class Trail:
    """The records of an audit, up to the first that is wrong.

    Attributes:
        records: the oldest first.
        broken: which line is wrong, and why; None where all are right.
        torn: bytes of a last line that was cut off while it was written.
    """

    records: tuple[Record, ...]
    broken: str | None = None
    torn: int = 0

    @property
    def digest(self) -> str:
        """Of the last record."""
        return str(self.records[-1]["sha256"]) if self.records else FIRST


def digest_of(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record: of its JSON without its own digest, keys in order, without blanks, in UTF-8."""
    bare = {name: value for name, value in record.items() if name != "sha256"}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Audit:
    """The audit of a store; one process at a time writes it (`edge_ad.learning.store.Store.held`)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Trail:
        """All records, checked. An audit that is not there has none.

        Raises:
            EdgeADError: the file cannot be read.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return Trail(())
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            got = (error.strerror if isinstance(error, OSError) else None) or error
            raise EdgeADError(f"the audit {self.path} cannot be read", got=got) from error
        whole, _, torn = data.rpartition(b"\n")
        records: list[Record] = []
        for at, line in enumerate(whole.split(b"\n") if whole else [], 1):
            found = _parsed(line)
            why = _fault(found, at, str(records[-1]["sha256"]) if records else FIRST)
            if found is None or why:
                return Trail(tuple(records), f"line {at}: {why}")
            records.append(found)
        return Trail(tuple(records), torn=len(torn))

    def sound(self) -> Trail:
        """All records.

        Raises:
            LearningError: one is wrong.
        """
        trail = self.read()
        if trail.broken is not None:
            raise LearningError(
                f"the audit {self.path} was changed after it was written",
                expected="records that name the one before",
                got=trail.broken,
                remedy="Find out who did, with edge-ad log. To go on without its past, move the folder away: a new one "
                "begins with the bundle as it is.",
            )
        return trail

    def append(self, record: Mapping[str, Any]) -> Record:
        """Adds a record, on the disk when this returns. A line that was cut off before is removed first.

        Raises:
            LearningError: a record before is wrong.
            EdgeADError: it cannot be written. Nothing has changed.
        """
        trail = self.sound()
        whole: Record = {"number": len(trail.records) + 1, "previous": trail.digest, **record}
        whole["sha256"] = digest_of(whole)
        line = json.dumps(whole, ensure_ascii=True, allow_nan=False).encode() + b"\n"
        with open_appended(self.path) as file:
            end = file.seek(0, os.SEEK_END) - trail.torn
            try:
                file.truncate(end)
                file.seek(end)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                _cut(file.fileno(), end)
                raise EdgeADError(
                    f"cannot write {self.path}",
                    got=error.strerror or error,
                    remedy="Check the folder and its space.",
                ) from error
        return whole


def _cut(descriptor: int, end: int) -> None:
    """What was half written goes; where even this fails, the next reader sees a line that was cut off."""
    try:
        os.ftruncate(descriptor, end)
    except OSError:
        return


def _parsed(line: bytes) -> Record | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _fault(record: Record | None, number: int, before: str) -> str:
    """What is wrong with a record; "" where nothing is."""
    if record is None:
        return "it is no record"
    if record.get("previous") != before:
        return "it does not follow the record before: one was taken out, put in or changed"
    if record.get("number") != number:
        return f"it has the number {record.get('number')!r}"
    try:
        right = digest_of(record) == record.get("sha256")
    except (TypeError, ValueError):
        right = False
    return "" if right else "its content does not fit its own digest"
