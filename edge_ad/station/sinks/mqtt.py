"""`kind = "mqtt"`: a message of QoS 1 for each outcome, as JSON, and a retained status: online or offline.

An outcome counts as delivered when the broker has acknowledged it (PUBACK). Paho keeps what is on its way and would
send it again by itself; so after any failure its client is thrown away with all that it holds, and the journal gives
the outcomes again.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_ad.station.sinks import broker
from edge_ad.station.sinks.base import Message, NotYet, Sink, SinkOpening
from edge_ad.station.sinks.broker import Access, Connection, client_id_of, filled
from edge_ad.station.sinks.remote import json_of
from edge_ad.system.keys import Key, text

_LAST_S = 1.0  # for the broker to take "offline" at the end

_TOPIC = broker.topic("station", "camera", "outcome", "part_id")
KEYS = {
    **broker.URL,
    "topic": Key(_TOPIC, "of the outcomes", "edge-ad/{station}/outcome/{camera}"),
    "status": Key(broker.topic("station"), "where online and offline are retained", "edge-ad/{station}/status"),
    **broker.LOGIN,
    "client_id": Key(text, "how the broker knows the station; without it, made of name, PC, data folder and topic"),
    **broker.PROTOCOL,
}
PLACE = ("url", "topic")
FILES = broker.FILES
problems = broker.problems


def open_sink(opening: SinkOpening) -> Sink:
    """Reads the secrets and begins to connect; a broker that is away is tried again and again.

    Raises:
        EdgeADError: paho-mqtt is not installed; a secret or a certificate cannot be used; the status topic is too long.
    """
    return Mqtt(opening)


class Mqtt:
    """See the module."""

    def __init__(self, opening: SinkOpening) -> None:
        options, self._station = opening.options, opening.station
        self._options = options
        own = client_id_of(opening.station, str(opening.data), options["url"], options["topic"])
        status = filled(options["status"], {"station": opening.station})
        self._access = Access.of(options, options["client_id"] or own, status, opening.stopping, opening.tell)
        self._connection: Connection | None = self._new_connection()

    def _new_connection(self) -> Connection:
        return Connection(self._access)

    def deliver(self, messages: Sequence[Message]) -> int | None:
        """See `Sink.deliver`."""
        if self._connection is None or not self._connection.alive:
            self._drop()
            self._connection = self._new_connection()
        connection = self._connection
        connection.wait_for_connection()
        try:
            return self._send(connection, messages)
        except NotYet:
            raise
        except BaseException:
            self._drop()
            self._connection = self._new_connection()  # so that the status is right also while nothing is to be sent
            raise

    def _send(self, connection: Connection, messages: Sequence[Message]) -> int | None:
        station, taken = self._station, 0
        while taken < len(messages):
            part = messages[taken : taken + connection.window]
            sent = [connection.publish(self._topic_of(each), json_of(each, station)) for each in part]
            try:
                connection.wait_for(sent)
            except Exception as error:
                taken += connection.first_of(sent)
                if not taken:
                    raise
                if not isinstance(error, NotYet):
                    self._drop()  # the next call makes another one
                return messages[taken - 1].row.number
            taken += len(part)
        return None

    def _topic_of(self, message: Message) -> str:
        row = message.row
        told = {"camera": row.camera, "outcome": row.outcome or "", "part_id": row.part_id}
        return filled(self._options["topic"], {"station": self._station, **told})

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.end(0.0)

    def close(self) -> None:
        """See `Sink.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.end(_LAST_S)
