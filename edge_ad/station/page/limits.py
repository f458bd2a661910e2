"""Limits of what a client may take: requests a second, requests at once, bytes of a body, time to send it.

Pure ASGI. What concerns connections before there is a request is in `guard.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_ad.station.page.asgi import SAFE, App, Message, Receive, Scope, Send, client, header, refuse
from edge_ad.station.page.buckets import Buckets

# No inline script, nothing from elsewhere, no frame of another site, nothing kept by a proxy or on a disk.
_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
_SMALL = 64 * 1024  # bytes of a body, but for uploads
UPLOADS = ("/inspect", "/v2/")


@dataclass(frozen=True)
class Limits:
    """What a client may take.

    Attributes:
        max_body: bytes of the body of an upload; any other body is small.
        rate, burst: requests a second of one address, and at once.
        total_rate, total_burst: of all addresses.
        at_once: requests that are worked on; more are refused.
        uploads: of these, uploads: each is in memory as a whole.
        part_s: seconds that a body may rest while it is sent.
        body_s: seconds that a whole body may take.
        intake, intake_burst: bytes a second of all bodies together, and at once; more waits at the client. Receiving is
            work of the kernel, which no priority of this process holds back from the inspection's cores.
    """

    max_body: int = 32_000_000
    rate: float = 60.0
    burst: float = 120.0
    total_rate: float = 120.0
    total_burst: float = 240.0
    at_once: int = 64
    uploads: int = 4
    part_s: float = 10.0
    body_s: float = 60.0
    intake: float = 32e6
    intake_burst: float = 8e6


class Headers:
    """Adds the headers that keep browsers safe to each answer. What is no static file is not stored."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", []))
                known = {key.lower() for key, _ in given}
                added = [each for each in _HEADERS if each[0] not in known]
                if b"cache-control" not in known:
                    kept = scope["path"].startswith("/static/") and message["status"] == 200
                    added.append((b"cache-control", b"max-age=3600" if kept else b"no-store"))
                message["headers"] = given + added
            await send(message)

        return await self._app(scope, receive, with_headers)


class Rates:
    """Refuses requests that come too fast (429), or while too many are worked on (503)."""

    def __init__(self, app: App, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._limits = app, limits
        self._each = Buckets(limits.burst, limits.rate, clock)
        self._all = Buckets(limits.total_burst, limits.total_rate, clock)
        self._running = self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        wait_s = self._each.take(client(scope)) or self._all.take("")
        if wait_s:
            told = [(b"retry-after", str(int(wait_s) + 1).encode())]
            return await refuse(send, 429, "too many requests", told, close=scope["method"] not in SAFE)
        upload = scope["method"] not in SAFE and scope["path"].startswith(UPLOADS)
        if self._running >= self._limits.at_once or (upload and self._uploads >= self._limits.uploads):
            return await refuse(send, 503, "too many requests at once", [(b"retry-after", b"1")], close=True)
        self._running, self._uploads = self._running + 1, self._uploads + upload
        try:
            return await self._app(scope, receive, send)
        finally:
            self._running, self._uploads = self._running - 1, self._uploads - upload


class Bodies:
    """Refuses bodies that are too large (413) or too slow (408), the former before they are sent where they say it."""

    def __init__(self, app: App, limits: Limits) -> None:
        self._app, self._limits = app, limits
        self._intake = Intake(limits.intake, limits.intake_burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        most = self._limits.max_body if scope["path"].startswith(UPLOADS) else min(_SMALL, self._limits.max_body)
        length = header(scope, b"content-length")
        if length.isdigit() and (len(length) > 15 or int(length) > most):
            return await _too_long(send, most)
        body = _Body(receive, send, most, self._limits, self._intake)
        try:
            return await self._app(scope, body.receive, body.send)
        except Exception:
            if not body.refused:  # else the application has missed its body
                raise


class Intake:
    """How fast bodies are taken in: `burst` bytes at once, and `rate` a second."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._level, self._at = burst, clock()

    def took(self, size: int) -> float:
        """Counts so many bytes; the seconds to wait before any more are taken."""
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate) - size
        self._at = now
        return max(0.0, -self._level / self._rate)


class _Body:
    """Counts what is received. Where it is too much, it answers itself, and the application hears that the client has
    gone; what that answers is not sent."""

    def __init__(self, receive: Receive, send: Send, most: int, limits: Limits, intake: Intake) -> None:
        self._receive, self._send, self._most, self._limits, self._intake = receive, send, most, limits, intake
        self._seen, self._until = 0, time.monotonic() + limits.body_s
        self._done = self._answered = self.refused = False

    async def receive(self) -> Message:
        """A part of the body. After the body, what is waited for is the end of the client: that may take any time."""
        if self._done:
            return await self._receive()
        left_s = max(0.0, min(self._limits.part_s, self._until - time.monotonic()))
        try:
            message = await asyncio.wait_for(self._receive(), left_s)
        except asyncio.TimeoutError:
            return await self._refuse(408)
        size = len(message.get("body", b""))
        self._seen += size
        if self._seen > self._most:
            return await self._refuse(413)
        wait_s = self._intake.took(size)
        if wait_s:
            await asyncio.sleep(wait_s)
        self._done = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """What the application answers."""
        if not self.refused:
            self._answered = True
            await self._send(message)

    async def _refuse(self, status: int) -> Message:
        self._done = True
        if not self._answered:
            self.refused = True
            if status == 413:
                await _too_long(self._send, self._most)
            else:
                await refuse(self._send, 408, "the body came too slowly", close=True)
        return {"type": "http.disconnect"}


async def _too_long(send: Send, most: int) -> None:
    await refuse(send, 413, f"the body is too large; expected {most} bytes at most", close=True)
