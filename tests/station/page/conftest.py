"""A staged station with parts of two cameras."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.station.page.staged import Staged
from tests.tiny import bad_frame, good_frame


@pytest.fixture
def staged(golden: Path, tmp_path: Path) -> Staged:
    """Parts 1 to 8 of the cameras "top" and "side" in turn: 1 to 4 good, 5 to 7 rejects, 8 a fault."""
    found = Staged(tmp_path / "data", ["top", "side"], golden)
    frames = [good_frame(1000), good_frame(1001), good_frame(1002), good_frame(1003)]
    frames += [bad_frame(2000), bad_frame(2001), bad_frame(2002)]
    parts = [(("top", "side")[at % 2], f"K2-{at + 1:04d}", frame) for at, frame in enumerate([*frames, None])]
    found.inspect(parts)
    return found
