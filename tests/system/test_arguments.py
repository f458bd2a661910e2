"""Numbers of any type are numbers, and what is none is refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad import Runtime, SpecError

NUMBERS = [
    ("threshold", np.float32(2.5), 2.5),
    ("threshold", np.float64(2.5), 2.5),
    ("threshold", np.int64(3), 3.0),
    ("threshold", np.array(2.5), 2.5),
    ("threads", np.int64(1), 1),
    ("threads", np.uint8(1), 1),
    ("threads", np.array(1), 1),
    ("budget_ms", np.float32(10_000), 10_000.0),
    ("budget_ms", np.int32(10_000), 10_000.0),
]


@pytest.mark.parametrize(("name", "value", "wanted"), NUMBERS, ids=lambda value: repr(value))
def test_numbers_of_numpy_are_numbers(golden: Path, name: str, value: Any, wanted: float) -> None:
    found = getattr(Runtime(golden, **{name: value}), name)
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("threshold", "budget_ms") for value in (np.float32("nan"), np.float64("inf"))),
        *((name, value) for name in ("threshold", "budget_ms") for value in (np.True_, 10**400, np.array([2.5]), 1j)),
        *(("threads", value) for value in (np.True_, np.float32(1), np.int64(0), np.array([1]), "1", int)),
        *(("cores", value) for value in (np.array([0.0]), np.array([True]), np.array(0), np.array([[0]]))),
    ],
    ids=repr,
)
def test_what_is_no_number_is_refused(golden: Path, name: str, value: Any) -> None:
    with pytest.raises(SpecError, match=name):
        Runtime(golden, **{name: value})


@pytest.mark.parametrize(
    "options",
    [
        {"engine": []},
        {"point": 3},
        {"search": None},
        {"device": b"CPU"},
        {"on_miss": 1},
        {"profile": 3},
        {"self_check": "x"},
    ],
    ids=str,
)
def test_words_and_switches_are_refused_by_name(golden: Path, options: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(options))):
        Runtime(golden, **options)


@pytest.mark.parametrize("path", [None, b"cable.bundle", 3], ids=repr)
def test_a_bundle_is_given_by_its_path(path: Any) -> None:
    with pytest.raises(SpecError, match="not a path"):
        Runtime(path)
