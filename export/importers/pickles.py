"""Reads pickles without running them: the opcodes are followed here, and no object but plain ones is made.

Python's `pickle` calls what a file names. This reader imports nothing and calls nothing of a file. The globals that it
knows (`KNOWN`) stand for functions of its own. Every other global is a `Stub`: a name, which stays one when the file
calls it, makes an object of it or gives it a state. Opcodes beyond the list are refused, among them those of the
extension registry.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from typing import Any

from edge_ad.errors import SpecError

_MARK = object()
_MAX_BITS = 1024  # of an integer: the product of two that fill a file takes hours
_MAX_KEY_BITS = 64  # of one as a key: of larger ones, any number have one hash, and each is compared with all others
_MAX_WORK = 2**21  # opcodes, and values that one of them copies; a checkpoint of a large network has some 30,000
_KEYS = (str, int, float, bytes, type(None))  # of a dict: others may be nested without end, and their hash too
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,  # a set's items may be lists here
}
_VALUES = {
    "BINBYTES", "BINBYTES8", "BINFLOAT", "BININT", "BININT1", "BININT2", "BINUNICODE", "BINUNICODE8", "BYTEARRAY8",
    "FLOAT", "INT", "LONG", "LONG1", "LONG4", "SHORT_BINBYTES", "SHORT_BINUNICODE", "UNICODE",
}  # fmt: skip
_SILENT = frozenset(("PROTO", "FRAME", "STOP"))
_FIXED_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Stub:
    """An object of the file that is not made: the name of what it would be, and nothing that can be called.

    Attributes:
        name: such as ``os.system``.
        state: what the file says of it; empty if nothing.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"an object of {self.name}"


Known = Mapping[str, Callable[..., Any]]


def _ordered(*items: Any) -> dict[Any, Any]:
    """What `collections.OrderedDict` is called with: nothing, as pickles fill it afterwards."""
    if items:
        raise ValueError("an OrderedDict with arguments")
    return {}


def _sized(*sides: Any) -> tuple[Any, ...]:
    """What `torch.Size` is called with: a tuple."""
    (only,) = sides
    if not isinstance(only, tuple):  # a list would be copied by every call
        raise ValueError("a torch.Size of something else")
    return only


KNOWN: Known = {"collections.OrderedDict": _ordered, "torch.Size": _sized}


def read_pickle(
    data: bytes,
    *,
    of: str,
    known: Known = KNOWN,
    persistent: Callable[[Any], Any] | None = None,
    stubs: bool = False,
) -> Any:
    """What a pickle holds, made of None, numbers, text, bytes, lists, tuples and dicts; sets become lists.

    Args:
        data: the pickle.
        of: names it in messages.
        known: global -> a function of ours that stands for it, and gets the file's arguments.
        persistent: makes objects of persistent ids, as those of storages in a file of torch; None: there are none.
        stubs: other globals become a `Stub`; else they are refused.

    Raises:
        SpecError: it is broken, ends early, holds what is not allowed, or would take too long or too much memory.
            Nothing of it was run.
    """
    reader = _Reader(known, persistent, stubs)
    try:
        for opcode, argument, at in pickletools.genops(io.BytesIO(data)):
            if opcode.name == "FRAME" and (argument or 0) > len(data) - (at or 0):
                raise ValueError("a frame beyond the end")
            reader.step(opcode.name, argument)
        return reader.result()
    except _RefusedError as error:
        raise SpecError(
            f"{of} holds what is not read",
            expected="a pickle of numbers, text and containers",
            got=str(error),
            remedy="Nothing of it was run. Do not open it with pickle, unless you trust where it comes from.",
        ) from error
    except (ValueError, IndexError, TypeError, KeyError, OverflowError, AttributeError, RecursionError) as error:
        got = f"{error!s:.200}" or type(error).__name__
        raise SpecError(f"{of} is not a whole pickle", expected="all of its opcodes", got=got) from error


class _RefusedError(Exception):
    """An opcode or a global that is not allowed."""


