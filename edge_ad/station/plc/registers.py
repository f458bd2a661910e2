"""The map of registers that both roles of Modbus have, and what stands in them.

Words are 16 bits. A number of 32 bits has its high word first, or last with `word_order = "little"`. Text is UTF-8, two
bytes a word, the first in the high byte, filled with zeros.

The order is made for a controller that takes a block word by word: `trigger` comes after the part that it is for, and
`valid` after the result. Before `valid` rises, all words of the result were zero: what is read halfway has no `valid`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from edge_ad.station.plc.handshake import CODES, STATES, TRANSITIONS, Code, Controls, Part, Result, Shown, State

VERSION = 1  # of the map
TEXT_WORDS = 32
ORDERS = ("big", "little")


@dataclass(frozen=True)
class Field:
    """A name in the map.

    Attributes:
        offset: from the base address.
        words: how many it has.
        kind: u16, u32, f32 (IEEE 754) or text.
    """

    name: str
    offset: int
    words: int
    kind: str
    help: str


CONTROLS = (
    Field("heartbeat", 0, 1, "u16", "changes all the time while the controller runs"),
    Field("acknowledge", 1, 1, "u16", "0, or 1: the result has been read"),
    Field("recipe", 2, 1, "u16", "the recipe that is to be in use; 0 is the camera's `bundle`"),
    Field("sequence", 3, 1, "u16", "the controller's own number of this trigger, given back with the result"),
    Field("part_number", 4, 2, "u32", "the part id, where `part_text` is empty and this is not 0"),
    Field("part_text", 6, TEXT_WORDS, "text", "the part id"),
    Field("trigger", 38, 1, "u16", "0, or 1: the part is in front of the camera"),
)
STATUS = (
    Field("map_version", 64, 1, "u16", f"{VERSION}: of this map"),
    Field("heartbeat", 65, 1, "u16", "changes ten times a second while the station runs"),
    Field("state", 66, 1, "u16", "of the handshake: " + ", ".join(f"{each.value} {each.name}" for each in State)),
    Field("ready", 67, 1, "u16", "1: a trigger is taken, and will be inspected with the recipe that is selected"),
    Field("busy", 68, 1, "u16", "1: a part is being inspected"),
    Field("result", 69, 1, "u16", ", ".join(f"{each.value} {each.name.lower()}" for each in Result)),
    Field("fault", 70, 1, "u16", "the fault code, see below"),
    Field("recipe", 71, 1, "u16", "the recipe that is in use; 65535 where there is none"),
    Field("sequence", 72, 1, "u16", "of the part that busy or valid is about"),
    Field("part_number", 73, 2, "u32", "of that part"),
    Field("number", 75, 2, "u32", "of the outcome in the journal; 0 where the journal has none"),
    Field("score", 77, 2, "f32", "0 where there is none"),
    Field("threshold", 79, 2, "f32", "0 where there is none"),
    Field("latency_ms", 81, 1, "u16", "from the trigger to the decision, at most 65535"),
    Field("part_text", 82, TEXT_WORDS, "text", "of that part"),
    Field("valid", 114, 1, "u16", "1: result, fault and the words after them stand, and are of that part"),
)
FIRST, COUNT = STATUS[0].offset, STATUS[-1].offset + 1 - STATUS[0].offset  # of what the station writes
CONTROL_COUNT = CONTROLS[-1].offset + 1
WORDS = STATUS[-1].offset + 1  # all of it: fewer than the 125 that one request may read
MOST_BASE = 65536 - WORDS
NO_RECIPE = 0xFFFF
_CONTROL = {field.name: field for field in CONTROLS}
_STATUS = {field.name: field for field in STATUS}


def controls_of(words: Sequence[int], order: str = "big") -> Controls:
    """What the words that the controller writes say: `CONTROL_COUNT` of them, whatever stands in them."""

    def of(name: str) -> Sequence[int]:
        field = _CONTROL[name]
        return words[field.offset : field.offset + field.words]

    number, text, sequence = of("part_number"), of("part_text"), of("sequence")[0]
    part = Part(_part_id(_u32(number, order), text), sequence, (*number, *text))
    bits = {name: of(name)[0] != 0 for name in ("trigger", "acknowledge")}
    return Controls(of("heartbeat")[0], part=part, recipe=of("recipe")[0], **bits)


def _part_id(number: int, words: Sequence[int]) -> str:
    """ "" where there is none that can be used: no text, no number, or bytes that are no printable UTF-8."""
    given = struct.pack(f">{len(words)}H", *words).partition(b"\0")[0].rstrip(b" ")
    if not given:
        return str(number) if number else ""
    try:
        text = given.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""


def status_words(shown: Shown, heartbeat: int, recipe: int | None, order: str = "big") -> list[int]:
    """The `COUNT` words that the station writes."""
    words = [0] * COUNT

    def put(name: str, *given: int) -> None:
        at = _STATUS[name].offset - FIRST
        words[at : at + len(given)] = given

    put("map_version", VERSION)
    put("heartbeat", heartbeat)
    put("state", shown.state)
    put("ready", shown.ready)
    put("busy", shown.busy)
    put("recipe", NO_RECIPE if recipe is None else recipe)
    if shown.busy or shown.valid:
        put("sequence", shown.part.sequence)
        put("part_number", *shown.part.echo[:2])
        put("part_text", *shown.part.echo[2:])
    if shown.valid:
        put("result", shown.result)
        put("fault", shown.code)
        put("number", *_words32(struct.pack(">I", shown.number & 0xFFFFFFFF), order))
        put("score", *_words32(_f32(shown.score), order))
        put("threshold", *_words32(_f32(shown.threshold), order))
        put("latency_ms", min(round(shown.latency_ms), 0xFFFF))
        put("valid", 1)
    return [int(word) for word in words]


def _f32(value: float) -> bytes:
    """A float32; what is too large for it is infinite."""
    try:
        return struct.pack(">f", value)
    except OverflowError:
        return struct.pack(">f", math.copysign(math.inf, value))


def _words32(data: bytes, order: str) -> tuple[int, int]:
    high, low = struct.unpack(">HH", data)
    return (high, low) if order == "big" else (low, high)


def _u32(words: Sequence[int], order: str) -> int:
    high, low = words if order == "big" else reversed(words)
    return high << 16 | low


def tables() -> dict[str, str]:
    """The tables of the documentation, in Markdown."""

    def rows(fields: Sequence[Field]) -> list[str]:
        return [
            f"| {field.offset}{f'-{field.offset + field.words - 1}' if field.words > 1 else ''} | `{field.name}` |"
            f" {field.kind} | {field.help} |"
            for field in fields
        ]

    head = ["| offset | name | kind | meaning |", "|---|---|---|---|"]
    codes = [f"| {code.value} | `{code.name.lower()}` | {CODES[code]} |" for code in Code]
    moves = [f"| `{a.name}` | {what} | `{b.name}` |" for a, what, b in TRANSITIONS]
    states = [f"| {state.value} | `{state.name}` | {STATES[state]} |" for state in State]
    return {
        "controls": "\n".join([*head, *rows(CONTROLS)]),
        "status": "\n".join([*head, *rows(STATUS)]),
        "codes": "\n".join(["| code | name | meaning |", "|---|---|---|", *codes]),
        "states": "\n".join(["| state | name | meaning |", "|---|---|---|", *states]),
        "transitions": "\n".join(["| from | what happens | to |", "|---|---|---|", *moves]),
    }
