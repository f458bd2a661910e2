"""The server on a network that is not trusted, its registers, and what it cannot listen at."""

from __future__ import annotations

import random
import socket
import struct
from typing import Any

import pytest

pytest.importorskip("pymodbus", reason="pymodbus is not installed (the modbus extra)")

from pymodbus.client import ModbusTcpClient

from edge_ad.errors import EdgeADError, SpecError
from edge_ad.station.plc.dialogue import Dialogue
from edge_ad.station.plc.modbus_server import KEYS, ModbusServer, endpoint, networks
from edge_ad.system.keys import options_of
from tests.station.making import wait_for
from tests.station.plc.counterpart import ClientWires, Plc
from tests.station.plc.linked import serving
from tests.station.plc.made import ScriptedHost


def client(link: ModbusServer) -> ModbusTcpClient:
    found = ModbusTcpClient("127.0.0.1", port=link.port, timeout=20, retries=0)
    assert found.connect()
    return found


def good_part(link: ModbusServer, first: int = 1) -> list[dict[str, Any]]:
    """A part that goes through, whatever happens beside it."""
    lines: list[dict[str, Any]] = []
    wires = ClientWires(link.port)
    Plc(wires, lines.append, first).run([f"part-{first}"])
    wires.close()
    return lines


def test_which_registers_there_are() -> None:
    with serving(ScriptedHost(), base=1000) as link:
        plc = client(link)
        try:
            assert (
                plc.read_holding_registers(1000, count=115).registers
                == plc.read_input_registers(1000, count=115).registers
            )
            assert not plc.write_register(1000, 7).isError()
            assert plc.read_holding_registers(1000, count=1).registers == [7]
            assert plc.readwrite_registers(
                read_address=1000, read_count=2, write_address=1001, values=[1]
            ).registers == [7, 1]
            wrong = [
                plc.read_holding_registers(999, count=1),
                plc.read_holding_registers(1001, count=115),
                plc.write_registers(1038, [0, 0]),
                plc.write_register(1000 + 64 + 5, 1),  # its own result
                plc.read_coils(1000),
                plc.write_coil(1000, True),
                plc.read_discrete_inputs(1000),
            ]
            assert [answer.exception_code for answer in wrong] == [2] * len(wrong)
        finally:
            plc.close()


def test_another_unit_is_not_served() -> None:
    with serving(ScriptedHost(), unit=5) as link:
        plc = client(link)
        try:
            assert plc.read_holding_registers(0, count=1, device_id=4).exception_code == 11
            assert plc.write_registers(0, [1], device_id=4).exception_code == 11
            assert plc.read_holding_registers(0, count=1, device_id=5).registers == [0]
        finally:
            plc.close()


def test_it_cannot_listen() -> None:
    with serving(ScriptedHost()) as link:
        told, again = f"line 1 cannot listen at 127.0.0.1:{link.port}.*see bind", f"127.0.0.1:{link.port}"
        with pytest.raises(EdgeADError, match=told), serving(ScriptedHost(), bind=again):
            pass
        assert "controller" in link.state().text
    assert link.state().well is False
    assert "does not listen" in link.state().text
    link.close()


def frames() -> list[bytes]:
    """What a broken or hostile peer sends."""
    chance = random.Random(5)
    head = struct.pack(">HHHB", 1, 0, 6, 0)
    made = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\0" * 600,
        b"\xff" * 600,
        struct.pack(">HHHB", 1, 0, 65535, 0) + b"\x03" * 3000,
        struct.pack(">HHHB", 1, 0, 0, 0) + b"\x03\0\0\0\x01",
        head + b"\x03\0\0\xff\xff",  # 65535 registers
        head + b"\x10\0\0\0\x02",  # a write that is cut off
        struct.pack(">HHHBBHHB", 1, 0, 7, 0, 16, 0, 200, 10),  # fewer words than it says
        struct.pack(">HHHBBHHB", 1, 0, 9, 0, 16, 0, 1, 200) + b"\0\1",
        struct.pack(">HHHBB", 1, 0, 2, 0, 0x2B),
        struct.pack(">HHHBB", 1, 0, 2, 0, 0x63),
        struct.pack(">HHHBBB", 1, 0, 3, 0, 23, 0),
    ]
    return made + [chance.randbytes(chance.randrange(1, 700)) for _ in range(60)]


def test_broken_frames_disturb_nobody() -> None:
    with serving(ScriptedHost(by_itself="good")) as link:
        before = good_part(link)
        for data in frames():
            with socket.create_connection(("127.0.0.1", link.port), timeout=20) as peer:
                peer.sendall(data)
        after = good_part(link, 2)
        assert [line["result"] for line in before + after] == ["good", "good"]


