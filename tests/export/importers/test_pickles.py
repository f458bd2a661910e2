"""Pickles are read and never run: whatever they name, nothing is imported or called."""

from __future__ import annotations

import collections
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest

from edge_ad import SpecError
from export.importers.pickles import Stub, read_pickle

PLAIN: dict[str, Any] = {
    "backbone.name": "wideresnet50",
    "layers": ["layer2", "layer3"],
    "shape": (3, 224, 224),
    "pair": (1, 2),
    "one": (1,),
    "many": (1, 2, 3, 4, ()),
    "numbers": [0, -1, 255, 256, 70_000, -(2**40), 2**70, 1.5, True, False, None],
    "bytes": b"ab" * 200,
    "text": "ä" * 300,
    "nested": {"a": {"b": []}},
    7: "a number as a key",
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_are_those_of_pickle(protocol: int) -> None:
    values = PLAIN if protocol >= 3 else {key: value for key, value in PLAIN.items() if key != "bytes"}
    assert read_pickle(pickle.dumps(values, protocol), of="it") == values


def test_shared_and_circular_values() -> None:
    shared = ["a"]
    found = read_pickle(pickle.dumps([shared, shared]), of="it")
    assert found[0] is found[1]
    shared.append(shared)  # type: ignore[arg-type]
    circle = read_pickle(pickle.dumps(shared), of="it")
    assert circle[1] is circle


def test_sets_become_lists_and_ordered_dicts_dicts() -> None:
    assert sorted(read_pickle(pickle.dumps({1, 2}, 4), of="it")) == [1, 2]
    assert sorted(read_pickle(pickle.dumps(frozenset((1, 2)), 4), of="it")) == [1, 2]
    assert read_pickle(pickle.dumps(collections.OrderedDict(a=1, b=2)), of="it") == {"a": 1, "b": 2}


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


def hostile(ran: Path) -> dict[str, bytes]:
    """Pickles that would make the file `ran`, or take all memory, or worse."""
    command = f"touch {ran}"
    line = command.encode()
    word = struct.pack("<I", len(line)) + line
    return {
        "os.system": pickle.dumps(Calls(os.system, command)),
        "in a dict": pickle.dumps({"backbone.name": Calls(os.system, command)}),
        "eval": pickle.dumps(Calls(eval, f"__import__('os').system({command!r})")),
        "exec, nested": pickle.dumps([{"a": (1, [Calls(exec, f"open({str(ran)!r}, 'w')")])}]),
        "open": pickle.dumps(Calls(open, str(ran), "w")),
        "a name with points": b"\x80\x04\x8c\x02os\x8c\x0bpath.system\x93X" + word + b"\x85R.",
        "a global of globals": b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93cos\nsystem\n\x8c\x01a\x86R.",
        "old opcodes": b"(S'" + line + b"'\nios\nsystem\n.",
        "old opcodes, a call of what is on the stack": b"(cos\nsystem\nX" + word + b"o.",
        "a new object": b"\x80\x02cposix\nsystem\nX" + word + b"\x85\x81.",
        "a state": b"\x80\x02cos\nenviron\n}b.",
        "a known function as it is": b"\x80\x02ccollections\nOrderedDict\n.",
        "a known function with arguments": b"\x80\x02ccollections\nOrderedDict\n]\x85R.",
        "a call of a text": b"\x80\x02X\x01\x00\x00\x00a)R.",
        "the extension registry": b"\x80\x02\x82\x01.",
        "the extension registry, 2 bytes": b"\x80\x02\x83\x01\x00.",
        "the extension registry, 4 bytes": b"\x80\x02\x84\x01\x00\x00\x00.",
        "a persistent id": b"\x80\x02X\x01\x00\x00\x00aQ.",
        "a persistent id in text": b"Pa\n.",
        "buffers out of band": b"\x80\x05\x97.",
    }


def endless() -> dict[str, bytes]:
    """What would take hours or all memory: a few bytes that ask for much."""
    huge = b"\x8b" + struct.pack("<i", 2**20) + b"\x7f" * 2**20
    keys = b"".join(b"X" + struct.pack("<I", 5) + b"%05dN" % i for i in range(50_000))
    alike = b"".join(b"\x8a\x0a" + (i * (2**61 - 1)).to_bytes(10, "little") + b"N" for i in range(1, 50_000))
    make = b"\x80\x04%s\x940cfoo\nBar\n\x940("
    return {
        "an integer of 8 million bits": b"\x80\x04" + huge + b".",
        "keys of one hash": b"\x80\x04}(" + alike + b"u.",
        "millions of values": b"\x80\x04(" + b"}" * 2**22 + b"t.",
        "millions of objects": make % b"N" + b"h\x01)\x81" * 2**20 + b"t.",
        "a dict as the state of many": make % (b"}(" + keys + b"u") + b"h\x01)\x81h\x00b" * 1000 + b"t.",
        "a tuple as the state of many": make % (b"(" + b"N" * 2**18 + b"t") + b"h\x01)\x81h\x00b" * 1000 + b"t.",
        "a list as many sizes": b"\x80\x04("
        + b"N" * 2**18
        + b"l\x940ctorch\nSize\n\x940("
        + b"h\x01h\x00\x85R" * 9
        + b"t.",
    }


@pytest.mark.parametrize("name", [*endless()])
def test_what_would_not_end_is_refused(name: str) -> None:
    with pytest.raises(SpecError):
        read_pickle(endless()[name], of="it", stubs=True)


def test_states_of_generators_are_large_integers() -> None:
    assert read_pickle(pickle.dumps({"state": 2**127 + 1}), of="it") == {"state": 2**127 + 1}


def broken() -> dict[str, bytes]:
    """What is no pickle."""
    whole = pickle.dumps(PLAIN)
    return {
        "nothing": b"",
        "no stop": whole[:-1],
        "cut": whole[: len(whole) // 2],
        "a text of 2 GB": b"\x80\x04X\xff\xff\xff\x7fabc",
        "bytes of 2**62": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.",
        "a text of 2**63": b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"abc.",
        "a number of 2 GB": b"\x80\x04\x8b\xff\xff\xff\x7fabc.",
        "a frame beyond the end": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"K\x01.",
        "an empty stack": b"\x80\x040.",
        "two values": b"\x80\x04K\x01K\x02.",
        "a mark": b"\x80\x04(.",
        "a mark in a tuple": b"\x80\x04K\x01(\x86.",
        "no mark": b"\x80\x04K\x01t.",
        "an unknown memo": b"\x80\x04h\x07.",
        "half an item": b"\x80\x04}(K\x01u.",
        "items of a number": b"\x80\x04K\x01K\x02a.",
        "keys of a number": b"\x80\x04K\x01K\x02K\x03s.",
        "a list as a key": b"\x80\x04}]K\x03s.",
        "a nested tuple as a key": b"\x80\x04}" + b")" + b"\x85" * 100_000 + b"K\x03s.",
        "an unknown opcode": b"\x80\x04\xff.",
        "no pickle": b"PK\x03\x04 this is a zip",
    }


@pytest.mark.parametrize("name", [*hostile(Path("x")), *broken()])
@pytest.mark.parametrize("stubs", [False, True])
def test_nothing_runs(name: str, stubs: bool, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    data = {**hostile(ran), **broken()}[name]
    environment = dict(os.environ)
    try:
        found = read_pickle(data, of="it", stubs=stubs)
    except SpecError:
        pass
    else:
        assert stubs
        assert isinstance(found, (Stub, dict, list))
    assert not ran.exists()
    assert dict(os.environ) == environment


@pytest.mark.parametrize("name", [*hostile(Path("x")), *broken()])
def test_without_stubs_it_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        read_pickle({**hostile(tmp_path / "ran"), **broken()}[name], of="it")


def test_a_stub_keeps_what_the_file_says_of_an_object() -> None:
    state = b"\x80\x02cfoo\nBar\n)\x81}X\x01\x00\x00\x00aK\x07sb."
    found = read_pickle(state, of="it", stubs=True)
    assert isinstance(found, Stub)
    assert found.name == "foo.Bar"
    assert found.state == {"a": 7}
    assert not callable(found)


def test_persistent_ids_are_what_the_caller_makes_of_them() -> None:
    assert read_pickle(b"\x80\x02X\x01\x00\x00\x00aQ.", of="it", persistent=lambda key: {"id": key}) == {"id": "a"}


def test_every_cut_and_every_flipped_byte_is_an_error_or_a_value() -> None:
    whole = pickle.dumps(PLAIN)
    for at in range(len(whole)):
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :]):
            try:
                read_pickle(data, of="it")
            except SpecError:
                continue
