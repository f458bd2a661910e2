"""The sink of pictures waits for those that are being written, and passes over those that are gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_ad.station.journal import KEPT, LOST, PLANNED
from edge_ad.station.sinks.base import NotYet, SinkOpening
from edge_ad.station.sinks.table import SINKS
from tests.station.sinks.test_lines import message


def test_overlays_or_frames(tmp_path: Path) -> None:
    folder = tmp_path / "data/pictures/2026-11-29/top/reject"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"frame a")
    (folder / "a.overlay.png").write_bytes(b"overlay a")
    (folder / "b.png").write_bytes(b"frame b")
    sink = SINKS.open("pictures", SinkOpening("s", tmp_path / "data", {"path": str(tmp_path / "out")}))
    day = "pictures/2026-11-29/top/reject"
    rows = [
        message(1, picture=f"{day}/a.png", kept=KEPT),
        message(2, picture=f"{day}/b.png", kept=KEPT),
        message(3, picture=f"{day}/gone.png", kept=KEPT),
        message(4, picture=f"{day}/lost.png", kept=LOST),
        message(5),
    ]
    sink.deliver(rows)
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
    assert found == {"a.png": b"overlay a", "b.png": b"frame b"}
    with pytest.raises(NotYet):
        sink.deliver([message(6, picture=f"{day}/c.png", kept=PLANNED)])
    sink.close()
