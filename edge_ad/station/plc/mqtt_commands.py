"""`kind = "mqtt"`: a message on a topic is a software trigger, and its outcome comes back on another one.

Nothing late does harm here. A retained trigger is ignored: it is of some time before. What is sent while the station is
away is not kept for it, as its session is clean. An answer that cannot be sent now is never sent later: the connection
is thrown away with all that it holds. And "good" is asked for again when the answer is handed to the broker; by MQTT 5
the broker throws it away when its time is over.
"""

from __future__ import annotations

import json
import logging
import math
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import unquote

from edge_ad.errors import SourceError, SpecError
from edge_ad.station.events import EventKind
from edge_ad.station.outcomes import FAULT, GOOD, LATE
from edge_ad.station.plc.base import Answer, Link, LinkOpening, LinkState, Sparing
from edge_ad.station.sinks import broker
from edge_ad.station.sinks.broker import Access, Connection, Listening, answer_properties, client_id_of, filled
from edge_ad.system.keys import Key, text
from edge_ad.system.names import printable, storable

_PLACE = "edge-ad/{station}"
KEYS = {
    **broker.URL,
    "camera": Key(text, "the camera that it triggers; all of them without the key"),
    "topic": Key(broker.topic("station", "camera"), "of the triggers", _PLACE + "/trigger/{camera}"),
    "answer": Key(broker.topic("station", "camera"), "of the answers", _PLACE + "/answer/{camera}"),
    "status": Key(broker.topic("station"), "where online and offline are retained", _PLACE + "/trigger-status"),
    **broker.LOGIN,
    "client_id": Key(text, "how the broker knows the link; without it, made of name, PC, data folder and topic"),
    **broker.PROTOCOL,
}
FILES = broker.FILES
_MOST_WAITING = 8  # triggers of a camera that have no outcome yet
_MOST_ID = 256  # characters
_MOST_PAYLOAD = 4096  # bytes
_REMEMBERED = 1000  # ids of triggers
_TURN_S = 0.05
_LAST_S = 1.0

_log = logging.getLogger("edge_ad.station")


