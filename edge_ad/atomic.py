"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def replace_file(target: Path, parts: Iterable[memoryview | bytes]) -> None:
    """Writes beside `target`, flushes to the disk and renames; what was there stays until then.

    Whatever is raised, an interrupt too, the rest is removed. The folder must be there. Calls from several threads are
    independent; on one path the last to finish wins.

    Raises:
        OSError: it cannot be written.
    """
    # 50 characters of the name: at most 200 bytes, so that the temporary name fits wherever the name does.
    temporary = target.with_name(f".{target.name[:50]}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:  # mode as the umask gives, which mkstemp would narrow to 0600
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    # The file is complete and in its place; this makes the rename outlive a power cut. Some network file systems
    # refuse it, Windows has none, a directory may be writable but not readable: nothing to report.
    with contextlib.suppress(OSError):
        descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
