"""Files of the user that are read whole: images, masks, regions, networks, weights."""

from __future__ import annotations

import errno
import os
import stat

# More than the largest frame as 16-bit BGR, and more than an ONNX file can hold.
MAX_INPUT_BYTES = 2**31
_STEP = 2**20


def read_input(path: str | os.PathLike[str], *, most: int = MAX_INPUT_BYTES) -> bytes:
    """The bytes of a file or a pipe. A device is refused: /dev/zero never ends, and would take all memory.

    Safe to call from several threads.

    Args:
        path: the file.
        most: bytes that it may hold.

    Raises:
        OSError: it cannot be read, is a device, or holds more than `most`; its `filename` and `strerror` are set.
        ValueError: there is a NUL in the path.
    """
    name = os.fspath(path)
    status = os.stat(name)
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        raise OSError(errno.EINVAL, "a device", name)
    if stat.S_ISREG(status.st_mode) and status.st_size > most:  # not read for a minute to say so
        raise OSError(errno.EFBIG, f"more than {most:,} bytes", name)
    parts, held = [], 0
    with open(name, "rb", buffering=0) as file:
        # Asked for in steps, as `read(most)` would take memory for `most`; one byte more than is there tells the end.
        step = max(status.st_size + 1, _STEP)
        while held <= most and (part := file.read(min(step, most + 1 - held))):
            parts.append(part)
            held += len(part)
    if held > most:
        raise OSError(errno.EFBIG, f"more than {most:,} bytes", name)
    return parts[0] if len(parts) == 1 else b"".join(parts)