class _Reader:
    """The machine that pickles are written for, without its dangerous half."""

    def __init__(self, known: Known, persistent: Callable[[Any], Any] | None, stubs: bool) -> None:
        self._known, self._persistent, self._stubs = known, persistent, stubs
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._left = _MAX_WORK

    def result(self) -> Any:
        (value,) = self._stack
        if value is _MARK or callable(value):
            raise ValueError("no value")
        return value

    def step(self, name: str, argument: Any) -> None:
        self._work(1)
        if name in _VALUES:
            if type(argument) is int and argument.bit_length() > _MAX_BITS:
                raise _RefusedError(f"an integer of {argument.bit_length():,} bits")
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _FIXED_TUPLES:
            self._stack.append(tuple(reversed([self._pop() for _ in range(_FIXED_TUPLES[name])])))
        elif name not in _SILENT:
            handle = getattr(self, f"_do_{name.lower()}", None)
            if handle is None:
                raise _RefusedError(f"the opcode {name}")
            handle(argument)

    def _work(self, amount: int) -> None:
        """Counts what an opcode does: a few of them that copy the same values could go on for days."""
        self._left -= amount
        if self._left < 0:
            raise _RefusedError(f"more than {_MAX_WORK:,} steps")

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark in place of a value")
        return value

    def _pop_marked(self) -> list[Any]:
        """The values above the last mark, which goes too."""
        for at in range(len(self._stack) - 1, -1, -1):
            if self._stack[at] is _MARK:
                values = self._stack[at + 1 :]
                del self._stack[at:]
                return values
        raise ValueError("no mark")

    # ---------------------------------------------------------------------------------------- stack and memo

    def _do_mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def _do_pop(self, _: Any) -> None:
        self._stack.pop()

    def _do_pop_mark(self, _: Any) -> None:
        self._pop_marked()

    def _do_dup(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _do_memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _do_put(self, number: int) -> None:
        self._memo[number] = self._stack[-1]

    _do_binput = _do_long_binput = _do_put

    def _do_get(self, number: int) -> None:
        self._stack.append(self._memo[number])

    _do_binget = _do_long_binget = _do_get

    # -------------------------------------------------------------------------------------------- containers

    def _do_tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_marked()))

    def _do_list(self, _: Any) -> None:
        self._stack.append(self._pop_marked())

    _do_frozenset = _do_list

    def _do_dict(self, _: Any) -> None:
        values = self._pop_marked()
        self._stack.append({})
        self._fill(values)

    def _do_append(self, _: Any) -> None:
        value = self._pop()
        self._extend([value])

    def _do_appends(self, _: Any) -> None:
        self._extend(self._pop_marked())

    _do_additems = _do_appends

    def _do_setitem(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._fill([key, value])

    def _do_setitems(self, _: Any) -> None:
        self._fill(self._pop_marked())

    def _extend(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Stub):
            raise ValueError(f"items for a {type(target).__name__}")

    def _fill(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if len(values) % 2:
            raise ValueError("a key without a value")
        if isinstance(target, Stub):  # a kind of dict that is not made
            return
        if not isinstance(target, dict):
            raise ValueError(f"keys for a {type(target).__name__}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, (*_KEYS, Stub)):
                raise _RefusedError(f"a {type(key).__name__} as a key")
            if isinstance(key, int) and key.bit_length() > _MAX_KEY_BITS:
                raise _RefusedError(f"a key of {key.bit_length():,} bits")
            target[key] = value

    # -------------------------------------------------------------------------------- globals and their calls

    def _do_global(self, name: str) -> None:
        self._push_global(".".join(name.split(" ", 1)))

    def _do_stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise _RefusedError("a global whose name is no text")
        self._push_global(f"{module}.{name}")

    def _push_global(self, name: str) -> None:
        if name in self._known:
            self._stack.append(self._known[name])
        elif self._stubs:
            self._stack.append(Stub(name))
        else:
            raise _RefusedError(f"{name:.200}")

    def _do_reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        self._call(function, arguments)

    _do_newobj = _do_reduce

    def _do_newobj_ex(self, _: Any) -> None:
        named, arguments, function = self._pop(), self._pop(), self._pop()
        if named and not isinstance(function, Stub):
            raise _RefusedError("named arguments")
        self._call(function, arguments)

    def _do_obj(self, _: Any) -> None:
        function, *arguments = self._pop_marked()
        self._call(function, tuple(arguments))

    def _do_inst(self, name: str) -> None:
        arguments = tuple(self._pop_marked())
        self._push_global(".".join(name.split(" ", 1)))
        self._call(self._pop(), arguments)

    def _call(self, function: Any, arguments: Any) -> None:
        if not isinstance(arguments, tuple):
            raise ValueError("arguments that are no tuple")
        if isinstance(function, Stub):
            self._stack.append(Stub(function.name))
        elif any(function is own for own in self._known.values()):
            self._stack.append(function(*arguments))
        else:
            raise _RefusedError(f"a call of a {type(function).__name__}")

    def _do_build(self, _: Any) -> None:
        state, target = self._pop(), self._stack[-1]
        if isinstance(target, Stub):
            parts = state if isinstance(state, tuple) else (state,)
            self._work(len(parts))
            for part in parts:
                if isinstance(part, dict):
                    self._work(len(part))
                    target.state.update({key: value for key, value in part.items() if isinstance(key, str)})
        elif not isinstance(target, dict):  # the attributes of an OrderedDict, such as a state dict's versions
            raise _RefusedError(f"a state for a {type(target).__name__}")

    def _do_binpersid(self, _: Any) -> None:
        if self._persistent is None:
            raise _RefusedError("a persistent id")
        self._stack.append(self._persistent(self._pop()))
