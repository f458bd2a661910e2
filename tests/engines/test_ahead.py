"""Calls of an engine side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from edge_ad.engines.ahead import run_ahead
from edge_ad.errors import EngineError
from edge_ad.spec import Tensor


class Meeting:
    """An engine whose calls wait until as many are there as it has streams. It fails on a tensor of 255."""

    def __init__(self, streams: int) -> None:
        self._barrier = threading.Barrier(streams, timeout=10)

    def __call__(self, tensor: Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        self._barrier.wait()
        if tensor.max() == 255:
            raise EngineError("it failed")
        return tensor.reshape(1, -1).astype(np.float32)


def tensors(*values: int) -> Iterator[Tensor]:
    return (np.full((1, 1, 1, 3), value, np.uint8) for value in values)


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_results_come_in_order_and_calls_run_side_by_side(streams: int) -> None:
    engine = Meeting(streams)
    found = run_ahead(engine, streams, tensors(*range(6)))
    assert [int(patches[0, 0]) for patches in found] == [*range(6)]
    assert [*run_ahead(engine, streams, tensors())] == []


@pytest.mark.parametrize("streams", [1, 2])
def test_an_error_stands_in_place_of_its_result(streams: int) -> None:
    found = run_ahead(Meeting(streams), streams, tensors(0, 1, 255, 3))
    assert [int(next(found)[0, 0]) for _ in range(2)] == [0, 1]
    with pytest.raises(EngineError, match="it failed"):
        next(found)


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_an_error_of_the_source_comes_after_the_results_before_it(streams: int) -> None:
    def source() -> Iterator[Tensor]:
        yield from tensors(*range(3 * streams))
        raise OSError("camera lost")

    found = run_ahead(Meeting(streams), streams, source())
    assert [int(next(found)[0, 0]) for _ in range(3 * streams)] == [*range(3 * streams)]
    with pytest.raises(OSError, match="camera lost"):
        next(found)


def test_no_more_are_taken_than_are_on_the_way() -> None:
    taken: list[int] = []

    def source() -> Iterator[Tensor]:
        for value in range(100):
            taken.append(value)
            yield from tensors(value)

    found = run_ahead(Meeting(2), 2, source())
    next(found)
    assert len(taken) == 3
    found.close()  # type: ignore[attr-defined]
    assert len(taken) == 3