def problems(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Keys that do not go together."""
    found = broker.problems(values)
    if "{camera}" not in (values["topic"] or "").split("/"):
        found.append(("topic", "one of its levels must be {camera}: that says whose trigger it is"))
    if values["topic"] == values["answer"]:
        found.append(("answer", "it is the topic of the triggers: each answer would be one"))
    return found


def open_link(opening: LinkOpening) -> Link:
    """Reads the secrets and begins to connect; a broker that is away is tried again and again.

    Raises:
        EdgeADError: paho-mqtt is not installed; a secret or a certificate cannot be used; a topic is too long.
    """
    return Commands(opening)


@dataclass(frozen=True)
class Command:
    """A trigger that came.

    Attributes:
        id: that its sender gave it, "" without; the same again is the same trigger.
        reply: topic and correlation data of MQTT 5; None for the topic of the configuration.
    """

    camera: str
    part_id: str
    id: str
    reply: tuple[str, bytes | None] | None
    deadline_ns: int = 0


class Malformed(Exception):  # noqa: N818 - it is answered
    """A message that is no trigger; the text says why."""


class Commands:
    """See the module."""

    def __init__(self, opening: LinkOpening) -> None:
        self._opening, self._options, self._host = opening, opening.options, opening.host
        options, station = opening.options, opening.station
        own = client_id_of(station, str(opening.data), options["url"], options["topic"])
        self._stopping = threading.Event()
        status = filled(options["status"], {"station": station})
        self._access = Access.of(options, options["client_id"] or own, status, self._stopping, self._tell)
        levels = options["topic"].split("/")
        self._level = levels.index("{camera}")
        levels[self._level] = "+"
        self._topic = filled("/".join(levels), {"station": station})
        self._lock = threading.Lock()
        self._waiting: dict[int, Command] = {}  # by a number of ours
        self._count = 0
        self._seen: OrderedDict[tuple[str, str], Answer | None] = OrderedDict()  # camera and id
        self._tell_sparingly = Sparing(self._tell)  # both by paho's thread and by the link's
        self._answers: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._connection: Connection | None = self._new_connection()
        self._thread = threading.Thread(target=self._run, name=f"edge-ad-mqtt-{opening.id}", daemon=True)
        self._thread.start()

    def _new_connection(self) -> Connection:
        return Connection(self._access, Listening((self._topic,), self._heard))

    # ------------------------------------------------------------------------------------ called by paho's thread

    def _heard(self, message: Any) -> None:
        try:
            self._take(message)
        except Exception:  # of any kind; paho's thread would end
            _log.exception("link %s: a message on %s", self._opening.id, printable(str(message.topic)))

    def _take(self, message: Any) -> None:
        camera = unquote(message.topic.split("/")[self._level])
        if message.retain:
            self._tell_sparingly(
                f"a retained trigger on {printable(message.topic)} is ignored, as it is of some time before. Whoever "
                "sends triggers must send them without retain"
            )
            return
        command = Command(camera, "", "", self._reply_of(message))
        try:
            command = _command(camera, message.payload, command.reply)
            if self._options["camera"] not in (None, camera):
                raise Malformed(f"this link triggers the camera {self._options['camera']} alone")
            if message.dup and not command.id:
                raise Malformed("it was sent again, and has no id: nobody knows whether it is another part")
        except Malformed as error:
            self._refuse(command, str(error))
            return
        known = self._known(command)
        if known is None:
            self._ask(command)
        elif isinstance(known, Answer):  # it has its answer already, which perhaps got lost
            self._answers.put(partial(self._send, command, known))

    def _known(self, command: Command) -> Answer | bool | None:
        """None for a new trigger, True for one that waits, its answer for one that has it."""
        if not command.id:
            return None
        mark = command.camera, command.id
        with self._lock:
            if mark in self._seen:
                return self._seen[mark] or True
            self._seen[mark] = None
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
        return None

    def _ask(self, command: Command) -> None:
        with self._lock:
            waiting = sum(each.camera == command.camera for each in self._waiting.values())
            full = waiting >= _MOST_WAITING
            self._count += 1
            number = self._count
        try:
            if full:
                raise SourceError(f"{_MOST_WAITING} triggers of camera {command.camera} wait for their outcomes")
            deadline_ns = time.monotonic_ns() + round(self._host.deadline_ms(command.camera) * 1e6)
            asked = Command(command.camera, command.part_id, command.id, command.reply, deadline_ns)
            with self._lock:
                self._waiting[number] = asked
            self._host.ask(command.camera, command.part_id, partial(self._answered, number))
        except (SpecError, SourceError) as error:
            with self._lock:
                self._waiting.pop(number, None)
                self._seen.pop((command.camera, command.id), None)  # sent again, it may be taken
            self._refuse(command, str(error))

    def _refuse(self, command: Command, why: str) -> None:
        told = {"accepted": False, "reason": why}
        self._answers.put(partial(self._publish, command, told, None))

    def _reply_of(self, message: Any) -> tuple[str, bytes | None] | None:
        properties = getattr(message, "properties", None)
        where = getattr(properties, "ResponseTopic", None)
        if not where or any(each in where for each in "+#\0") or where.startswith("$") or self._is_trigger(where):
            return None
        return where, getattr(properties, "CorrelationData", None)

    def _is_trigger(self, topic: str) -> bool:
        """Whether an answer there would be a trigger."""
        levels, own = topic.split("/"), self._topic.split("/")
        return len(levels) == len(own) and all(b in ("+", a) for a, b in zip(levels, own, strict=True))

    # ------------------------------------------------------------------------------------ called by the journal's

    def _answered(self, number: int, answer: Answer) -> None:
        self._answers.put(partial(self._settle, number, answer))

    # ------------------------------------------------------------------------------------------ the link's thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                work = self._answers.get(timeout=_TURN_S)
            except queue.Empty:
                work = None
            try:
                if work is not None:
                    work()
                self._look()
            except Exception:  # of any kind; the next part must have its answer
                _log.exception("link %s", self._opening.id)

    def _look(self) -> None:
        """Connects anew where the connection is lost, and ends triggers whose time is up."""
        connection = self._connection
        if connection is not None:
            for why in connection.refusals():
                self._tell_sparingly(f"the broker does not take an answer: {why}")
            if not connection.alive and not self._stopping.is_set():
                _log.warning("link %s: %s: %s", self._opening.id, connection.where, connection.why)
                connection.end(0.0)
                self._stopping.wait(_LAST_S)
                self._connection = self._new_connection()
        now = time.monotonic_ns()
        with self._lock:
            late = [number for number, each in self._waiting.items() if each.deadline_ns < now]
            ended = [self._waiting.pop(number) for number in late]
        for command in ended:
            reason = f"{LATE}: there was no outcome at the deadline"
            told = {"accepted": True, "outcome": FAULT, "in_time": False, "reason": reason}
            self._publish(command, told, None)

    def _settle(self, number: int, answer: Answer) -> None:
        with self._lock:
            command = self._waiting.pop(number, None)
            if command is None:
                return  # it was late, and that was told
            if (command.camera, command.id) in self._seen:
                self._seen[command.camera, command.id] = answer
        self._send(command, answer)

    def _send(self, command: Command, answer: Answer) -> None:
        decision = answer.decision
        told = {
            "accepted": True,
            "outcome": answer.outcome,  # here it is asked whether there is time left
            "in_time": answer.in_time,
            "reason": answer.reason,
            "score": decision.score,
            "threshold": decision.threshold,
            "number": answer.number,
            "journal_id": answer.journal_id,
            "latency_ms": answer.latency_ms,
        }
        left_s = (answer.deadline_ns - time.monotonic_ns()) / 1e9
        self._publish(command, told, max(1, math.ceil(left_s)) if told["outcome"] == GOOD else None)

    def _publish(self, command: Command, told: dict[str, Any], seconds: int | None) -> None:
        """Sends an answer now or never.

        Args:
            seconds: after which nobody may have it any more; whole ones are all that MQTT knows.
        """
        connection = self._connection
        if connection is None or not connection.connected:
            self._tell_sparingly("an answer cannot be sent, as there is no broker; the outcome is in the journal")
            return
        ids = {"station": self._opening.station, "camera": command.camera}
        ids |= {"part_id": command.part_id} | ({"id": command.id} if command.id else {})
        body = storable(json.dumps({**ids, **told}, ensure_ascii=False)).encode()
        where, correlation = command.reply or (self._answer_topic(command.camera), None)
        five = self._options["version"] == "5"
        connection.publish(where, body, answer_properties(correlation, seconds) if five else None)

    def _answer_topic(self, camera: str) -> str:
        return filled(self._options["answer"], {"station": self._opening.station, "camera": camera})

    # ------------------------------------------------------------------------------------------------- the link

    def _tell(self, what: str) -> None:
        _log.warning("link %s: %s", self._opening.id, what)
        self._host.tell("", EventKind.MQTT, f"{self._opening.id}: {what}")

    def state(self) -> LinkState:
        """See `Link.state`."""
        connection = self._connection
        if connection is None:
            return LinkState(False, "it has ended")
        return LinkState(
            connection.connected, f"{connection.where}: {'connected' if connection.connected else connection.why}"
        )

    def close(self) -> None:
        """See `Link.close`."""
        self._stopping.set()
        self._thread.join()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.end(_LAST_S)


def _command(camera: str, payload: bytes, reply: tuple[str, bytes | None] | None) -> Command:
    """A trigger of a message: JSON {"part_id": ..., "id": ...}, or the part id alone.

    Raises:
        Malformed: it is neither.
    """
    if len(payload) > _MOST_PAYLOAD:
        raise Malformed(f"it has {len(payload):,} bytes; {_MOST_PAYLOAD:,} at most may be")
    try:
        plain = payload.decode("utf-8").strip()
        told = json.loads(plain) if plain.startswith("{") else {"part_id": plain}
    except (ValueError, RecursionError) as error:
        raise Malformed(f'it is neither a text nor JSON such as {{"part_id": "A17"}}: {error}') from error
    unknown = sorted(set(told) - {"part_id", "id"})
    if unknown:
        raise Malformed(f"only part_id and id are known; got {printable(', '.join(unknown))[:80]}")
    ids = {name: _id(told.get(name, ""), name) for name in ("part_id", "id")}
    if not ids["part_id"]:
        raise Malformed("there is no part_id")
    return Command(camera, ids["part_id"], ids["id"], reply)


def _id(value: Any, name: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise Malformed(f"{name} is no text")
    found = str(value).strip()
    if len(found) > _MOST_ID or not found.isprintable():
        raise Malformed(f"{name} holds up to {_MOST_ID} printable characters")
    return found
