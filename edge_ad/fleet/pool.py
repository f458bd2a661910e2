"""Workers as processes of this PC.

`concurrent.futures.ProcessPoolExecutor` is of no use here: it breaks whole when one of its processes dies. Each of
these has a pipe of its own; when it breaks, the worker is gone, and another one starts.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import connection as connections
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from edge_ad.errors import EdgeADError
from edge_ad.fleet.crew import HANGS, Answer, Answered, Event, Load, Ready, Starts, Watch, answered, least_loaded
from edge_ad.fleet.inspector import Inspector
from edge_ad.fleet.plan import Piece
from edge_ad.system.entry import describe_error
from edge_ad.system.processes import THREAD_VARIABLES

_Message = Ready | Answer | EdgeADError


class Pool:
    """A crew of processes. Use it as a context manager.

    Args:
        inspector: what each of them opens.
        size: how many.
        threads: of each, for libraries beside the Runtime.
    """

    def __init__(self, inspector: Inspector, size: int, threads: int) -> None:
        self.size = size
        self._inspector, self._threads = inspector, threads
        self._loads: dict[int, Load] = {}
        self._processes: dict[int, tuple[BaseProcess, Connection[object, _Message]]] = {}
        self._mails: dict[int, tuple[queue.SimpleQueue[list[str] | None], threading.Thread]] = {}
        self._starts, self._watch = Starts(size), Watch()

    def __enter__(self) -> Pool:
        try:
            for number in range(self.size):
                self._start(number)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wants(self) -> int | None:
        """As `Crew`."""
        return least_loaded(self._loads)

    def give(self, worker: int, piece: Piece, paths: list[str]) -> None:
        """As `Crew`."""
        self._loads[worker].pieces.append(piece)
        self._mails[worker][0].put(paths)

    def wait(self, timeout_s: float) -> list[Event]:
        """As `Crew`."""
        numbers: dict[object, int] = {pipe: number for number, (_, pipe) in self._processes.items()}
        events: list[Event] = []
        for ready in connections.wait([pipe for _, pipe in self._processes.values()], timeout_s):
            number = numbers[ready]
            pipe = self._processes[number][1]
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                events.append(self._buried(number))
                continue
            load = self._loads[number]
            if isinstance(message, EdgeADError):
                raise message
            if isinstance(message, Ready):
                load.ready()
                self._starts.ready()
                events.append(message)
            else:
                events.append(Answered(load.done(), message))
        passed = self._watch.passed(timeout_s)
        hanging = [number for number, load in self._loads.items() if load.hangs(passed)]
        return events + [self._buried(number, HANGS) for number in hanging]

    def close(self) -> None:
        """As `Crew`: kills them. They hold nothing that is not written elsewhere."""
        for process, _ in self._processes.values():
            process.kill()
        for process, _ in self._processes.values():
            process.kill()
        for number in list(self._processes):
            self._end(number)
        self._loads = {}

    def _end(self, number: int) -> int | None:
        """Ends a worker, which may be gone already; its exit code."""
        process, pipe = self._processes.pop(number)
        process.kill()  # it may have closed its pipe only
        process.join()
        mail, sender = self._mails.pop(number)
        mail.put(None)
        sender.join()
        pipe.close()
        code = process.exitcode
        process.close()
        return code

    def _buried(self, number: int, why: str = "") -> Event:
        """Another worker takes the place of one that is gone, or hangs."""
        load = self._loads.pop(number)
        code = self._end(number)
        why = why or _how_it_ended(code)
        if not load.is_ready:
            self._starts.died(why)
        self._start(number)
        return load.death(why)

    def _start(self, number: int) -> None:
        # "spawn": a fork would inherit threads and locks of this process, and lasts only as long as nothing has any
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=work, args=(theirs, self._inspector), name=f"edge-ad fleet {number}", daemon=True
        )
        with _few_threads(self._threads), _no_interrupt():
            process.start()
        theirs.close()
        self._processes[number] = process, ours
        mail: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()
        sender = threading.Thread(target=_send, args=(ours, mail), name=f"edge-ad to {number}", daemon=True)
        self._mails[number] = mail, sender
        sender.start()
        self._loads[number] = Load()


def _send(pipe: Connection[list[str], object], mail: queue.SimpleQueue[list[str] | None]) -> None:
    """Sends what is in the mail, until there is None. In a thread: a pipe that is full, of a worker that hangs or waits
    to be heard itself, would stop the driver, and with it all others."""
    while (paths := mail.get()) is not None:
        with contextlib.suppress(OSError):  # it is gone: `wait` tells
            pipe.send(paths)


def work(pipe: Connection[_Message, list[str]], inspector: Inspector) -> None:
    """What a worker does, until its driver is gone: gets paths, answers with rows."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends its workers
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    message: _Message
    try:
        message = Ready(inspector.open())
    except Exception as error:
        message = _as_ours(error)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionError):  # the driver is gone, and so is the work
        while True:
            pipe.send(message)
            paths = pipe.recv()
            try:
                message = answered(inspector, paths)
            except Exception as error:  # no image's: those are rows
                message = _as_ours(error)


def _end_with_the_driver() -> None:
    """Ends this process when its driver is gone, also in the middle of an image, or of a read that never ends."""
    driver = multiprocessing.parent_process()
    assert driver is not None, "a worker has a driver"
    driver.join()
    os._exit(1)


def _as_ours(error: Exception) -> EdgeADError:
    return error if isinstance(error, EdgeADError) else EdgeADError(describe_error(error))


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        names = {number.value: number.name for number in signal.Signals}
        name = names.get(-code, f"signal {-code}")
        return f"killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
    return f"exit code {code}"


@contextlib.contextmanager
def _few_threads(count: int) -> Iterator[None]:
    """Bounds what libraries start in processes that begin meanwhile."""
    own = dict.fromkeys(THREAD_VARIABLES, str(count))
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """A process that begins meanwhile is not reached by Ctrl-C, from its first instruction on; here it waits."""
    if sys.platform == "win32" or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
