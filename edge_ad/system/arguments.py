"""Checks numbers, words and switches that a caller gave as options.

Numbers may be Python's or NumPy's; True, NaN and Inf are none.
"""

from __future__ import annotations

import math
import numbers
import operator
from typing import SupportsFloat, SupportsIndex

import numpy as np

from edge_ad.errors import SpecError


def whole_number(name: str, value: object, least: int, most: int) -> int:
    """`value` as an int.

    Args:
        name: of the option, for the message.
        value: an integer of any type, also an array of no dimensions.
        least, most: its range.

    Raises:
        SpecError: it is not a whole number, or outside its range.
    """
    try:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, SupportsIndex):
            raise TypeError
        found = operator.index(value)
    except TypeError:
        raise SpecError(f"{name} is not a whole number", expected=f"{least}..{most}", got=repr(value)) from None
    if not least <= found <= most:
        raise SpecError(f"{name} is out of range", expected=f"{least}..{most}", got=repr(value))
    return found


def positive_number(name: str, value: object) -> float:
    """`value` as a float.

    Args:
        name: of the option, for the message.
        value: a real number of any type, also an array of no dimensions.

    Raises:
        SpecError: it is not a number, or not finite, or not above 0.
    """
    number = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(number, bool) or not (isinstance(number, numbers.Real) and isinstance(number, SupportsFloat)):
        raise SpecError(f"{name} is not a number", expected="a finite number above 0", got=repr(value))
    try:
        found = float(number)
    except OverflowError:
        found = math.inf
    if not 0 < found < math.inf:
        raise SpecError(f"{name} is out of range", expected="a finite number above 0", got=repr(value))
    return found


def text(name: str, value: object) -> str:
    """`value`, which must be a str.

    Raises:
        SpecError: it is of another type.
    """
    if not isinstance(value, str):
        raise SpecError(f"{name} is not a word", expected="a str", got=repr(value))
    return value


def flag(name: str, value: object) -> bool:
    """`value` as a bool; NumPy's is one too.

    Raises:
        SpecError: it is of another type.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise SpecError(f"{name} is neither True nor False", expected="a bool", got=repr(value))
    return bool(value)
