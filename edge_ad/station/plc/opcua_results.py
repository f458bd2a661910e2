"""Results as OPC 40100-1 has them, and the latest ones, which a client may ask for again."""

from __future__ import annotations

import datetime
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from asyncua import ua

from edge_ad._version import __version__
from edge_ad.station.plc import opcua_model as model
from edge_ad.station.plc.opcua_calls import Refused, id_of, no_error, no_handle, page
from edge_ad.station.plc.opcua_recipes import Recipe
from edge_ad.station.plc.opcua_types import made

_KEPT = 100


@dataclass(frozen=True)
class Job:
    """A job; of a continuous one, `part_id` is empty."""

    id: str
    part_id: str
    meas_id: str
    product_id: str
    recipe: Recipe
    start: datetime.datetime


def recipe_ids(recipe: Recipe) -> tuple[Any, Any]:
    """The external id and the internal one."""
    name = ua.LocalizedText(recipe.name)  # a list of internal ids says nothing without it
    internal = made("RecipeIdInternalDataType", Id=recipe.bundle, Description=name)
    return made("RecipeIdExternalDataType", Id=recipe.name), internal


def result_of(job: Job, recipe: Recipe, number: str, state: int, part_id: str, content: list[ua.Variant]) -> Any:
    """A result.

    Args:
        number: its id; "" while there is none.
        state: a value of ResultState.
    """
    external, internal = recipe_ids(recipe)
    now = datetime.datetime.now(datetime.timezone.utc)
    optional = {
        "MeasId": made("MeasIdDataType", Id=job.meas_id) if job.meas_id else None,
        "PartId": made("PartIdDataType", Id=part_id) if part_id else None,
        "ProductId": made("ProductIdDataType", Id=job.product_id) if job.product_id else None,
        "ProcessingTimes": made("ProcessingTimesDataType", StartTime=job.start, EndTime=now) if number else None,
    }
    return made(
        "ResultDataType",
        ResultId=made("ResultIdDataType", Id=number),
        IsPartial=False,
        IsSimulated=False,
        ResultState=state,
        ExternalRecipeId=external,
        InternalRecipeId=internal,
        InternalConfigurationId=made("ConfigurationIdDataType", Id=f"edge-ad {__version__}"),
        JobId=made("JobIdDataType", Id=job.id),
        CreationTime=now,
        ResultContent=content,
        **optional,
    )


class Results:
    """The latest results of a vision system. After a restart there are none: the journal has those before."""

    def __init__(self) -> None:
        self._results: OrderedDict[str, Any] = OrderedDict()

    def keep(self, result: Any) -> None:
        """Keeps one, and lets the oldest go."""
        self._results[result.ResultId.Id] = result
        while len(self._results) > _KEPT:
            self._results.popitem(last=False)

    def by_id(self, wanted: str) -> list[ua.Variant]:
        """What GetResultById gives.

        Raises:
            Refused: there is no such result.
        """
        result = self._results.get(wanted)
        if result is None:
            text = f"there is no such result among the last {_KEPT}; the journal of the station has it"
            raise Refused(ua.StatusCodes.BadNotFound, text)
        return [no_handle(), ua.Variant(result, ua.VariantType.ExtensionObject), no_error()]

    def filtered(self, state: int, *more: Any) -> list[ua.Variant]:
        """What GetResultListFiltered gives, the latest first: an empty id, and the state 0, fit all."""
        fields = model.METHODS["GetResultListFiltered"].takes[1:-3]
        wanted = {field.name: id_of(value, field.name) for field, value in zip(fields, more[:-3], strict=True)}
        found = [
            result
            for result in reversed(self._results.values())
            if state in (0, result.ResultState) and all(_has(result, name, each) for name, each in wanted.items())
        ]
        most, start, _ = more[-3:]
        return page(found, most, start)


def _has(result: Any, name: str, wanted: str) -> bool:
    value = getattr(result, name)
    return not wanted or (value is not None and value.Id == wanted)
