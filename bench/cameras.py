"""Cameras for minutes: does memory grow, what is dropped, and how long after a trigger comes the verdict?

    python -m bench.cameras soak BUNDLE --source rtsp --video FILE.mp4 --minutes 10
    python -m bench.cameras soak BUNDLE --source gige --minutes 10
    python -m bench.cameras neighbour BUNDLE --video FILE.mp4 --minutes 10
    python -m bench.cameras reports

`soak` inspects every frame of one camera at 30 frames a second: H.264 over RTSP by GStreamer's server, or the fake GigE
Vision camera of aravis. The memory is that of this process and of the one that
captures, without that of files (Pss_Anon and Pss_Shmem of the kernel), each minute; growth is from the median of the
second minute to that of the last.

`neighbour` inspects one camera, while a second one lives (odd minutes) and while its server is killed every 15 s and
comes back after 5 s (even minutes), and compares the p99 of both.

`reports` measures how long after the fact a dead, silent, frozen, dark or blinded camera is reported, five times each.

Latency is from the arrival of a frame in the process that captures to the verdict. Packages of Debian: see
docs/cameras.md. Others who use the machine raise all of these numbers: the load is printed with them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_ad import Runtime
from edge_ad.sources.process import ProcessSource
from edge_ad.sources.registry import open_source
from edge_ad.system.percentiles import percentiles
from edge_ad.system.tables import aligned

SERVER = Path(__file__).parents[1] / "tests/sources/rtsp_server.py"
FAKE = "arv-fake-gv-camera-0.8"
PERIOD_MS = 1000 / 30
SAMPLE_S = 2.0


@contextlib.contextmanager
def _started(command: list[str], ready: bool = False) -> Iterator[subprocess.Popen[str]]:
    output = subprocess.PIPE if ready else subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, text=True)
    try:
        if ready:
            assert process.stdout is not None
            assert process.stdout.readline(), f"{command} does not serve"
        yield process
    finally:
        process.kill()
        process.wait()


def _rtsp(video: str, port: int) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    return _started(["/usr/bin/python3", str(SERVER), str(port), video], ready=True)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _opened(address: str, name: str, **options: object) -> ProcessSource:
    source = open_source(address, name, options)
    assert isinstance(source, ProcessSource)
    return source


def _memory_mib(*pids: int) -> float:
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))) / 1024


class Loop:
    """Inspects frames until told to stop; keeps the latency of each, and the memory every two seconds."""

    def __init__(self, bundle: str, threads: int, minutes: float) -> None:
        self.runtime = Runtime(bundle, threads=threads)
        self._times = np.ones((2, int(minutes * 60 * 100) + 1000))  # written now: a list would grow
        self._count = 0
        self.faults = 0
        self.memory: list[tuple[float, float]] = []  # minutes, MiB

    @property
    def latencies_ms(self) -> np.ndarray:
        """From the arrival of each frame to its verdict."""
        return self._times[0, : self._count]

    @property
    def inspect_ms(self) -> np.ndarray:
        """The part of it that inspection takes."""
        return self._times[1, : self._count]

    def run(self, source: ProcessSource, seconds: float) -> None:
        """Reads and inspects for so many seconds after the first frame."""
        while (capture := source.read(30.0)) is None or capture.frame is None:
            print(capture and capture.fault, [event.text for event in source.events()])
        start = next_sample = time.monotonic()
        while (now := time.monotonic()) - start < seconds:
            capture = source.read(1.0)
            if capture is None or capture.frame is None:
                self.faults += capture is not None
                continue
            began = time.monotonic_ns()
            self.runtime.inspect(capture.frame)
            ended = time.monotonic_ns()
            self._times[:, self._count] = (ended - capture.clock_ns) / 1e6, (ended - began) / 1e6
            self._count += 1
            if now >= next_sample:
                next_sample += SAMPLE_S
                pid = source.state().pid
                if pid is not None:
                    self.memory.append(((now - start) / 60, _memory_mib(os.getpid(), pid)))


def soak(arguments: argparse.Namespace) -> None:
    """Prints memory, drops and latency of one source."""
    loop, port = Loop(arguments.bundle, arguments.threads, arguments.minutes), _free_port()
    server = _rtsp(arguments.video, port) if arguments.source == "rtsp" else _started([FAKE, "-i", "127.0.0.1"])
    with server, contextlib.ExitStack() as stack:
        time.sleep(1.0)
        if arguments.source == "rtsp":
            source = _opened(f"rtsp://127.0.0.1:{port}/live", "soak")
        else:
            source = _opened("aravis:127.0.0.1", "soak", fps=30.0, policy="newest")
        stack.callback(source.close)
        loop.run(source, 60 * arguments.minutes)
        state, events = source.state(), source.events()
    p50, p99 = percentiles(loop.latencies_ms, (50, 99))
    i50, i99 = percentiles(loop.inspect_ms, (50, 99))
    late = 100 * np.mean(loop.latencies_ms > arguments.deadline_ms)
    print(f"{arguments.source}: {arguments.minutes:g} minutes, {len(loop.latencies_ms)} verdicts, {_load()}")
    print(f"frames {state.frames}, dropped {state.drops}, missed {state.missed}, faults {loop.faults}")
    print(f"frames a second {state.frames / 60 / arguments.minutes:.2f}, reconnects {state.reconnects}")
    print(
        f"trigger to verdict: p50 {p50:.1f} ms, p99 {p99:.1f} ms, {late:.2f} % later than {arguments.deadline_ms:g} ms"
    )
    print(f"of which inspect: p50 {i50:.1f} ms, p99 {i99:.1f} ms")
    minutes, memory = np.asarray(loop.memory).T
    rows = [
        [f"{m}", f"{np.median(memory[(minutes >= m) & (minutes < m + 1)]):.1f}"] for m in range(int(minutes[-1]) + 1)
    ]
    print(aligned([["minute", "MiB"], *rows]))
    warm, last = float(rows[min(1, len(rows) - 1)][1]), float(rows[-1][1])
    print(f"growth after warm-up {100 * (last / warm - 1):+.2f} %")
    print("events:", ", ".join(sorted({event.kind for event in events})))


def neighbour(arguments: argparse.Namespace) -> None:
    """Prints the p99 of one camera while the other one lives, and while it dies again and again."""
    ports = _free_port(), _free_port()
    quiet, busy = (Loop(arguments.bundle, arguments.threads, arguments.minutes) for _ in range(2))
    with _rtsp(arguments.video, ports[0]), contextlib.ExitStack() as stack:
        other = _Other(arguments.video, ports[1])
        stack.callback(other.close)
        sources = [_opened(f"rtsp://127.0.0.1:{port}/live", f"camera {port}") for port in ports]
        for source in sources:
            stack.callback(source.close)
        other.read(sources[1])
        for minute in range(int(arguments.minutes)):
            other.dies = bool(minute % 2)
            (busy if other.dies else quiet).run(sources[0], 60.0)
        state = sources[1].state()
        other.over = True
    rows = [["the other camera", "verdicts", "p50 ms", "p99 ms"]]
    for name, loop in (("lives", quiet), ("dies again and again", busy)):
        p50, p99 = percentiles(loop.latencies_ms, (50, 99))
        rows.append([name, str(len(loop.latencies_ms)), f"{p50:.1f}", f"{p99:.1f}"])
    print(aligned(rows))
    moved = 100 * (float(rows[2][3]) / float(rows[1][3]) - 1)
    print(f"p99 moves by {moved:+.1f} %, reconnects {state.reconnects}, {_load()}")


class _Other:
    """The other camera: a server that is killed and started, and a thread that reads without inspecting."""

    def __init__(self, video: str, port: int) -> None:
        self._command = ["/usr/bin/python3", str(SERVER), str(port), video]
        self.dies = self.over = False
        self._server: subprocess.Popen[bytes] | None = None
        self._start()

    def _start(self) -> None:
        self._server = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def read(self, source: ProcessSource) -> None:
        """Starts both threads."""
        threading.Thread(target=self._read, args=(source,), daemon=True).start()
        threading.Thread(target=self._disturb, daemon=True).start()

    def _read(self, source: ProcessSource) -> None:
        with contextlib.suppress(Exception):  # it is closed at the end
            while not self.over:
                source.read(1.0)

    def _disturb(self) -> None:
        while not self.over:
            time.sleep(10.0)
            if self.dies:
                self.close()
                time.sleep(5.0)
                self._start()

    def close(self) -> None:
        """Kills the server."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()


