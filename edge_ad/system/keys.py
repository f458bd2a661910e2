"""Keys of a table that a person wrote: what each may be, and the message where it is not."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_ad.errors import SpecError


@dataclass(frozen=True)
class Key:
    """A key.

    Attributes:
        kind: turns the TOML value into what is used; raises SpecError with what was expected.
        help: what it means, for the documentation.
        default: the value without the key.
        required: whether it must be there.
    """

    kind: Callable[[Any], Any]
    help: str
    default: Any = None
    required: bool = False


Problem = tuple[str, str]  # the key, and what is wrong with it


def read_table(given: Mapping[str, Any], keys: Mapping[str, Key]) -> tuple[dict[str, Any], list[Problem]]:
    """The values of a table with defaults, and all that is wrong with it."""
    values = {name: key.default for name, key in keys.items()}
    problems: list[Problem] = []
    for name, value in given.items():
        if name not in keys:
            near = difflib.get_close_matches(name, [*keys], n=1)
            told = f"did you mean {near[0]}?" if near else "known are " + ", ".join(keys)
            problems.append((name, f"there is no such key; {told}"))
            continue
        try:
            values[name] = keys[name].kind(value)
        except SpecError as error:
            problems.append((name, str(error)))
    missing = [name for name, key in keys.items() if key.required and name not in given]
    problems += [("", f"{name} is missing: {keys[name].help}") for name in missing]
    return values, problems


def text(value: Any) -> str:
    """A text that is not empty, on one line."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise SpecError("it is no text", expected="a text in quotes", got=repr(value))
    return value


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts, in this order."""
    if not isinstance(value, list) or not value:
        raise SpecError("it is no list of texts", expected='such as ["a", "b"]', got=repr(value))
    return tuple(text(each) for each in value)


def label(value: Any) -> str:
    """A short name of ASCII letters, digits, dot, hyphen and underscore."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", value):
        raise SpecError("it is no name", expected="up to 40 letters, digits and .-_", got=repr(value))
    return value


def table(value: Any) -> dict[str, Any]:
    """A table, whatever it holds."""
    if not isinstance(value, dict):
        raise SpecError("it is no table", expected="such as { name = 1 }", got=repr(value))
    return value


def switch(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise SpecError("it is no switch", expected="true or false", got=repr(value))
    return value


def number(least: float, most: float) -> Callable[[Any], float]:
    """A number within limits."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise SpecError("it is out of range", expected=f"a number from {least:g} to {most:,.10g}", got=repr(value))
        return float(value)

    return read


def whole(least: int, most: int) -> Callable[[Any], int]:
    """A whole number within limits."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise SpecError("it is out of range", expected=f"a whole number from {least} to {most:,}", got=repr(value))
        return value

    return read


def word(*words: str) -> Callable[[Any], str]:
    """One of some words."""

    def read(value: Any) -> str:
        if value not in words:
            near = difflib.get_close_matches(str(value), words, n=1)
            remedy = f"Did you mean {near[0]}?" if near else None
            raise SpecError("it is not known", expected=" or ".join(words), got=repr(value), remedy=remedy)
        return str(value)

    return read


def words(*known: str) -> Callable[[Any], tuple[str, ...]]:
    """A list of some words, each once."""

    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or len({*map(str, value)}) != len(value):
            raise SpecError("it is no list of different words", expected=f"some of {', '.join(known)}", got=repr(value))
        return tuple(word(*known)(each) for each in value)

    return read


def wholes(value: Any) -> tuple[int, ...]:
    """A list of whole numbers from 0 on, each once."""
    if (
        not isinstance(value, list)
        or not value
        or len({*map(str, value)}) != len(value)
        or not all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in value)
    ):
        raise SpecError("it is no list of different whole numbers", expected="such as [0, 1]", got=repr(value))
    return tuple(value)


def options_of(given: Mapping[str, Any] | None, keys: Mapping[str, Key], what: str) -> dict[str, Any]:
    """The values of a table with defaults.

    Raises:
        SpecError: something is wrong with it; begins with `what` it is.
    """
    values, problems = read_table(given or {}, keys)
    if problems:
        name, told = problems[0]
        raise SpecError(f"{what}: {name}: {told}" if name else f"{what}: {told}")
    return values
