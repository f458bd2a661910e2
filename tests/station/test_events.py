"""Kinds of events: one closed list, and the journal as older ones are."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from edge_ad.cli import main
from edge_ad.sources.state import EVENTS, CameraEvent
from edge_ad.station.config import load_config
from edge_ad.station.desk import Desk
from edge_ad.station.events import EventKind
from edge_ad.station.journal import Journal
from tests.station.making import write_config

ON_DISK = """acknowledged blinded bundle clock connected dark drift drops ended frozen label learn live lost mqtt opcua
    page plc recipe reference refused reload restart rollback silent sink source start undo"""


def test_the_words_in_journals_stay() -> None:
    """Journals are full of them, and so are the scripts of those who read `edge-ad journal --events`."""
    assert sorted(kind.value for kind in EventKind) == ON_DISK.split()


def test_a_kind_is_its_word() -> None:
    assert [str(EventKind.LOST), f"{EventKind.LOST}", f"{EventKind.LOST:>5}"] == ["lost", "lost", " lost"]
    assert EventKind.LOST == "lost"


def test_a_camera_tells_of_nothing_else() -> None:
    assert {EventKind(kind).value for kind in EVENTS} == set(EVENTS)
    with pytest.raises(ValueError, match=r"connected, lost, .*got 'lsot'"):
        CameraEvent("top", 0, "lsot", "the cable is out")


def test_another_kind_is_not_written(tmp_path: Path) -> None:
    wrong: Any = "lsot"
    with Journal(tmp_path / "j", writes=True) as journal:
        with pytest.raises(ValueError, match="lsot"), journal.transaction():
            journal.event(0, "top", wrong, "x")
        assert journal.events() == []


def test_the_desk_goes_on_where_it_is_given_another_kind(tmp_path: Path) -> None:
    desk, heard = Desk(tmp_path / "j"), []
    desk.on_event = lambda camera, kind, text: heard.append((camera, kind, text))
    wrong: Any = "lsot"
    with pytest.raises(ValueError, match="lsot"):
        desk.event("top", wrong, "x")
    desk.event("top", EventKind.LOST, "y")
    desk.close()
    assert desk.failed is None
    assert heard == [("top", EventKind.LOST, "y")]
    db = sqlite3.connect(tmp_path / "j")
    assert db.execute("SELECT kind, typeof(kind), text FROM events").fetchall() == [("lost", "text", "y")]
    db.close()


def test_a_kind_of_a_newer_edge_ad_is_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(place)
    path = load_config(config).journal
    path.parent.mkdir()
    with Journal(path, writes=True):
        pass
    db = sqlite3.connect(path)
    db.execute("INSERT INTO events (time_ns, camera, kind, text) VALUES (1, 'top', 'moved', 'by a fork lift')")
    db.commit()
    db.close()
    assert main(["journal", str(config), "--events"]) == 0
    assert "top  moved  by a fork lift" in capsys.readouterr().out
