"""The last part of a camera, made small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad.runtime import Runtime
from edge_ad.station.desk import Ticket
from edge_ad.station.outcomes import decide, fault
from edge_ad.station.page.counts import Counts
from edge_ad.station.page.live import last_of, pictures_of
from edge_ad.station.swap import Seen
from tests.station.making import capture
from tests.tiny import bad_frame


def ticket(frame: np.ndarray | None, **fields: Any) -> Ticket:
    made = Ticket(capture("a"), 0, lambda each: None, "a", frame, decision=fault("late", "x"), latency_ms=7.0)
    for name, value in {"number": 3, **fields}.items():
        setattr(made, name, value)
    return made


def test_a_part_with_a_verdict(golden: Path) -> None:
    frame = bad_frame(2000, 2560)
    verdict = Runtime(golden, threads=1).inspect(frame)
    last = last_of(ticket(frame, decision=decide(verdict), overlay=Seen(verdict, frame)))
    assert last is not None
    picture, heat = pictures_of(last)
    assert picture is not None
    assert heat is not None
    assert (picture.shape, heat.shape, heat.dtype) == ((1280, 1280, 3), (1280, 1280), np.uint8)
    assert heat.max() > 100
    told = last.to_dict()
    assert (told["number"], told["part_id"], told["outcome"], told["score"]) == (3, "a", "reject", verdict.score)


@pytest.mark.parametrize(
    "frame",
    [
        np.full((8, 6), 0xFF00, np.uint16),
        np.full((8, 6, 1), 255, np.uint8),
        np.full((3, 8, 6), 255, np.uint8),
        np.full((4, 8, 6, 3), 255, np.uint8),
        np.full((8, 6, 3), 255, np.uint8),
    ],
)
def test_a_frame_without_a_verdict(frame: np.ndarray) -> None:
    last = last_of(ticket(frame))
    assert last is not None
    picture, heat = pictures_of(last)
    assert picture is not None
    assert (picture.shape, picture.min(), heat) == ((8, 6, 3), 255, None)


def test_what_has_no_frame_or_is_not_durable() -> None:
    last = last_of(ticket(None))
    assert last is not None
    assert pictures_of(last) == (None, None)
    assert last_of(ticket(None, number=None)) is None


def test_counts() -> None:
    counts = Counts()
    assert counts.told()["p99_ms"] is None
    counts.add(ticket(None))
    counts.add(ticket(None, latency_ms=20_000.0))
    told = counts.told()
    assert (told["counts"], told["late"], told["histogram"]["sum_s"]) == ({"fault": 2}, 2, pytest.approx(20.007))
    assert told["histogram"]["buckets"] == [0, 1, *([0] * 9), 1]
