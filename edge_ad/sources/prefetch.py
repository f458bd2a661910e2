"""Works ahead of a consumer: captures and prepares the next items while one is in use."""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from edge_ad.system.forks import Home

S = TypeVar("S")
T = TypeVar("T")

_PATIENCE_S = 1.0  # to wait for the current item; a camera may never give another one


@dataclass(frozen=True)
class _Failure:
    error: BaseException


class _End:
    pass


class _Prefetch(Generic[S, T]):
    """One thread that advances `source` through `prepare` into a bounded queue."""

    def __init__(self, source: Iterable[S], prepare: Callable[[Iterator[S]], T], ahead: int) -> None:
        self._source, self._prepare = source, prepare
        self._queue: queue.Queue[T | _Failure | _End] = queue.Queue(maxsize=ahead)
        self._stopped = threading.Event()
        self._home = Home("an iterator that captures frames ahead")
        self._thread = threading.Thread(target=self._run, name="edge-ad-capture", daemon=True)
        self._thread.start()
        # A daemon thread that comes back from OpenCV while Python shuts down aborts the process.
        atexit.register(self.stop)

    def _run(self) -> None:
        try:
            source = iter(self._source)
            while not self._stopped.is_set():
                self._put(self._prepare(source))
        except StopIteration:
            self._put(_End())
        except BaseException as error:  # it is raised again in the consumer's thread
            self._put(_Failure(error))

    def _put(self, item: T | _Failure | _End) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def get(self) -> T | _Failure | _End:
        self._home.check()
        return self._queue.get()

    def stop(self) -> None:
        if not self._home.is_here():  # a forked child does not have the thread, and locks may stay held
            atexit.unregister(self.stop)
            return
        self._stopped.set()
        with contextlib.suppress(queue.Empty):  # the thread may wait for room
            while True:
                self._queue.get_nowait()
        self._thread.join(_PATIENCE_S)
        atexit.unregister(self.stop)


def prefetch(source: Iterable[S], prepare: Callable[[Iterator[S]], T], ahead: int = 2) -> Iterator[T]:
    """Yields `prepare(iterator of source)` for as long as that does not raise StopIteration.

    `prepare` takes what it needs from the iterator, so that it can time the capture. It runs in a separate thread, at
    most `ahead` results before the consumer. An exception is raised in place of its result and ends the iteration.
    Closing the generator ends the thread after its current item. It waits for that one second at most, as a camera that
    gives no more frames would block it. In a forked child the next item is a ForkError.
    """
    worker = _Prefetch(source, prepare, ahead)
    try:
        while not isinstance(item := worker.get(), _End):
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        worker.stop()
