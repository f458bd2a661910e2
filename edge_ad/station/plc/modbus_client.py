"""`kind = "modbus-client"`: the controller has the registers; the station reads them, and writes its own block.

The block goes out whole, by one request, whenever anything of it changes. What it writes first to a connection is that
nothing is valid.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from edge_ad.errors import EdgeADError, SpecError
from edge_ad.station.plc.base import Link, LinkOpening, LinkState
from edge_ad.station.plc.dialogue import Dialogue
from edge_ad.station.plc.modbus_server import SHARED, problems
from edge_ad.station.plc.registers import CONTROL_COUNT, FIRST, controls_of, status_words
from edge_ad.station.sinks.remote import address
from edge_ad.system.keys import Key, number, whole

if TYPE_CHECKING:
    from edge_ad.station.plc.wire import Client

__all__ = ["ALONE", "KEYS", "open_link", "problems"]

_log = logging.getLogger("edge_ad.station")
_PORT = 502
_AGAIN_S = (0.2, 5.0)  # before the next try to connect: at first, at most

KEYS = {
    **SHARED,
    "url": Key(address("modbus"), "the controller, such as modbus://192.168.0.5:502", required=True),
    "unit": Key(whole(0, 247), "its unit id", 1),
    "poll_ms": Key(number(1, 1000), "between two looks at its registers", 10.0),
}
ALONE = True


def open_link(opening: LinkOpening) -> Link:
    """Begins to connect; a controller that is away is tried again and again.

    Raises:
        EdgeADError: pymodbus is not installed.
    """
    return ModbusClient(opening)


class ModbusClient:
    """See the module."""

    def __init__(self, opening: LinkOpening) -> None:
        try:
            from edge_ad.station.plc import wire
        except ImportError as error:
            raise SpecError("pymodbus is not installed", remedy="pip install 'edge-ad[modbus]'.") from error
        options = self._options = opening.options
        parts = urlsplit(options["url"])
        self._id, self._where = opening.id, parts.netloc
        self._base, self._order = options["base"], options["word_order"]
        timeout_s = options["heartbeat_ms"] / 1e3
        where: tuple[Any, ...] = (str(parts.hostname), parts.port or _PORT, options["unit"], timeout_s)
        self._connect: Callable[[], Client] = lambda: wire.Client(*where)
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        camera, heartbeat_ms = options["camera"], options["heartbeat_ms"]
        self._dialogue = Dialogue(opening.host, camera, opening.id, heartbeat_ms, self._calls.put)
        self._written: list[int] = []
        self._told = "it has not been reached yet"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"edge-ad-plc-{opening.id}", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        wait_s = _AGAIN_S[0]
        while not self._stop.is_set():
            try:
                with self._connect() as client:
                    client.connect()
                    self._written = []
                    self._write(client)
                    self._say("")
                    wait_s = _AGAIN_S[0]
                    self._converse(client)
                    return
            except EdgeADError as error:
                self._say(str(error))
            except Exception as error:  # of many kinds; the controller would not be talked to any more
                _log.exception("link %s failed", self._id)
                self._say(f"{type(error).__name__}: {error}")
            self._dialogue.lost(self._told)
            self._pause(wait_s)
            wait_s = min(2 * wait_s, _AGAIN_S[1])

    def _converse(self, client: Client) -> None:
        poll_s = self._options["poll_ms"] / 1e3
        due = time.monotonic()
        while not self._stop.is_set():
            self._dialogue.take(controls_of(client.read(self._base, CONTROL_COUNT), self._order))
            self._dialogue.tick()
            self._write(client)
            due = max(due + poll_s, time.monotonic())
            while self._called(due - time.monotonic()):
                self._write(client)
        self._dialogue.lost("the station ends")
        with contextlib.suppress(EdgeADError):  # it is as good as told: the heartbeat ends
            self._write(client)

    def _write(self, client: Client) -> None:
        dialogue = self._dialogue
        words = status_words(dialogue.show(), dialogue.heartbeat, dialogue.recipe, self._order)
        if words != self._written:
            client.write(self._base + FIRST, words)
            self._written = words

    def _called(self, wait_s: float) -> bool:
        """Does what was posted, within the time; False where nothing was."""
        try:
            call = self._calls.get(timeout=max(wait_s, 0.0))
        except queue.Empty:
            return False
        if call is not None:
            call()
        return call is not None

    def _pause(self, wait_s: float) -> None:
        """Between two connections; answers that come meanwhile are for nobody."""
        until = time.monotonic() + wait_s
        while not self._stop.is_set() and (left := until - time.monotonic()) > 0:
            self._called(left)
            self._dialogue.tick()

    def _say(self, told: str) -> None:
        if told and told != self._told:
            _log.warning("link %s: %s", self._id, told)
        self._told = told

    # ------------------------------------------------------------------------------------------------ the station

    def state(self) -> LinkState:
        """See `Link`."""
        state = self._dialogue.state()
        if self._told:
            return LinkState(False, f"{self._where}: {self._told}")
        return LinkState(state.well, f"{self._where}: {state.text}")

    def close(self) -> None:
        """See `Link`."""
        self._stop.set()
        self._calls.put(None)
        self._thread.join()
