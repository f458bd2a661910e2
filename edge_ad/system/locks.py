"""A lock on a folder that ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from edge_ad.errors import EdgeADError

_BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


@contextlib.contextmanager
def locked(path: Path, busy: EdgeADError) -> Iterator[None]:
    """Holds a lock file, which is made and stays. The system lets go of it when this process ends, also by SIGKILL; a
    process that it starts does not inherit it.

    Args:
        busy: what is raised if another process holds it.

    Raises:
        EdgeADError: `busy`, or the file cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise EdgeADError(
            f"cannot write {path}", got=error.strerror, remedy="Check the folder and its space."
        ) from error
    try:
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno in _BUSY:
                raise busy from None
            raise EdgeADError(
                f"cannot lock {path}", got=error.strerror, remedy="Give a folder of another disk."
            ) from error
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
