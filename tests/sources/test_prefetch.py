"""Work ahead of a consumer."""

from __future__ import annotations

import gc
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from edge_ad.sources.prefetch import prefetch


def alive() -> bool:
    return any(thread.name == "edge-ad-capture" for thread in threading.enumerate())


def ends(seconds: float = 10.0) -> bool:
    """Whether no capture thread is left, within a time that is ample."""
    end = time.monotonic() + seconds
    while alive() and time.monotonic() < end:
        gc.collect()
        time.sleep(0.01)
    return not alive()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert ends()


def double(source: Iterator[int]) -> int:
    return 2 * next(source)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
@pytest.mark.parametrize("ahead", [1, 2, 8])
def test_order(count: int, ahead: int) -> None:
    assert list(prefetch(range(count), double, ahead)) == [2 * i for i in range(count)]


def test_it_starts_when_it_is_asked() -> None:
    results = prefetch(itertools.count(), double)
    assert not alive()
    assert next(results) == 0
    assert alive()
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("ahead", [1, 3])
def test_it_stays_at_most_so_far_ahead(ahead: int) -> None:
    taken = []

    def prepare(source: Iterator[int]) -> int:
        taken.append(next(source))
        return taken[-1]

    results = prefetch(itertools.count(), prepare, ahead)
    assert next(results) == 0
    end = time.monotonic() + 10
    while len(taken) < ahead + 1 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.2)  # time enough to take more, if it did
    assert ahead + 1 <= len(taken) <= ahead + 2  # those waiting, and the one in hand
    results.close()  # type: ignore[attr-defined]


def test_work_is_done_in_another_thread() -> None:
    def where(source: Iterator[int]) -> int | None:
        next(source)
        return threading.get_ident()

    assert set(prefetch(range(3), where)) != {threading.get_ident()}


def failing(at: int) -> Callable[[Iterator[int]], int]:
    def prepare(source: Iterator[int]) -> int:
        value = next(source)
        if value == at:
            raise KeyError(value)
        return value

    return prepare


def test_an_error_comes_in_its_turn_and_ends_it() -> None:
    results = prefetch(range(10), failing(3))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="3"):
        next(results)
    assert list(results) == []


def test_an_error_of_the_source() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("camera lost")

    results = prefetch(source(), double)
    assert next(results) == 2
    with pytest.raises(OSError, match="camera lost"):
        next(results)


def test_what_is_not_iterable() -> None:
    with pytest.raises(TypeError):
        list(prefetch(7, double))  # type: ignore[arg-type]


def test_system_exit_of_the_source_is_not_swallowed() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(prefetch(source(), double))


@pytest.mark.parametrize("used", [1, 5])
def test_dropping_it_ends_the_thread(used: int) -> None:
    results = prefetch(itertools.count(), double)
    for _ in range(used):
        next(results)
    del results
    assert ends()


def test_an_error_of_the_consumer_ends_the_thread() -> None:
    with pytest.raises(ZeroDivisionError):
        [1 // value for value in prefetch(itertools.count(), double)]
    assert ends()


def test_closing_does_not_wait_for_a_camera_that_gives_nothing() -> None:
    release = threading.Event()

    def camera() -> Iterator[int]:
        yield 1
        release.wait(30)
        yield 2

    results = prefetch(camera(), double)
    assert next(results) == 2
    closed = threading.Thread(target=results.close)  # type: ignore[attr-defined]
    closed.start()
    closed.join(5)
    assert not closed.is_alive()
    release.set()
    assert ends()


def test_several_at_once() -> None:
    results = [prefetch(range(i, i + 20), double) for i in range(5)]
    assert [list(values) for values in zip(*results, strict=True)] == [
        [2 * (i + j) for i in range(5)] for j in range(20)
    ]


AT_EXIT = """
import itertools, sys
import cv2, numpy as np
from edge_ad.sources.prefetch import prefetch
image = np.zeros((300, 300, 3), np.uint8)
def prepare(source):
    next(source)
    return cv2.GaussianBlur(image, (9, 9), 2)  # a millisecond without the GIL
results = prefetch(itertools.count(), prepare, 8)
for _ in results:
    sys.exit(3)
"""


def test_the_process_may_end_meanwhile() -> None:
    done = [subprocess.run([sys.executable, "-c", AT_EXIT], capture_output=True, text=True) for _ in range(3)]
    assert [(process.returncode, process.stderr) for process in done] == 3 * [(3, "")]


AT_EXIT_OF_A_LARGE_FILE = """
import builtins, itertools, sys, time
import cv2, numpy as np
from edge_ad.sources.prefetch import prefetch
image = np.zeros((300, 300, 3), np.uint8)
def prepare(source):
    number = next(source)
    end = time.monotonic() + 1.5 * number  # longer than a camera is waited for
    while time.monotonic() < end:
        cv2.GaussianBlur(image, (9, 9), 2)
    return number
builtins.kept = prefetch(itertools.count(), prepare, 1)  # nobody closes it
next(kept)
sys.exit(3)
"""


def test_the_process_waits_for_a_large_file() -> None:
    done = subprocess.run([sys.executable, "-c", AT_EXIT_OF_A_LARGE_FILE], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (3, "")


AT_EXIT_AFTER_A_SIGNAL = """
import sys, threading, time
import cv2, numpy as np
from edge_ad.sources.prefetch import prefetch
real = threading.Thread.start
def start(thread):
    real(thread)
    raise KeyboardInterrupt  # as a handler does that runs while the thread is waited for
threading.Thread.start = start
image = np.zeros((300, 300, 3), np.uint8)
def prepare(source):
    next(source)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        cv2.GaussianBlur(image, (9, 9), 2)
try:
    next(prefetch([1, 2, 3], prepare))
except KeyboardInterrupt:
    sys.exit(3)
"""


def test_a_signal_while_it_starts() -> None:
    done = [
        subprocess.run([sys.executable, "-c", AT_EXIT_AFTER_A_SIGNAL], capture_output=True, text=True) for _ in range(3)
    ]
    assert [(process.returncode, process.stderr) for process in done] == 3 * [(3, "")]
