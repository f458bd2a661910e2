"""Before the application: is it asked by the right name, by whom, and may they do that? What is not surely allowed is
refused here, so that no route can forget it.

A name that is not this page's is refused, as it is how a foreign site reaches a page behind a browser (DNS rebinding).
What changes something must come from a page of ours: the browser says where it comes from, and the CSRF token, which
another site cannot read, goes with it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, urlsplit

from edge_ad.station.page.asgi import SAFE, App, Message, Receive, Scope, Send, client, header, redirect, refuse
from edge_ad.station.page.auth import Auth, Visitor, is_same

MOST_FORM = 64 * 1024  # bytes of a form
_FORM = "application/x-www-form-urlencoded"
_OPEN = ("/health", "/login", "/favicon.ico")
_MACHINES = ("/api/", "/v2", "/metrics", "/ready", "/trigger", "/inspect")  # are told 401, and not led to a form
_METRICS = ("/metrics", "/ready")


class Hosts:
    """Refuses requests whose Host is not a name of this page: an address, localhost, or one of the configuration."""

    def __init__(self, app: App, names: Iterable[str]) -> None:
        self._app, self._names = app, {"localhost", *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "http" and not self._knows(header(scope, b"host")):
            why = "this page does not go by that name; [station] http_names lists further ones"
            return await refuse(send, 421, why, close=True)
        return await self._app(scope, receive, send)

    def _knows(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name.rstrip(".").lower() in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class Gate:
    """Lets a request through with its `Visitor` in the scope's state, or refuses it.

    Args:
        metrics_open: whether `/metrics` and `/ready` need no token.
    """

    def __init__(self, app: App, auth: Auth, metrics_open: bool) -> None:
        self._app, self._auth = app, auth
        self._open = (*_OPEN, *(_METRICS if metrics_open else ()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return None
        address, path = client(scope), scope["path"]
        session = self._auth.session_of(header(scope, b"cookie"))
        visitor = self._auth.visitor(session, address) if session else None
        if visitor is None and header(scope, b"authorization"):
            visitor, wait_s = self._by_token(scope, address)
            if visitor is None:
                return await _refuse_token(send, wait_s)
        scope.setdefault("state", {})["visitor"] = visitor
        is_open = path in self._open or path.startswith("/static/")
        if visitor is None and not is_open:
            return await self._ask_who(scope, send)
        if scope["method"] not in SAFE:
            why = _foreign(scope)
            if why:
                return await refuse(send, 403, why, close=True)
            if visitor is not None and path != "/logout" and path != "/login":
                if not visitor.may_change:
                    return await refuse(send, 403, "a viewer changes nothing: use the operator token", close=True)
                if visitor.csrf:
                    checked = await _check_csrf(scope, receive, visitor)
                    if checked is None:
                        return await refuse(
                            send, 403, "the CSRF token is missing or wrong: load the page again", close=True
                        )
                    receive = checked
            elif visitor is None and path != "/login":
                return await self._ask_who(scope, send)
        return await self._app(scope, receive, send)

    def _by_token(self, scope: Scope, address: str) -> tuple[Visitor | None, float]:
        """Whose token a machine sends; None with the seconds to wait, 0 where it may try again."""
        wait_s = self._auth.wrong.wait(address)
        if wait_s:
            return None, wait_s
        kind, _, token = header(scope, b"authorization").partition(" ")
        role = self._auth.role_of(token.strip()) if kind.lower() == "bearer" else ""
        if not role:
            self._auth.wrong.take(address)
            return None, 0.0
        return Visitor(role, address), 0.0

    async def _ask_who(self, scope: Scope, send: Send) -> None:
        path = scope["path"]
        wants_page = "text/html" in header(scope, b"accept") and scope["method"] in SAFE
        if path.startswith(_MACHINES) or not wants_page:
            return await refuse(send, 401, "send a token", [(b"www-authenticate", b"Bearer")], close=True)
        return await redirect(send, f"/login?next={quote(path, safe='/')}")


async def _refuse_token(send: Send, wait_s: float) -> None:
    if wait_s:
        told = (b"retry-after", str(int(wait_s) + 1).encode())
        return await refuse(send, 429, "too many wrong tokens came from this address", [told], close=True)
    return await refuse(send, 401, "the token is wrong", [(b"www-authenticate", b"Bearer")], close=True)


def _foreign(scope: Scope) -> str:
    """Why a request seems to come from another site; "" where it does not. A machine names no site."""
    site = header(scope, b"sec-fetch-site")
    if site not in ("", "same-origin", "none"):
        return "it comes from another site"
    if not any(key == b"origin" for key, _ in scope["headers"]):
        return ""
    origin = header(scope, b"origin")
    scheme = origin.partition(":")[0]  # of the proxy before us, where there is one
    place = _place(origin)
    same = place is not None and place == _place(f"{scheme}://{header(scope, b'host')}")
    return "" if same else "it comes from another site"


def _place(url: str) -> tuple[str, int] | None:
    """Host and port of an address; None where it has none, such as the origin `null`."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname else None


async def _check_csrf(scope: Scope, receive: Receive, visitor: Visitor) -> Receive | None:
    """What gives the body to the application; None where the CSRF token is wrong. A form is read to find it."""
    given = header(scope, b"x-csrf-token")
    if given:
        return receive if is_same(given, visitor.csrf) else None
    if header(scope, b"content-type").partition(";")[0].strip().lower() != _FORM:
        return None
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MOST_FORM:
            return None
    if not is_same(form_of(body).get("csrf", ""), visitor.csrf):
        return None
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


def form_of(body: bytes) -> dict[str, str]:
    """The fields of a form (application/x-www-form-urlencoded, UTF-8); of one that is there twice, the last."""
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        return {}


def own_path(path: str) -> str:
    """The path, where it leads to a page of ours; else ""."""
    plain = path.isascii() and path.isprintable() and "\\" not in path
    return path if plain and path.startswith("/") and not path.startswith("//") else ""
