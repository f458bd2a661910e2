"""Drawn frames."""

from __future__ import annotations

import numpy as np

from edge_ad.sources.base import Capture, Source
from edge_ad.sources.registry import open_source
from edge_ad.sources.resume import Resume


def read_all(source: Source) -> list[Capture]:
    found = []
    while (capture := source.read(0.01)) is not None:
        found.append(capture)
    return found


def test_the_same_again_and_on_after_a_restart() -> None:
    options = {"count": 20, "bad": 0.3, "broken": 0.2, "seed": 1}
    source = open_source("synthetic:48x64", "top", options)
    whole = read_all(source)
    assert source.ended
    assert [capture.sequence for capture in whole] == list(range(20))
    assert len({capture.part_id for capture in whole}) == 20
    assert 0 < sum(capture.frame is None for capture in whole) < 20
    assert all(bool(capture.fault) == (capture.frame is None) for capture in whole)
    rest = read_all(open_source("synthetic:48x64", "top", options, Resume(first=15)))
    assert [capture.part_id for capture in rest] == [capture.part_id for capture in whole[15:]]
    for again, before in zip(rest, whole[15:], strict=True):
        np.testing.assert_array_equal(again.frame, before.frame)
    frame = next(capture.frame for capture in whole if capture.frame is not None)
    assert (frame.shape, frame.dtype) == ((48, 64, 3), np.uint8)
    other = open_source("synthetic:48x64", "top", {**options, "seed": 2}).read(1)
    assert other is None or not np.array_equal(other.frame, whole[0].frame)


def test_marked_frames_are_good_ones_with_a_stamp() -> None:
    plain = read_all(open_source("synthetic:64x64", "top", {"count": 60, "bad": 0.2}))
    marked = read_all(open_source("synthetic:64x64", "top", {"count": 60, "bad": 0.2, "marked": 0.3}))
    bad = read_all(open_source("synthetic:64x64", "top", {"count": 60}))
    differ = {a.sequence for a, b in zip(plain, marked, strict=True) if not np.array_equal(a.frame, b.frame)}
    defects = {a.sequence for a, b in zip(plain, bad, strict=True) if not np.array_equal(a.frame, b.frame)}
    assert 0 < len(differ) < 40
    assert not differ & defects


def test_a_rate() -> None:
    source = open_source("synthetic:64x64", "top", {"rate": 50})
    found = [source.read(60) for _ in range(4)]
    times = [capture.clock_ns for capture in found if capture is not None]
    assert (times[-1] - times[0]) / 1e9 > 0.03  # three pauses of 20 ms, a late one caught up
    assert source.read(0) is None
    source.settle(found[0])  # type: ignore[arg-type]
    source.close()
