"""A connection to a broker of MQTT, with a retained status: for outcomes (mqtt.py), and for triggers (plc/).

Paho connects again by itself, and keeps what is on its way. So who must not have that sent later throws the connection
away with all that it holds, and makes another one. The session is clean: nothing waits at the broker either.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from edge_ad.errors import EdgeADError, SpecError
from edge_ad.station.sinks.base import NotYet
from edge_ad.station.sinks.in_time import in_time
from edge_ad.station.sinks.remote import TIMES, TLS, address, problems_of, secret_keys, secret_of, tls_context
from edge_ad.system.keys import Key, Problem, number, text, word

_FIELD = re.compile(r"\{([^{}]*)\}")
_MOST_TOPIC = 65535  # bytes (MQTT 5, 1.5.4)
_TURN_S = 0.1
_LAST_S = 1.0  # for the broker to take "offline" at the end
_WINDOW = 20  # messages without an acknowledgement, where the broker does not want fewer


def topic(*fields: str) -> Callable[[Any], str]:
    """A template of a topic (MQTT 5, 4.7) with these fields."""

    def read(value: Any) -> str:
        given = text(value)
        plain = _FIELD.sub("", given)
        unknown = [each for each in _FIELD.findall(given) if each not in fields]
        if unknown or re.search(r"[{}+#]", plain) or given.startswith("$"):
            expected = "levels with /, without + or #, not begun by $; fields " + ", ".join(f"{{{f}}}" for f in fields)
            raise SpecError("it is no topic to publish to", expected=expected, got=repr(value))
        return given

    return read


URL = {"url": Key(address("mqtt", "mqtts"), "the broker; mqtts is TLS", required=True)}
LOGIN = {
    "user": Key(text, "name of the user"),
    **secret_keys("password", "the password of the user"),
    **TLS,
}
PROTOCOL = {
    "version": Key(word("5", "3.1.1"), "of MQTT", "5"),
    "keepalive_s": Key(number(1, 3600), "seconds of silence after which a line is taken for cut", 20.0),
    **TIMES,
}
FILES = ("ca", "cert", "key", "password_file")


def problems(values: Mapping[str, Any]) -> list[Problem]:
    """Keys that do not go together; paho-mqtt that is not there."""
    found = problems_of(values, ("password",), "mqtts")
    if values["user"] is None:
        found += [(name, "it goes with user") for name in ("password_env", "password_file") if values[name] is not None]
    parts = urlsplit(values["url"] or "")
    if parts.path not in ("", "/") or parts.query:
        found.append(("url", "a broker has no path; expected such as mqtt://broker.local:1883"))
    if importlib.util.find_spec("paho") is None:
        found.append(("kind", "paho-mqtt is not installed: pip install 'edge-ad[mqtt]'"))
    return found


@dataclass(frozen=True)
class Access:
    """What a connection is made with.

    Attributes:
        options: keys of `URL`, `LOGIN` and `PROTOCOL`.
        client_id: how the broker knows it.
        status: the topic of online and offline.
        stopping: when it is set, who waits for the broker gives up.
        tell: says something in the log and among the events of the journal.
    """

    options: Mapping[str, Any]
    client_id: str
    status: str
    stopping: threading.Event
    tell: Callable[[str], None]
    password: bytes | None = field(repr=False)
    context: ssl.SSLContext | None

    @classmethod
    def of(
        cls,
        options: Mapping[str, Any],
        client_id: str,
        status: str,
        stopping: threading.Event,
        tell: Callable[[str], None],
    ) -> Access:
        """Reads the secrets and certificates.

        Raises:
            SpecError: one of them cannot be used.
        """
        password = secret_of(options, "password")
        secure = urlsplit(options["url"]).scheme == "mqtts"
        context = tls_context(options) if secure else None
        return cls(options, client_id, status, stopping, tell, password, context)


@dataclass(frozen=True)
class Listening:
    """What a connection listens to. Such a one ends where it is lost (`alive`): its owner makes another one.

    Attributes:
        topics: filters.
        heard: called by paho's thread with each message (of paho).
    """

    topics: tuple[str, ...]
    heard: Callable[[Any], None]


class Connection:
    """A client of paho with its thread, which connects again by itself."""

    def __init__(self, access: Access, listening: Listening | None = None) -> None:
        try:
            from paho.mqtt import client as paho
        except ImportError as error:
            raise SpecError("paho-mqtt is not installed", remedy="pip install 'edge-ad[mqtt]'.") from error
        options, parts = access.options, urlsplit(access.options["url"])
        self._options, self._stopping, self._status = options, access.stopping, access.status
        self._tell, self._listening = access.tell, listening
        self.where = f"{parts.scheme}://{parts.netloc}"
        self._changed = threading.Condition()
        self._acks: dict[int, str] = {}  # message id: "" or why it was refused
        self._online = self._failures = 0
        self.window = _WINDOW
        self._connected = self._ended = False  # connected: the broker has acknowledged "online"
        self._told = "there is no answer"  # why there is no connection
        five = options["version"] == "5"
        self._client = client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=access.client_id,
            clean_session=None if five else True,
            protocol=paho.MQTTv5 if five else paho.MQTTv311,
        )
        if access.context is not None:
            access.context.sslsocket_class = _Closing
            client.tls_set_context(access.context)
        if options["user"] is not None:
            client.username_pw_set(options["user"], access.password)
        client.will_set(access.status, b"offline", qos=1, retain=True)
        client.connect_timeout = options["connect_s"]
        client.reconnect_delay_set(1, 30)
        client.max_inflight_messages_set(0)  # `window` is ours
        client.on_connect, client.on_connect_fail = self._on_connect, self._on_connect_fail
        client.on_disconnect, client.on_publish = self._on_disconnect, self._on_publish
        if listening is not None:
            client.on_subscribe, client.on_message = self._on_subscribe, self._on_message
        port = parts.port or (1883 if access.context is None else 8883)
        session = {"clean_start": True} if five else {}
        self.alive = True  # paho's thread: what paho does not expect ends it
        self._forever, client.loop_forever = client.loop_forever, self._run
        client.connect_async(str(parts.hostname), port, keepalive=round(options["keepalive_s"]), **session)
        client.loop_start()

    # ------------------------------------------------------------------------- called by paho, in its thread

    def _run(self, *args: Any, **options: Any) -> Any:
        try:
            return self._forever(*args, **options)
        except Exception as error:  # such as a peer that does not speak MQTT
            with self._changed:
                self._told = f"{type(error).__name__}: {error}"
        finally:
            with self._changed:
                self.alive = self._connected = False
                self._changed.notify_all()

    def _on_connect(self, client: Any, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        if self._ended:
            client.disconnect()
            return
        if reason.is_failure:
            self._failed(f"the broker refuses: {reason}")
            return
        self.window = min(getattr(properties, "ReceiveMaximum", _WINDOW), _WINDOW)
        if self._listening is not None:
            client.subscribe([(topic, 1) for topic in self._listening.topics])
            return
        self._say_online()

    def _say_online(self) -> None:
        self._online = self._client.publish(self._status, b"online", qos=1, retain=True).mid

    def _on_subscribe(self, client: Any, _: Any, mid: int, reasons: Any, properties: Any) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._failed(f"the broker does not let it listen: {refused[0]}")
            self._tell(f"the broker does not let it listen to {self._listening_to}: {refused[0]}")
            return
        self._say_online()

    @property
    def _listening_to(self) -> str:
        return "" if self._listening is None else ", ".join(self._listening.topics)

    def _on_message(self, client: Any, _: Any, message: Any) -> None:
        assert self._listening is not None
        self._listening.heard(message)

    def _on_connect_fail(self, *_: Any) -> None:
        error = sys.exc_info()[1]  # paho calls it where it caught the error
        self._failed(str(error) or type(error).__name__)

    def _failed(self, told: str) -> None:
        with self._changed:
            self._told, self._failures = told, self._failures + 1
            self._changed.notify_all()

    def _on_disconnect(self, client: Any, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            lost = self._connected
            if lost:
                self._told = f"the connection is lost: {reason}"
            self._connected = False
            self._changed.notify_all()
        if lost and self._listening is not None:
            client.disconnect()  # it does not connect again, and what it still holds is never sent

    def _on_publish(self, client: Any, _: Any, mid: int, reason: Any, properties: Any) -> None:
        with self._changed:
            self._acks[mid] = str(reason) if reason.is_failure else ""
            self._connected = self._connected or mid == self._online
            self._changed.notify_all()
        if mid == self._online and reason.is_failure:
            self._tell(f"the broker does not take the status {self._status}: {reason}")

    # ------------------------------------------------------------------------------- called by the sink

    def wait_for_connection(self) -> None:
        """Raises:
        EdgeADError: there is none in time, or an attempt fails.
        """
        until = time.monotonic() + self._options["connect_s"]
        with self._changed:
            before = self._failures
            while not self._connected:
                self._turn(until if self._failures == before else 0.0)

    @property
    def connected(self) -> bool:
        """Whether the broker has acknowledged "online", and nothing was lost since."""
        return self._connected

    @property
    def why(self) -> str:
        """Why there is no connection."""
        return self._told

    def publish(self, topic: str, body: bytes, properties: Any = None) -> int:
        """Hands a message to paho; its id."""
        return int(self._client.publish(topic, body, qos=1, properties=properties).mid)

    def refusals(self) -> list[str]:
        """Why the broker did not take messages that nobody waits for; asked some times a second."""
        with self._changed:
            refused = [each for each in self._acks.values() if each]
            self._acks.clear()
        return refused

    def wait_for(self, mids: Sequence[int]) -> None:
        """Until the broker has acknowledged all of them.

        Raises:
            EdgeADError: it refuses one, the connection is lost, or nothing more is acknowledged for too long.
        """
        until, left = time.monotonic() + self._options["answer_s"], len(mids)
        with self._changed:
            while True:
                for mid in mids:
                    if self._acks.get(mid):
                        raise EdgeADError(f"{self.where} does not take an outcome", got=self._acks[mid])
                missing = sum(mid not in self._acks for mid in mids)
                if not missing:
                    for mid in mids:
                        del self._acks[mid]
                    return
                if missing < left:
                    until, left = time.monotonic() + self._options["answer_s"], missing
                if not self._connected:
                    raise EdgeADError(f"{self.where}: {self._told}")
                self._turn(until)

    def first_of(self, mids: Sequence[int]) -> int:
        """How many of the first are acknowledged."""
        with self._changed:
            taken = [self._acks.get(mid) == "" for mid in mids]
        return taken.index(False) if False in taken else len(taken)

    def _turn(self, until: float) -> None:
        if self._stopping.is_set():
            raise NotYet
        if time.monotonic() > until or not self.alive:
            told = "it does not acknowledge what it was sent" if self._connected else self._told
            raise EdgeADError(f"{self.where}: {told}")
        self._changed.wait(_TURN_S)

    def end(self, patience_s: float) -> None:
        """Says offline, which no last will does after this, and ends. Returns within seconds whatever the broker does.

        Args:
            patience_s: time for the broker to acknowledge it.
        """
        self._ended = True
        if self._connected:
            mid = self._client.publish(self._status, b"offline", qos=1, retain=True).mid
            with self._changed:
                self._changed.wait_for(lambda: mid in self._acks or not self._connected, patience_s)
        with contextlib.suppress(EdgeADError):  # it hangs, and ends when its time-outs do
            in_time(self._leave, 2 * _LAST_S, threading.Event(), "paho's thread does not end")

    def _leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class _Closing(ssl.SSLSocket):
    """Paho leaves a socket open whose handshake fails."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def filled(template: str, values: Mapping[str, str]) -> str:
    """A topic.

    Raises:
        SpecError: it is too long.
    """
    filled = _FIELD.sub(lambda found: escaped(values[found[1]]), template)
    if len(filled.encode()) > _MOST_TOPIC:
        raise SpecError("a topic is too long", expected=f"up to {_MOST_TOPIC} bytes", got=f"{filled[:60]}...")
    return filled


def escaped(name: str) -> str:
    """A name as one level of a topic: what MQTT gives a meaning or forbids is %XX, as in addresses."""
    return "".join(
        "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))
        if character in "+#/%$" or not (character.isprintable())
        else character
        for character in name
    )


def answer_properties(correlation: bytes | None, seconds: int | None) -> Any:
    """Properties of MQTT 5 for an answer.

    Args:
        correlation: what the question came with.
        seconds: after which the broker throws it away.
    """
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    made = Properties(PacketTypes.PUBLISH)
    if correlation is not None:
        made.CorrelationData = correlation
    if seconds is not None:
        made.MessageExpiryInterval = seconds
    return made


def client_id_of(station: str, *place: str) -> str:
    """The same after a restart, so that the broker lets the old connection go; another one for any other place.

    Args:
        place: data folder, address and topic.
    """
    mark = hashlib.sha256(repr((socket.gethostname(), *place)).encode("utf-8", "backslashreplace")).hexdigest()[:10]
    return f"edge-ad-{re.sub('[^A-Za-z0-9_-]', '_', station)[:40]}-{mark}"
