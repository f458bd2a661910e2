"""What the page changes: labels, alarms, recipes, bundles, lessons. The gates before it have checked who asks.

Each is a form. A browser is led back to the page that it came from; a script gets JSON.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from edge_ad.errors import EdgeADError, SpecError
from edge_ad.station.journal import LABELS
from edge_ad.station.page import records
from edge_ad.station.page.channel import UNKNOWN, RefusedError
from edge_ad.station.page.context import Context
from edge_ad.station.page.gate import form_of, own_path
from edge_ad.station.page.paths import NUMBER
from edge_ad.station.page.replies import Pages, answer, wants_json
from edge_ad.station.page.shown import address, label_text, mark_of
from edge_ad.station.page.texts import Words

Form = dict[str, str]
Action = Callable[[Request, Form], dict[str, Any]]  # does it; what a script is told


def routes(context: Context, pages: Pages) -> list[BaseRoute]:
    """The routes of all that is no reading."""
    actions = Actions(context, pages)
    found: list[tuple[str, Action]] = [
        ("/alarms/acknowledge", actions.acknowledge),
        (f"/parts/{{camera:path}}/{NUMBER}/label", actions.label),
        ("/camera/{camera:path}/trigger", actions.trigger),
        ("/camera/{camera:path}/recipe", actions.recipe),
        ("/camera/{camera:path}/drift", actions.renew_drift),
        ("/camera/{camera:path}/rollback", actions.rollback),
        ("/camera/{camera:path}/learn", actions.learn),
        ("/camera/{camera:path}/undo", actions.undo),
    ]
    return [Route(path, _posted(pages, action), methods=["POST"]) for path, action in found]


def _posted(pages: Pages, action: Action) -> Callable[[Request], Awaitable[Response]]:
    """A form that was sent: its action, then the page again."""

    async def posted(request: Request) -> Response:
        form = form_of(await request.body())
        try:
            told = await run_in_threadpool(action, request, form)
        except EdgeADError as error:
            return await run_in_threadpool(pages.error, request, error)
        if wants_json(request):
            return answer(told)
        return RedirectResponse(own_path(form.get("back", "")) or told["back"], 303)

    return posted


class Actions:
    """See the module. Each is called in a thread, and gives what a script is told, with `back`, the page to go on."""

    def __init__(self, context: Context, pages: Pages) -> None:
        self._context, self._pages = context, pages

    def _do(self, request: Request, name: str, **values: Any) -> dict[str, Any]:
        return self._context.bridge.command(name, who=request.state.visitor.who, **values)

    def _words(self, request: Request) -> Words:
        return self._pages.words(request)

    def acknowledge(self, request: Request, form: Form) -> dict[str, Any]:
        """A person has seen an alarm. One that is gone already needs no more."""
        for alarm in self._context.bridge.state()["alarms"]:
            if mark_of(alarm["key"]) == form.get("alarm"):
                self._do(request, "acknowledge", key=alarm["key"])
        return {"back": "/"}

    def label(self, request: Request, form: Form) -> dict[str, Any]:
        """A person says what a part was."""
        label = form.get("label", "")
        if label not in LABELS:
            raise SpecError("label is not known", expected=", ".join(LABELS[:-1]), got=repr(label))
        camera, number = request.path_params["camera"], request.path_params["number"]
        with self._context.journal() as journal:
            row = records.part(journal, camera, number)
        if row is None:
            raise RefusedError(f"camera {camera} has no part with the number {number}", UNKNOWN)
        self._do(request, "label", camera=row.camera, part_id=row.part_id, label=label)
        with self._context.journal() as journal:
            row = records.part(journal, camera, number) or row
        back = address("parts", camera, number)
        query = request.url.query
        text = self._words(request)(label_text(row))
        return {"back": f"{back}?{query}" if query else back, "label": row.label, "text": text}

    def _of_camera(self, request: Request, name: str, page: str = "", **values: Any) -> dict[str, Any]:
        camera = self._context.bridge.camera(request.path_params["camera"])["name"]
        self._do(request, name, camera=camera, **values)
        return {"back": page or address("camera", camera)}

    def trigger(self, request: Request, form: Form) -> dict[str, Any]:
        """Asks for an inspection."""
        return self._of_camera(request, "trigger", part_id=f"page-{secrets.token_hex(5)}")

    def recipe(self, request: Request, form: Form) -> dict[str, Any]:
        """Another recipe."""
        number = form.get("number", "")
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            raise SpecError("number of the recipe", expected="a whole number", got=repr(number))
        return self._of_camera(request, "select_recipe", number=int(number))

    def renew_drift(self, request: Request, form: Form) -> dict[str, Any]:
        """The present state is the normal one."""
        return self._of_camera(request, "renew_drift")

    def rollback(self, request: Request, form: Form) -> dict[str, Any]:
        """The bundle before."""
        return self._of_camera(request, "rollback")

    def learn(self, request: Request, form: Form) -> dict[str, Any]:
        """A lesson of the confirmed false rejects."""
        return self._of_camera(request, "learn", "/learn")

    def undo(self, request: Request, form: Form) -> dict[str, Any]:
        """The lesson before is undone."""
        return self._of_camera(request, "undo", "/learn")