def reports(arguments: argparse.Namespace) -> None:
    """Prints the seconds from each fact to its report."""
    sys.path.insert(0, str(SERVER.parents[2]))
    from tests.sources.partners import web

    rows = [["what happens", *(f"run {n + 1}, s" for n in range(arguments.runs))]]
    for shows, health in (("nothing", "silent"), ("still", "frozen"), ("dark", "dark"), ("bright", "blinded")):
        row = [f"the stream shows {shows}"]
        for _ in range(arguments.runs):
            with web() as camera, contextlib.closing(_opened(camera.address, "web")) as source:
                _until(source, "live")
                time.sleep(1.0)
                camera.shows = shows
                row.append(f"{_until(source, health):.2f}")
        rows.append(row)
    row = ["the process is killed"]
    for _ in range(arguments.runs):
        with web() as camera, contextlib.closing(_opened(camera.address, "web")) as source:
            _until(source, "live")
            pid = source.state().pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            row.append(f"{_until(source, 'silent'):.2f}")
    print(aligned([*rows, row]))
    print(_load())


def _until(source: ProcessSource, health: str) -> float:
    start = time.monotonic()
    while source.state().health != health:
        source.read(0.01)
    return time.monotonic() - start


def _load() -> str:
    return f"load of the last 15 minutes {os.getloadavg()[2]:.1f} on {os.cpu_count()} cores"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, function in (("soak", soak), ("neighbour", neighbour), ("reports", reports)):
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        if function is reports:
            command.add_argument("--runs", type=int, default=5)
            continue
        command.add_argument("bundle")
        command.add_argument("--video", help="H.264 in MP4, 30 frames a second")
        command.add_argument("--minutes", type=float, default=10)
        command.add_argument("--threads", type=int, default=1, help="of the runtime; default 1")
        if function is soak:
            command.add_argument("--source", choices=("rtsp", "gige"), required=True)
            command.add_argument("--deadline-ms", type=float, default=PERIOD_MS)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the servers end too
    arguments.function(arguments)


if __name__ == "__main__":
    main()
