"""Reads OpenVINO IR, ``model.xml`` with ``model.bin``, as an ONNX graph, without OpenVINO.

The XML is followed tag by tag by expat. A document type is refused, and with it every entity: nothing is expanded and
no other file is opened. Numbers are checked before they are used, and a constant must lie inside of ``model.bin``. The
operators of usual networks become those of ONNX (`export.importers.openvino_operators`); others stay by their names,
and an importer refuses them where it needs them.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import SpecError
from edge_ad.system.inputs import read_input

_MAX_XML = 2**24  # bytes; those of a WideResNet50 are 300,000
_MAX_WEIGHTS = 2**32
_MAX_LAYERS = 100_000
_MAX_PORTS = 64  # that a layer gives
_MAX_SHARED = 4  # times the size of model.bin that all constants may have: thousands may lie at one place
_SMALL = 2**24  # bytes that they may have in any case
_MAX_DEPTH = 64  # tags inside of one another
_TYPES = {
    "f16": "<f2", "f32": "<f4", "f64": "<f8", "i8": "i1", "u8": "u1", "i32": "<i4", "i64": "<i8", "u32": "<u4",
    "u64": "<u8", "i16": "<i2", "u16": "<u2", "boolean": "?",
}  # fmt: skip


@dataclass
class Port:
    """A port of a layer: its sides, -1 where one is not known, and its tensor's names."""

    id: str
    sides: list[int] = field(default_factory=list)
    names: str = ""


@dataclass
class Layer:
    """A layer of an IR.

    Attributes:
        inputs: (layer, port) that each input comes from, in order; filled when all edges are read.
        values: of a constant.
    """

    id: str
    name: str
    kind: str
    data: dict[str, str] = field(default_factory=dict)
    ports: list[Port] = field(default_factory=list)  # outputs
    sinks: list[str] = field(default_factory=list)  # ids of the input ports
    inputs: list[tuple[str, str]] = field(default_factory=list)
    values: NDArray[Any] | None = None


@dataclass(frozen=True)
class IrFile:
    """An IR.

    Attributes:
        path: of the XML.
        layers: by id, in the order of the file, where each comes after its inputs.
        xml, weights: the bytes.
        digest: SHA-256 of both.
    """

    path: Path
    layers: Mapping[str, Layer]
    xml: bytes
    weights: bytes
    digest: str


def read_ir(path: Path) -> IrFile:
    """Reads ``NAME.xml`` and the ``NAME.bin`` beside it.

    Raises:
        SpecError: a file cannot be read, is no IR, is hostile, or does not fit the other.
    """
    xml, weights = _bytes_of(path, _MAX_XML), _bytes_of(path.with_suffix(".bin"), _MAX_WEIGHTS)
    reader = _Reader()
    try:
        reader.read(xml)
    except expat.ExpatError as error:
        raise _broken(path, "well-formed XML", f"{error!s:.200}") from error
    except ValueError as error:
        raise _broken(path, "an IR as OpenVINO writes it", f"{error!s:.200}") from error
    layers = reader.joined(path)
    left = most = room_for(weights)
    for layer in layers.values():
        if layer.kind == "Const":
            layer.values = _constant(path, layer, weights)
            left -= layer.values.nbytes
            if left < 0:
                raise _broken(path, f"constants of {most:,} bytes at most in all", "more, that share their places")
    return IrFile(path, layers, xml, weights, hashlib.sha256(xml + b"\0" + weights).hexdigest())


def room_for(weights: bytes) -> int:
    """Bytes that all constants of an IR may have, and again all that are made of them."""
    return _MAX_SHARED * len(weights) + _SMALL


