"""The work of a child that finishes an evaluation."""

from __future__ import annotations

import json
from pathlib import Path

from edge_ad.evaluation.finish import Work
from edge_ad.evaluation.pictures import Style


def test_work_survives_json() -> None:
    work = Work(Path("a/b"), Path("c.bundle"), ("one", "two"), 4095, "all", Style(gamma=0.5, clip_q=0.98), True)
    assert Work.from_json(work.to_json()) == work
    assert json.loads(work.to_json())["style"]["gamma"] == 0.5
