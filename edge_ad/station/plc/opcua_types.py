"""Builds the types of opcua_model.py in the address space of a server, with the ids of the specification.

A type has no declarations of what its objects hold, but events have: a client that is told their type asks for fields.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from asyncua import Node, Server, ua
from asyncua.common.manage_nodes import create_data_type, create_object_type, create_property
from asyncua.common.structures104 import create_encoding, load_data_type_definitions

from edge_ad.station.plc import opcua_model as model
from edge_ad.station.plc.opcua_model import Field

NEVER = datetime.datetime(1601, 1, 1, tzinfo=datetime.timezone.utc)  # the time that OPC UA counts from


class Types:
    """The types of a server.

    Attributes:
        ns: index of the namespace of machine vision; 2 in each server of a station.
    """

    def __init__(self, server: Server, ns: int) -> None:
        self._server, self.ns = server, ns

    @classmethod
    async def build(cls, server: Server) -> Types:
        """Adds all of them."""
        types = cls(server, await server.register_namespace(model.URI))
        await types._data_types()
        for name, (number, parent) in model.TYPES.items():
            await create_object_type(server.get_node(types.of(parent)), types.id(number), types.name(name))
        base = server.get_node(ua.NodeId(ua.ObjectIds.BaseDataVariableType))
        await base.add_variable_type(types.id(model.RESULT_TYPE), types.name("ResultType"), types.of("ResultDataType"))
        for name, (number, parent, fields) in model.EVENTS.items():
            node = await create_object_type(server.get_node(types.of(parent)), types.id(number), types.name(name))
            for field in fields:
                await types._property(node, field)
        return types

    def id(self, number: int) -> ua.NodeId:
        """The id of a node of the specification."""
        return ua.NodeId(number, self.ns)

    def name(self, name: str) -> ua.QualifiedName:
        """A browse name of the specification."""
        return ua.QualifiedName(name, self.ns)

    def of(self, kind: int | str) -> ua.NodeId:
        """The id of a type: a number is one of OPC UA itself."""
        if isinstance(kind, int):
            return ua.NodeId(kind)
        tables: tuple[Mapping[str, Any], ...] = (
            model.NUMBERS,
            model.STRUCTURES,
            model.ENUMERATIONS,
            model.TYPES,
            model.EVENTS,
        )
        return self.id(next(table[kind][0] for table in tables if kind in table))

    def argument(self, field: Field) -> ua.Argument:
        """What a method says of one of its arguments."""
        rank = ua.ValueRank.OneDimension if field.many else ua.ValueRank.Scalar
        return ua.Argument(
            field.name, self.of(field.kind), rank, [0] if field.many else [], ua.LocalizedText(field.name)
        )

    async def _property(self, node: Node, field: Field) -> None:
        value = [] if field.many else empty(field.kind)
        kind = variant_type(field.kind)
        args = self.id(0), self.name(field.name), value, kind, self.of(field.kind)
        await create_property(node, *args)

    async def _data_types(self) -> None:
        server = self._server
        for name, (number, parent) in model.NUMBERS.items():
            await create_data_type(server.get_node(ua.NodeId(parent)), self.id(number), self.name(name))
        for name, (number, words) in model.ENUMERATIONS.items():
            parent = server.get_node(ua.NodeId(model.ENUMERATION))
            node = await create_data_type(parent, self.id(number), self.name(name))
            fields = [ua.EnumField(Name=word, Value=at) for at, word in enumerate(words)]
            await node.write_data_type_definition(ua.EnumDefinition(fields))
        for name, shape in model.STRUCTURES.items():
            await self._structure(name, shape)
        await load_data_type_definitions(server, overwrite_existing=True)

    async def _structure(self, name: str, shape: model.Shape) -> None:
        base = ua.NodeId(model.STRUCTURE)
        node = await create_data_type(self._server.get_node(base), self.id(shape.id), self.name(name))
        encoding = await create_encoding(node, self.id(shape.encoding), ua.QualifiedName("Default Binary", 0))
        some = any(field.optional for field in shape.fields)
        kind = ua.StructureType.StructureWithOptionalFields if some else ua.StructureType.Structure
        definition = ua.StructureDefinition(encoding.nodeid, base, kind)
        for field in shape.fields:
            one = ua.StructureField(field.name, ua.LocalizedText(), self.of(field.kind))
            one.ValueRank = ua.ValueRank.OneDimension if field.many else ua.ValueRank.Scalar
            one.ArrayDimensions = [0] if field.many else []
            one.IsOptional = field.optional
            definition.Fields.append(one)
        await node.write_data_type_definition(definition)


_VARIANTS = {
    model.BOOLEAN: ua.VariantType.Boolean,
    model.INT32: ua.VariantType.Int32,
    model.UINT32: ua.VariantType.UInt32,
    model.DOUBLE: ua.VariantType.Double,
    model.STRING: ua.VariantType.String,
    model.TRIMMED: ua.VariantType.String,
    model.HANDLE: ua.VariantType.UInt32,
    model.BYTES: ua.VariantType.ByteString,
    model.NODE_ID: ua.VariantType.NodeId,
    model.LOCAL_TEXT: ua.VariantType.LocalizedText,
    model.ANY: ua.VariantType.Variant,
    model.DURATION: ua.VariantType.Double,
    model.UTC: ua.VariantType.DateTime,
}
_EMPTY = {
    model.BOOLEAN: False,
    model.INT32: 0,
    model.UINT32: 0,
    model.DOUBLE: 0.0,
    model.STRING: "",
    model.TRIMMED: "",
    model.HANDLE: 0,
    model.LOCAL_TEXT: ua.LocalizedText(""),
    model.DURATION: 0.0,
    model.UTC: NEVER,
}


def _base(kind: int | str) -> int:
    if isinstance(kind, int):
        return kind
    if kind in model.NUMBERS:
        return model.NUMBERS[kind][1]
    return model.INT32 if kind in model.ENUMERATIONS else model.STRUCTURE


def variant_type(kind: int | str) -> ua.VariantType:
    """How a value of this type travels."""
    return _VARIANTS.get(_base(kind), ua.VariantType.ExtensionObject)


def empty(kind: int | str) -> Any:
    """What says nothing."""
    base = _base(kind)
    if base == model.STRUCTURE:
        return made(str(kind))
    return _EMPTY[base]


def made(name: str, **fields: Any) -> Any:
    """A structure of the specification, such as `made("JobIdDataType", Id="7")`."""
    return getattr(ua, name)(**fields)
