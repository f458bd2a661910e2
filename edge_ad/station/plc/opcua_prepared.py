"""The recipe management of a vision system: which recipe is prepared, its nodes, its methods.

A recipe that a client prepares is selected at the station, which opens it meanwhile: the method does not wait for that.
It is prepared when it is in use and the camera is ready. From then on no other one will do: where a person selects
another, nothing is prepared until that one is back, or a client prepares one again.
"""

from __future__ import annotations

import datetime
import time
from dataclasses import replace
from typing import Any

from asyncua import ua

from edge_ad.errors import SpecError
from edge_ad.station.plc.opcua_calls import Refused, id_of, no_error, page
from edge_ad.station.plc.opcua_model import ERROR, INITIALIZED, READY
from edge_ad.station.plc.opcua_nodes import RECIPE, Nodes
from edge_ad.station.plc.opcua_recipes import Recipe, Recipes
from edge_ad.station.plc.opcua_results import recipe_ids
from edge_ad.station.plc.opcua_states import States

OPEN_S = 60.0  # that a recipe may take to be opened before clients are told that something is wrong


class Prepared:
    """Of one vision system; within the event loop, one call after the other.

    Attributes:
        recipe: the one in use.
        is_prepared: whether jobs may start with it.
        opens: whether the camera waits for its recipe to be opened, and the time for that is not over.
    """

    def __init__(self, nodes: Nodes, states: States, recipes: Recipes) -> None:
        self._nodes, self._states, self._recipes = nodes, states, recipes
        self.recipe, self.is_prepared = Recipe("", ""), True
        self.opens = False
        self._wanted: Recipe | None = None  # that a client has prepared; its bundle only where the client named it
        self._is_taken_back = False
        self._since: float | None = None  # when it was seen first that a recipe is being opened

    async def look(self) -> str:
        """Looks whether another recipe is in use now, and whether it is the one that a client has prepared.

        Returns why no job may start; "" where the camera is ready and its recipe will do.
        """
        before = self.recipe, self.is_prepared
        not_ready = self._look()
        if (self.recipe, self.is_prepared) != before:
            await self._say()
        return not_ready

    def _look(self) -> str:
        opens, now = self._recipes.are_opened(), time.monotonic()
        self.recipe = self._recipes.in_use()
        not_ready = self._recipes.not_ready()
        self._since = (now if self._since is None else self._since) if opens else None
        is_late = self._since is not None and now - self._since >= OPEN_S
        self.opens = opens and not is_late
        fits = _fits(self.recipe, self._wanted)
        if opens or not fits or self._is_taken_back:
            self.is_prepared = False
        elif not not_ready:
            self.is_prepared = True  # and stays: a camera that goes away needs no other recipe
        if is_late:
            return f"the recipe that is selected is not open after {OPEN_S:g} s"
        if not fits and not not_ready:
            return f"{_shown(self.recipe)} is in use, and a client prepared {_shown(self._wanted)}"
        return not_ready

    async def _say(self) -> None:
        external, internal = recipe_ids(self.recipe)
        await self._nodes.write(f"{RECIPE}.ExternalId", external)
        await self._nodes.write(f"{RECIPE}.InternalId", internal)
        await self._nodes.write(f"{RECIPE}.LastModified", datetime.datetime.now(datetime.timezone.utc))
        await self._nodes.write(f"{RECIPE}.IsPrepared", self.is_prepared)
        if self.is_prepared:
            text = f"recipe {self.recipe.name}"
            await self._nodes.tell("RecipePreparedEventType", text, ExternalId=external, InternalId=internal)

    async def prepare(self, external: Any, internal: Any) -> list[ua.Variant]:
        """PrepareRecipe; IsCompleted is false where the recipe must be opened, and the event comes when it is."""
        self._states.need(INITIALIZED, READY, ERROR)
        wanted = self._find(external, internal)
        try:
            self._recipes.select(wanted)
        except SpecError as error:  # the configuration has changed just now
            raise Refused(ua.StatusCodes.BadInvalidState, str(error)) from error
        self._wanted = replace(wanted, bundle=id_of(internal, "InternalIdIn"))
        self.is_prepared, self._is_taken_back, self._since = False, False, None
        self._look()
        if self.is_prepared and self._states.inner == INITIALIZED:
            self._states.go(READY, "Recipe")
        elif not self.is_prepared and self._states.inner == READY:
            self._states.go(INITIALIZED, "Recipe")
        await self._say()
        return [_internal(wanted), ua.Variant(self.is_prepared), no_error()]

    async def unprepare(self, external: Any, internal: Any) -> list[ua.Variant]:
        """UnprepareRecipe."""
        self._states.need(INITIALIZED, READY)
        found = self._find(external, internal)
        if found.name not in (self.recipe.name, self._wanted and self._wanted.name):
            return [_internal(found), no_error()]  # it is not prepared
        self.is_prepared, self._is_taken_back = False, True
        if self._states.inner == READY:
            self._states.go(INITIALIZED, "Recipe")
        await self._say()
        return [_internal(found), no_error()]

    def check(self, name: str) -> None:
        """Whether a job may ask for this recipe.

        Raises:
            Refused: another one is in use.
        """
        if name not in ("", self.recipe.name):
            text = f"the recipe in use is {self.recipe.name!r}, and not {name!r}; PrepareRecipe changes it"
            raise Refused(ua.StatusCodes.BadInvalidArgument, text)

    def _find(self, external: Any, internal: Any) -> Recipe:
        """Raises:
        Refused: there is no such recipe.
        """
        name, bundle = id_of(external, "ExternalId"), id_of(internal, "InternalIdIn")
        found = self._recipes.find(name, bundle)
        if found is None:
            known = ", ".join(f"{each.name} ({each.bundle or 'not used yet'})" for each in self._recipes.known())
            text = f"there is no recipe {' of bundle '.join(filter(None, (name, bundle)))!r}; known are {known}"
            raise Refused(ua.StatusCodes.BadInvalidArgument, text)
        return found

    def listed(self, external: Any, product: Any, prepared: int, most: int, start: int) -> list[ua.Variant]:
        """GetRecipeListFiltered; no recipe is linked to a product."""
        name, linked = id_of(external, "ExternalId"), id_of(product, "ProductId")
        found = [
            recipe_ids(each)[1]
            for each in self._recipes.known()
            if name in ("", each.name)
            and not linked
            and int(prepared) in (2, int(self.is_prepared and each.number == self.recipe.number))
        ]
        return page(found, most, start)


def _fits(used: Recipe, wanted: Recipe | None) -> bool:
    """By name, as a reload of the configuration may give the numbers to others."""
    return wanted is None or (used.name == wanted.name and wanted.bundle in ("", used.bundle))


def _internal(recipe: Recipe) -> ua.Variant:
    return ua.Variant(recipe_ids(recipe)[1], ua.VariantType.ExtensionObject)


def _shown(recipe: Recipe | None) -> str:
    """For people."""
    return "none" if recipe is None else f"recipe {recipe.name}" + (f" ({recipe.bundle})" if recipe.bundle else "")
