"""What people say of the parts of a station, and that as lessons for the bundle of a camera.

A part that was rejected and is labelled good is a confirmed false reject: its picture is taught. One that is labelled
a defect is locked, and no lesson may let it pass. `edge-ad learn --station` gives the lesson, in a process of its own,
which gives way to the station's; the page starts it (`page/jobs.py`).
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from edge_ad.errors import EdgeADError
from edge_ad.learning.entries import chain_of
from edge_ad.learning.report import ACCEPTED, DEFECT, HELD_BACK, LEFT_OUT, TAUGHT
from edge_ad.learning.store import Store, id_of, sha256_of
from edge_ad.station.config import Config
from edge_ad.station.events import EventKind
from edge_ad.station.journal import KEPT, Journal, Row
from edge_ad.station.outcomes import REJECT
from edge_ad.station.pictures import folder_name
from edge_ad.system.names import listed, storable

_NICE = 10
_LISTED = 8
GOOD_LABEL, DEFECT_LABEL = "good", "defect"


@dataclass(frozen=True)
class Labelled:
    """Pictures to learn from.

    Attributes:
        good: of rejected parts that are labelled good, not yet taught.
        defects: of parts that are labelled defect, not yet locked.
        notes: for a reader: what is left out.
    """

    good: tuple[Path, ...]
    defects: tuple[Path, ...]
    notes: tuple[str, ...]


def label_part(journal: Journal, camera: str, part_id: str, label: str, who: str) -> bool:
    """Within a transaction: what a person says of a part, one of `LABELS`, and an event of it. False where there is no
    such part."""
    if not journal.label(camera, part_id, label):
        return False
    journal.event(time.time_ns(), camera, EventKind.LABEL, f"{part_id}: {label or 'no label'}, by {who}")
    return True


def store_of_camera(data: Path, camera: str) -> Path:
    """The folder of the lessons of a camera's bundle."""
    return data / "learning" / folder_name(camera)


def labelled_pictures(config: Config, camera: str) -> Labelled:
    """The kept pictures that a lesson of this camera's bundle takes.

    Raises:
        SpecError: there is no such camera.
        LearningError: the audit was changed.
    """
    store, bundle = Store(store_of_camera(config.data, camera)), config.camera(camera).bundle
    entries = store.entries
    of_chain = [each for lesson in chain_of(entries, id_of(bundle) or "") for each in lesson.pictures]
    # what was left out or accepted by another bundle may be looked at again; what is locked is locked for ever
    known = {each.sha256 for each in of_chain if each.role in (TAUGHT, ACCEPTED, LEFT_OUT)}
    bad = {each.sha256 for entry in entries for each in entry.pictures if each.role == DEFECT}
    known |= bad | {each.sha256 for entry in entries for each in entry.pictures if each.role == HELD_BACK}
    # a defect is known as a defect alone: of one that a lesson took for good, a person has changed the label
    known_as = {GOOD_LABEL: known, DEFECT_LABEL: bad}
    with Journal(config.journal) as journal:
        where = "camera = ? AND ((label = ? AND outcome = ?) OR label = ?)"
        rows = list(journal.rows(where, (storable(camera), GOOD_LABEL, REJECT, DEFECT_LABEL)))
    gone: list[str] = []
    found: dict[str, list[Path]] = {GOOD_LABEL: [], DEFECT_LABEL: []}
    taken = 0
    for row in rows:
        path = _picture(config, row)
        digest = None if path is None else _digest(path)
        if path is None or digest is None:
            gone.append(row.part_id)
        elif digest in known_as[row.label]:
            taken += 1
        else:
            found[row.label].append(path)
    notes = [f"{len(gone)} labelled parts without a picture any more: {listed(gone, _LISTED)}"] if gone else []
    if taken:
        notes.append(f"{taken} labelled parts were taught or locked before")
    return Labelled(tuple(found[GOOD_LABEL]), tuple(found[DEFECT_LABEL]), tuple(notes))


def _picture(config: Config, row: Row) -> Path | None:
    """The file; None where it is not kept, or not there."""
    path = config.data / row.picture
    return path if row.kept == KEPT and row.picture and path.is_file() else None


def _digest(path: Path) -> str | None:
    """Of the file; None where retention has removed it meanwhile.

    Raises:
        EdgeADError: it is there, and cannot be read.
    """
    try:
        return sha256_of(path)
    except EdgeADError:
        if path.is_file():
            raise
        return None


def be_nice() -> None:
    """This process gives way to others, where the system has a word for it."""
    with contextlib.suppress(AttributeError, OSError):  # Windows has none: the page starts it so there
        os.nice(_NICE)
