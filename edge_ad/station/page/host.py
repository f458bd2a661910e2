"""The station's side of its page: starts the process that serves it, answers what it asks, and starts it again.

The page is a process of its own, of low priority: nothing that comes over the network takes the interpreter or a core
from the inspection. Whatever becomes of it, the station goes on; the journal says that there is no page, and an alarm.
When the station ends, however it does, the pipe to the page closes, and the page ends too.

One thread reads what the page asks and answers what takes no time, one does what takes longer, and one sends the
outcomes of triggers, so that the desk waits for nobody.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import secrets
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from edge_ad.errors import EdgeADError
from edge_ad.station.alarms import PAGE
from edge_ad.station.desk import Ticket
from edge_ad.station.events import AGAIN, EventKind
from edge_ad.station.http import Http
from edge_ad.station.logs import form_in_use
from edge_ad.station.page import extra
from edge_ad.station.page.auth import OPERATOR, VIEWER, is_open, make_token, read_tokens
from edge_ad.station.page.channel import BAD, MOST_ASKED, UNAVAILABLE, Channel, RefusedError
from edge_ad.station.page.commands import Commands
from edge_ad.station.page.context import Settings
from edge_ad.station.page.priority import end, start_lowly

if TYPE_CHECKING:
    from edge_ad.station.station import Station

_log = logging.getLogger("edge_ad.station")
_AGAIN_S = (0.5, 30.0)  # before a page that ended is started again: at first, at most
_WELL_S = 60.0  # that a page must run for its next end to count as the first
_PING_S, _DEAD_S = 5.0, 90.0  # a page that answers no ping for so long is started again; it may get very little CPU
_WAITING = 100  # things that the page has asked for, and that are not begun
_PATIENCE_S = 2.0


class Host:
    """See the module. Close it.

    Args:
        gone: of the host before.

    Attributes:
        url: where the page is, once it listens.
        gone: why there is no page, as the journal was told; "" where there is one.
    """

    def __init__(self, station: Station, settings: Settings, commands: Commands, gone: str = "") -> None:
        self._settings, self._commands, self._tell, self.gone = settings, commands, station.desk.event, gone
        self.url = ""
        self.pid: int | None = None
        self._stop = threading.Event()
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = time.monotonic()
        self._work: queue.Queue[tuple[Channel, int, str, dict[str, Any]]] = queue.Queue(_WAITING)
        self._answers: queue.SimpleQueue[tuple[Channel, dict[str, Any]] | None] = queue.SimpleQueue()
        loops = (("page", self._serve), ("page-work", self._do_work), ("page-answers", self._send_answers))
        self._threads = [threading.Thread(target=loop, name=f"edge-ad-{name}", daemon=True) for name, loop in loops]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends the page. May be called twice."""
        self._stop.set()
        self._answers.put(None)
        process = self._process
        if process is not None:
            with contextlib.suppress(OSError):
                cast(BinaryIO, process.stdin).close()
            end(process, _PATIENCE_S)
        for thread in self._threads:
            thread.join()

    # ------------------------------------------------------------------------------------------------ the process

    def _serve(self) -> None:
        pause_s = 0.0
        while not self._stop.is_set():
            began = time.monotonic()
            why = self._one_run()
            if self._stop.is_set():
                return
            pause_s = _AGAIN_S[0] if time.monotonic() - began > _WELL_S else min(max(2 * pause_s, 0.5), _AGAIN_S[1])
            _log.error("the operator page is not there: %s; it is started again in %g s", why, pause_s)
            if why != self.gone:
                self.gone = why
                self._tell("", EventKind.PAGE, f"the operator page is not there: {why}")
            self._stop.wait(pause_s)

    def _one_run(self) -> str:
        """Runs a page until it ends; why it did."""
        command = [sys.executable, "-m", "edge_ad.station.page"]
        try:
            process = start_lowly(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            return f"cannot be started: {error}"
        stdin, stdout = cast(BinaryIO, process.stdin), cast(BinaryIO, process.stdout)
        channel = Channel(stdout, stdin, MOST_ASKED)
        self._process, self.pid, self._heard = process, process.pid, time.monotonic()
        self._channel, told = channel, ""
        try:
            if self._stop.is_set():  # `close` may have looked before there was a process
                return ""
            channel.send({"settings": self._settings.to_dict()})
            while (found := channel.receive()) is not None:
                self._heard = time.monotonic()
                told = self._take(channel, found[0]) or told
        except (OSError, ValueError, EdgeADError) as error:
            told = told or f"does not talk as it should: {error}"
        finally:
            self._channel, self.pid, self.url = None, None, ""
            with contextlib.suppress(OSError):
                stdin.close()
            end(process, _PATIENCE_S)
            stdout.close()
        return told or f"ended with exit code {process.returncode}"

    def _take(self, channel: Channel, message: dict[str, Any]) -> str:
        """One message of the page; what it says of its own end, else ""."""
        name, number, values = message.get("do"), message.get("id"), message.get("values")
        if name == "listening":
            self.url = str(message.get("url"))
            _log.info("the operator page is at %s; tokens in %s and %s", self.url, *self._settings.token_files.values())
            if self.gone:
                self.gone = ""
                self._tell("", EventKind.PAGE, AGAIN)
        elif name == "failed":
            return str(message.get("why"))[:500]
        elif isinstance(name, str) and isinstance(number, int) and isinstance(values, dict):
            if name == "trigger":
                self._trigger(channel, number, values)
            elif name in Commands.quick:
                self._answer(channel, number, name, values)
            else:
                try:
                    self._work.put_nowait((channel, number, name, values))
                except queue.Full:
                    channel.send({"id": number, "error": "the station has too much to do", "word": UNAVAILABLE})
        return ""

    # ------------------------------------------------------------------------------------------------ answering

    def _trigger(self, channel: Channel, number: int, values: dict[str, Any]) -> None:
        try:
            self._commands.trigger(
                values, lambda answer: self._answers.put((channel, {"id": number, "result": answer}))
            )
        except EdgeADError as error:
            channel.send(_refused(number, error))

    def _answer(self, channel: Channel, number: int, name: str, values: dict[str, Any]) -> None:
        try:
            result, blobs = self._commands.run(name, values)
            channel.send({"id": number, "result": result}, blobs)
        except EdgeADError as error:
            channel.send(_refused(number, error))
        except (OSError, ValueError):
            raise
        except Exception as error:  # of whatever answered: the page must hear of it, and go on
            _log.exception("the page asked for %s", name)
            channel.send({"id": number, "error": f"{type(error).__name__}: {error}", "word": ""})

    def _do_work(self) -> None:
        pinged = time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            if now - pinged > _PING_S:
                pinged = now
                self._ping(now)
            try:
                channel, number, name, values = self._work.get(timeout=0.5)
            except queue.Empty:
                continue
            with contextlib.suppress(OSError, ValueError):  # the page that asked is gone
                self._answer(channel, number, name, values)

    def _ping(self, now: float) -> None:
        process, channel = self._process, self._channel
        if process is None or channel is None:
            return
        if now - self._heard > _DEAD_S:
            _log.error("the operator page has not answered for %g s", _DEAD_S)
            process.kill()
            return
        self._answers.put((channel, {"ping": 1}))  # by a thread that may wait

    def _send_answers(self) -> None:
        while (found := self._answers.get()) is not None:
            channel, message = found
            with contextlib.suppress(OSError, ValueError):
                channel.send(message)


class Page:
    """The page of a station, as its configuration has it now. What is counted stays when the page changes."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._secret = secrets.token_hex(32)  # a page that is started again knows its sessions
        self._http: Http | None = None
        self.host: Host | None = None
        self._commands: Commands | None = None

    def check(self, http: Http | None) -> Settings | None:
        """What a page is served with; None for no page.

        Raises:
            EdgeADError: packages are missing, or a token cannot be made or read.
        """
        if http is None:
            return None
        told = extra.missing()
        if told:
            raise EdgeADError("[station] http cannot be served", got=told)
        settings = _settings(self._station, http, self._secret)
        read_tokens(settings.token_files)
        return settings

    def exchange(self, http: Http | None) -> None:
        """Serves what the configuration says now. One that did not change goes on.

        Raises:
            EdgeADError: it cannot be started; then there is none.
        """
        if http == self._http:
            return
        settings, gone = self.check(http), ""
        if self.host is not None:
            self.host.close()
            gone = self.host.gone
        self.host, self._http = None, None
        if http is None or settings is None:
            self._station.alarms.end(PAGE, "")
            return
        _warn(http, settings)
        if self._commands is None:
            self._commands = Commands(self._station)
        self.host = Host(self._station, settings, self._commands, gone)
        self._http = http

    def ended(self, ticket: Ticket) -> None:
        """A trigger has its durable outcome. Called by the desk's thread."""
        if self._commands is not None:
            self._commands.ended(ticket)

    def close(self) -> None:
        """May be called twice."""
        if self.host is not None:
            self.host.close()
        if self._commands is not None:
            self._commands.jobs.close()


def _settings(station: Station, http: Http, secret: str) -> Settings:
    """With the tokens made, where the station has its own."""
    config = station.config
    files = http.tokens
    for role, path in files.items():
        if path is None:
            files[role] = path = config.data / "tokens" / role
            if make_token(path):
                _log.info("made a token for the %s of the page: %s", role, path)
    return Settings(
        station=config.name,
        path=str(config.path),
        data=str(config.data),
        host=http.host,
        port=http.port,
        names=http.names,
        metrics_open=http.metrics_open,
        max_body=http.max_body,
        viewer_token=str(files[VIEWER]),
        operator_token=str(files[OPERATOR]),
        log=form_in_use(),
        secret=secret,
    )


def _warn(http: Http, settings: Settings) -> None:
    """Of what others could read."""
    if not http.is_local:
        _log.warning("the page listens at %s: put a proxy with TLS before it, see docs/http.md", http.url)
    for path in settings.token_files.values():
        if is_open(path):
            _log.warning("others on this PC may read or change the token %s; chmod 600 keeps them out", path)


def _refused(number: int, error: EdgeADError) -> dict[str, Any]:
    return {"id": number, "error": str(error), "word": error.word if isinstance(error, RefusedError) else BAD}
