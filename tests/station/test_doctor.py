"""The doctor says what is wrong and what to do."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from edge_ad.cli import main
from edge_ad.learning.audit import Audit
from edge_ad.learning.entries import BEGUN, COMPLETED, LESSON
from edge_ad.station import doctor
from edge_ad.station.config import load_config
from edge_ad.station.doctor import BAD, NOTE, OK, Finding, examine
from edge_ad.station.events import AGAIN, EventKind
from edge_ad.station.journal import Journal
from edge_ad.station.labels import store_of_camera
from edge_ad.station.lock import FolderLock
from tests.station.making import run_batch, write_config
from tests.tiny import picture


def found(config: Path) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine(load_config(config, files=False))}


def test_all_is_well(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(place / "mask.png", np.full((64, 64), 255, np.uint8))
    config = write_config(place, 'roi = "mask.png"')
    assert main(["doctor", str(config)]) == 0
    told = capsys.readouterr().out
    for part in ("it does not run", "none yet", "golden probes hold", "64x64, 100% inspected"):
        assert part in told
    assert sorted(path.name for path in (place / "frames").iterdir())[0] == "bad_0.png"  # no frame was taken
    run_batch(config)
    assert "4 triggers, the latest at" in found(config)["journal"].told
    lock = FolderLock(place / "var")
    assert found(config)["station"].told == "it runs"
    assert "has it open" in found(config)["camera top, source"].told
    lock.close()


def test_a_camera_that_the_station_has_open(place: Path) -> None:
    """What the journal says of it since the last start."""
    config = write_config(place)
    run_batch(config)
    with contextlib.closing(FolderLock(place / "var")):
        for kind, text, mark in (
            ("source", "the folder is gone", BAD),
            ("source", AGAIN, OK),
            ("dark", "every frame is dark", BAD),
            ("drops", "3 dropped", BAD),
            ("live", "frames come", OK),
            ("lost", "the cable is out", BAD),
            ("start", "edge-ad", OK),
        ):
            with Journal(place / "var/journal.sqlite", writes=True) as journal, journal.transaction():
                journal.event(time.time_ns(), "" if kind == "start" else "top", EventKind(kind), text)
            finding = found(config)["camera top, source"]
            assert finding.mark == mark, kind


def test_all_is_ill(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    picture(place / "mask.png", np.zeros((64, 64), np.uint8))
    config = write_config(place, 'roi = "mask.png"\ncores = [4000]', "[retention]\nmin_free_gb = 1e6")
    run_batch_config = write_config(place)
    run_batch(run_batch_config)
    write_config(place, 'roi = "mask.png"\ncores = [4000]', "[retention]\nmin_free_gb = 1e6")
    shutil.rmtree(place / "frames")
    (place / "part.bundle").write_bytes(b"x")
    monkeypatch.setattr(doctor.time, "time_ns", lambda: 10**18)
    assert main(["doctor", str(config)]) == 2
    assert "BAD " in capsys.readouterr().out
    told = found(config)
    bad = {what for what, finding in told.items() if finding.mark == BAD}
    assert bad == {"disk", "clock", "cores", "camera top, source", "camera top, bundle", "camera top, roi"}
    assert "Set it, by NTP" in told["clock"].told


def test_a_data_folder_and_a_journal_that_cannot_be_used(place: Path) -> None:
    config = write_config(place)
    (place / "var").mkdir()
    (place / "var/journal.sqlite").write_text("no journal at all" * 100)
    assert found(config)["journal"].mark == BAD
    (place / "var/journal.sqlite").unlink()
    (place / "var/journal.sqlite").mkdir()
    assert found(config)["journal"].mark == BAD
    shutil.rmtree(place / "var")
    (place / "var").write_text("a file")
    assert found(config)["data folder"].mark == BAD


def test_tokens_of_the_page(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "missing", lambda: "")
    page = '[station]\nhttp = "127.0.0.1:0"\n'
    config = write_config(place, rest=page)
    assert found(config)["page"].mark == doctor.OK
    write_config(place, rest=f'{page}viewer_token_file = "a"\noperator_token_file = "b"')
    assert found(config)["page"].mark == BAD  # they are not there, and the station makes only its own
    for name, token in (("a", "one-token-for-everybody"), ("b", "one-token-for-everybody")):
        (place / name).write_text(token)
        (place / name).chmod(0o600)
    assert "the same token" in found(config)["page"].told
    (place / "a").write_text("another-token-for-viewers")
    assert found(config)["page"].mark == doctor.OK
    if os.name == "posix":
        (place / "b").chmod(0o644)
        assert "chmod 600" in found(config)["page"].told


def test_lessons(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, what = write_config(place), "camera top, lessons"
    assert what not in found(config)
    audit = Audit(store_of_camera(place / "var", "top") / "audit.jsonl")
    (audit.path.parent / "bundles").mkdir(parents=True)
    shutil.copy(place / "part.bundle", audit.path.parent / "bundles")
    audit.append({"kind": LESSON, "state": BEGUN, "who": "anna", "time": "now", "before": "first"})
    audit.append({"of": 1, "state": COMPLETED, "after": "second"})
    assert (found(config)[what].mark, found(config)[what].told[:2]) == (OK, "1,")
    monkeypatch.setattr(doctor, "_LARGE_STORE", 1000)
    assert found(config)[what].mark == NOTE
    audit.path.write_text("changed\n")
    assert (found(config)[what].mark, "audit" in found(config)[what].told) == (BAD, True)
