"""Connections before and after a request: uvicorn waits for ever for a head that comes byte by byte, and for a client
that does not read. Here a head has ten seconds, and a request has two minutes. Where there are too many connections,
the one that has waited longest without a request is closed, so whoever sends a whole request gets through.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0  # from the connection, or the end of the request before, to a whole head
REQUEST_S = 120.0  # from the head to the end of the answer: longer than the longest deadline that is waited for
MOST_CONNECTIONS = 200
_GRACE_S = 0.1
MOST_HEAD = 16 * 1024  # bytes


class GuardedProtocol(H11Protocol):
    """uvicorn's protocol with limits of time."""

    head_s, request_s, most = HEAD_S, REQUEST_S, MOST_CONNECTIONS

    def __init__(self, *values: Any, **options: Any) -> None:
        super().__init__(*values, **options)
        self._limit: asyncio.TimerHandle | None = None
        self._working = False  # on a request
        self._since = 0.0  # when it began to wait for one

    def connection_made(self, transport: Any) -> None:
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._wait_for_head()  # first: many are made before one of them is here
        if len(self.connections) > self.most:
            idle = [each for each in self.connections if not getattr(each, "_working", True)]
            oldest = min(idle, key=lambda each: each._since, default=self)
            self.connections.discard(oldest)
            oldest.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._set_limit(None)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Takes what has come; a request that begins has a limit of its own."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self.transport.is_closing() and not self.cycle.response_complete:
            self._working = True
            self._set_limit(self.request_s)

    def on_response_complete(self) -> None:
        """The next head may come."""
        self._wait_for_head()
        super().on_response_complete()

    def _wait_for_head(self) -> None:
        self._working, self._since = False, self.loop.time()
        self._set_limit(self.head_s)

    def _set_limit(self, seconds: float | None) -> None:
        if self._limit is not None:
            self._limit.cancel()
        self._limit = None if seconds is None else self.loop.call_later(seconds, self._expired)

    def _expired(self) -> None:
        """What has come while this process got no CPU is read first."""
        self._limit = self.loop.call_later(_GRACE_S, self.abort)

    def abort(self) -> None:
        """Ends the connection at once."""
        if self.transport is not None:
            self.transport.abort()
