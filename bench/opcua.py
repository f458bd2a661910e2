"""`python -m bench.opcua`: how long after its decision an outcome is a value of a node, and at a client.

A station with drawn frames and a software trigger serves OPC UA with certificates; a client in a process of its own
starts one job after the other, and is told by a subscription that publishes at once. Printed are, in milliseconds, p50,
p99 and the largest: from the decision to durable (the journal's commit), to the write of the node `Valid` in the
server, and to the client's handler; and the link's own part, from durable to written. Both clocks are this PC's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.station.config import load_config
from edge_ad.station.plc.base import Answer
from edge_ad.station.process import share_interpreter
from edge_ad.station.station import Station

BUNDLE = Path(__file__).parents[1] / "tests/data/format-1.bundle"
_CONFIG = """
[[camera]]
name = "top"
source = "synthetic:64x64"
options = {{ rate = 50, bad = 0.5 }}
trigger = "software"
bundle = "part.bundle"
threads = 1
[[plc]]
kind = "opcua"
port = {port}
"""


def measure(bundle: Path, jobs: int, pause_s: float) -> dict[str, list[float]]:
    """Milliseconds, by from where to where."""
    from edge_ad.station.plc.opcua_security import identity

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(bundle, folder / "part.bundle")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        (folder / "station.toml").write_text(_CONFIG.format(port=port), encoding="utf-8")
        own = identity(folder / "client", "bench")
        (folder / "var/pki/trusted").mkdir(parents=True)
        (folder / "var/pki/trusted/bench.der").write_bytes(own.certificate)
        config = load_config(folder / "station.toml")
        station = Station(config)
        decided: dict[str, tuple[float, float]] = {}

        def heard(answer: Answer) -> None:
            now_s, now = time.time(), time.monotonic_ns()
            begun = answer.deadline_ns - config.cameras[0].deadline_ms * 1e6
            decided[answer.part_id] = (now_s - (now - begun) / 1e9 + answer.latency_ms / 1e3, now_s)

        station.links.listen(heard)
        stop = threading.Event()
        turns = threading.Thread(target=lambda: _turn(station, stop))
        turns.start()
        try:
            more = [f"opc.tcp://127.0.0.1:{port}/edge-ad", folder / "client/own", own.uri, str(jobs), str(pause_s)]
            command = [sys.executable, "-m", "bench.opcua", "--client", *map(str, more)]
            told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        finally:
            stop.set()
            turns.join()
            station.close()
    found: dict[str, list[float]] = {}
    for part_id, written, received in json.loads(told):
        decision, durable = decided[part_id]
        for what, begin, end in (
            ("decision to durable", decision, durable),
            ("decision to written", decision, written),
            ("decision to client", decision, received),
            ("durable to written", durable, written),
        ):
            found.setdefault(what, []).append((end - begin) * 1e3)
    return found


def _turn(station: Station, stop: threading.Event) -> None:
    while not stop.wait(0.05):
        station.turn()


class _Client:
    """Starts jobs, and notes when each `Valid` comes."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[tuple[float, float]] = asyncio.Queue()

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        if value:
            written = data.monitored_item.Value.SourceTimestamp.timestamp()
            self.came.put_nowait((written, time.time()))

    async def run(self, url: str, own: Path, uri: str, jobs: int, pause_s: float) -> list[tuple[str, float, float]]:
        from asyncua import Client, ua
        from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

        client, found = Client(url, timeout=60, watchdog_intervall=60), []
        client.application_uri = uri
        await client.set_security(SecurityPolicyBasic256Sha256, str(own / "certificate.der"), str(own / "key.pem"))
        async with client:
            await client.load_data_type_definitions()
            subscription = await client.create_subscription(0, self)
            await subscription.subscribe_data_change(client.get_node("ns=1;s=top.Outcome.Valid"), queuesize=10)
            machine = client.get_node("ns=1;s=top.VisionStateMachine.AutomaticModeStateMachine")
            start = ua.NodeId("top.VisionStateMachine.AutomaticModeStateMachine.StartSingleJob", 1)
            for at in range(jobs):
                part = ua.PartIdDataType(Id=f"part {at}")  # type: ignore[attr-defined]
                names = ("MeasIdDataType", "RecipeIdExternalDataType", "ProductIdDataType")
                meas, recipe, product = (getattr(ua, name)() for name in names)
                nothing = ua.Variant([], ua.VariantType.Variant, is_array=True)
                await machine.call_method(start, meas, part, recipe, product, nothing)
                found.append((f"part {at}", *await self.came.get()))
                await asyncio.sleep(pause_s)
        return found


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two jobs")
    parser.add_argument("--client", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        url, own, uri, jobs, pause_s = given.client
        logging.disable(logging.WARNING)
        print(json.dumps(asyncio.run(_Client().run(url, Path(own), uri, int(jobs), float(pause_s)))))
        return
    share_interpreter()  # as `edge-ad run` does
    found = measure(given.bundle, given.jobs, given.pause)
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"{given.jobs} jobs, SignAndEncrypt, {os.cpu_count()} cores, {load}")
    for what, times in found.items():
        p50, p99, most = np.percentile(times, [50, 99, 100])
        print(f"{what:20} p50 {p50:7.2f}  p99 {p99:7.2f}  max {most:7.2f} ms")


if __name__ == "__main__":
    main()
