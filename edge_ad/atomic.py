"""Files that are there whole or not at all, and folders that are there for a while."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path


def replace_file(target: Path, parts: Iterable[memoryview | bytes]) -> None:
    """Writes beside `target`, flushes to the disk and renames; what was there stays until then.

    Whatever is raised, an interrupt too, the rest is removed. The folder must be there. Calls from several threads are
    independent; on one path the last to finish wins.

    Raises:
        OSError: it cannot be written.
    """
    temporary = _beside(target)
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


@contextlib.contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """A new, hidden folder in the folder of `target`; it is gone afterwards, interrupted or not.

    Unlike `tempfile.TemporaryDirectory`, also where Ctrl-C arrives while it is made or removed.

    Raises:
        OSError: it cannot be made.
    """
    folder = _beside(target)
    try:
        folder.mkdir()
        yield folder
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _beside(target: Path) -> Path:
    # 50 characters of the name: at most 200 bytes, so that the temporary name fits wherever the name does.
    return target.with_name(f".{target.name[:50]}.{secrets.token_hex(8)}.tmp")
