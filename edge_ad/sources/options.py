"""Options of a source, as a station's configuration gives them: a name and a value, beside the address.

They are no part of the address: what follows the `?` of rtsp://host/path?channel=1 belongs to the camera.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from edge_ad.errors import SpecError
from edge_ad.spec.base import OneOf, Range, check_fields, require

POLICIES = ("newest", "every")

Seconds = Annotated[float, Range(0, 86400)]


@dataclass(frozen=True)
class CameraOptions:
    """What every source has whose capture runs in a process of its own.

    Attributes:
        policy: "newest": a reader that is slow gets the newest frame, older ones are dropped and counted. "every": the
            capture waits until there is room; a live camera then drops by itself.
        slots: frames that the shared memory holds.
        open_s: seconds that opening the camera may take.
        silent_s, frozen_s, dark_s, blinded_s: seconds after which a camera without frames, with the same picture again
            and again, with nothing but darkness or nothing but light is reported. 0: this is not watched.
        frozen_level: grey levels of 255 by which a picture may differ from that of half a second ago, and still is the
            same one. 0: in no pixel from the one before. An encoder changes a picture that stands still.
        dark_level: part of full scale; a frame is dark where 999 of 1000 pixels have no channel above it.
        blinded_level: part of full scale; a frame is blinded where 99 of 100 pixels have no channel below it.
        backoff_s, backoff_max_s: seconds between two attempts to connect: the first pause, doubled up to the longest.
    """

    policy: Annotated[str, OneOf(POLICIES)] = "newest"
    slots: Annotated[int, Range(3, 64)] = 4
    open_s: Annotated[float, Range(0.1, 600)] = 5.0
    silent_s: Seconds = 2.0
    frozen_s: Seconds = 2.0
    dark_s: Seconds = 2.0
    blinded_s: Seconds = 2.0
    frozen_level: Annotated[float, Range(0, 255)] = 0.0
    dark_level: Annotated[float, Range(0, 1)] = 0.05
    blinded_level: Annotated[float, Range(0, 1)] = 0.98
    backoff_s: Annotated[float, Range(0.05, 3600)] = 0.5
    backoff_max_s: Annotated[float, Range(0.05, 3600)] = 10.0


T = TypeVar("T", bound=CameraOptions)


def read_options(kind: type[T], given: Mapping[str, Any] | None, camera: str) -> T:
    """The options of a camera, checked.

    Raises:
        SpecError: a name is unknown, or a value has the wrong type or is out of its limits.
    """
    names, hints = [field.name for field in dataclasses.fields(kind)], typing.get_type_hints(kind, include_extras=True)
    values = dict(given or {})
    for name in values:
        require(
            name in names,
            f"camera {camera} has an unknown option",
            expected="one of " + ", ".join(names),
            got=name,
        )
        values[name] = _typed(values[name], hints[name], f"option {name} of camera {camera}")
    options = kind(**values)
    check_fields(options, lambda name: f"option {name} of camera {camera}")
    return options


def _typed(value: Any, hint: Any, what: str) -> Any:
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    kind = typing.get_origin(hint) or hint
    if kind is float and type(value) is int:
        return float(value)
    ok = isinstance(value, Mapping) if kind is dict else type(value) is kind
    if not ok:
        words = {bool: "true or false", float: "a number", int: "a whole number", str: "a text"}
        raise SpecError(f"{what} has the wrong type", expected=words.get(kind, "a table"), got=repr(value))
    return value
