"""Which good images are held back, and what a lesson may cost."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from edge_ad.errors import LearningError, SpecError
from edge_ad.learning.policy import Limits, check_growth, check_power, held_back
from tests.learning.making import FIGURES

DIGESTS = [hashlib.sha256(bytes([at])).hexdigest() for at in range(200)]


def test_about_a_fifth_is_held_back_and_never_moves() -> None:
    all_of_them = held_back(DIGESTS, locked=True)
    assert 20 < len(all_of_them) < 60
    for start in range(0, 200, 10):
        part = DIGESTS[start : start + 10]
        assert held_back(part, locked=True) == all_of_them & {*part}


def test_one_is_held_back_where_none_is_locked_and_one_is_left() -> None:
    free = [digest for digest in DIGESTS if digest not in held_back(DIGESTS, locked=True)]
    assert held_back(free[:3], locked=False) == {min(free[:3])}
    assert held_back(free[:3], locked=True) == set()
    chosen = sorted(held_back(DIGESTS, locked=True))[:2]
    assert len(held_back(chosen, locked=False)) == 1
    assert held_back([], locked=False) == set()
    with pytest.raises(LearningError, match="two good images"):
        held_back(free[:1], locked=False)


def test_room() -> None:
    limits = Limits(growth=0.2)
    assert [limits.room(100, now) for now in (100, 110, 120, 130, 90)] == [20, 10, 0, 0, 20]
    with pytest.raises(LearningError, match="at most 20% more rows than the 100"):
        check_growth(["f32"], limits, 100, 120)
    check_growth([], limits, 100, 120)


@pytest.mark.parametrize(("after", "refused"), [(0.48, False), (0.4799, True), (0.9, False), (None, False)])
def test_power(after: float | None, refused: bool) -> None:
    figures = dataclasses.replace(FIGURES, power=None if after is None else (0.5, after))
    if refused:
        with pytest.raises(LearningError, match="f32 would find fewer synthetic defects"):
            check_power([figures], Limits())
    else:
        check_power([figures], Limits())


@pytest.mark.parametrize("field", ["growth", "power_drop"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_limits_out_of_range(field: str, value: float) -> None:
    with pytest.raises(SpecError, match=field):
        Limits(**{field: value})
