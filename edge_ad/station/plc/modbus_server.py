"""`kind = "modbus-server"`: the station has the registers, and the controller reads and writes them.

One thread with a loop of asyncio has everything: a request that writes is taken at once, and an outcome is in the
registers as soon as the loop turns. So there is no poll between a verdict and its register.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import ipaddress
import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edge_ad.errors import EdgeADError, SpecError
from edge_ad.station.plc.base import Link, LinkOpening, LinkState
from edge_ad.station.plc.dialogue import Dialogue
from edge_ad.station.plc.registers import (
    CONTROL_COUNT,
    COUNT,
    FIRST,
    MOST_BASE,
    ORDERS,
    WORDS,
    controls_of,
    status_words,
)
from edge_ad.system.keys import Key, Problem, number, text, whole, word

if TYPE_CHECKING:
    from edge_ad.station.plc.wire import Network

_log = logging.getLogger("edge_ad.station")
_TICK_S = 0.02
_SWEEP = 50  # ticks
_START_S = 30.0


def endpoint(value: Any) -> str:
    """An address of this PC and a port."""
    given = text(value)
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([0-9.]+)):(\d{1,5})", given)
    try:
        fits = found is not None and int(found[3]) < 65536 and bool(ipaddress.ip_address(found[1] or found[2]))
    except ValueError:
        fits = False
    if not fits:
        raise SpecError("it is no address", expected="ADDRESS:PORT, such as 127.0.0.1:5020", got=repr(value))
    return given


def networks(value: Any) -> tuple[str, ...]:
    """A list of IP addresses or networks."""
    expected = 'a list such as ["192.168.0.5", "10.1.0.0/24"]'
    if not isinstance(value, list) or not value:
        raise SpecError("it is no list of addresses", expected=expected, got=repr(value))
    for each in value:
        try:
            ipaddress.ip_network(text(each))
        except ValueError as error:
            raise SpecError("it is no address", expected=expected, got=repr(each)) from error
    return tuple(value)


SHARED = {
    "camera": Key(text, 'name of the camera; it has `trigger = "software"`', required=True),
    "base": Key(whole(0, MOST_BASE), "address of the first register, counted from 0", 0),
    "heartbeat_ms": Key(number(100, 60_000), "the controller's heartbeat must change within this time", 2000.0),
    "word_order": Key(word(*ORDERS), "of numbers of 32 bits: big has the high word first", "big"),
}
KEYS = {
    **SHARED,
    "bind": Key(
        endpoint, "address of this PC and port that it listens at; `0.0.0.0:502` is every network", "127.0.0.1:5020"
    ),
    "unit": Key(whole(0, 247), "unit id that it answers to; 0 for any", 0),
    "peers": Key(networks, "addresses or networks of controllers that are served; all without the key"),
    "connections": Key(whole(1, 100), "most connections at once", 8),
}
ALONE = True  # only one link may ask for the parts of a camera


def problems(values: Mapping[str, Any]) -> list[Problem]:
    """Pymodbus that is not there."""
    if importlib.util.find_spec("pymodbus") is None:
        return [("kind", "pymodbus is not installed: pip install 'edge-ad[modbus]'")]
    return []


def open_link(opening: LinkOpening) -> Link:
    """Listens.

    Raises:
        EdgeADError: pymodbus is not installed; the address cannot be listened at.
    """
    return ModbusServer(opening)


class ModbusServer:
    """See the module."""

    def __init__(self, opening: LinkOpening) -> None:
        try:
            from edge_ad.station.plc import wire
        except ImportError as error:
            raise SpecError("pymodbus is not installed", remedy="pip install 'edge-ad[modbus]'.") from error
        options = opening.options
        self._id, self._bind = opening.id, str(options["bind"])
        host, _, port = self._bind.rpartition(":")
        self._base, self._order = options["base"], options["word_order"]
        self._controls, self._status = [0] * CONTROL_COUNT, [0] * COUNT
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._dialogue = Dialogue(opening.host, options["camera"], opening.id, options["heartbeat_ms"], self._post)
        peers: list[Network] = [ipaddress.ip_network(each) for each in options["peers"] or ()]
        rest = (options["unit"], peers, options["connections"], self._say)
        where = (host.strip("[]"), int(port))
        self._make: Callable[[], wire.Server] = lambda: wire.Server(self, where, *rest)
        self.port = 0
        self._connections = 0
        self._started, self._failed = threading.Event(), ""
        self._thread = threading.Thread(target=self._run, name=f"edge-ad-plc-{opening.id}", daemon=True)
        self._thread.start()
        self._started.wait(_START_S)
        if self.port == 0:
            self.close()
            raise EdgeADError(
                f"the link {opening.id} cannot listen at {self._bind}",
                got=self._failed or f"nothing for {_START_S:g} s",
                remedy="Another program may have the port, or it is below 1024: see bind.",
            )

    # ------------------------------------------------------------------------------------------------ the loop

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as error:  # the controller sees no heartbeat any more
            self._failed = str(error) or type(error).__name__
            if self._started.is_set():
                _log.exception("link %s failed", self._id)
        finally:
            self._started.set()
            self._loop.close()

    async def _serve(self) -> None:
        self._loop.set_exception_handler(self._hear)
        server = self._make()
        self._publish()
        await server.open()
        self.port = server.port
        self._started.set()
        turns = 0
        try:
            while not self._stop.is_set():
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), _TICK_S)
                self._dialogue.tick()
                self._publish()
                self._connections, turns = server.connections, turns + 1
                if turns % _SWEEP == 0:
                    server.sweep()
            self._dialogue.lost("the station ends")
            self._publish()
        finally:
            await server.shutdown()
            for _ in range(3):  # transports close in later turns
                await asyncio.sleep(0)

    def _hear(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What a connection broke by is the peer's matter."""
        _log.debug("link %s: %s: %r", self._id, context.get("message"), context.get("exception"))

    def _post(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is there to be told
            self._loop.call_soon_threadsafe(self._do, call)

    def _do(self, call: Callable[[], None]) -> None:
        """An event of the handshake, and what the registers are after it. Where it fails, nothing is valid any more."""
        try:
            call()
        except Exception:
            _log.exception("link %s failed", self._id)
            self._dialogue.lost("the link failed; the log has more")
        self._publish()

    def _publish(self) -> None:
        shown, dialogue = self._dialogue.show(), self._dialogue
        self._status = status_words(shown, dialogue.heartbeat, dialogue.recipe, self._order)

    def _say(self, text: str) -> None:
        _log.warning("link %s: %s", self._id, text)

    # ------------------------------------------------------------------------------------------------ registers

    def read(self, address: int, count: int) -> list[int] | None:
        """See `wire.Registers`. What lies between the two blocks is 0."""
        at = address - self._base
        if at < 0 or count < 1 or at + count > WORDS:
            return None
        gap = [0] * (FIRST - CONTROL_COUNT)
        return [*self._controls, *gap, *self._status][at : at + count]

    def write(self, address: int, words: Sequence[int]) -> bool:
        """See `wire.Registers`."""
        at = address - self._base
        if at < 0 or not words or at + len(words) > CONTROL_COUNT:
            return False
        self._controls[at : at + len(words)] = [int(word) & 0xFFFF for word in words]
        self._do(lambda: self._dialogue.take(controls_of(self._controls, self._order)))
        return True

    # ------------------------------------------------------------------------------------------------ the station

    def state(self) -> LinkState:
        """See `Link`."""
        state = self._dialogue.state()
        if not self._thread.is_alive():
            return LinkState(False, f"it does not listen: {self._failed or 'it is closed'}")
        return LinkState(state.well, f"port {self.port}, {self._connections} connections, {state.text}")

    def close(self) -> None:
        """See `Link`."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
