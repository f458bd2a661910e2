"""The JSON form of a manifest. Reading is strict: a hostile file is refused before it costs memory or time.

Errors name the field: "manifest.backbone.grid has the wrong type".
"""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from edge_ad.errors import BundleVersionError, SpecError
from edge_ad.registry import METHODS
from edge_ad.spec.base import LIMITS, require, type_hints
from edge_ad.spec.manifest import Manifest
from edge_ad.spec.methods import HeadSpec

FORMAT = "edge-ad-bundle"
FORMAT_VERSION = 5  # all versions up to it are read; `version_of` says which one is written
# Of a field that an older reader must not pass over: the version since when it is. Its default is None, and so is its
# value in older versions, which do not have it.
_SINCE = "since"
MAX_MANIFEST_BYTES = 2**24
MAX_MANIFEST_CONTAINERS = 10_000  # JSON objects and arrays: 16 MiB of "{}," would become half a gigabyte

T = TypeVar("T")


def encode(spec: Any, version: int | None = None) -> Any:
    """JSON-ready form of a spec: dataclasses as objects, tuples as lists, None kept.

    Args:
        version: fields of later format versions are left out; None for all fields.
    """
    if dataclasses.is_dataclass(spec) and not isinstance(spec, type):
        kept = (f for f in dataclasses.fields(spec) if version is None or f.metadata.get(_SINCE, 0) <= version)
        return {f.name: encode(getattr(spec, f.name), version) for f in kept}
    if isinstance(spec, (tuple, list)):
        return [encode(item, version) for item in spec]
    if isinstance(spec, dict):
        return {key: encode(value, version) for key, value in spec.items()}
    return spec


def decode(kind: type[T], value: object, where: str = "manifest") -> T:
    """A spec of class `kind` from parsed JSON.

    Unknown fields are ignored, so that a later edge-ad may add some. A missing field takes its default; without a
    default it is an error.

    Raises:
        SpecError: a field has the wrong type, is missing, or is out of its range.
    """
    result: T = _decode(kind, value, where)
    return result


_JSON_NAMES = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


def _decode(kind: Any, value: object, where: str) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is HeadSpec:
        return _decode_dataclass(_spec_of_method(value, where), value, where)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(kind, value, where)
    if origin is Annotated:
        found = _decode(args[0], value, where)
        for limit in args[1:]:
            if isinstance(limit, LIMITS):
                limit.check(found, where)
        return found
    if origin in (typing.Union, types.UnionType):
        kinds = [a for a in args if a is not type(None)]
        if value is None and len(kinds) < len(args):
            return None
        assert len(kinds) == 1, "a field of a spec is of one kind, or null"
        return _decode(kinds[0], value, where)
    if origin is Literal:
        matches = [a for a in args if type(a) is type(value) and a == value]
        require(bool(matches), f"{where} is unknown", expected=" or ".join(map(repr, args)), got=value)
        return matches[0]
    if origin is tuple:
        return _decode_tuple(args, value, where)
    if origin is dict:
        entries = _require_json(value, dict, "an object", where)
        return {k: _decode(args[1], v, f"{where}[{reprlib.repr(k)}]") for k, v in entries.items()}
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    return _require_json(value, kind, _JSON_NAMES[kind], where)


def _spec_of_method(value: object, where: str) -> Any:
    """The spec class of the method that the object names in its field `method`."""
    document = _require_json(value, dict, "an object", where)
    require("method" in document, f"{where}.method is missing", expected="a value", got="none")
    word = document["method"]
    known = type(word) is str and word in METHODS
    require(known, f"{where}.method is unknown", expected=" or ".join(map(repr, METHODS)), got=word)
    return METHODS[word].spec


def _decode_tuple(args: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    items = _require_json(value, list, "a list", where)
    kinds = [args[0]] * len(items) if args[-1] is Ellipsis else list(args)
    require(
        len(kinds) == len(items),
        f"{where} has the wrong length",
        expected=f"{len(kinds)} items",
        got=len(items),
    )
    return tuple(_decode(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, items, strict=True)))


