"""The folder that synthetic defects are written into: new or empty before, complete afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
from numpy.typing import NDArray

from edge_ad.errors import DatasetError
from edge_ad.system.files import new_folder

_FREE = "a folder that is new or empty"
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def require_free(out: Path) -> None:
    """Refuses a folder that holds anything: nothing is overwritten, and nothing mixed.

    Raises:
        DatasetError: it holds something, is no folder or a link, or cannot be looked into.
    """
    try:
        free = not out.is_symlink() and (not out.exists() or (out.is_dir() and not any(out.iterdir())))
    except OSError as error:
        raise DatasetError(
            "--out cannot be looked into", expected="a folder", got=f"{out}: {error.strerror}"
        ) from error
    if not free:
        raise DatasetError(
            f"{out} is in the way, and nothing is overwritten",
            expected=_FREE,
            got="a link" if out.is_symlink() else "a folder with files" if out.is_dir() else "a file",
            remedy="Give another --out, or move that one away.",
        )


@contextlib.contextmanager
def filled(out: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `out` when it is complete; otherwise nothing is left.

    Raises:
        DatasetError: it cannot be made.
    """
    try:
        with new_folder(out) as staging:
            yield staging
    except OSError as error:
        raise DatasetError(f"{out} cannot be written", expected=_FREE, got=error.strerror or error) from error


def png(image: NDArray[Any]) -> bytes:
    """The bytes of a PNG file of an image."""
    done, data = cv2.imencode(".png", image, _PNG)
    if not done:
        raise DatasetError("an image cannot be written as PNG", got=(image.shape, image.dtype))
    return bytes(data)
