"""How the page answers: a page in the language of its reader, an error for people, JSON, a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from edge_ad.errors import EdgeADError
from edge_ad.station.page import drift, rendering
from edge_ad.station.page.channel import RefusedError
from edge_ad.station.page.context import Context
from edge_ad.station.page.shown import local, mark_of, seconds_of, status_of
from edge_ad.station.page.texts import Words, language_of

_YEAR_S = 365 * 24 * 3600
_THEMES = ("light", "dark")
_COOKIES = {"lang": "edge-ad-lang", "theme": "edge-ad-theme"}


class Pages:
    """What all pages have in common."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def words(self, request: Request) -> Words:
        """The texts in the language of the request."""
        asked = request.query_params.get("lang", "")
        cookie = request.cookies.get(_COOKIES["lang"], "")
        return Words(language_of(asked, cookie, request.headers.get("accept-language", "")))

    def guarded(self, view: Callable[[Request], Response]) -> Callable[[Request], Response]:
        """A view whose errors become a page, or a short answer where a script asks."""

        def guarded(request: Request) -> Response:
            try:
                return view(request)
            except EdgeADError as error:
                return self.error(request, error)

        return guarded

    def error(self, request: Request, error: EdgeADError) -> Response:
        """What went wrong, for a person."""
        status = error.status if isinstance(error, RefusedError) else 400
        if wants_json(request):
            return answer({"error": str(error)}, status)
        return self.page(request, "error.html", status, alone=True, known="", text=str(error))

    def not_found(self, request: Request) -> Response:
        """There is no such thing."""
        return self.page(request, "error.html", 404, alone=True, known="error_not_found", text="")

    def page(
        self, request: Request, template: str, status: int = 200, *, alone: bool = False, poll: str = "", **values: Any
    ) -> Response:
        """A page of a template; `alone` is without the state of the station, as that may be what is missing."""
        words, theme = self.words(request), request.query_params.get("theme", "")
        chosen = theme or request.cookies.get(_COOKIES["theme"], "")
        told = {
            "t": words,
            "theme": chosen if chosen in _THEMES else "",
            "station": self.context.settings.station,
            "who": getattr(request.state, "visitor", None),
            "here": "",
            "poll": poll or ("" if alone else "/poll/status"),
            "back": _here(request),
            "change": lambda name, value: f"?{_query(request, **{name: value})}",
        }
        if not alone:
            told |= self.frame_of(words)
        response = Response(rendering.render(template, **{**told, **values}), status, media_type="text/html")
        for name, value in (("lang", request.query_params.get("lang", "")), ("theme", theme)):
            if value in (words.language, *_THEMES, "auto"):
                response.set_cookie(_COOKIES[name], value, max_age=_YEAR_S, samesite="lax", httponly=True)
        return response

    def frame_of(self, words: Words) -> dict[str, Any]:
        """What stands at the top of each page: status line, alarms, time."""
        state = self.context.bridge.state()
        alarms = [
            {
                **alarm,
                "mark": mark_of(alarm["key"]),
                **drift.alarm_of(words, alarm, state),
                "local": local(round(seconds_of(alarm["since"]) * 1e9))[5:16],
            }
            for alarm in sorted(state["alarms"], key=lambda alarm: bool(alarm["acknowledged"]))
        ]
        told = {"iso": state["time"], "local": local(round(seconds_of(state["time"]) * 1e9))[11:]}
        return {"state": state, "items": status_of(words, state), "alarms": alarms, "time": told}

    def polled(self, request: Request, pieces: Callable[[Words, dict[str, Any]], dict[str, Any]]) -> Response:
        """The pieces that each page has, and those of one page."""
        words = self.words(request)
        found = self.frame_of(words)
        who, back = request.state.visitor, request.query_params.get("back", "/")
        told = pieces(words, found)
        told["parts"] |= {
            "status": rendering.piece("macros.html", "status", words, found["items"], found["time"]),
            "alarms": rendering.piece("macros.html", "alarms", words, found["alarms"], who, back),
        }
        return answer(told)


def wants_json(request: Request) -> bool:
    """Whether a script asks."""
    return "application/json" in request.headers.get("accept", "")


def answer(told: Mapping[str, Any], status: int = 200) -> Response:
    """JSON for a script of the page."""
    text = json.dumps(told, ensure_ascii=False, allow_nan=False)
    return Response(text, status, media_type="application/json")


def picture(data: bytes | None, kind: str) -> Response:
    """A picture; its address is of one part, so it may be kept for the session."""
    if data is None:
        return Response("", 404)
    return Response(data, 200, {"cache-control": "private, max-age=3600"}, f"image/{kind}")


def _query(request: Request, **more: str) -> str:
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in (*_COOKIES, "failed")]
    return urlencode([*kept, *more.items()], errors="backslashreplace")


def _here(request: Request) -> str:
    """The address of this page, to come back to."""
    query = _query(request)
    path = request.url.path
    return f"{path}?{query}" if query else path
