"""Works ahead of a consumer: captures and prepares the next items while one is in use."""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from edge_ad.system.forks import Home

S = TypeVar("S")
T = TypeVar("T")

_PATIENCE_S = 1.0  # to wait for the next item of the source; a camera may never give another one
_STEP_S = 0.1
_WORK_S = 60.0  # to wait for what is made of an item: reading a large file takes seconds, and always ends


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
        self._stopped, self._ended, self._asking = threading.Event(), threading.Event(), True
        self._home = Home("an iterator that captures frames ahead")
        self._thread = threading.Thread(target=self._run, name="edge-ad-capture", daemon=True)
        # A daemon thread that comes back from OpenCV while Python shuts down aborts the process. This comes before the
        # start, as a signal may interrupt that.
        atexit.register(self.stop)
        try:
            self._thread.start()
        except RuntimeError:  # the system has no thread left
            atexit.unregister(self.stop)
            raise

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._ended.set()

    def _asked(self) -> Iterator[S]:
        """The items of the source. While the thread waits for one, it may wait for ever."""
        for item in self._source:
            self._asking = False
            yield item
            self._asking = True

    def _work(self) -> None:
        try:
            source = self._asked()
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
        if self._has_ended():
            self._thread.join()
            atexit.unregister(self.stop)  # else it is waited for once more when Python shuts down

    def _has_ended(self) -> bool:
        """Waits for the thread's current item, within limits."""
        begun = time.monotonic()
        while not self._ended.wait(_STEP_S):
            if time.monotonic() - begun > (_PATIENCE_S if self._asking else _WORK_S):
                return False
        return True


def prefetch(source: Iterable[S], prepare: Callable[[Iterator[S]], T], ahead: int = 2) -> Iterator[T]:
    """Yields `prepare(iterator of source)` for as long as that does not raise StopIteration.

    `prepare` takes what it needs from the iterator, so that it can time the capture. It runs in a separate thread, at
    most `ahead` results before the consumer. An exception is raised in place of its result and ends the iteration.
    Closing the generator ends the thread after its current item. It waits one second at most for the source, as a
    camera that gives no more frames would block it. In a forked child the next item is a ForkError.
    """
    worker = _Prefetch(source, prepare, ahead)
    try:
        while not isinstance(item := worker.get(), _End):
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        worker.stop()
