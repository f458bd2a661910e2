"""Keeps the streams of an engine busy: runs calls side by side, and gives their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def run_ahead(run: Callable[[S], T], streams: int, items: Iterable[S]) -> Iterator[T]:
    """What `run`, an engine or what calls one, gives for each item, in order.

    At most one more than there are streams are on the way at a time. The items are taken in the caller's thread. An
    error is raised in place of its result; one of the items themselves after the results before it.
    """
    if streams == 1:
        yield from map(run, items)
        return
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(streams, "edge-ad-engine") as pool:
        try:
            ended: Exception | None = None  # StopIteration, or an error of the items
            source = iter(items)
            while waiting or ended is None:
                if ended is None:
                    try:
                        waiting.append(pool.submit(run, next(source)))
                    except Exception as error:
                        ended = error
                if waiting and (ended is not None or len(waiting) > streams):
                    yield waiting.popleft().result()
            if not isinstance(ended, StopIteration):
                raise ended
        finally:
            for future in waiting:
                future.cancel()
