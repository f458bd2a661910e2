"""A receiver of webhooks that does what a test tells it, request after request."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Taken:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def key(self) -> str:
        assert self.headers["Idempotency-Key"] == self.told["key"]
        return str(self.told["key"])


class Receiver(ThreadingHTTPServer):
    """`script`: what to do with the next requests: a status, (status, headers), or one of

    hang: say nothing; cut: end in the middle of an answer of 200; lost: take it and end without an answer; drip: a byte
    now and then, for ever; leave: an answer of 200, and the line is closed behind it without a word.

    When it is empty, all are taken.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Any] = []
        self.requests: list[Taken] = []  # all of them
        self.taken: list[Taken] = []  # those that it keeps
        self.ended = threading.Event()
        self.connections = 0
        self.open: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        self.connections += 1
        self.open.append(connection)
        return connection, peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """What a peer does that gives up is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer, which is written in two parts, waits 40 ms
    server: Receiver

    def do_POST(self) -> None:
        server = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = Taken(self.path, dict(self.headers), body)
        server.requests.append(request)
        what = server.script.pop(0) if server.script else 200
        status, headers = what if isinstance(what, tuple) else (what, {})
        if isinstance(status, int):
            if 200 <= status < 300:
                server.taken.append(request)
            self._answer(status, headers)
            return
        self.close_connection = True
        if what in ("lost", "leave"):
            server.taken.append(request)
        if what == "leave":
            self._answer(200, {})
        elif what == "hang":
            server.ended.wait()
        elif what == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
        elif what == "drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not server.ended.wait(0.02):
                self.wfile.write(b".")
                self.wfile.flush()

    def do_CONNECT(self) -> None:
        """As a proxy does it."""
        self.server.requests.append(Taken(self.path, dict(self.headers), b""))
        host, _, port = self.path.partition(":")
        self.close_connection = True
        with socket.create_connection((host, int(port))) as far:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(far, self.connection), daemon=True)
            back.start()
            _pump(self.connection, far)
            back.join()

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        body = b'{"answer": "of a receiver"}' if status != 204 else b""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if body:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(2**16):
            target.sendall(part)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def receiving(cert: tuple[Path, Path] | None = None) -> Iterator[Receiver]:
    server = Receiver()
    if cert is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*cert)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        for connection in server.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        server.server_close()
        thread.join()
