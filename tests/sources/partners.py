"""What the cameras of the tests are connected to: real servers, which the test starts and stops."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_ad.sources.base import Capture
from edge_ad.sources.process import ProcessSource
from tests.processes import child

DEBIAN = "/usr/bin/python3"  # whose gi knows GStreamer
FAKE = "arv-fake-gv-camera-0.8"
PATIENCE_S = 60.0


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Waits until a condition holds, and returns what it returned."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


def captures(source: ProcessSource, wanted: Callable[[Capture], Any], count: int = 1) -> list[Capture]:
    """Reads until `count` captures are as wanted; returns these."""
    found: list[Capture] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < deadline, (len(found), source.state(), source.events())
        capture = source.read(0.5)
        if capture is not None and wanted(capture):
            found.append(capture)
    return found


def whole(capture: Capture) -> bool:
    """Whether a capture has its frame."""
    return capture.frame is not None


def health(source: ProcessSource, wanted: str) -> None:
    """Reads until the camera has this health."""
    deadline = time.monotonic() + PATIENCE_S
    while source.state().health != wanted:
        assert time.monotonic() < deadline, (wanted, source.state(), source.events())
        source.read(0.05)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# ---------------------------------------------------------------------------------------------------- RTSP, GenICam


@functools.cache
def _gstreamer() -> str:
    """Why there is no RTSP server here; "" where there is one."""
    code = (
        "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0'); "
        "from gi.repository import Gst, GstRtspServer; Gst.init(None); "
        "missing = [n for n in ('x264enc', 'h264parse', 'rtph264pay', 'qtdemux') if not Gst.ElementFactory.find(n)]; "
        "assert not missing, missing"
    )
    if not os.path.exists(DEBIAN):
        return "no Python of Debian here"
    done = subprocess.run([DEBIAN, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    return "" if done.returncode == 0 else f"no RTSP server of GStreamer here: {done.stderr.strip()[-200:]}"


MOVING = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1"
ENCODED = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 pt=96"


@contextlib.contextmanager
def rtsp(what: str = f"( {MOVING} ! {ENCODED} )", host: str = "127.0.0.1", port: int = 0, inside: Sequence[str] = ()):
    """A process that serves H.264; gives it and its address."""
    if reason := _gstreamer():
        pytest.skip(reason)
    port = port or free_port()
    command = [*inside, DEBIAN, str(Path(__file__).with_name("rtsp_server.py")), str(port), what, host]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        yield process, f"rtsp://{host}:{port}/live"


def need_aravis() -> None:
    """Skips where there is no aravis."""
    from edge_ad.errors import SourceError
    from edge_ad.sources.aravis import check

    try:
        check()
    except SourceError as error:
        pytest.skip(str(error))


@contextlib.contextmanager
def gige(host: str = "127.0.0.1", genicam: Path | None = None, inside: Sequence[str] = ()):
    """A process that is a GigE Vision camera. Its port is fixed, so there is one at a time."""
    need_aravis()
    if shutil.which(FAKE) is None:
        pytest.skip(f"{FAKE} is not installed (aravis-tools)")
    with _one_at_a_time():
        command = [*inside, FAKE, "-i", host, "-s", "TEST", *(["-g", str(genicam)] if genicam else [])]
        with child(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            yield process


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    fcntl = pytest.importorskip("fcntl", reason="no GigE server on this system")
    with open(Path(tempfile.gettempdir()) / f"edge-ad-gige-{os.getuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def network(number: int) -> Iterator[tuple[list[str], str, Callable[[str], None]]]:
    """A network with a cable that can be pulled: a command that runs others at its far end, the address there, and a
    function of "down" or "up"."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a cable that can be pulled needs Linux, root, and ip (iproute2)")
    name = f"ead{os.getpid() % 100000}x{number}"
    near, far = f"10.213.{number}.1", f"10.213.{number}.2"
    if _ip("netns", "add", name, check=False):
        pytest.skip("no network namespaces here")
    try:
        _ip("link", "add", f"{name}a"[-15:], "type", "veth", "peer", "name", "far0", "netns", name)
        _ip("addr", "add", f"{near}/24", "dev", f"{name}a"[-15:])
        _ip("link", "set", f"{name}a"[-15:], "up")
        _ip("-n", name, "addr", "add", f"{far}/24", "dev", "far0")
        for device in ("far0", "lo"):
            _ip("-n", name, "link", "set", device, "up")
        yield ["ip", "netns", "exec", name], far, lambda state: _ip("-n", name, "link", "set", "far0", state) and None
    finally:
        _ip("link", "del", f"{name}a"[-15:], check=False)
        _ip("netns", "del", name, check=False)


def _ip(*words: str, check: bool = True) -> int:
    return subprocess.run(["ip", *words], check=check, capture_output=True, timeout=PATIENCE_S).returncode


# ---------------------------------------------------------------------------------------------------- HTTP


class Web:
    """A network camera that sends JPEGs over HTTP, and does what `shows` says: "moving", "still", "dark", "bright", or
    "nothing"."""

    def __init__(self) -> None:
        self.shows = "moving"
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                n = 0
                with contextlib.suppress(OSError):
                    while True:
                        n += 1
                        time.sleep(0.04)
                        if web.shows == "nothing":
                            continue
                        data = web.picture(n)
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                        self.wfile.write(head.encode() + data + b"\r\n")

            def log_message(self, *arguments: object) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/live"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def picture(self, n: int) -> bytes:
        """JPEG number n."""
        frame = np.full((120, 160, 3), {"dark": 3, "bright": 254}.get(self.shows, 90), np.uint8)
        if self.shows in ("moving", "still"):
            frame[20:60, (4 * n if self.shows == "moving" else 0) % 120 :][:, :30] = 200
        return bytes(cv2.imencode(".jpg", frame)[1])

    def close(self) -> None:
        """Ends the server."""
        self.shows = "nothing"
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def web() -> Iterator[Web]:
    """Such a camera; ended at the end."""
    camera = Web()
    try:
        yield camera
    finally:
        camera.close()


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """The address, without its scheme, of a server that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield f"127.0.0.1:{listening.getsockname()[1]}"
