"""A file that grows by a line an outcome. Its own last line says what it has, so that no line comes twice."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_ad.station.sinks.base import Message
from edge_ad.system.files import open_appended

_TAIL = 2**16  # bytes: more than the longest line


class LineFile:
    """A sink of lines. A file that was moved or removed, as programs do that rotate logs, is begun anew.

    Args:
        path: the file; it is made if it is not there.
        head: its first line, with the line end; b"" for none.
        line: an outcome as a line, with its end.
        key_of: the key (`Message.key`) of the outcome that a line holds; "" where it holds none.

    Raises:
        EdgeADError: it cannot be opened.
    """

    def __init__(
        self, path: Path, head: bytes, line: Callable[[Message], bytes], key_of: Callable[[bytes], str]
    ) -> None:
        self._path, self._head, self._line, self._key_of = path, head, line, key_of
        self._begin()

    def _begin(self) -> None:
        self._file = open_appended(self._path)
        self._last = ("", 0)  # the journal and the number of the last line
        tail, begins = self._tail()
        whole = tail.rfind(b"\n") + 1
        if whole < len(tail):  # a power cut came between
            self._file.truncate(begins + whole)
            self._file.seek(0, os.SEEK_END)
        for each in reversed(tail[:whole].splitlines(keepends=True)):
            if key := self._key_of(each):
                self._last = _place(key)
                break
        if not self._file.tell() and self._head:
            self._file.write(self._head)

    def _tail(self) -> tuple[bytes, int]:
        begins = max(0, self._file.tell() - _TAIL)
        self._file.seek(begins)
        return self._file.read(), begins

    def _is_elsewhere(self) -> bool:
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._file.fileno()))
        except OSError:
            return True

    def deliver(self, messages: Sequence[Message]) -> None:
        """See `Sink.deliver`."""
        if self._is_elsewhere():
            before = self._file
            self._begin()
            with contextlib.suppress(OSError):
                before.close()
        journal, number = self._last
        new = [each for each in messages if (place := _place(each.key))[0] != journal or place[1] > number]
        if not new:
            return
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(b"".join(map(self._line, new)))
            self._file.flush()
            os.fsync(self._file.fileno())
        except BaseException:
            self._back_to(end)
            raise
        self._last = _place(new[-1].key)

    def _back_to(self, end: int) -> None:
        """Cuts off what was half written; what is still in Python's buffer is dropped with the file."""
        name = self._file.name
        with contextlib.suppress(OSError):  # it flushes once more, and the disk is as full as before
            self._file.close()
        self._file = open_appended(Path(name))
        self._file.truncate(min(end, self._file.tell()))
        self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """See `Sink.close`."""
        self._file.close()


def is_key(text: str) -> bool:
    """Whether it is the key of an outcome: a journal, a hyphen, a number."""
    return re.fullmatch(r"[^-\s]+-[0-9]{1,18}", text) is not None


def _place(key: str) -> tuple[str, int]:
    """The journal and the number of a key. Another journal counts from 1 again."""
    journal, _, number = key.rpartition("-")
    return journal, int(number)
