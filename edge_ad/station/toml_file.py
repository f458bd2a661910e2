"""Reads a TOML file, and knows in which line each key stands, so that a message can say it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from edge_ad.errors import SpecError

_HEADER = re.compile(r"^\s*\[(\[?)\s*([A-Za-z0-9_.-]+)\s*\]?\]")
_KEY = re.compile(r"^\s*([A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')\s*=")


def read_toml(path: Path) -> tuple[dict[str, Any], dict[tuple[str, int, str], int]]:
    """The content, and the line of each key: (table, which of that name, key) -> line; the key "" is the header.

    Raises:
        SpecError: the file cannot be read, or is no TOML.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8"
        remedy = "Check the path; docs/station.md shows a whole file."
        raise SpecError(
            f"the configuration {path} cannot be read", expected="a TOML file in UTF-8", got=got, remedy=remedy
        ) from error
    toml = _parser()
    try:
        return toml.loads(text), _lines(text)
    except toml.TOMLDecodeError as error:
        raise SpecError(f"{path} is no TOML", got=error, remedy="docs/station.md shows a whole file.") from error


def _parser() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib
    try:
        import tomli
    except ImportError as error:
        raise SpecError(
            "Python 3.10 has no reader of TOML", remedy="pip install 'edge-ad[station]', or use Python 3.11."
        ) from error
    return tomli


def _lines(text: str) -> dict[tuple[str, int, str], int]:
    found: dict[tuple[str, int, str], int] = {}
    counts: dict[str, int] = {}
    table, at, inside = "", 0, ""  # inside: the quotes of a text of several lines
    for number, line in enumerate(text.splitlines(), 1):
        if inside:
            inside = "" if line.count(inside) % 2 else inside
            continue
        if header := _HEADER.match(line):
            table = header[2]
            at = counts.get(table, 0)
            counts[table] = at + 1
            found.setdefault((table, at, ""), number)
        elif key := _KEY.match(line):
            found.setdefault((table, at, key[1].strip("\"'")), number)
        for quotes in ('"""', "'''"):
            if line.count(quotes) % 2:
                inside = quotes
    return found