class _Reader:
    """Collects the layers and edges below ``<net>``. What is deeper in a layer, such as a loop's body, is not read."""

    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}
        self.edges: list[tuple[tuple[str, str], tuple[str, str]]] = []
        self._path: list[str] = []
        self._text = ""

    def read(self, xml: bytes) -> None:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters
        parser.Parse(xml, True)
        if not self.layers:
            raise ValueError("no layers")

    def joined(self, path: Path) -> dict[str, Layer]:
        """The layers, each after its inputs, with their inputs filled.

        Raises:
            SpecError: an edge leads nowhere, or round in a circle.
        """
        sources = {sink: source for source, sink in self.edges}
        for layer in self.layers.values():
            for port in layer.sinks:
                source = sources.get((layer.id, port))
                there = self.layers.get(source[0]) if source else None
                if source is None or there is None or all(port.id != source[1] for port in there.ports):
                    raise _broken(path, "edges between the layers' ports", f"none to {layer.kind:.40} {layer.id:.40}")
                layer.inputs.append(source)
        return self._ordered(path)

    def _ordered(self, path: Path) -> dict[str, Layer]:
        users: dict[str, list[str]] = {}
        missing = {layer.id: len(layer.inputs) for layer in self.layers.values()}
        for layer in self.layers.values():
            for source, _ in layer.inputs:
                users.setdefault(source, []).append(layer.id)
        ready = deque(name for name, count in missing.items() if not count)
        ordered: dict[str, Layer] = {}
        while ready:
            name = ready.popleft()
            ordered[name] = self.layers[name]
            for user in users.get(name, ()):
                missing[user] -= 1
                if not missing[user]:
                    ready.append(user)
        if len(ordered) < len(self.layers):
            raise _broken(path, "layers that follow their inputs", "a circle")
        return ordered

    def _doctype(self, *_: object) -> None:
        raise ValueError("a document type, in which entities could be declared")

    def _start(self, tag: str, given: dict[str, str]) -> None:
        self._path.append(tag)
        if len(self._path) > _MAX_DEPTH:
            raise ValueError(f"more than {_MAX_DEPTH} tags inside of one another")
        self._text = ""
        where = self._path[1:]
        if self._path[0] != "net":
            raise ValueError("another root than <net>")
        if where == ["layers", "layer"]:
            layer = Layer(given["id"], given.get("name", ""), given["type"]) if {"id", "type"} <= given.keys() else None
            if layer is None or layer.id in self.layers or len(self.layers) >= _MAX_LAYERS:
                raise ValueError("a layer without id or type, one id twice, or too many layers")
            self.layers[layer.id] = layer
        elif where == ["layers", "layer", "data"]:
            self._last.data = given
        elif where == ["layers", "layer", "input", "port"]:
            self._last.sinks.append(given.get("id", ""))
        elif where == ["layers", "layer", "output", "port"]:
            if len(self._last.ports) >= _MAX_PORTS:
                raise ValueError(f"a layer with more than {_MAX_PORTS} outputs")
            self._last.ports.append(Port(given.get("id", ""), names=given.get("names", "")))
        elif where == ["edges", "edge"]:
            ends = [given.get(name, "") for name in ("from-layer", "from-port", "to-layer", "to-port")]
            self.edges.append(((ends[0], ends[1]), (ends[2], ends[3])))

    def _end(self, tag: str) -> None:
        if self._path[1:] == ["layers", "layer", "output", "port", "dim"]:
            self._last.ports[-1].sides.append(whole(self._text))
        self._path.pop()

    def _characters(self, text: str) -> None:
        if len(self._text) < 32:
            self._text += text

    @property
    def _last(self) -> Layer:
        return next(reversed(self.layers.values()))


def whole(text: str) -> int:
    """A whole number from -2^62 to 2^62.

    Raises:
        ValueError: the text is none.
    """
    text = text.strip()
    if len(text) > 19 or not (text.isascii() and text.removeprefix("-").isdecimal()):
        raise ValueError(f"{text[:40]!r} is no number")
    return int(text)


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between them; none of an empty text.

    Raises:
        ValueError: a part is none.
    """
    return [whole(part) for part in text.split(",")] if text.strip() else []


def _constant(path: Path, layer: Layer, weights: bytes) -> NDArray[Any]:
    name = f"the constant {layer.name:.60}"
    try:
        kind = layer.data["element_type"]
        shape, offset, size = numbers(layer.data["shape"]), whole(layer.data["offset"]), whole(layer.data["size"])
    except (KeyError, ValueError) as error:
        raise _broken(path, f"{name} with type, shape, offset and size", f"{error!s:.100}") from error
    dtype = np.dtype(_TYPES.get(kind, "V1"))
    count = int(np.prod([float(max(0, side)) for side in shape])) if len(shape) <= 8 else -1
    known = kind in _TYPES and len(shape) <= 8 and min(shape, default=0) >= 0
    if not known or offset < 0 or size != count * dtype.itemsize or offset + size > len(weights):
        got = f"{kind:.20} {shape[:8]}, {size:,} bytes from {offset:,}"
        raise _broken(path, f"{name} inside the {len(weights):,} bytes of {path.with_suffix('.bin').name}", got)
    return np.frombuffer(weights, dtype, count, offset).reshape(shape) if count else np.zeros(shape, dtype)


def _bytes_of(path: Path, most: int) -> bytes:
    try:
        return read_input(path, most=most)
    except OSError as error:
        raise SpecError(
            f"cannot read {path}",
            expected="model.xml and model.bin in one folder, as OpenVINO writes them",
            got=error.strerror or str(error),
        ) from error


def _broken(path: Path, expected: str, got: str) -> SpecError:
    return SpecError(f"{path} cannot be read as OpenVINO IR", expected=expected, got=got, remedy="Export it once more.")
