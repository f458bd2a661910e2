"""The limits of the fields of a manifest. A limit stands beside its field: ``ef: Annotated[int, Range(1, 4096)]``.

`check_fields` checks the fields of a dataclass; `edge_ad.spec.codec` checks JSON by the same limits.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import reprlib
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SpecError

MAX_SIDE = 4096  # pixels: of the tensor that an engine gets
MAX_PICTURE_SIDE = 2**15  # pixels: of the picture that is cut into tiles
MAX_FRAME_PIXELS = 2**28  # 268 megapixels: of a frame from the camera
MIN_FRAME_SIDE = 16  # pixels: below this a frame holds nothing to inspect

Pixels = NDArray[np.uint8] | NDArray[np.uint16]  # what a camera gives
Frame = Pixels | NDArray[np.float32]  # or a normal map
Tensor = NDArray[np.uint8] | NDArray[np.float32]  # what an engine gets
Size = tuple[int, int]
Box = tuple[int, int, int, int]


def require(ok: bool, what: str, *, expected: object, got: object, remedy: str | None = None) -> None:
    """Raises `SpecError` unless `ok`."""
    if not ok:
        raise SpecError(what, expected=expected, got=reprlib.repr(got), remedy=remedy)


@dataclass(frozen=True)
class Range:
    """A number, or each number of a tuple, between bounds; never NaN or Inf.

    Attributes:
        low, high: the bounds, which are allowed values; None for no bound.
        above, below: True if the bound itself is not allowed.
        form: text before the bounds in messages and tables.
    """

    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False
    form: str = ""

    @property
    def text(self) -> str:
        """For a reader: "1..1000", "0 or more", "above 0"."""
        return self.form + self._bounds()

    def _bounds(self) -> str:
        low, high = (None if bound is None else f"{bound:.15g}" for bound in (self.low, self.high))
        if self.above or self.below:
            parts = [f"{'above' if self.above else 'at least'} {low}"] if low else []
            parts += [f"{'below' if self.below else 'at most'} {high}"] if high else []
            return " and ".join(parts)
        if low and high:
            return f"{low}..{high}"
        return f"{low} or more" if low else f"{high} or less" if high else "finite"

    def holds(self, value: Any) -> bool:
        """Whether the value is inside."""
        if isinstance(value, (tuple, list)):
            return all(self.holds(item) for item in value)
        if isinstance(value, float) and not math.isfinite(value):
            return False
        from_low = self.low is None or (value > self.low if self.above else value >= self.low)
        return bool(from_low and (self.high is None or (value < self.high if self.below else value <= self.high)))

    def check(self, value: Any, name: str) -> None:
        """Raises `SpecError` if the value is outside."""
        if not self.holds(value):  # makes the text only if needed: there may be thousands of values
            require(False, f"{name} is out of range", expected=self.text, got=value)


@dataclass(frozen=True)
class OneOf:
    """One of several words. `words` is read at each check, as a registry may grow.

    Attributes:
        words: the allowed words.
        also: further allowed words.
    """

    words: Iterable[str]
    also: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """For a reader."""
        return " or ".join(map(repr, (*self.also, *self.words)))

    def check(self, value: Any, name: str) -> None:
        """Raises `SpecError` if the value is not one of the words."""
        if type(value) is not str or value not in (*self.also, *self.words):
            require(False, f"{name} is unknown", expected=self.text, got=value)


@dataclass(frozen=True)
class Hex:
    """A digest of so many lower-case hexadecimal digits."""

    digits: int

    @property
    def text(self) -> str:
        """For a reader."""
        return f"{self.digits} lower-case hexadecimal digits"

    def check(self, value: Any, name: str) -> None:
        """Raises `SpecError` where the value is none."""
        ok = len(value) == self.digits and set(value) <= set("0123456789abcdef")
        require(ok, f"{name} is not a digest", expected=self.text, got=value)


@dataclass(frozen=True)
class Matching:
    """A name of at most so many characters that a regular expression describes; `text` describes it to a reader."""

    pattern: re.Pattern[str]
    longest: int
    text: str

    def check(self, value: Any, name: str) -> None:
        """Raises `SpecError` where the value is none."""
        ok = len(value) <= self.longest and self.pattern.fullmatch(value) is not None
        require(ok, f"{name} is not allowed", expected=self.text, got=value)


@dataclass(frozen=True)
class BoxInside:
    """A box that is not empty, inside a square of so many pixels."""

    side: int = 2**20
    text: str = "(y0, x0, y1, x1), y0 < y1, x0 < x1, from 0"

    def check(self, value: Any, name: str) -> None:
        """Raises `SpecError` where the value is none."""
        require(is_box(value, (self.side, self.side)), f"{name} is not a box", expected=self.text, got=value)


Limit = Range | OneOf | Hex | Matching | BoxInside
LIMITS = typing.get_args(Limit)

Colors = Annotated[tuple[int, int, int], Range(0, 255, form="each ")]
TensorSize = Annotated[Size, Range(16, MAX_SIDE, form="(H, W), each ")]
Digest = Annotated[str, Hex(64)]
BundleId = Annotated[str, Hex(16)]
Finite = Annotated[float, Range()]


def is_box(box: Box, size: Size) -> bool:
    """Whether a half-open box (y0, x0, y1, x1) is inside (H, W) and not empty."""
    y0, x0, y1, x1 = box
    return 0 <= y0 < y1 <= size[0] and 0 <= x0 < x1 <= size[1]


def check_fields(spec: Any, where: str | Callable[[str], str]) -> None:
    """Checks the fields of a dataclass by the limits beside them. None passes if the field may be None.

    Args:
        where: prefix of a field's name in a message, joined with a point; or a function that makes the name.

    Raises:
        SpecError: a field is out of its limits.
    """
    for name, limits in limits_of(spec.__class__).items():
        value = getattr(spec, name)
        for limit in limits if value is not None else ():
            limit.check(value, f"{where}.{name}" if isinstance(where, str) else where(name))


@functools.cache
def type_hints(kind: type) -> dict[str, Any]:
    """The annotations of a class with their limits; evaluated once."""
    return typing.get_type_hints(kind, include_extras=True)


@functools.cache
def limits_of(kind: type) -> dict[str, tuple[Limit, ...]]:
    """Field -> its limits, for the dataclass itself. Nested dataclasses have their own."""
    hints = type_hints(kind)
    found = {field.name: tuple(limits_in(hints[field.name])) for field in dataclasses.fields(kind)}
    return {name: limits for name, limits in found.items() if limits}


def limits_in(hint: Any) -> list[Limit]:
    """The limits of an annotation, through ``| None`` and through the items of ``tuple[X, ...]``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return [limit for limit in args[1:] if isinstance(limit, LIMITS)]
    if origin in (typing.Union, types.UnionType) or (origin is tuple and args[-1] is Ellipsis):
        return [limit for arg in args if arg is not Ellipsis for limit in limits_in(arg)]
    return []
