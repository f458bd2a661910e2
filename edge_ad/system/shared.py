"""Memory and scratch files that have no name, so that nothing is left of them however the processes end.

`multiprocessing.shared_memory` gives its segments names. What is killed leaves them behind, and the tracker that should
take them away takes them away too early where a process that is no child of ours ends. Here the kernel counts who
holds the memory: it is gone with the last process that does.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from typing import IO, Any

_lock = threading.Lock()
_made = 0


def nameless_file() -> IO[bytes]:
    """A file for reading and writing that no folder shows: in memory on Linux, elsewhere a temporary one."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("edge-ad", os.MFD_CLOEXEC), "r+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)  # its owner closes it


class Memory:
    """Memory that two processes see. The first makes it without a size, the second is given its `ticket` and sizes it.

    On Linux and macOS the ticket is the number of an open file, which the second process must inherit (`pass_fds`). On
    Windows it is a name that no file has; the memory goes with the last process that has it open.
    """

    def __init__(self) -> None:
        global _made
        self._map: mmap.mmap | None = None
        self._file: IO[bytes] | None = None
        if os.name == "nt":
            with _lock:
                _made += 1
                self.ticket: int | str = f"edge-ad-{os.getpid()}-{_made}"
        else:
            self._file = nameless_file()
            self.ticket = self._file.fileno()

    @property
    def inherited(self) -> tuple[int, ...]:
        """For `pass_fds` of `subprocess.Popen`."""
        return (self.ticket,) if isinstance(self.ticket, int) else ()

    def look(self, size: int) -> mmap.mmap:
        """The memory, after the other process has given it this size. It replaces what was looked at before."""
        self._unmap()
        self._map = _mapped(self.ticket, size)
        return self._map

    def close(self) -> None:
        """Gives the memory back. Arrays that still look at it keep it until they are gone. May be called twice."""
        self._unmap()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _unmap(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None


def sized(ticket: int | str, size: int) -> mmap.mmap:
    """In the other process: gives the memory of a ticket a size in bytes, larger than before, and maps it."""
    if isinstance(ticket, int):
        os.ftruncate(ticket, size)
    return _mapped(ticket, size)


def _mapped(ticket: int | str, size: int) -> mmap.mmap:
    if isinstance(ticket, int):
        return mmap.mmap(ticket, size)
    windows: Any = mmap.mmap  # `tagname` is Windows' alone
    return windows(-1, size, tagname=f"{ticket}-{size}")
