"""What clients give a method, and what it gives back."""

from __future__ import annotations

import math
from typing import Any

from asyncua import ua

from edge_ad.station.plc import opcua_model as model
from edge_ad.station.plc.opcua_types import made

_MOST_ID = 256  # characters of an id that a client gives


class Refused(Exception):  # noqa: N818 - it is an answer
    """A call that is refused: the status code, and why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def value_of(field: model.Field, variant: ua.Variant) -> Any:
    """What a client gave for an argument.

    Raises:
        Refused: it is of another type.
    """
    value = variant.Value
    if field.many:
        fits = value is None or isinstance(value, list)
    elif field.kind in model.STRUCTURES:
        fits = value is None or type(value).__name__ == field.kind
    elif field.kind in (model.STRING, model.TRIMMED):
        fits = value is None or isinstance(value, str)
    else:
        fits = isinstance(value, int)
    if not fits:
        raise Refused(ua.StatusCodes.BadTypeMismatch, f"{field.name} is of another type than it must be")
    return value


def id_of(given: Any, name: str) -> str:
    """The id within a structure; "" where there is none.

    Raises:
        Refused: it is no id.
    """
    value = None if given is None else given.Id
    text = "" if value is None else str(value).strip()
    if len(text) > _MOST_ID or not text.isprintable():
        shown = f"{len(text)} characters" if len(text) > _MOST_ID else ascii(text)
        text = f"{name} holds up to {_MOST_ID} printable characters; got {shown}"
        raise Refused(ua.StatusCodes.BadInvalidArgument, text)
    return text


def page(found: list[Any], most: int, start: int) -> list[ua.Variant]:
    """A part of a list, as the methods give it that list something; `most` 0 is all."""
    part = found[start : start + most] if most else found[start:]
    complete = ua.Variant(start + len(part) >= len(found))
    listed = ua.Variant(part, ua.VariantType.ExtensionObject, is_array=True)
    return [complete, ua.Variant(len(part), ua.VariantType.UInt32), no_handle(), listed, no_error()]


def no_error() -> ua.Variant:
    """The argument Error. It is always 0: what is refused has a status code, which no client overlooks."""
    return ua.Variant(0, ua.VariantType.Int32)


def no_handle() -> ua.Variant:
    """Results and recipes need no handle: they are given whole."""
    return ua.Variant(0, ua.VariantType.UInt32)


def id_variant(name: str, value: str) -> ua.Variant:
    """A structure that holds an id."""
    return ua.Variant(made(name, Id=value), ua.VariantType.ExtensionObject)


def number_or_nan(value: float | None) -> float:
    """A variable of a number cannot be empty."""
    return math.nan if value is None else float(value)
