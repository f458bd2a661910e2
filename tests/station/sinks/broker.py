"""Mosquitto on a loopback port, a subscriber that misses nothing, and a broker that does not keep its word."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import child
from tests.station.making import wait_for

_PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"  # Debian's is where only root looks


def program(name: str) -> str:
    found = shutil.which(name, path=_PLACES)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install mosquitto")
    return found


class Mosquitto:
    """A broker with its configuration and memory in a folder; it saves each change before it goes on."""

    def __init__(self, folder: Path, more: str = "allow_anonymous true") -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        # As root it becomes another user, who may not read the folder. 0: as many at once as there are.
        lines = ["user root", f"listener {self.port} 127.0.0.1", more, "persistence true", "autosave_interval 1"]
        lines += [f"persistence_location {folder}/", "autosave_on_changes true", "max_inflight_messages 0"]
        (folder / "mosquitto.conf").write_text("\n".join([*lines, "max_queued_messages 0", ""]))
        self._program, self._stack = program("mosquitto"), contextlib.ExitStack()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        with open(self.folder / "broker.log", "a") as log:
            command = [self._program, "-c", self.folder / "mosquitto.conf"]
            self._process = self._stack.enter_context(child(command, stdout=log, stderr=log))
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "broker.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def kill(self) -> None:
        """SIGKILL."""
        self._stack.close()


@contextlib.contextmanager
def brokers(folder: Path) -> Iterator[Callable[..., Mosquitto]]:
    with contextlib.ExitStack() as stack:

        def make(name: str = "broker", **options: str) -> Mosquitto:
            (folder / name).mkdir(exist_ok=True)
            broker = Mosquitto(folder / name, **options)
            stack.callback(broker.kill)
            return broker

        yield make


@contextlib.contextmanager
def watching(broker: Mosquitto, **login: str) -> Iterator[list[tuple[str, bytes]]]:
    """All messages from now on: (topic, payload). Its session stays at the broker while it is cut off."""
    paho = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed (the mqtt extra)")
    found: list[tuple[str, bytes]] = []
    ready = threading.Event()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="watcher", clean_session=False)
    if login:
        client.username_pw_set(**login)
    client.reconnect_delay_set(1, 1)
    client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _, __, message: found.append((message.topic, message.payload))
    client.connect("127.0.0.1", broker.port, keepalive=20)
    client.loop_start()
    try:
        wait_for(ready.is_set)
        yield found
    finally:
        client.disconnect()
        client.loop_stop()


def keys_in(found: list[tuple[str, bytes]]) -> list[str]:
    return [json.loads(payload)["key"] for topic, payload in [*found] if not topic.endswith("/status")]


class FalseBroker:
    """Takes connections of MQTT 5, and acknowledges only so many messages of each.

    Attributes:
        acknowledged: how many messages of a connection.
        answer: to CONNECT; b"" for none.
        connections: numbers of the outcomes that came in each.
        statuses: that came, of all connections.
    """

    def __init__(self, acknowledged: int = 10**9, answer: bytes = b"\x20\x03\x00\x00\x00") -> None:
        self.acknowledged, self.answer = acknowledged, answer
        self.connections: list[list[int]] = []
        self.statuses: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._server.accept()
                self._open.append(line)
                self.connections.append([])
                threading.Thread(target=self._serve, args=(line, self.connections[-1]), daemon=True).start()

    def _serve(self, line: socket.socket, numbers: list[int]) -> None:
        with contextlib.suppress(OSError, EOFError), line.makefile("rb") as stream:
            while True:
                kind, body = _packet(stream)
                if kind == 0x10:
                    line.sendall(self.answer)
                elif kind == 0x30:
                    length = int.from_bytes(body[:2], "big")
                    topic, after = body[2 : 2 + length], body[2 + length :]
                    status = topic.endswith(b"/status")
                    if status:
                        self.statuses.append(after[3:])
                    else:
                        numbers.append(json.loads(after[3:])["number"])
                    if status or len(numbers) <= self.acknowledged:
                        line.sendall(b"\x40\x02" + after[:2])

    def close(self) -> None:
        for each in (self._server, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _packet(stream: Any) -> tuple[int, bytes]:
    head = stream.read(1)
    length, shift, more = 0, 0, True
    while more:
        byte = stream.read(1)
        if not byte:
            raise EOFError
        length |= (byte[0] & 0x7F) << shift
        shift, more = shift + 7, bool(byte[0] & 0x80)
    return head[0] & 0xF0, stream.read(length)
