"""The station as the client: controllers that are away, silent, wrong, or have other registers."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("pymodbus", reason="pymodbus is not installed (the modbus extra)")

from edge_ad.errors import SpecError
from edge_ad.station.plc.modbus_client import KEYS
from edge_ad.system.keys import options_of
from tests.station.making import wait_for
from tests.station.plc.counterpart import Plc, ServerWires
from tests.station.plc.linked import polling
from tests.station.plc.made import ScriptedHost


@contextlib.contextmanager
def listening(answers: Callable[[socket.socket], None]) -> Iterator[tuple[int, list[socket.socket]]]:
    """A peer that does something of its own with each connection."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):  # it is closed
                while True:
                    peer, _ = server.accept()
                    taken.append(peer)
                    with contextlib.suppress(OSError):
                        answers(peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1], taken
        finally:
            with contextlib.suppress(OSError):  # accept would wait on
                server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join(10)
            for peer in taken:
                peer.close()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_controller_that_is_away_and_comes() -> None:
    host, port = ScriptedHost(by_itself="good"), free_port()
    with polling(host, port) as link:
        wait_for(lambda: "no answer" in link.state().text)
        assert not link.state().well
        wires = ServerWires(port)
        try:
            lines: list[dict] = []
            Plc(wires, lines.append).run(["part-1"])
            assert [line["result"] for line in lines] == ["good"]
            assert link.state().well
        finally:
            wires.close()
        wait_for(lambda: not link.state().well)
        assert any("the controller is gone" in told for told in host.told)


def silent(peer: socket.socket) -> None:
    """Takes what comes, and says nothing."""


def garbage(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 40)


def short(peer: socket.socket) -> None:
    """Fewer registers than were asked for."""
    while head := peer.recv(4096):
        function = head[7]
        body = b"\x10" + head[8:12] if function == 16 else b"\x03\x02\0\x01"
        peer.sendall(head[:2] + b"\0\0" + (len(body) + 1).to_bytes(2, "big") + head[6:7] + body)


@pytest.mark.parametrize(
    ("answers", "told"),
    [(silent, "does not answer|answers wrongly"), (garbage, "answer"), (short, "39 registers; got 1")],
)
def test_a_peer_that_is_no_controller(answers: Callable[[socket.socket], None], told: str) -> None:
    host = ScriptedHost()
    with listening(answers) as (port, taken):
        with polling(host, port, heartbeat_ms=200) as link:
            wait_for(lambda: len(taken) > 1)  # it tries again
            wait_for(lambda: re.search(told, link.state().text))
            assert not link.state().well
        assert host.asked == []


def test_registers_that_are_not_there() -> None:
    host, wires = ScriptedHost(), ServerWires()
    try:
        with polling(host, wires.port, base=5) as link:
            wait_for(lambda: "refuses" in link.state().text)
            assert "Check base and unit" in link.state().text
    finally:
        wires.close()


def test_it_ends_at_once_while_it_waits_for_a_controller() -> None:
    with polling(ScriptedHost(), free_port()) as link:
        link.close()
        link.close()
        assert not link.state().well


@pytest.mark.parametrize("url", ["modbus://", "tcp://a:5", "modbus://u:p@plc", "modbus://plc:0", "plc:502"])
def test_addresses(url: str) -> None:
    with pytest.raises(SpecError, match="url"):
        options_of({"camera": "top", "url": url}, KEYS, "x")
