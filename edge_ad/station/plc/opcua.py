"""`kind = "opcua"`: a server of OPC UA, with a vision system of OPC 40100-1 for each camera.

It runs in a thread of its own, with an event loop. Nothing of it waits for the station, or keeps the station waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import secrets
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_ad.errors import EdgeADError, SpecError
from edge_ad.station.events import EventKind
from edge_ad.station.plc.base import Link, LinkOpening, LinkState
from edge_ad.system.keys import Key, Problem, switch, text, whole

if TYPE_CHECKING:
    from edge_ad.station.plc.opcua_security import Identity
    from edge_ad.station.plc.opcua_server import StationServer
    from edge_ad.station.plc.opcua_system import VisionSystem

KEYS = {
    "camera": Key(text, "the camera that it serves; all of them without the key"),
    "host": Key(text, "address of this PC that it listens at; 0.0.0.0 for all", "127.0.0.1"),
    "port": Key(whole(1, 65535), "the port", 4840),
    "insecure": Key(switch, "true: no certificates, no signatures, nothing secret. For a first try alone", False),
    "users": Key(text, "file with a line NAME:PASSWORD for each user; without it, the certificate is enough"),
    "sessions": Key(whole(1, 200), "how many clients may be there at once", 20),
}
FILES = ("users",)
ALONE = True  # only one link may ask for the parts of a camera
SERVES_ALL = True  # without `camera`, and also those that take no triggers
_TURN_S = 0.05  # between two looks at the cameras
_START_S = 120.0  # the nodes of OPC UA itself take seconds on a slow PC
_END_S = 10.0
_LAST_S = 0.3  # for clients to hear that it is over
_MISSING = "asyncua is not installed: pip install 'edge-ad[opcua]'"

_log = logging.getLogger("edge_ad.station")


def problems(values: Mapping[str, Any]) -> list[Problem]:
    """Keys that do not go together; asyncua that is not there."""
    found = []
    if values["insecure"] and values["users"] is not None:
        found.append(("users", "passwords go with certificates alone: without, anybody on the network reads them"))
    if importlib.util.find_spec("asyncua") is None:
        found.append(("kind", _MISSING))
    return found


def open_link(opening: LinkOpening) -> Link:
    """Makes the certificate at the first start, and listens.

    Raises:
        EdgeADError: asyncua is not installed, the port is in use, a certificate or the file of users cannot be read.
    """
    if importlib.util.find_spec("asyncua") is None:
        raise SpecError("asyncua is not installed", remedy="pip install 'edge-ad[opcua]'.")
    return OpcUa(opening)


class OpcUa:
    """See the module."""

    def __init__(self, opening: LinkOpening) -> None:
        self._opening, self._options = opening, opening.options
        self._server: StationServer | None = None
        self._systems: dict[str, VisionSystem] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        for name in ("asyncua", "asyncuagds"):  # each refused frame would be a page of it; what counts, we say
            logger = logging.getLogger(name)
            if logger.level == logging.NOTSET:
                logger.setLevel(logging.CRITICAL + 1)
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name=f"edge-ad-opcua-{opening.id}", daemon=True
        )
        self._thread.start()
        try:
            started.result(_START_S)
        except NotInTime as error:  # another class than Python's own, until 3.11
            self.close()
            raise EdgeADError(f"the OPC UA server is not up after {_START_S:g} s") from error
        except BaseException:
            self._thread.join()
            raise

    # ------------------------------------------------------------------------------------------------ the thread

    def _run(self, started: Future[None]) -> None:
        try:
            asyncio.run(self._main(started))
        except BaseException as error:  # it is told by who started it, or here
            if not started.done():
                started.set_exception(error)
                return
            _log.exception("link %s has ended", self._opening.id)
            self._opening.host.tell("", EventKind.OPCUA, f"{self._opening.id}: it has ended: {error}")

    async def _main(self, started: Future[None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._loop.set_exception_handler(_quiet)
        try:
            self._server = server = await self._set_up()
            started.set_result(None)
            while not self._stop.is_set():
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), _TURN_S)
                for system in self._systems.values():
                    await system.watch()
            await self._tell_the_end(server)
        finally:
            for system in self._systems.values():
                system.end()
            if self._server is not None:
                with contextlib.suppress(asyncio.TimeoutError, OSError):
                    await asyncio.wait_for(self._server.stop(), _END_S / 2)

    async def _set_up(self) -> StationServer:
        from edge_ad.station.plc.opcua_security import Trust, Users, application_uri, identity
        from edge_ad.station.plc.opcua_server import Guarded, StationServer
        from edge_ad.station.plc.opcua_system import VisionSystem
        from edge_ad.station.plc.opcua_types import Types

        options, pki = self._options, self._opening.data / "pki"
        users = None if options["users"] is None else Users(Path(options["users"]))
        own: Identity | None = None
        trust: Trust | None = None
        if not options["insecure"]:
            own, trust = identity(pki, self._opening.station), Trust(pki, self._tell)
        guard = Guarded(trust, users, options["sessions"], self._tell)
        uri = application_uri(self._opening.station) if own is None else own.uri
        server = StationServer(guard, own, f"edge-ad {self._opening.station}", uri)
        self._check_port()  # what comes now takes seconds
        await server.init()
        shown = f"[{options['host']}]" if ":" in options["host"] else options["host"]
        server.set_endpoint(f"opc.tcp://{shown}:{options['port']}/edge-ad")
        types, run = await Types.build(server), secrets.token_hex(4)
        for camera in self._opening.cameras:
            if options["camera"] in (None, camera.name):
                system = VisionSystem(server, types, self._opening.host, camera, run)
                self._systems[camera.name] = system
                await system.begin()
        await self._listen(server)
        return server

    def _check_port(self) -> None:
        host, port = self._options["host"], self._options["port"]
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            socket.create_server(address[:2], family=family).close()
        except OSError as error:
            raise self._cannot_listen(error) from error

    async def _listen(self, server: StationServer) -> None:
        try:
            await server.listen(self._options["host"], self._options["port"])
        except OSError as error:
            for system in self._systems.values():
                system.end()
            with contextlib.suppress(asyncio.TimeoutError, OSError):
                await asyncio.wait_for(server.iserver.stop(), _END_S / 2)
            raise self._cannot_listen(error) from error

    def _cannot_listen(self, error: OSError) -> EdgeADError:
        return EdgeADError(
            f"link {self._opening.id}: it cannot listen at {self._options['host']}:{self._options['port']}",
            expected="a port that is free, at an address of this PC",
            got=error.strerror or error,
            remedy="Another program listens there, or the address is another PC's: change host or port.",
        )

    def _tell(self, what: str) -> None:
        _log.warning("link %s: %s", self._opening.id, what)
        self._opening.host.tell("", EventKind.OPCUA, f"{self._opening.id}: {what}")

    async def _tell_the_end(self, server: StationServer) -> None:
        for system in self._systems.values():
            await system.halt()
        await server.say_shutdown()
        await asyncio.sleep(_LAST_S)

    # ------------------------------------------------------------------------------------------------ the link

    def state(self) -> LinkState:
        """See `Link.state`."""
        server = self._server
        if server is None or not self._thread.is_alive():
            return LinkState(False, "it has ended")
        clients = server.sessions
        where = f"opc.tcp://{self._options['host']}:{self._options['port']}/edge-ad"
        systems = ", ".join(f"{name} {system.state}" for name, system in self._systems.items())
        secured = ", WITHOUT SECURITY" if self._options["insecure"] else ""
        return LinkState(clients > 0, f"{where}{secured}; clients: {clients}; {systems}")

    def close(self) -> None:
        """See `Link.close`."""
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(stop.set)
        self._thread.join(_END_S)


def _quiet(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A connection that breaks in the middle is no news."""
    _log.debug("OPC UA: %s: %r", context.get("message"), context.get("exception"))