def _decode_dataclass(kind: Any, value: object, where: str) -> Any:
    document = _require_json(value, dict, "an object", where)
    hints = type_hints(kind)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in document:
            fields[field.name] = _decode(hints[field.name], document[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING:
            raise SpecError(f"{where}.{field.name} is missing", expected="a value", got="none")
    return kind(**fields)


def _require_json(value: object, kind: type, name: str, where: str) -> Any:
    # Not isinstance: true is an int to Python, and must not be one here.
    require(type(value) is kind, f"{where} has the wrong type", expected=name, got=value)
    return value


def version_of(manifest: Manifest) -> int:
    """The format version of a bundle: the lowest that says all of it, so that older readers read what they can."""
    return max([2, METHODS[manifest.head.method].since, *_used(manifest)])


def _used(spec: Any) -> Iterator[int]:
    """Versions of the fields that a spec and those inside it make use of."""
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if value is not None and _SINCE in field.metadata:
            yield field.metadata[_SINCE]
        for inner in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(inner):
                yield from _used(inner)


def manifest_to_json(manifest: Manifest) -> bytes:
    """The bytes of ``manifest.json``. Equal manifests give equal bytes.

    Raises:
        SpecError: it holds something that the reader would refuse.
    """
    version = version_of(manifest)
    document = {"format": FORMAT, "format_version": version, **encode(manifest, version)}
    try:
        raw = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:  # a NumPy scalar; NaN; a file name with undecodable bytes
        raise SpecError(
            "the manifest cannot be written", expected="text, finite numbers, true, false and null", got=error
        ) from error
    manifest_from_json(raw, version)  # what a reader refuses must not be written
    return raw


def parse_json(text: str) -> object:
    """JSON as RFC 8259 has it: no key twice, no NaN, no number beyond float64 and int64.

    Raises:
        ValueError, RecursionError: it is something else.
    """
    parsed: object = json.loads(
        text,
        object_pairs_hook=_json_object,
        parse_constant=_json_constant,
        parse_float=_json_float,
        parse_int=_json_int,
    )
    return parsed


def manifest_from_json(raw: bytes, written: int | None = None) -> Manifest:
    """The manifest in the bytes of ``manifest.json``, which may be hostile.

    Args:
        written: the format version that the bundle is said to have; None if nothing else says it.

    Raises:
        BundleVersionError: a newer edge-ad wrote it. This is checked before any field.
        SpecError: it is not JSON, it is too large, or a field is wrong.
    """
    containers = raw.count(b"{") + raw.count(b"[")
    for unit, count, limit in (
        ("bytes", len(raw), MAX_MANIFEST_BYTES),
        ("objects and arrays", containers, MAX_MANIFEST_CONTAINERS),
    ):
        require(count <= limit, "the manifest is too large", expected=f"{limit} {unit} at most", got=count)
    try:
        document = parse_json(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SpecError("the manifest is not the JSON of a bundle", got=f"{error!s:.200}") from error
    if not isinstance(document, dict):
        raise SpecError("the manifest is not that of a bundle", expected="an object", got=reprlib.repr(document))
    kind, version = document.get("format"), document.get("format_version")
    require(kind == FORMAT, "the manifest is not that of a bundle", expected=f'"format": "{FORMAT}"', got=kind)
    if type(version) is not int or version < 1:
        raise SpecError("format_version is unknown", expected="1 or more", got=reprlib.repr(version))
    check_version(version, "the bundle")
    written = version if written is None else written
    require(version == written, "format_version is not that of the archive comment", expected=written, got=version)
    manifest = decode(Manifest, document)
    least = version_of(manifest)
    require(least <= version or least == 2, "format_version is too low for its fields", expected=least, got=version)
    try:
        json.dumps(encode(manifest), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # "\ud800" would fail later, wherever the text is printed
        raise SpecError("the manifest holds half of a surrogate pair", got=f"{error!s:.200}") from error
    return manifest


def check_version(version: int, what: object) -> None:
    """Raises `BundleVersionError` if this version of edge-ad does not know format `version` yet."""
    if version > FORMAT_VERSION:
        raise BundleVersionError(
            f"{what} was written by a newer edge-ad",
            expected=f"bundle format {FORMAT_VERSION}",
            got=f"bundle format {version}",
            remedy="Upgrade edge-ad on this machine, or export the bundle again with this version.",
        )


def _json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _json_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


def _json_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is out of range")
    return value


def _json_int(text: str) -> int:
    if len(text) > 19:  # beyond int64; and int() of a long text takes quadratic time
        raise ValueError(f"{text:.40} is out of range")
    return int(text)
