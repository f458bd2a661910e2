"""Connections that send no whole request, or read no answer: real sockets, and limits of moments."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest

pytest.importorskip("uvicorn", reason="the page needs the extra `station`")
import uvicorn
from uvicorn.server import ServerState

from edge_ad.station.page.guard import GuardedProtocol
from tests.station.making import wait_for

_PATIENCE_S = 60.0


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def hangs(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@contextlib.contextmanager
def serving(app: Any, **limits: float) -> Iterator[tuple[str, int]]:
    kind = type("Quick", (GuardedProtocol,), limits)
    config = uvicorn.Config(app, http=kind, ws="none", loop="asyncio", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_for(lambda: server.started)
            yield listener.getsockname()
        finally:
            server.should_exit = True
            thread.join(_PATIENCE_S)


def is_served(address: tuple[str, int]) -> bool:
    connection = http.client.HTTPConnection(*address, timeout=_PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        return connection.getresponse().read() == b"hello"


def is_closed(client: socket.socket) -> bool:
    """Waits until the other end closes the connection."""
    client.settimeout(_PATIENCE_S)
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\nx: "])
def test_a_head_that_never_ends(sent: bytes) -> None:
    with serving(hello, head_s=0.2) as address, socket.create_connection(address) as client:
        client.sendall(sent)
        assert is_closed(client)


def test_a_head_that_comes_byte_by_byte() -> None:
    """Each byte is progress, and still the whole head has its limit."""
    with serving(hello, head_s=0.3) as address, socket.create_connection(address) as client:
        client.settimeout(0.05)
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n")

        def ended() -> bool:
            try:
                client.sendall(b"x: y\r\n")
                return client.recv(10) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        assert wait_for(ended)


def test_an_answer_that_never_comes() -> None:
    with serving(hangs, request_s=0.2) as address, socket.create_connection(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert is_closed(client)


def test_a_connection_may_be_used_again_and_rests_not_for_long() -> None:
    with serving(hello, head_s=0.5) as address, socket.create_connection(address) as client:
        client.settimeout(_PATIENCE_S)
        for _ in range(2):
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"hello"):
                answer += client.recv(65536)
        assert is_closed(client)


def test_the_newest_of_many_that_come_at_once_stays() -> None:
    """All are made before the first one is connected: how old they are counts from there."""

    async def run() -> list[bool]:
        kind = type("Few", (GuardedProtocol,), {"most": 2})
        config = uvicorn.Config(hello, ws="none", log_config=None)
        state = ServerState()
        made = [kind(config, state, {}) for _ in range(4)]
        transports = [Mock(get_extra_info=lambda name: None) for _ in made]
        for protocol, transport in zip(made, transports, strict=True):
            protocol.connection_made(transport)
            await asyncio.sleep(0.001)
        for protocol in made:
            protocol.connection_lost(None)
        return [transport.abort.called for transport in transports]

    assert asyncio.run(run()) == [True, True, False, False]


def test_who_sends_a_whole_request_gets_through() -> None:
    """As many connections as there may be wait without a request: the oldest goes."""
    with serving(hello, most=20, head_s=1000.0) as address, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(address)) for _ in range(40)]
        for each in slow[20:]:
            each.sendall(b"GET / HTTP/1.1\r\n")
        assert is_closed(slow[0])
        for _ in range(5):
            assert is_served(address)
