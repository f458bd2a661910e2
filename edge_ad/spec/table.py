"""The tables of FORMAT.md, made from the declarations: ``python -m edge_ad.spec.table FORMAT.md`` writes them again.

A table stands between the lines ``<!-- begin NAME ... -->`` and ``<!-- end NAME -->``. A test compares.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from edge_ad.registry import METHODS
from edge_ad.spec.base import LIMITS, OneOf, limits_in, type_hints
from edge_ad.spec.manifest import Manifest
from edge_ad.spec.methods import HeadSpec

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
_ATTRIBUTE = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def fields_table() -> str:
    """A row for each field of a manifest: name, type with limits and default, meaning."""
    return _table(("field", "type", "content"), _rows(Manifest, "", set()))


def methods_table() -> str:
    """A row for each method: what its score is, and what it can do."""
    rows = []
    for name, method in METHODS.items():
        has = ("yes" if capable else "no" for capable in (method.has_map, method.needs_index, method.tiles))
        rows.append((f"`{name}`", method.score, *has, " or ".join(method.searches)))
    return _table(("method", "score of a frame", "map", "index", "tiles", "search"), rows)


def members_table() -> str:
    """A row for each member of a bundle that a method has."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, method in METHODS.items():
        for member, content in method.members.items():
            found.setdefault((member, content), []).append(name)
    rows = [(f"`{member}`", ", ".join(names), content) for (member, content), names in found.items()]
    return _table(("member", "of", "content"), rows)


TABLES = {"fields": fields_table, "methods": methods_table, "members of methods": members_table}


def with_tables(text: str) -> str:
    """A page with its tables written again.

    Raises:
        ValueError: the page has no place for a table.
    """
    for name, make in TABLES.items():
        place = re.compile(rf"(<!-- begin {name}\b[^\n]*-->\n).*?(<!-- end {name} -->)", re.DOTALL)
        match = place.search(text)
        if match is None:
            raise ValueError(f"there is no line <!-- begin {name} ... --> with its end")
        text = f"{text[: match.start()]}{match[1]}\n{make()}\n\n{match[2]}{text[match.end() :]}"
    return text


def _table(head: tuple[str, ...], rows: typing.Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *((cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |".replace("| --- ", "|---").replace("--- |", "---|") for line in lines)


def _rows(kind: Any, prefix: str, done: set[Any]) -> Iterator[tuple[str, str, str]]:
    """The fields of a spec, those of an object inside it below its own row; each class once."""
    done.add(kind)
    meanings, hints = _meanings(kind), type_hints(kind)
    for field in dataclasses.fields(kind):
        hint, name = hints[field.name], prefix + field.name
        inner, form = _inner(hint)
        meaning = meanings.get(field.name) or _first_sentence(inner)
        yield f"`{name}`", _type(hint) + _default(field), meaning
        if dataclasses.is_dataclass(inner) and inner not in done:
            yield from _rows(inner, f"{name}{form}.", done)
            if inner is HeadSpec:
                yield from _method_rows(f"{name}.", done)


def _method_rows(prefix: str, done: set[Any]) -> Iterator[tuple[str, str, str]]:
    for name, method in METHODS.items():
        for field, form, meaning in _rows(method.spec, prefix, done):
            if field != f"`{prefix}method`":
                yield field, form, f"{name}: {meaning}"


def _meanings(kind: Any) -> dict[str, str]:
    """What the docstrings of a class, and of those above it, say of each field."""
    found: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        text = (inspect.cleandoc(cls.__doc__ or "")).partition("Attributes:\n")[2]
        for names, meaning in _ATTRIBUTE.findall(text):
            words = " ".join(meaning.split()).removesuffix(".")
            found |= dict.fromkeys(names.split(", "), re.sub(r"\bNone\b", "null", words.replace("``", "`")))
    return found


def _first_sentence(kind: Any) -> str:
    if not dataclasses.is_dataclass(kind):
        return ""
    text = " ".join(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].removesuffix(".")


def _inner(hint: Any) -> tuple[Any, str]:
    """The class behind ``| None``, in a list or by name in an object, and how a path goes on into it."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _inner(next(arg for arg in args if arg is not type(None)))
    if origin is tuple and args[-1] is Ellipsis:
        return args[0], "[]"
    return (args[1], ".NAME") if origin is dict else (hint, "")


def _type(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        form, *limits = _type(next(arg for arg in args if arg is not type(None))).split(", ", 1)
        return ", ".join([f"{form} or null", *limits])
    if origin is Annotated:
        words = next((limit for limit in args[1:] if isinstance(limit, OneOf)), None)
        if words is not None:
            return words.text.replace("'", "`")
        limits = [limit.text for limit in args[1:] if isinstance(limit, LIMITS)]
        return ", ".join([_type(args[0]), *limits])
    if origin is Literal:
        return " or ".join(f"`{arg}`" if isinstance(arg, str) else str(arg) for arg in args)
    if origin is tuple and args[-1] is Ellipsis:
        return ", ".join([f"list of {_plain(args[0])}s", *(limit.text for limit in limits_in(args[0]))])
    if origin is tuple:
        return f"list of {len(args)} {_plain(args[0])}s"
    if origin is dict:
        return f"object of {_plain(args[1])}s"
    return _plain(hint)


def _plain(hint: Any) -> str:
    while typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    return "object" if dataclasses.is_dataclass(hint) else _TYPES[hint]


def _default(field: dataclasses.Field[Any]) -> str:
    value = {} if field.default_factory is not dataclasses.MISSING else field.default
    if value is dataclasses.MISSING:
        return ""
    text = str(value).lower() if isinstance(value, bool) else value
    shown = "null" if value is None else "empty" if value in ((), {}) else f"`{text}`"
    return f"; default {shown}"


def main(arguments: list[str]) -> int:
    """Writes the tables of the pages that are named."""
    for name in arguments:
        path = Path(name)
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
