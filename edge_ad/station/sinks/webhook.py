"""`kind = "webhook"`: an HTTP POST for each outcome, as JSON.

One outcome a request, in order, on a connection that stays open: the idempotency key is the one of the outcome, an
answer is about nothing else, and no outcome that a receiver refuses takes others with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from edge_ad._version import __version__
from edge_ad.errors import EdgeADError, SpecError
from edge_ad.station.sinks.base import Message, NotYet, Sink, SinkOpening
from edge_ad.station.sinks.in_time import in_time
from edge_ad.station.sinks.remote import TIMES, TLS, address, json_of, problems_of, secret_keys, secret_of, tls_context
from edge_ad.system.keys import Key, Problem, number
from edge_ad.system.names import printable

_SECRETS = ("secret", "authorization")
KEYS = {
    "url": Key(address("http", "https"), "where outcomes are posted to", required=True),
    **secret_keys("secret", "the secret of the signature"),
    **secret_keys("authorization", "the value of the header Authorization, such as Bearer abc"),
    **TLS,
    "proxy": Key(address("http"), "an HTTP proxy; those of the environment are not used"),
    **TIMES,
    "refused_h": Key(
        number(0, 1e5), "hours for which an outcome that is refused for itself (400, 413, 415, 422) is tried", 24.0
    ),
}
PLACE = ("url",)
FILES = ("ca", "cert", "key", "secret_file", "authorization_file")

_REFUSED = (400, 413, 415, 422)  # said of this outcome; any other answer is about the address, the right or the moment
_SLICE_S = 0.5  # after which the place is saved
_MOST_ANSWER, _PART = 2**20, 2**16  # bytes that are read
_MOST_PAUSE_S = 3600.0  # of Retry-After


def problems(values: Mapping[str, Any]) -> list[Problem]:
    """Keys that do not go together."""
    return problems_of(values, _SECRETS, "https")


def open_sink(opening: SinkOpening) -> Sink:
    """Reads the secrets. It connects when there is something to send.

    Raises:
        EdgeADError: a secret or a certificate cannot be used.
    """
    return Webhook(opening)


@dataclass(frozen=True)
class _Answer:
    status: int
    reason: str
    pause_s: float
    whole: bool  # to its end, so that the connection can be used again


class Webhook:
    """See the module."""

    def __init__(self, opening: SinkOpening) -> None:
        self._opening, options = opening, opening.options
        self._options = options
        parts = urlsplit(options["url"])
        self._where = f"{parts.scheme}://{parts.netloc}"  # path and query may hold a secret
        self._context = tls_context(options) if parts.scheme == "https" else None
        self._secret, authorization = secret_of(options, "secret"), secret_of(options, "authorization")
        self._headers = {
            "Content-Type": "application/json",
            "User-Agent": f"edge-ad/{__version__}",
            **({} if authorization is None else {"Authorization": _header(authorization)}),
        }
        self._target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        if options["proxy"] is not None and self._context is None:
            self._target = f"{self._where}{self._target}"  # such a proxy is told the whole address
        self._connection: http.client.HTTPConnection | None = None
        self._refused_since = (0, 0.0)  # the outcome, and the time
        self._paused_until = 0.0

    def deliver(self, messages: Sequence[Message]) -> int | None:
        """See `Sink.deliver`."""
        until = time.monotonic() + _SLICE_S
        taken: int | None = None
        for message in messages:
            try:
                self._post(message)
            except Exception:
                if taken is None:
                    raise
                break  # what is taken counts first; this one is met again by the next call
            taken = message.row.number
            if time.monotonic() > until:
                break
        return taken

    def close(self) -> None:
        """See `Sink.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            _cut(connection)

    def _post(self, message: Message) -> None:
        if self._opening.stopping.is_set():
            raise NotYet
        if time.monotonic() < self._paused_until:
            raise EdgeADError(f"{self._where} asks for a pause (Retry-After)")
        answer = self._exchange(message)
        if 200 <= answer.status < 300:
            return
        self.close()  # the next attempt comes later
        self._paused_until = time.monotonic() + answer.pause_s
        what = f"{self._where} answers {answer.status} {answer.reason}".rstrip()
        if answer.status in _REFUSED and self._refused_for_good(message, what):
            return
        raise EdgeADError(what, expected="2xx", remedy=_REMEDIES.get(answer.status // 100))

    def _refused_for_good(self, message: Message, what: str) -> bool:
        """Whether the outcome is left out now, which is said where people look."""
        number, now, hours = message.row.number or 0, time.monotonic(), self._options["refused_h"]
        if self._refused_since[0] != number:
            self._refused_since = (number, now)
        if now - self._refused_since[1] < 3600 * hours:
            return False
        row = message.row
        told = f"outcome {number} (camera {row.camera}, part {row.part_id}, {row.outcome}) is left out"
        self._opening.tell(f"{told}: {what} for {hours:g} h")
        return True

    def _exchange(self, message: Message) -> _Answer:
        """Raises:
        EdgeADError: there was no whole answer.
        """
        body = json_of(message, self._opening.station)
        headers = {**self._headers, "Idempotency-Key": message.key, **self._signature(body)}
        try:
            if self._connection is not None:
                with contextlib.suppress(ConnectionError):  # it was closed meanwhile, which is no failure
                    return self._once(body, headers)
            self._connection = self._connected()
            return self._once(body, headers)
        except ssl.SSLCertVerificationError as error:
            told = error.verify_message
            remedy = "Give the authority's certificate as ca, and a name that the certificate has as url."
            raise EdgeADError(f"the certificate of {self._where} is not valid", got=told, remedy=remedy) from error
        except (OSError, http.client.HTTPException) as error:
            got = printable(str(error)) or type(error).__name__
            raise EdgeADError(f"{self._where} gave no answer", got=got) from error

    def _connected(self) -> http.client.HTTPConnection:
        options, parts = self._options, urlsplit(self._options["url"])
        port = parts.port or (80 if self._context is None else 443)
        way = parts if options["proxy"] is None else urlsplit(options["proxy"])
        way_port = port if way is parts else way.port or 80
        patience = max(options["connect_s"], options["answer_s"])  # for a thread that nobody waits for any more
        connection: http.client.HTTPConnection
        if self._context is None:
            connection = http.client.HTTPConnection(str(way.hostname), way_port, timeout=patience)
        else:
            connection = http.client.HTTPSConnection(
                str(way.hostname), way_port, timeout=patience, context=self._context
            )
            if way is not parts:
                connection.set_tunnel(str(parts.hostname), port)
        told = f"{self._where} was not reached within {options['connect_s']:g} s"
        try:
            in_time(connection.connect, options["connect_s"], self._opening.stopping, told, connection.close)
        except Exception:
            _cut(connection)
            raise
        return connection

    def _once(self, body: bytes, headers: dict[str, str]) -> _Answer:
        connection, seconds = self._connection, self._options["answer_s"]
        assert connection is not None
        told = f"{self._where} gave no whole answer within {seconds:g} s"
        try:
            answer = in_time(
                lambda: _talk(connection, self._target, body, headers), seconds, self._opening.stopping, told
            )
        except BaseException:
            self.close()
            raise
        if not answer.whole or connection.sock is None:
            self.close()
        return answer

    def _signature(self, body: bytes) -> dict[str, str]:
        """HMAC-SHA256 (RFC 2104) of the time, a dot, and the body."""
        if self._secret is None:
            return {}
        now = str(int(time.time()))
        digest = hmac.new(self._secret, f"{now}.".encode() + body, hashlib.sha256).hexdigest()
        return {"Edge-AD-Time": now, "Edge-AD-Signature": digest}


_REMEDIES = {
    3: "It is not followed: give the address that it leads to as url.",
    4: "Nothing is lost meanwhile; check url, rights and what the receiver expects.",
}


def _header(value: bytes) -> str:
    told = value.decode("latin-1")
    if not told.isprintable():
        raise SpecError("the value of the header Authorization has characters that no header takes")
    return told


def _talk(connection: http.client.HTTPConnection, target: str, body: bytes, headers: dict[str, str]) -> _Answer:
    connection.request("POST", target, body, headers)
    response = connection.getresponse()
    got = 0
    while got < _MOST_ANSWER and (part := response.read(_PART)):
        got += len(part)
    if got < _MOST_ANSWER and response.length:  # http.client says nothing of it
        raise http.client.IncompleteRead(b"", response.length)
    after = response.getheader("Retry-After", "").strip()
    pause_s = min(float(after), _MOST_PAUSE_S) if after.isascii() and after.isdigit() else 0.0
    return _Answer(response.status, printable(response.reason or "")[:80], pause_s, got < _MOST_ANSWER)


def _cut(connection: http.client.HTTPConnection) -> None:
    """Closes it; a thread that still reads wakes."""
    with contextlib.suppress(OSError, AttributeError):  # it has ended, or there is none
        connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
