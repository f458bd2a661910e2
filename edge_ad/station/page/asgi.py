"""What the gates before the application share: types, headers, short answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE = ("GET", "HEAD", "OPTIONS")  # methods that change nothing


def header(scope: Scope, name: bytes) -> str:
    """A header of the request; "" where it is not there, or there twice: nobody knows which one counts."""
    found = [value for key, value in scope["headers"] if key == name]
    return found[0].decode("latin-1").strip() if len(found) == 1 else ""


def client(scope: Scope) -> str:
    """The address that the request came from."""
    return str((scope.get("client") or ("unknown", 0))[0])


async def refuse(
    send: Send, status: int, why: str, headers: Sequence[tuple[bytes, bytes]] = (), *, close: bool = False
) -> None:
    """Answers with {"error": why}. `close` ends the connection: what is still to come of the request is not read."""
    body = json.dumps({"error": why}).encode()
    told = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    if close:
        told.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body})


async def redirect(send: Send, where: str) -> None:
    """Answers with another address of this page (303)."""
    told = [(b"location", where.encode("ascii")), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 303, "headers": told})
    await send({"type": "http.response.body", "body": b""})
