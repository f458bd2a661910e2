"""Detection power in a manifest: what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from edge_ad.errors import SpecError
from edge_ad.spec import PowerSpec
from edge_ad.spec.codec import decode, encode

GOOD = PowerSpec(("scratch", "spot"), (0.01, 0.1), (0.05, 0.4), (0, 3, 7), (1.5, 2.0, 0.0), 3, 7)


def test_there_and_back() -> None:
    assert decode(PowerSpec, encode(GOOD)) == GOOD


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cells", (0, 3)),
        ("cells", (0, 3, 8)),
        ("cells", (0, 3, -1)),
        ("scores", (1.0, 2.0, float("nan"))),
        ("scores", (1.0, 2.0, float("inf"))),
        ("kinds", ()),
        ("sizes", (0.0, 0.1)),
        ("contrasts", (0.1, 1.5)),
        ("images", 0),
        ("images", 4),
        ("kinds", ("scratch", "scratch")),
        ("kinds", ("scratch", "\x1b[31m")),
        ("sizes", (0.1, 0.01)),
        ("contrasts", (0.4, 0.4)),
        ("seed", -1),
    ],
)
def test_refused(field: str, value: Any) -> None:
    with pytest.raises(SpecError, match="power"):
        dataclasses.replace(GOOD, **{field: value})


def test_a_hostile_number_of_cells_is_refused_before_it_costs_memory() -> None:
    with pytest.raises(SpecError, match="no cells"):
        dataclasses.replace(GOOD, kinds=tuple(map(str, range(100_000))), cells=(), scores=())
