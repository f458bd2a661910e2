"""The map of registers: its words, and texts and numbers in them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_ad.station.plc import registers
from edge_ad.station.plc.handshake import Code, Part, Result, Shown, State
from edge_ad.station.plc.registers import (
    CONTROL_COUNT,
    CONTROLS,
    COUNT,
    FIRST,
    STATUS,
    WORDS,
    controls_of,
    status_words,
)
from tests.station.plc import counterpart
from tests.station.plc.counterpart import Status


def words_of(text: str = "", number: tuple[int, int] = (0, 0), trigger: int = 1) -> list[int]:
    data = text.encode().ljust(64, b"\0")
    return [9, 0, 2, 77, *number, *struct.unpack(">32H", data), trigger]


def test_the_fields_fill_two_blocks_without_a_gap() -> None:
    for fields, first in ((CONTROLS, 0), (STATUS, FIRST)):
        at = first
        for field in fields:
            assert field.offset == at
            assert field.words == {"u16": 1, "u32": 2, "f32": 2, "text": 32}[field.kind]
            at += field.words
    assert CONTROLS[-1].name == "trigger"  # after the part that it is for
    assert STATUS[-1].name == "valid"  # after the result that it is of
    assert CONTROL_COUNT <= FIRST
    assert WORDS <= 125  # of one request
    assert COUNT <= 123


def test_the_counterpart_has_the_same_map() -> None:
    """It is written by hand from the documentation."""
    own = {field.name: field.offset for field in CONTROLS}
    assert own == {
        "heartbeat": counterpart.HEARTBEAT,
        "acknowledge": counterpart.ACKNOWLEDGE,
        "recipe": counterpart.RECIPE,
        "sequence": counterpart.SEQUENCE,
        "part_number": counterpart.NUMBER,
        "part_text": counterpart.TEXT,
        "trigger": counterpart.TRIGGER,
    }
    assert (counterpart.STATUS, counterpart.STATUS_WORDS, counterpart.TEXT_WORDS) == (FIRST, COUNT, 32)


def test_what_the_controller_says() -> None:
    given = controls_of(words_of("Teil-Ü 5"))
    assert (given.heartbeat, given.trigger, given.acknowledge, given.recipe) == (9, True, False, 2)
    assert (given.part.id, given.part.sequence) == ("Teil-Ü 5", 77)
    assert not controls_of(words_of("a", trigger=0)).trigger


@pytest.mark.parametrize(
    ("words", "order", "expected"),
    [
        (words_of("", (1, 2)), "big", "65538"),
        (words_of("", (1, 2)), "little", "131073"),
        (words_of("text", (1, 2)), "big", "text"),
        (words_of("text   "), "big", "text"),
        (words_of("x" * 64), "big", "x" * 64),
        (words_of(), "big", ""),
        (words_of("   "), "big", ""),
        (words_of("a\nb"), "big", ""),
        (words_of("a") + [0] * 0, "big", "a"),
        ([0] * 6 + [0xFFFF] * 32 + [1], "big", ""),
        ([0] * 6 + [0xC300] + [0] * 31 + [1], "big", ""),  # a character that is cut off
    ],
)
def test_part_ids(words: list[int], order: str, expected: str) -> None:
    assert controls_of(words, order).part.id == expected


@given(st.lists(st.integers(0, 0xFFFF), min_size=CONTROL_COUNT, max_size=CONTROL_COUNT))
def test_whatever_stands_in_the_words(words: list[int]) -> None:
    part = controls_of(words).part
    assert part.id == "" or part.id.isprintable()
    assert part.echo == (*words[4:6], *words[6:38])


SHOWN = {"result": Result.GOOD, "score": 1.25, "threshold": 2.5, "number": 70_000, "latency_ms": 12.6}


def test_what_the_station_says() -> None:
    part = controls_of(words_of("part-1", (3, 4))).part
    words = status_words(Shown(State.RESULT, valid=True, part=part, **SHOWN), 5, 2)
    assert len(words) == COUNT
    told = Status.of(words)
    assert (told.heartbeat, told.state, told.result, told.code, told.recipe) == (5, 4, "good", 0, 2)
    assert (told.sequence, told.text, told.number, told.score, told.valid) == (77, "part-1", 70_000, 1.25, True)
    assert words[0] == registers.VERSION
    assert words[9:11] == [3, 4]
    assert struct.unpack(">f", struct.pack(">HH", *words[15:17])) == (2.5,)
    assert words[17] == 13
    little = status_words(Shown(State.RESULT, valid=True, part=part, **SHOWN), 5, 2, "little")
    assert little[11:17] == [words[12], words[11], words[14], words[13], words[16], words[15]]
    assert little[9:11] == [3, 4]  # given back as it came


def test_without_valid_there_is_no_result() -> None:
    for state in (State.OFFLINE, State.NOT_READY, State.READY, State.BUSY, State.CLEAR):
        busy = state == State.BUSY
        words = status_words(Shown(state, busy=busy, part=Part("a", 7, (0,) * 34) if busy else Part("")), 1, None)
        assert words[5] == words[6] == words[50] == 0
        assert words[11:18] == [0] * 7
        assert words[8] == (7 if busy else 0)
        assert words[7] == 0xFFFF


def test_numbers_that_are_too_large() -> None:
    part = Part("a", 1, (0,) * 34)
    shown = Shown(
        State.RESULT, valid=True, result=Result.REJECT, part=part, score=1e300, number=2**33 + 5, latency_ms=1e9
    )
    told = status_words(shown, 1, 0)
    assert Status.of(told).score == float("inf")
    assert Status.of(told).number == 5
    assert told[17] == 0xFFFF


def test_tables_have_every_field_and_code() -> None:
    tables = registers.tables()
    assert all(f"| `{field.name}` |" in tables["controls"] for field in CONTROLS)
    assert all(f"| `{field.name}` |" in tables["status"] for field in STATUS)
    assert all(f"| {code.value} | `{code.name.lower()}` |" in tables["codes"] for code in Code)
    assert all(state.name in tables["states"] for state in State)
    assert "| 6-37 | `part_text` | text |" in tables["controls"]
