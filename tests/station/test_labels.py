"""Labels of a journal as lessons: which pictures are taken, and the lesson in a process of its own."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_ad.errors import EdgeADError, LearningError, SpecError
from edge_ad.learning.lesson import learn
from edge_ad.learning.report import DEFECT, HELD_BACK, TAUGHT
from edge_ad.learning.store import Store, id_of
from edge_ad.learning.task import Asked
from edge_ad.station import labels
from edge_ad.station.config import Config, load_config
from edge_ad.station.journal import Journal
from edge_ad.station.labels import labelled_pictures, store_of_camera
from tests.learning.making import QuickMaker, labelled_part
from tests.station.making import run_batch, write_config
from tests.tiny import bad_frame, good_frame, picture


@pytest.fixture
def config(place: Path) -> Config:
    """A station that has inspected four good parts of a new lot, which it rejected, a usual one, and two defects."""
    for path in (place / "frames").iterdir():
        path.unlink()
    for at in range(4):
        picture(place / "frames" / f"lot_{at}.png", labelled_part(4000 + at))
    for at in range(2):
        picture(place / "frames" / f"bad_{at}.png", bad_frame(2000 + at))
    picture(place / "frames" / "usual.png", good_frame(1000))
    path = write_config(place, rest="[retention]\ngood_sample = 1")
    rows = run_batch(path)
    assert {row.part_id.split("-")[0]: row.outcome for row in rows}["lot_0"] == "reject"
    return load_config(path)


def label(config: Config, **given: str) -> None:
    with Journal(config.journal, writes=True) as journal, journal.transaction():
        for part, word in given.items():
            (row,) = journal.rows("part_id LIKE ?", (f"{part}-%",))
            assert journal.label("top", row.part_id, word)


def test_what_is_taken(config: Config) -> None:
    """Rejects that are labelled good, and all that is labelled defect; nothing else."""
    assert labelled_pictures(config, "top").good == ()
    label(config, lot_0="good", lot_1="good", usual="good", bad_0="defect", lot_2="unsure")
    found = labelled_pictures(config, "top")
    assert {path.name.split("-")[0] for path in found.good} == {"lot_0", "lot_1"}
    assert {path.name.split("-")[0] for path in found.defects} == {"bad_0"}
    assert all(path.is_file() and ".overlay." not in path.name for path in (*found.good, *found.defects))
    assert found.notes == ()
    with pytest.raises(SpecError, match="no camera of that name"):
        labelled_pictures(config, "typo")


def test_pictures_that_are_gone_are_named(config: Config) -> None:
    label(config, lot_0="good", lot_1="good", lot_2="good")
    labelled_pictures(config, "top").good[0].unlink()
    with contextlib.closing(sqlite3.connect(config.journal)) as db, db:
        db.execute("UPDATE triggers SET kept = 4 WHERE part_id LIKE 'lot_1-%'")
    found = labelled_pictures(config, "top")
    assert [path.name.split("-")[0] for path in found.good] == ["lot_2"]
    (note,) = found.notes
    assert re.fullmatch(r"2 labelled parts without a picture any more: lot_0-\w+, lot_1-\w+", note)


def test_a_picture_that_retention_removes_meanwhile(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    label(config, lot_0="good", lot_1="good")
    inner, removed = labels.sha256_of, []

    def late(path: Path) -> str:
        if not removed:
            removed.append(path)
            path.unlink()
        return inner(path)

    monkeypatch.setattr(labels, "sha256_of", late)
    found = labelled_pictures(config, "top")
    assert len(found.good) == 1
    assert "1 labelled parts without a picture any more" in found.notes[0]
    store = Store(store_of_camera(config.data, "top"))
    with pytest.raises(EdgeADError, match="cannot be read"):
        store.lock(DEFECT, removed[0], "0" * 64)


def test_a_label_that_was_changed_after_a_lesson(config: Config) -> None:
    """What was locked as good becomes a locked defect; what was taught is not passed over in silence."""
    label(config, lot_0="good", lot_1="good", lot_2="good", bad_0="good")
    store = Store(store_of_camera(config.data, "top"))
    bundle = config.camera("top").bundle
    learn(Asked(bundle, labelled_pictures(config, "top").good, (), store.folder), QuickMaker())
    roles = {each.name.split("-")[0]: each for each in store.entries[-1].pictures}
    (held, *_) = (name for name, each in roles.items() if each.role == HELD_BACK)
    (taught, *_) = (name for name, each in roles.items() if each.role == TAUGHT)
    label(config, **{held: "defect"})
    found = labelled_pictures(config, "top")
    assert [path.name.split("-")[0] for path in found.defects] == [held]
    learn(Asked(bundle, (), found.defects, store.folder), QuickMaker())
    assert roles[held].sha256 in store.locked(DEFECT)
    assert roles[held].sha256 not in store.locked(HELD_BACK)
    assert labelled_pictures(config, "top").defects == ()
    label(config, **{taught: "defect"})
    with pytest.raises(LearningError, match=r"was taught as good.*Undo that lesson"):
        learn(Asked(bundle, (), labelled_pictures(config, "top").defects, store.folder), QuickMaker())


def taught_by(config: Config, who: str, *more: str, camera: str = "top") -> dict[str, Any]:
    """What `edge-ad learn` says, in a process of its own: it gives way to all others."""
    command = [sys.executable, "-m", "edge_ad.cli", "learn", f"--station={config.path}", f"--camera={camera}"]
    done = subprocess.run([*command, f"--who={who}", "--json", *more], capture_output=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (2 if found["state"] in ("refused", "failed") else 0)
    return found


def test_a_lesson_from_labels(config: Config) -> None:
    """The bundle of the camera learns, once; and goes back."""
    bundle = config.camera("top").bundle
    before = id_of(bundle)
    label(config, lot_0="good", lot_1="good", lot_2="good", bad_0="defect")
    told = taught_by(config, "anna")
    assert [told[name] for name in ("state", "who", "before", "after")] == ["learned", "anna", before, id_of(bundle)]
    assert Path(told["store"]) == store_of_camera(config.data, "top") == config.data / "learning" / "top"
    roles = [each["role"] for each in told["pictures"]]
    assert roles.count(TAUGHT) + roles.count(HELD_BACK) == 3
    assert len(Store(store_of_camera(config.data, "top")).locked(DEFECT)) == 1
    assert labelled_pictures(config, "top").notes == ("4 labelled parts were taught or locked before",)
    back = taught_by(config, "eve", "--undo")
    assert [back[name] for name in ("state", "who", "after")] == ["undone", "eve", before]
    assert id_of(bundle) == before
    found = labelled_pictures(config, "top")  # what was undone may be taught again; what is locked stays locked
    assert len(found.good) == roles.count(TAUGHT)
    assert found.defects == ()


def test_what_is_refused_is_told(config: Config) -> None:
    told = taught_by(config, "anna")
    assert (told["state"], "camera top has no label to learn from" in told["error"]) == ("failed", True)
    told = taught_by(config, "anna", camera="typo")
    assert (told["state"], "no camera of that name" in told["error"]) == ("failed", True)
    label(config, lot_0="good")
    told = taught_by(config, "anna")
    assert (told["state"], "two good images" in told["error"]) == ("refused", True)
