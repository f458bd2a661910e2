"""The words of the page, all from `texts.json`: each text in each language. A language is added there alone."""

from __future__ import annotations

import functools
import json
import unicodedata
from pathlib import Path
from typing import Any

from edge_ad.errors import SpecError
from edge_ad.system.names import printable

FILE = Path(__file__).parent / "texts.json"
ENGLISH = "en"
DASH = "\u2013"  # where there is no number
_BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # they turn the text around them


@functools.cache
def tables() -> dict[str, Any]:
    """The content of the file: `languages` (code: own name), `decimal` (code: its mark), `texts` (key: code: text)."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def languages() -> dict[str, str]:
    """Codes of the languages, with the name that each has for itself."""
    found: dict[str, str] = tables()["languages"]
    return found


def known(key: str, other: str) -> str:
    """The key, where the file has it; else the other one."""
    return key if key in tables()["texts"] else other


def shown(text: object) -> str:
    """A foreign text such as a part id, on one line: what is invisible or turns the text around it is an escape."""
    return "".join(_visible(character) for character in printable(str(text)))


def _visible(character: str) -> str:
    turns = unicodedata.bidirectional(character) in _BIDI or character in "\u200e\u200f\u061c"
    return character.encode("unicode_escape").decode() if turns or character == "\ufeff" else character


class Words:
    """The texts in one language.

    Args:
        language: one of `languages()`.

    Raises:
        SpecError: there is no such language.
    """

    def __init__(self, language: str) -> None:
        if language not in languages():
            raise SpecError("there is no such language", expected=", ".join(languages()), got=repr(language))
        self.language = language
        self._mark = str(tables()["decimal"][language])

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key, with its values; a KeyError where the file has none."""
        text = str(tables()["texts"][key][self.language])
        return text.format(**values) if values else text

    def number(self, value: float | None, digits: int = 4) -> str:
        """A number with so many significant digits, as people of the language write it; a dash for none."""
        return DASH if value is None else self.plain(f"{value:.{digits}g}")

    def plain(self, number: str) -> str:
        """A number that is written with a point, as people of the language write it."""
        return number.replace(".", self._mark)

    def ms(self, value: float | None) -> str:
        """Milliseconds without their unit: whole ones from ten on."""
        if value is None:
            return DASH
        return f"{value:.0f}" if value >= 10 else f"{value:.1f}".replace(".", self._mark)

    def size(self, count: float) -> str:
        """Bytes for a reader."""
        for unit in ("B", "kB", "MB", "GB"):
            if count < 1000:
                return f"{self.number(count, 3)} {unit}"
            count /= 1000
        return f"{self.number(count, 3)} TB"

    def age(self, seconds: float, kind: str = "age") -> str:
        """How long ago it was; of kind "stale", that nothing came since."""
        if seconds < 120:
            now = kind == "age" and seconds < 2
            return self("age_now") if now else self(f"{kind}_s", n=int(seconds))
        if seconds < 7200:
            return self(f"{kind}_min", n=int(seconds / 60))
        return self(f"{kind}_h", n=int(seconds / 3600))


def language_of(asked: str, cookie: str, accepted: str) -> str:
    """The language of a request: what its address asks for, else its cookie, else what its browser accepts."""
    for each in (asked, cookie, *_in_order(accepted)):
        code = each.lower().partition("-")[0]
        if code in languages():
            return code
    return ENGLISH


def _in_order(accepted: str) -> list[str]:
    """Languages of an Accept-Language header, the most wanted first."""
    found: list[tuple[float, str]] = []
    for part in accepted[:500].split(","):
        name, _, rest = part.partition(";")
        try:
            wanted = float(rest.strip().removeprefix("q=") or 1)
        except ValueError:
            wanted = 0.0
        if wanted > 0:
            found.append((-wanted, name.strip()))
    return [name for _, name in sorted(found, key=lambda each: each[0])]
