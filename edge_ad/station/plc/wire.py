"""Modbus TCP by pymodbus: the only file that imports it, and it is imported when a link is opened.

The server is for a network that is not trusted. It serves some addresses only, a limited number of connections, and
closes those that are silent, send no Modbus, or do not read their answers.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from pymodbus import FramerType
from pymodbus.client import ModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_ad.errors import EdgeADError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SILENT_S = 60.0  # and a connection is closed
_SPARED_S = 2.0  # without a request, and a connection is closed where another one wants its place
_UNREAD = 2**16  # bytes of answers that a peer may leave unread
_READ_HOLDING, _READ_INPUT, _WRITE_ONE, _WRITE_MORE = 3, 4, 6, 16
_MASK, _READ_AND_WRITE = 22, 23
_READS = (_READ_HOLDING, _READ_INPUT, _WRITE_ONE, _MASK, _READ_AND_WRITE)  # a write of one register reads it back
_WRITES = (_WRITE_ONE, _WRITE_MORE, _MASK, _READ_AND_WRITE)

logging.getLogger("pymodbus").setLevel(logging.CRITICAL)  # it logs each bad frame of each peer


class Registers(Protocol):
    """What a server serves, as holding registers and as input registers. Called by the thread of its loop."""

    def read(self, address: int, count: int) -> list[int] | None:
        """Words; None where there are no such registers."""

    def write(self, address: int, words: Sequence[int]) -> bool:
        """Takes words; False where not all of them may be written: then none is."""


class _Context:
    """The registers as pymodbus asks for them."""

    def __init__(self, registers: Registers, unit: int) -> None:
        self._registers, self._unit = registers, unit

    def device_ids(self) -> list[int]:
        return [self._unit]

    async def async_getValues(self, unit: int, function: int, address: int, count: int = 1) -> Any:  # noqa: N802
        if self._unit and unit != self._unit:
            return ExcCodes.GATEWAY_NO_RESPONSE
        words = self._registers.read(address, count) if function in _READS else None
        return ExcCodes.ILLEGAL_ADDRESS if words is None else words

    async def async_setValues(self, unit: int, function: int, address: int, values: Any) -> Any:  # noqa: N802
        if self._unit and unit != self._unit:
            return ExcCodes.GATEWAY_NO_RESPONSE
        fits = function in _WRITES and self._registers.write(address, values)
        return None if fits else ExcCodes.ILLEGAL_ADDRESS


class _Peer(ServerRequestHandler):
    """A connection."""

    def __init__(self, server: Server) -> None:
        super().__init__(server, None, None, None)
        self._admit, self._leave = server.admit, server.left
        self.heard = time.monotonic()  # a request that is one

    def callback_connected(self) -> None:
        super().callback_connected()
        self._admit(self)

    def callback_disconnected(self, exc: Exception | None) -> None:
        super().callback_disconnected(exc)
        self._leave(self)

    def callback_data(self, data: bytes, addr: Any = None) -> int:
        try:
            used = int(super().callback_data(data, addr))
        except Exception:  # of many kinds, by what a peer sends
            self.cut()
            return len(data)
        if self.last_pdu is not None:
            self.heard = time.monotonic()
        return used

    def cut(self) -> None:
        """Closes it, whatever waits to be sent."""
        if self.transport is not None:
            self.transport.abort()

    @property
    def unread(self) -> int:
        """Bytes of answers that the peer has not taken."""
        return 0 if self.transport is None else int(self.transport.get_write_buffer_size())

    @property
    def address(self) -> str:
        """Of the peer; "" where it is gone already."""
        name = None if self.transport is None else self.transport.get_extra_info("peername")
        return str(name[0]) if name else ""


class Server(ModbusTcpServer):
    """A server, within a running loop.

    Args:
        unit: the unit id that it answers to; 0 for any.
        peers: the networks that it serves; all without any.
        most: connections at once.
        told: called with what is worth a line in the log, of peers that are refused; once for each.
    """

    def __init__(
        self,
        registers: Registers,
        where: tuple[str, int],
        unit: int,
        peers: Sequence[Network],
        most: int,
        told: Callable[[str], None],
    ) -> None:
        nothing = SimDevice(0, SimData(0, values=0, datatype=DataType.REGISTERS))
        super().__init__(nothing, framer=FramerType.SOCKET, address=where)
        self.context = _Context(registers, unit)
        self._networks, self._most, self._told = tuple(peers), most, told
        self._peers: list[_Peer] = []
        self._refused: set[str] = set()

    def callback_new_connection(self) -> _Peer:
        """Called by pymodbus."""
        return _Peer(self)

    async def open(self) -> None:
        """Listens.

        Raises:
            OSError: it cannot.
        """
        self.is_listener = True
        # As `listen` does, which does not tell why it failed. On Windows, to reuse an address is to share it.
        self.transport = await partial(self.call_create, reuse_address=os.name == "posix")()

    @property
    def port(self) -> int:
        """That it listens at."""
        return int(self.transport.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._peers)

    def admit(self, peer: _Peer) -> None:
        """A connection was made."""
        address = peer.address
        if self._networks and not any(_is_in(address, network) for network in self._networks):
            self._refuse(peer, address, "it is not among peers")
            return
        if len(self._peers) >= self._most:
            silent = min(self._peers, key=lambda each: each.heard)
            if time.monotonic() - silent.heard < _SPARED_S:
                self._refuse(peer, address, f"there are {self._most} connections already")
                return
            self._peers.remove(silent)
            silent.cut()
        self._peers.append(peer)

    def left(self, peer: _Peer) -> None:
        """A connection has ended."""
        if peer in self._peers:
            self._peers.remove(peer)

    def sweep(self) -> None:
        """Closes connections that nobody needs; to be called every now and then."""
        now = time.monotonic()
        for peer in [each for each in self._peers if now - each.heard > _SILENT_S or each.unread > _UNREAD]:
            self._peers.remove(peer)
            peer.cut()

    def _refuse(self, peer: _Peer, address: str, why: str) -> None:
        peer.cut()
        if address not in self._refused and len(self._refused) < 1000:
            self._refused.add(address)
            self._told(f"{address or 'a peer'} is refused: {why}")


def _is_in(address: str, network: Network) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found) in network


class Client:
    """A connection to a controller that serves registers. One thread; close it."""

    def __init__(self, host: str, port: int, unit: int, timeout_s: float) -> None:
        self._where = f"{host}:{port}"
        self._unit = unit
        self._client = ModbusTcpClient(host, port=port, timeout=timeout_s, retries=0)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def connect(self) -> None:
        """Raises:
        EdgeADError: nobody answers there.
        """
        if not self._client.connect():
            raise EdgeADError(f"there is no answer at {self._where}")

    def read(self, address: int, count: int) -> list[int]:
        """Holding registers.

        Raises:
            EdgeADError: there is no answer in time, or not that one.
        """
        words = self._call(self._client.read_holding_registers, address, count=count).registers
        if len(words) != count:
            raise EdgeADError(f"{self._where} answers wrongly", expected=f"{count} registers", got=len(words))
        return [int(word) for word in words]

    def write(self, address: int, words: Sequence[int]) -> None:
        """Holding registers, all by one request.

        Raises:
            EdgeADError: there is no answer in time, or it refuses.
        """
        self._call(self._client.write_registers, address, list(words))

    def _call(self, what: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            answer = what(*args, device_id=self._unit, **options)
        except ModbusException as error:
            raise EdgeADError(f"{self._where} does not answer", got=error) from error
        except Exception as error:  # of many kinds, by what a peer sends
            raise EdgeADError(f"{self._where} answers wrongly", got=f"{type(error).__name__}: {error}") from error
        if answer.isError():
            told = f"registers {args[0]} and on, unit {self._unit}: {answer}"
            raise EdgeADError(f"{self._where} refuses", got=told, remedy="Check base and unit.")
        return answer
