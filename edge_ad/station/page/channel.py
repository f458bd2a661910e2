"""Messages between the station and the process of its page: JSON and raw bytes over two pipes. Nothing is unpickled.

A message is its length (4 bytes, the highest first), JSON in UTF-8, and the blobs whose sizes the JSON has as `blobs`.
"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from edge_ad.errors import EdgeADError

_LENGTH = struct.Struct(">I")
MOST_ASKED = 2**20  # bytes of a message of the page, which strangers may talk to
MOST_TOLD = 2**26  # of one of the station, and of each blob of it

# Why something was refused, and the HTTP status that the page answers with.
BAD, UNKNOWN, CONFLICT, UNAVAILABLE, LATE = "bad", "unknown", "conflict", "unavailable", "late"
_STATUS = {BAD: 400, UNKNOWN: 404, CONFLICT: 409, UNAVAILABLE: 503, LATE: 504}


class RefusedError(EdgeADError):
    """The station does not do what the page asks for.

    Args:
        what: the station's message.
        word: why, one of the words above.
        more: as of every error.
    """

    def __init__(self, what: str, word: str = BAD, **more: Any) -> None:
        super().__init__(what, **more)
        self.word = word

    @property
    def status(self) -> int:
        """Of HTTP; 500 where the station itself failed."""
        return _STATUS.get(self.word, 500)


class Channel:
    """One end. `send` may be called by any thread, `receive` by one.

    Args:
        most: bytes of a message that is received, and of each blob.
    """

    def __init__(self, reader: BinaryIO, writer: BinaryIO, most: int) -> None:
        self._reader, self._writer, self._most = reader, writer, most
        self._lock = threading.Lock()

    def send(self, message: Mapping[str, Any], blobs: Sequence[bytes | memoryview] = ()) -> None:
        """Writes a message; waits while the other end does not read.

        Raises:
            OSError, ValueError: the other end is gone, or this one is closed.
        """
        text = json.dumps({**message, "blobs": [len(blob) for blob in blobs]}, allow_nan=False).encode()
        with self._lock:
            self._writer.write(_LENGTH.pack(len(text)) + text)
            for blob in blobs:
                self._writer.write(blob)
            self._writer.flush()

    def receive(self) -> tuple[dict[str, Any], list[bytes]] | None:
        """The next message with its blobs; None at the end.

        Raises:
            EdgeADError: what came is no message.
        """
        head = self._read(_LENGTH.size)
        if head is None:
            return None
        (length,) = _LENGTH.unpack(head)
        text = self._read(self._checked(length))
        if text is None:
            return None
        try:
            message = json.loads(text)
            sizes = [self._checked(size) for size in message.pop("blobs")]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise EdgeADError("a message between station and page is damaged", got=error) from error
        blobs = [self._read(size) for size in sizes]
        if None in blobs:
            return None
        return message, [blob for blob in blobs if blob is not None]

    def _checked(self, size: Any) -> int:
        if not isinstance(size, int) or not 0 <= size <= self._most:
            raise EdgeADError(
                "a message between station and page is too long", expected=f"{self._most} bytes", got=size
            )
        return size

    def _read(self, size: int) -> bytes | None:
        parts: list[bytes] = []
        while size:
            try:
                part = self._reader.read(size)
            except (OSError, ValueError):  # it was closed
                return None
            if not part:
                return None
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
