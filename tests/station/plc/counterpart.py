"""A scripted PLC by pymodbus alone: it knows of edge-ad only what docs/plc.md says, so the numbers stand here again.

As a process: `python -m tests.station.plc.counterpart --role client --port 5020 --log plc.jsonl --parts 100`. As a
class: `Plc(ClientWires(port=5020)).run(...)`, in a thread of one's own. `--role client` is for `modbus-server`; with
`--role server` it listens, and prints `PORT n` (port 0 takes a free one).

For each part it writes a line of JSON: part, sequence, result, code, number, score, recipe, and when it saw the result
(`seen_ns`, `time.monotonic_ns`). `result` is the word of the result, or `timeout` where it had none. A result that is
not of its part is a line `{"violation": ...}`. With `hold` it stops at a state, prints `HELD`, and keeps its heartbeat
until it is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

HEARTBEAT, ACKNOWLEDGE, RECIPE, SEQUENCE, NUMBER, TEXT, TRIGGER = 0, 1, 2, 3, 4, 6, 38
STATUS, STATUS_WORDS, TEXT_WORDS = 64, 51, 32
RESULTS = ("none", "good", "reject", "no_part", "fault")
HOLDS = ("ready", "busy", "result", "clear")


class LostError(Exception):
    """There is no connection now."""


class Wires(Protocol):
    """What the PLC sees and writes."""

    def status(self) -> list[int]: ...

    def write(self, at: int, words: Sequence[int]) -> None: ...

    def close(self) -> None: ...


class ClientWires:
    """The PLC is the client: edge-ad has the registers."""

    def __init__(self, port: int, host: str = "127.0.0.1", base: int = 0) -> None:
        self._base = base
        self._client = ModbusTcpClient(host, port=port, timeout=2, retries=0)
        self._lock = threading.Lock()

    def _call(self, what: Callable[..., Any], *args: Any, **options: Any) -> Any:
        with self._lock:
            try:
                if not self._client.connected and not self._client.connect():
                    raise LostError
                answer = what(*args, **options)
            except (ModbusException, OSError) as error:
                self._client.close()
                raise LostError from error
            assert not answer.isError(), answer
            return answer

    def status(self) -> list[int]:
        return list(self._call(self._client.read_holding_registers, self._base + STATUS, count=STATUS_WORDS).registers)

    def write(self, at: int, words: Sequence[int]) -> None:
        self._call(self._client.write_registers, self._base + at, list(words))

    def close(self) -> None:
        self._client.close()


class ServerWires:
    """The PLC is the server: edge-ad reads and writes its registers."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1", base: int = 0) -> None:
        self._base, self.port, self._where = base, 0, (host, port)
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._up.wait(60)
        assert self.port, "it cannot listen"

    def _run(self) -> None:
        self._loop.run_until_complete(self._open())
        self._up.set()
        if self.port:
            self._loop.run_forever()
            self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _open(self) -> None:
        words = SimData(self._base, count=STATUS + STATUS_WORDS, values=0, datatype=DataType.REGISTERS)
        self._server = ModbusTcpServer(SimDevice(1, words), address=self._where)
        if await self._server.listen():
            self.port = self._server.transport.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        await self._server.shutdown()
        await asyncio.sleep(0.05)

    def _call(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    def status(self) -> list[int]:
        return list(self._call(self._server.async_getValues(1, 3, self._base + STATUS, STATUS_WORDS)))

    def write(self, at: int, words: Sequence[int]) -> None:
        self._call(self._server.async_setValues(1, 16, self._base + at, list(words)))

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()


@dataclass(frozen=True)
class Status:
    """What the station says."""

    heartbeat: int
    state: int
    ready: bool
    busy: bool
    result: str
    code: int
    recipe: int
    sequence: int
    number: int
    score: float
    text: str
    valid: bool

    @classmethod
    def of(cls, words: Sequence[int]) -> Status:
        """From the block that the station writes."""
        text = struct.pack(f">{TEXT_WORDS}H", *words[18 : 18 + TEXT_WORDS]).partition(b"\0")[0].decode()
        (number,) = struct.unpack(">I", struct.pack(">HH", *words[11:13]))
        (score,) = struct.unpack(">f", struct.pack(">HH", *words[13:15]))
        bits = (bool(words[3]), bool(words[4]))
        result = RESULTS[words[5]]
        return cls(words[1], words[2], *bits, result, words[6], words[7], words[8], number, score, text, words[50] == 1)


class Plc:
    """The program of the PLC.

    Args:
        log: called with each line.
        first: sequence number of the first part.
        limit_s: for each step; then it gives the part up.
    """

    def __init__(
        self,
        wires: Wires,
        log: Callable[[dict[str, Any]], None] = lambda line: None,
        first: int = 1,
        limit_s: float = 60.0,
        poll_s: float = 0.002,
    ) -> None:
        self.wires, self._log, self._sequence, self._limit_s, self._poll_s = wires, log, first - 1, limit_s, poll_s
        self._image, self._beat_at = [0] * (TRIGGER + 1), 0.0
        self._its_beat, self._its_beat_at = 0, 0.0
        self.recipe = 0
        self.stop, self.go = threading.Event(), threading.Event()

    def run(
        self, parts: Sequence[str], holds: Mapping[int, str] | None = None, told: Callable[[], None] = lambda: None
    ) -> None:
        """Has each part inspected. At the states in `holds`, by the number of the part, it calls `told`, and stops
        until `go` is set."""
        self._begin()
        for at, part in enumerate(parts):
            if self.stop.is_set():
                return
            self._sequence = self._sequence % 65535 + 1
            self._log(self._one(part, (holds or {}).get(at, ""), told))

    def _one(self, part: str, hold: str, told: Callable[[], None]) -> dict[str, Any]:
        line: dict[str, Any] = {"part": part, "sequence": self._sequence}
        if self._until(lambda s: s.ready and not s.valid) is None:
            return line | {"result": "timeout", "when": "ready"}
        self._pause(hold == "ready", told)
        if hold == "ready":  # the station may have been started again meanwhile
            self._until(lambda s: s.ready and not s.valid)
        data = part.encode().ljust(2 * TEXT_WORDS, b"\0")
        self._say(RECIPE, [self.recipe, self._sequence, 0, 0, *struct.unpack(f">{TEXT_WORDS}H", data), 1])
        if hold == "busy":
            status = self._until(lambda s: s.busy or s.valid)
            assert status is not None
            line["held_busy"] = status.busy  # where this program is slow, it sees the result at once
        self._pause(hold == "busy", told)
        status = self._until(lambda s: s.valid)
        if status is None:
            self._say(TRIGGER, [0])
            return line | {"result": "timeout", "when": "valid"}
        line["seen_ns"] = time.monotonic_ns()
        if (status.sequence, status.text) != (self._sequence, part):
            self._log({"violation": f"part {part}: valid of {status.text} {status.sequence}: {status.result}"})
        told_of = {"result": status.result, "code": status.code, "number": status.number, "score": status.score}
        line |= {**told_of, "recipe": status.recipe}
        self._pause(hold == "result", told)
        self._say(ACKNOWLEDGE, [1])
        self._until(lambda s: not s.valid)
        self._pause(hold == "clear", told)
        self._say(TRIGGER, [0])
        self._say(ACKNOWLEDGE, [0])
        return line

    def _begin(self) -> None:
        """As a PLC starts: nothing is asked for. Waits for the connection."""
        until = time.monotonic() + self._limit_s
        while not self.stop.is_set() and not self._say(0, self._image):
            assert time.monotonic() < until, "the station never came"
            time.sleep(0.05)

    def _until(self, holds: Callable[[Status], bool]) -> Status | None:
        for status in self._looks():
            if status.result == "good" and not status.valid:
                self._log({"violation": f"good without valid: {status}"})
            if holds(status):
                return status
        return None

    def _looks(self) -> Iterator[Status]:
        until = time.monotonic() + self._limit_s
        while not self.stop.is_set() and time.monotonic() < until:
            self._heartbeat()
            with contextlib.suppress(LostError):
                status = Status.of(self.wires.status())
                if self._lives(status.heartbeat):
                    yield status
            time.sleep(self._poll_s)

    def _lives(self, heartbeat: int) -> bool:
        """Whether the station is there: what a dead one left in the registers counts for nothing."""
        now = time.monotonic()
        if heartbeat != self._its_beat:
            self._its_beat, self._its_beat_at = heartbeat, now
        return now - self._its_beat_at < 1.0

    def _say(self, at: int, words: Sequence[int]) -> bool:
        """Writes words; without a connection they stand in the image alone, and go out with the next heartbeat."""
        self._image[at : at + len(words)] = words
        try:
            self.wires.write(at, words)
        except LostError:
            return False
        return True

    def _heartbeat(self) -> None:
        """All that it says, again and again, as the I/O of a PLC does."""
        if time.monotonic() - self._beat_at > 0.05:
            self._image[HEARTBEAT], self._beat_at = self._image[HEARTBEAT] % 65535 + 1, time.monotonic()
            self._say(0, self._image)

    def _pause(self, holds: bool, told: Callable[[], None]) -> None:
        if not holds:
            return
        self.go.clear()
        told()
        while not self.stop.is_set() and not self.go.is_set():
            self._heartbeat()
            time.sleep(0.01)
        self._its_beat_at = 0.0  # it may be another station by now


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=("client", "server"), required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--base", type=int, default=0)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--parts", type=int, default=10)
    parser.add_argument("--first", type=int, default=1, help="number of the first part, and its sequence")
    parser.add_argument("--recipe", type=int, default=0)
    parser.add_argument("--limit-s", type=float, default=60.0)
    parser.add_argument("--poll-ms", type=float, default=2.0)
    parser.add_argument("--hold", choices=HOLDS, default="")
    parser.add_argument("--hold-at", type=int, default=0)
    options = parser.parse_args(arguments)
    kind = ClientWires if options.role == "client" else ServerWires
    wires = kind(options.port, base=options.base)
    if isinstance(wires, ServerWires):
        print(f"PORT {wires.port}", flush=True)
    with options.log.open("a", encoding="utf-8") as file:

        def log(line: dict[str, Any]) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        plc = Plc(wires, log, options.first, options.limit_s, options.poll_ms / 1e3)
        plc.recipe = options.recipe
        parts = [f"part-{number}" for number in range(options.first, options.first + options.parts)]
        plc.run(parts, {options.hold_at: options.hold}, lambda: print("HELD", flush=True))
    wires.close()
    print("DONE", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
