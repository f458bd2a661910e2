"""The application: routes, and before them the gates, each of which may refuse a request."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from edge_ad.errors import EdgeADError
from edge_ad.station.page import api, views
from edge_ad.station.page.asgi import App
from edge_ad.station.page.context import Context
from edge_ad.station.page.gate import MOST_FORM, Gate, Hosts, form_of, own_path
from edge_ad.station.page.limits import Bodies, Headers, Limits, Rates


def make_app(context: Context, limits: Limits | None = None) -> App:
    """The whole page, as an ASGI application."""
    settings = context.settings
    limits = Limits(max_body=settings.max_body) if limits is None else limits
    login = [
        Route("/login", _Login(context).enter, methods=["POST"]),
        Route("/logout", _Login(context).leave, methods=["POST"]),
    ]
    inner: Any = Starlette(
        routes=[*login, *api.routes(context), *views.routes(context)],
        exception_handlers={EdgeADError: api.refused, HTTPException: api.unknown, Exception: api.failed},
    )
    gate = Gate(inner, context.auth, settings.metrics_open)
    hosts = Hosts(Bodies(gate, limits), settings.names)
    return Headers(Rates(hosts, limits))


class _Login:
    """A browser sends its token once, and gets a session."""

    def __init__(self, context: Context) -> None:
        self._auth = context.auth

    async def enter(self, request: Request) -> Response:
        """The form of `GET /login`."""
        address = request.client.host if request.client else "unknown"
        if self._auth.wrong.wait(address):
            return RedirectResponse("/login?failed=wait", 303)
        body = await request.body()
        form = form_of(body) if len(body) <= MOST_FORM else {}
        role = self._auth.role_of(form.get("token", "").strip())
        if not role:
            self._auth.wrong.take(address)
            return RedirectResponse("/login?failed=token", 303)
        response = RedirectResponse(own_path(form.get("next", "")) or "/", 303)
        secure = request.headers.get("origin", "").startswith("https://")
        response.headers.append("set-cookie", self._auth.set_cookie(self._auth.session(role), secure=secure))
        return response

    async def leave(self, request: Request) -> Response:
        """Ends the session."""
        self._auth.end(self._auth.session_of(request.headers.get("cookie", "")))
        response = RedirectResponse("/login", 303)
        response.headers.append("set-cookie", self._auth.set_cookie("", secure=False))
        return response
