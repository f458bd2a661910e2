"""File names, and names of people, as text that can be printed, and written into tables, JSON and manifests.

POSIX takes any bytes for a name, and Python keeps those that cannot be decoded as lone surrogates, which no encoding
takes. One form is used wherever a name is shown or stored: such a byte is ``\\xff``, a control character ``\\n`` or
``\\x1b``, and everything else is itself. A name that holds such a text by itself looks the same: this is for people.
"""

from __future__ import annotations

import getpass
import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePath

from edge_ad.errors import SpecError

LONGEST_NAME = 200  # of a person


def printable(name: str | PurePath) -> str:
    r"""The name as valid Unicode on one line: undecodable bytes and control characters as backslash escapes."""
    text = str(name)
    return text if text.isascii() and text.isprintable() else "".join(map(_shown, text))


def printable_lines(text: str) -> str:
    """A message of several lines, each as `printable` gives it."""
    return "\n".join(printable(line) for line in text.split("\n"))


def storable(text: str) -> str:
    """A whole text as UTF-8 takes it: only what cannot be encoded is escaped."""
    return re.sub("[\ud800-\udfff]", lambda found: _shown(found[0]), text)


def listed(names: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first `most` names, and how many more there are: "a.png, b.png and 3 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + more


def who_of(given: str) -> str:
    """The name that is recorded: the one that is given, or that of the user.

    Raises:
        SpecError: it is too long.
    """
    name = given.strip()
    if len(name) > LONGEST_NAME:
        raise SpecError("--who is too long", expected=f"{LONGEST_NAME} characters at most", got=len(name))
    if not name:
        try:
            name = getpass.getuser()
        except (OSError, KeyError, ImportError):  # no such user, as in a container
            name = "unknown"
    return printable(name)


def _shown(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # PEP 383: a byte that could not be decoded
        return f"\\x{ord(character) - 0xDC00:02x}"
    unfit = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return character.encode("unicode_escape").decode() if unfit else character
