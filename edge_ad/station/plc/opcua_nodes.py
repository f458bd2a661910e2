"""The nodes of one vision system: made once, written often. Their ids are `ns=1;s=CAMERA.PATH`, the same for ever."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from asyncua import Node, Server, ua
from asyncua.server.event_generator import EventGenerator

from edge_ad.errors import EdgeADError
from edge_ad.station.plc import opcua_model as model
from edge_ad.station.plc.opcua_model import AUTOMATIC, MACHINE, RECIPES, RESULTS, Field
from edge_ad.station.plc.opcua_plain import PLAIN
from edge_ad.station.plc.opcua_states import Step
from edge_ad.station.plc.opcua_types import NEVER, Types, empty, made, variant_type

OWN = 1  # index of the station's own namespace
LATEST = f"{RESULTS}.Results.Latest"
RECIPE = f"{RECIPES}.Recipes.InUse"
_STATE_VARIABLE, _TRANSITION_VARIABLE = 2760, 2767  # finite state, finite transition
_MILD, _GRAVE = 100, 700  # severities
_RESULT_FIELDS = model.EVENTS["ResultReadyEventType"][2]


class Place(NamedTuple):
    """A variable: what it holds."""

    kind: int | str
    many: bool = False


class Nodes:
    """Writes and events of one vision system; all within the event loop.

    Args:
        camera: its name begins the ids.
    """

    def __init__(self, server: Server, types: Types, camera: str) -> None:
        self._server, self._types, self.camera = server, types, camera
        self._places: dict[str, Place] = {}
        self._events: dict[str, EventGenerator] = {}

    def id(self, path: str) -> ua.NodeId:
        """The id of a node."""
        return ua.NodeId(f"{self.camera}.{path}" if path else self.camera, OWN)

    # ------------------------------------------------------------------------------------------------ making

    async def build(self, methods: Mapping[str, Callable[..., Any]]) -> None:
        """Makes all of them.

        Args:
            methods: what is called, by the name of the method.
        """
        await self._object("", ua.NodeId(ua.ObjectIds.ObjectsFolder), self.camera, "VisionSystemType", OWN)
        kinds = {
            MACHINE: "VisionStateMachineType",
            AUTOMATIC: "VisionAutomaticModeStateMachineType",
            RESULTS: "ResultManagementType",
            f"{RESULTS}.Results": "ResultFolderType",
            RECIPES: "RecipeManagementType",
            f"{RECIPES}.Recipes": "RecipeFolderType",
            RECIPE: "RecipeType",
        }
        for path, kind in kinds.items():
            await self._object(path, self.id(_above(path)), _last(path), kind)
        await self._object("Outcome", self.id(""), "Outcome", ua.ObjectIds.BaseObjectType, OWN)
        for machine in (MACHINE, AUTOMATIC):
            await self._machine(machine)
        for name, each in PLAIN.items():
            await self._variable(f"Outcome.{name}", each.kind, namespace=OWN)
        await self._variable(LATEST, "ResultDataType", definition=self._types.id(model.RESULT_TYPE))
        for field in _RESULT_FIELDS:
            await self._variable(f"{LATEST}.{field.name}", field.kind, field.many)
        for name, kind in (("ExternalId", "RecipeIdExternalDataType"), ("InternalId", "RecipeIdInternalDataType")):
            await self._variable(f"{RECIPE}.{name}", kind, is_property=True)
        await self._variable(f"{RECIPE}.IsPrepared", model.BOOLEAN, is_property=True)
        await self._variable(f"{RECIPE}.LastModified", model.UTC, is_property=True)
        for name, method in model.METHODS.items():
            parent = self._server.get_node(self.id(method.object))
            given = [[self._types.argument(field) for field in fields] for fields in (method.takes, method.gives)]
            at = self.id(f"{method.object}.{name}")
            await parent.add_method(at, self._types.name(name), methods[name], *given)
        for name, (number, _, _) in model.EVENTS.items():
            await self._event(name, number)

    async def _machine(self, path: str) -> None:
        for name, kind in (("CurrentState", _STATE_VARIABLE), ("LastTransition", _TRANSITION_VARIABLE)):
            whole = f"{path}.{name}"
            await self._variable(whole, model.LOCAL_TEXT, namespace=0, definition=ua.NodeId(kind))
            await self._variable(f"{whole}.Id", model.NODE_ID, namespace=0, is_property=True)
            await self._variable(f"{whole}.Number", model.UINT32, namespace=0, is_property=True)
        await self._variable(f"{path}.LastTransition.TransitionTime", model.UTC, namespace=0, is_property=True)

    async def _event(self, name: str, number: int) -> None:
        generator = EventGenerator(self._server.iserver.isession)
        await generator.init(self._types.id(number), emitting_node=self.id(""))
        for each in ("Transition", "FromState", "ToState") if name in _CHANGES else ():
            generator.event.add_property(f"{each}/Id", ua.NodeId(), ua.VariantType.NodeId)
            generator.event.add_property(f"{each}/Number", 0, ua.VariantType.UInt32)
        self._events[name] = generator

    async def _object(self, path: str, parent: ua.NodeId, name: str, kind: int | str, namespace: int = -1) -> None:
        attributes = ua.ObjectAttributes()
        attributes.DisplayName = ua.LocalizedText(name)
        await self._add(self.id(path), parent, name, namespace, ua.NodeClass.Object, attributes, self._types.of(kind))

    async def _variable(
        self,
        path: str,
        kind: int | str,
        many: bool = False,
        *,
        namespace: int = -1,
        is_property: bool = False,
        definition: ua.NodeId | None = None,
    ) -> None:
        self._places[path] = Place(kind, many)
        attributes = ua.VariableAttributes()
        attributes.DisplayName = ua.LocalizedText(_last(path))
        attributes.DataType = self._types.of(kind)
        attributes.ValueRank = ua.ValueRank.OneDimension if many else ua.ValueRank.Scalar
        attributes.ArrayDimensions = [0] if many else None
        attributes.Value = ua.Variant([] if many else _nothing(kind), variant_type(kind))
        attributes.AccessLevel = attributes.UserAccessLevel = ua.AccessLevel.CurrentRead.mask
        standard = ua.ObjectIds.PropertyType if is_property else ua.ObjectIds.BaseDataVariableType
        reference = ua.ObjectIds.HasProperty if is_property else ua.ObjectIds.HasComponent
        defined = definition or ua.NodeId(standard)
        name = _last(path)
        await self._add(
            self.id(path), self.id(_above(path)), name, namespace, ua.NodeClass.Variable, attributes, defined, reference
        )

    async def _add(
        self,
        at: ua.NodeId,
        parent: ua.NodeId,
        name: str,
        namespace: int,
        kind: ua.NodeClass,
        attributes: Any,
        definition: ua.NodeId,
        reference: int = ua.ObjectIds.HasComponent,
    ) -> None:
        item = ua.AddNodesItem()
        item.RequestedNewNodeId, item.ParentNodeId, item.NodeClass = at, parent, kind
        item.BrowseName = ua.QualifiedName(name, self._types.ns if namespace < 0 else namespace)
        item.ReferenceTypeId, item.TypeDefinition, item.NodeAttributes = ua.NodeId(reference), definition, attributes
        (result,) = await self._server.iserver.isession.add_nodes([item])
        result.StatusCode.check()

    def node(self, path: str) -> Node:
        """One of them."""
        return self._server.get_node(self.id(path))

    # ------------------------------------------------------------------------------------------------ writing

    async def write(self, path: str, value: Any, status: int = ua.StatusCodes.Good) -> None:
        """A new value, now."""
        place = self._places[path]
        now = datetime.datetime.now(datetime.timezone.utc)
        variant = ua.Variant() if value is None else ua.Variant(value, variant_type(place.kind), is_array=place.many)
        given = ua.DataValue(variant, ua.StatusCode(status), SourceTimestamp=now, ServerTimestamp=now)
        done = await self._server.iserver.aspace.write_attribute_value(self.id(path), ua.AttributeIds.Value, given)
        if not done.is_good():
            raise EdgeADError(f"the node {self.camera}.{path} takes no {value!r}", got=done.name)

    async def plain(self, **values: Any) -> None:
        """Values of the object `Outcome`, in this order."""
        for name, value in values.items():
            await self.write(f"Outcome.{name}", value)

    async def result(self, result: Any) -> None:
        """The latest result: first its parts, then the whole."""
        for field in _RESULT_FIELDS:
            value = getattr(result, field.name)
            await self.write(f"{LATEST}.{field.name}", _or_nothing(value, field))
        await self.write(LATEST, result)

    async def step(self, step: Step) -> None:
        """What a transition changes."""
        path = AUTOMATIC if step.inner else MACHINE
        await self._state(path, step.after)
        number, count = model.TRANSITIONS[step.name]
        last = f"{path}.LastTransition"
        await self.write(f"{last}.Id", self._types.id(number))
        await self.write(f"{last}.Number", count)
        await self.write(f"{last}.TransitionTime", datetime.datetime.now(datetime.timezone.utc))
        await self.write(last, ua.LocalizedText(step.name))
        if not step.inner:
            await self._state(AUTOMATIC, model.INITIALIZED if step.after == model.OPERATIONAL else "")

    async def _state(self, path: str, state: str) -> None:
        current = f"{path}.CurrentState"
        if not state:  # Part 16: a machine that does not run has none
            for each in (f"{current}.Id", f"{current}.Number", current):
                await self.write(each, None, ua.StatusCodes.BadStateNotActive)
            return
        number, count = model.STATES[state]
        await self.write(f"{current}.Id", self._types.id(number))
        await self.write(f"{current}.Number", count)
        await self.write(current, ua.LocalizedText(state))

    async def begin(self, state: str) -> None:
        """The state before there was any transition."""
        await self._state(MACHINE, state)
        await self._state(AUTOMATIC, "")

    # ------------------------------------------------------------------------------------------------ events

    async def tell(self, name: str, text: str, grave: bool = False, **fields: Any) -> None:
        """An event, for those who listen to the vision system and for those who listen to the server."""
        generator = self._events[name]
        event = generator.event
        for field, value in fields.items():
            setattr(event, field, value)
        event.Severity, event.Message = (_GRAVE if grave else _MILD), ua.LocalizedText(text)
        event.SourceName, event.emitting_node = self.camera, self.id("")
        await generator.trigger(message=text)
        event.emitting_node = ua.NodeId(ua.ObjectIds.Server)
        await self._server.iserver.subscription_service.trigger_event(event)

    async def tell_step(self, step: Step, name: str, text: str) -> None:
        """An event of a transition."""
        fields: dict[str, Any] = {}
        for field, told, numbers in (
            ("Transition", step.name, model.TRANSITIONS),
            ("FromState", step.before, model.STATES),
            ("ToState", step.after, model.STATES),
        ):
            number, count = numbers[told]
            fields |= {field: ua.LocalizedText(told), f"{field}/Id": self._types.id(number), f"{field}/Number": count}
        await self.tell(name, text, name == "ErrorEventType", **fields)

    async def tell_result(self, result: Any, text: str) -> None:
        """The event that a result is there."""
        fields = {field.name: getattr(result, field.name) for field in _RESULT_FIELDS}
        await self.tell("ResultReadyEventType", text, **fields)


_CHANGES = ("StateChangedEventType", "ErrorEventType", "ErrorResolvedEventType")


def _nothing(kind: int | str) -> Any:
    if kind == model.DOUBLE:
        return math.nan
    return ua.NodeId() if kind == model.NODE_ID else empty(kind)


def _or_nothing(value: Any, field: Field) -> Any:
    if value is not None:
        return value
    return [] if field.many else _nothing(field.kind)


def no_result() -> Any:
    """A result that says nothing."""
    return made("ResultDataType", CreationTime=NEVER)


def _above(path: str) -> str:
    return path.rpartition(".")[0]


def _last(path: str) -> str:
    return path.rpartition(".")[2]
