"""The process that serves the page: takes its settings from the station, listens, and ends with the station."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import BinaryIO

from edge_ad.errors import EdgeADError
from edge_ad.station.logs import start_logs
from edge_ad.station.page.auth import Auth
from edge_ad.station.page.bridge import Bridge
from edge_ad.station.page.channel import MOST_TOLD, Channel
from edge_ad.station.page.context import Context, Settings
from edge_ad.station.page.listen import listen

_KEEP_ALIVE_S = 15
_PATIENCE_S = 2.0


def main() -> int:
    """What `python -m edge_ad.station.page` runs. Standard input and output are the channel to the station."""
    for name in ("SIGINT", "SIGHUP", "SIGBREAK"):  # of a terminal: the station takes them, and then ends its page
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    channel = Channel(*_pipes(), MOST_TOLD)
    first = channel.receive()
    if first is None:
        return 0
    settings = Settings.of(first[0]["settings"])
    start_logs("warning", settings.log)
    start_logs("error", settings.log, "uvicorn.error")
    try:
        _serve(channel, settings)
    except EdgeADError as error:
        channel.send({"do": "failed", "why": str(error)})
        return 2
    return 0


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes, out of the way of whatever prints or reads."""
    reader, writer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    try:
        os.dup2(2, 1)
    except OSError:  # a service without standard error
        os.dup2(0, 1)
    sys.stdout = sys.stderr
    return reader, writer


def _serve(channel: Channel, settings: Settings) -> None:
    import uvicorn

    from edge_ad.station.page.app import make_app
    from edge_ad.station.page.guard import MOST_HEAD, GuardedProtocol

    with listen(settings.host, settings.port) as listener:
        port = int(listener.getsockname()[1])
        auth = Auth(settings.token_files, bytes.fromhex(settings.secret), f"edge_ad_{port}")
        loops: list[asyncio.AbstractEventLoop] = []
        bridge = Bridge(channel, lambda: _pong(loops, bridge))
        data = Path(settings.data)
        context = Context(bridge, data / "journal.sqlite", data, settings, auth)
        config = uvicorn.Config(
            make_app(context),
            http=GuardedProtocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=MOST_HEAD,
        )
        server = uvicorn.Server(config)

        async def run() -> None:
            loops.append(asyncio.get_running_loop())
            await server.serve(sockets=[listener])

        thread = threading.Thread(target=asyncio.run, args=(run(),), name="edge-ad-http", daemon=True)
        thread.start()
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        channel.send({"do": "listening", "url": f"http://{host}:{port}/"})
        bridge.listen()  # until the station ends
        server.should_exit = True
        thread.join(_PATIENCE_S)
    os._exit(0)  # a thread that still answers somebody, or inspects, must not keep the process


def _pong(loops: list[asyncio.AbstractEventLoop], bridge: Bridge) -> None:
    """By the loop that serves: one that hangs answers no ping, and the station starts another page."""
    for loop in loops:
        loop.call_soon_threadsafe(bridge.pong)