def test_peers_that_are_not_listed_are_refused() -> None:
    with serving(ScriptedHost(), peers=["10.0.0.0/8"]) as link:
        with socket.create_connection(("127.0.0.1", link.port), timeout=20) as peer:
            assert is_closed(peer)
        assert "0 connections" in link.state().text
    with serving(ScriptedHost(by_itself="good"), peers=["10.0.0.0/8", "127.0.0.1"]) as link:
        assert good_part(link)[0]["result"] == "good"


def is_closed(peer: socket.socket) -> bool:
    try:
        return peer.recv(1) == b""
    except ConnectionError:
        return True


def test_many_connections_keep_no_controller_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_ad.station.plc import wire

    monkeypatch.setattr(wire, "_SPARED_S", 0.0)
    with serving(ScriptedHost(by_itself="good"), connections=4) as link:
        idle = [socket.create_connection(("127.0.0.1", link.port), timeout=20) for _ in range(4)]
        wait_for(lambda: "4 connections" in link.state().text)
        with socket.create_connection(("127.0.0.1", link.port), timeout=20):
            wait_for(lambda: any(is_open(peer) is False for peer in idle))
        assert good_part(link)[0]["result"] == "good"
        for peer in idle:
            peer.close()


def is_open(peer: socket.socket) -> bool:
    peer.setblocking(False)
    try:
        return peer.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def test_connections_that_are_at_work_are_not_closed_for_new_ones() -> None:
    with serving(ScriptedHost(), connections=1) as link:
        plc = client(link)
        try:
            assert plc.read_holding_registers(0, count=1).registers == [0]
            with socket.create_connection(("127.0.0.1", link.port), timeout=20) as peer:
                assert is_closed(peer)
            assert plc.read_holding_registers(0, count=1).registers == [0]
        finally:
            plc.close()


def test_silent_peers_and_those_that_do_not_read_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_ad.station.plc import modbus_server, wire

    monkeypatch.setattr(modbus_server, "_SWEEP", 1)
    with serving(ScriptedHost(by_itself="good")) as link:
        with socket.create_connection(("127.0.0.1", link.port), timeout=20) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            monkeypatch.setattr(wire, "_UNREAD", -1)  # as if it had filled all buffers on the way
            wait_for(lambda: not is_open(peer))
        monkeypatch.setattr(wire, "_UNREAD", 2**16)
        monkeypatch.setattr(wire, "_SILENT_S", 0.0)
        with socket.create_connection(("127.0.0.1", link.port), timeout=20) as peer:
            wait_for(lambda: not is_open(peer))
        monkeypatch.setattr(wire, "_SILENT_S", 60.0)
        assert good_part(link)[0]["result"] == "good"


def test_a_link_that_fails_leaves_nothing_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(ScriptedHost(by_itself="good")) as link:
        wires = ClientWires(link.port)
        wires.write(0, [1])
        wires.write(0, [2])
        wires.write(5, [7])
        wires.write(38, [1])
        wait_for(lambda: wires.status()[50])
        assert wires.status()[5] == 1

        def fails(self: Dialogue, controls: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(Dialogue, "take", fails)
            wires.write(0, [3])
            assert (wires.status()[5], wires.status()[50], wires.status()[2]) == (0, 0, 0)
        wires.write(0, [4])
        wires.write(0, [5])
        assert wires.status()[5:7] == [4, 11]  # its trigger stands still: a fault, code link
        wires.close()


@pytest.mark.parametrize("value", ["127.0.0.1:5020", "0.0.0.0:502", "[::1]:5020"])
def test_endpoints(value: str) -> None:
    assert endpoint(value) == value


@pytest.mark.parametrize("value", ["5020", "localhost:5020", "127.0.0.1", "1.2.3:5", "1.2.3.4:65536", "::1:5", 5, ""])
def test_no_endpoints(value: Any) -> None:
    with pytest.raises(SpecError):
        endpoint(value)


@pytest.mark.parametrize("value", [[], "10.0.0.1", ["10.0.0.1/8"], ["plc"], [5]])
def test_no_networks(value: Any) -> None:
    with pytest.raises(SpecError):
        networks(value)


def test_keys() -> None:
    values = options_of({"camera": "top"}, KEYS, "x")
    assert values["bind"].startswith("127.0.0.1:")  # nobody else, unless told
    for key, wrong in [
        ("base", 65422),
        ("unit", 248),
        ("heartbeat_ms", 50),
        ("word_order", "middle"),
        ("connections", 0),
    ]:
        with pytest.raises(SpecError, match=key):
            options_of({"camera": "top", key: wrong}, KEYS, "x")
