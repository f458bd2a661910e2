"""The work of a child that finishes an evaluation."""

from __future__ import annotations

import json
from pathlib import Path

from edge_ad.evaluation.finish import Work
from edge_ad.evaluation.pictures import Style
from edge_ad.frames.photometric import make_lights
from edge_ad.spec import FrameSpec, StackSpec
from tests.frames.photometric.made import ring


def test_work_survives_json() -> None:
    stack = StackSpec(make_lights(ring(4)), ambient=True)
    for frame in (FrameSpec((64, 48), "rgb", 16, 4095), FrameSpec(None, stack=stack)):
        work = Work(Path("a/b"), Path("c.bundle"), ("one", "two"), frame, "all", Style(gamma=0.5, clip_q=0.98), True)
        assert Work.from_json(work.to_json()) == work
    assert json.loads(work.to_json())["style"]["gamma"] == 0.5
