"""Stations with OPC UA, and clients of it in processes of their own."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edge_ad.station.config import load_config
from edge_ad.station.plc.base import Link, LinkOpening
from edge_ad.station.plc.opcua import KEYS, open_link
from edge_ad.station.station import Station
from tests.paths import ROOT
from tests.processes import child
from tests.station.making import wait_for, write_config
from tests.station.plc.hosts import FakeHost

CLIENT = [sys.executable, "-m", "tests.station.plc.opcua_client"]
SOURCE = "synthetic:64x64"
SOFTWARE = 'trigger = "software"\noptions = { rate = 30, bad = 0.5, seed = 3 }'
_PATIENCE_S = 120.0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def write_station(place: Path, port: int, more: str = "", camera: str = SOFTWARE) -> Path:
    link = f'[[plc]]\nkind = "opcua"\nport = {port}\n{more}'
    return write_config(place, camera, link, source=SOURCE)


@contextlib.contextmanager
def running(config: Path) -> Iterator[Station]:
    """A station in this process, looked after as `edge-ad run` does."""
    station = Station(load_config(config))
    stop = threading.Event()

    def turn() -> None:
        while not stop.wait(0.05):
            station.turn()

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        wait_for(lambda: not station.links.not_ready("top"))
        yield station
    finally:
        stop.set()
        thread.join()
        station.close()


class Client:
    """A client in another process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # it is closed
            for line in self.process.stdout:
                self._answers.put(line)
        self._answers.put("")

    def send(self, do: str, *args: Any, **more: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, "args": args, "more": more}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        line = self._answers.get(timeout=_PATIENCE_S)
        assert line, "the client has ended"
        return dict(json.loads(line))

    def do(self, do: str, *args: Any, **more: Any) -> Any:
        """What it answers; an error is one of this test too."""
        self.send(do, *args, **more)
        answer = self.answer()
        assert "error" not in answer, answer
        return answer["ok"]

    def refused(self, do: str, *args: Any, **more: Any) -> str:
        """The error that it answers."""
        self.send(do, *args, **more)
        answer = self.answer()
        assert "error" in answer, answer
        return str(answer["error"])


@contextlib.contextmanager
def client() -> Iterator[Client]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with child(CLIENT, cwd=ROOT, **pipes) as process:
        yield Client(process)


def certificate(folder: Path, name: str) -> dict[str, str]:
    """A certificate of a client, and its key."""
    subprocess.run([*CLIENT, "certificate", folder, name], check=True, cwd=ROOT)
    return {"cert": str(folder / f"{name}.der"), "key": str(folder / f"{name}.key.pem"), "uri": f"urn:{name}"}


def trust(place: Path, given: dict[str, str]) -> None:
    """As a person does: copies the certificate."""
    folder = place / "var" / "pki" / "trusted"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / Path(given["cert"]).name).write_bytes(Path(given["cert"]).read_bytes())


def url(port: int) -> str:
    return f"opc.tcp://127.0.0.1:{port}/edge-ad"


class Served:
    """A link, and whoever connects to it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder, self.port, self.host = folder, free_port(), FakeHost()
        camera: Any = SimpleNamespace(name="top", trigger="software", bundle=Path("part.bundle"))
        given = {name: key.default for name, key in KEYS.items()} | {"port": self.port, **options}
        self.link: Link = open_link(LinkOpening("opcua", "S", self.host, given, folder / "var", (camera,)))
        self.url = url(self.port)

    def told(self, text: str) -> bool:
        return any(text in each for _, each in self.host.events)
