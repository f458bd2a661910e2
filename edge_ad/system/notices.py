"""Shows the library's warnings in a command."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO

from edge_ad.errors import ImageWarning
from edge_ad.system.names import listed

_LISTED = 3  # names in a line


@contextlib.contextmanager
def show_image_warnings() -> Iterator[None]:
    """Shows each `ImageWarning` as a line on stderr, once; those of single images share a line at the end.

    For commands: filters and the hook of `warnings` belong to the process, and are put back at the end.
    """
    said: set[str] = set()
    by_image: dict[str, dict[str, None]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("always", ImageWarning)
        usual = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not isinstance(message, ImageWarning):
                usual(message, category, filename, lineno, file, line)
            elif message.path is not None:
                by_image.setdefault(str(message), {})[message.path] = None
            elif str(message) not in said:
                said.add(str(message))
                print(f"note: {message}", file=sys.stderr)

        warnings.showwarning = show
        try:
            yield
        finally:
            for text, paths in by_image.items():
                print(f"note: {text}: {listed([*paths], _LISTED)}", file=sys.stderr)
