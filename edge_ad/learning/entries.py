"""What the records of an audit say together: lessons, and what was undone.

A lesson is several records: `begun`, then `ready` with its figures and the id of the new bundle, then `completed`; or
`refused`, `failed` or `abandoned` with the reason. An entry without an end was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edge_ad.errors import LearningError
from edge_ad.learning.audit import Record
from edge_ad.learning.report import DEFECT, HELD_BACK, TAUGHT, Figures, Picture, figures_of

LESSON, UNDO = "lesson", "undo"
BEGUN, READY, COMPLETED, NOTHING = "begun", "ready", "completed", "nothing"
REFUSED, FAILED, ABANDONED = "refused", "failed", "abandoned"
ENDS = (COMPLETED, NOTHING, REFUSED, FAILED, ABANDONED)


@dataclass(frozen=True)
class Entry:
    """A lesson, or what was undone.

    Attributes:
        number: of its first record.
        kind: `LESSON` or `UNDO`.
        state: of its last record.
        before, after: ids of bundles; `after` is "" while there is none.
        target: the file that it writes, where that is not the bundle itself; else "".
        why: why it ended without a new bundle.
    """

    number: int
    kind: str
    state: str
    who: str
    time: str
    before: str
    after: str
    target: str
    pictures: tuple[Picture, ...]
    figures: tuple[Figures, ...] = ()
    notes: tuple[str, ...] = ()
    why: str = ""

    @property
    def done(self) -> bool:
        """Whether it has put a bundle in place."""
        return self.state == COMPLETED

    @property
    def open(self) -> bool:
        """Whether it was interrupted."""
        return self.state not in ENDS

    @property
    def taught(self) -> frozenset[str]:
        """Digests of the images that it took rows from."""
        return frozenset(each.sha256 for each in self.pictures if each.role == TAUGHT)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        import dataclasses

        return {**dataclasses.asdict(self), "unfinished": self.open}


def entries_of(records: Iterable[Record]) -> list[Entry]:
    """The entries of an audit, the oldest first.

    Raises:
        LearningError: a record lacks what it must say, as one that another program wrote.
    """
    number: object = None
    try:
        found: dict[int, Entry] = {}
        for record in records:
            number = record.get("number")
            _take(record, found)
        return list(found.values())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LearningError(
            "the audit holds a record that cannot be understood",
            expected="records of this version of edge-ad, or an older one",
            got=f"record {number}: {error}",
            remedy="Was it written by a newer edge-ad? Use that one.",
        ) from error


def _take(record: Record, found: dict[int, Entry]) -> None:
    """Puts a record to the entry that it is of, or begins one."""
    state = str(record.get("state"))
    if state == BEGUN:
        found[record["number"]] = Entry(
            number=record["number"],
            kind=str(record["kind"]),
            state=state,
            who=str(record["who"]),
            time=str(record["time"]),
            before=str(record["before"]),
            after=str(record.get("after", "")),
            target=str(record.get("target", "")),
            pictures=_pictures(record),
        )
    elif record.get("of") in found:
        entry = found[record["of"]]
        given = {name: str(record[name]) for name in ("after", "why") if name in record}
        pictures = _pictures(record) if "pictures" in record else entry.pictures
        figures = tuple(map(figures_of, record["figures"])) if "figures" in record else entry.figures
        notes = tuple(record["notes"]) if "notes" in record else entry.notes
        changed = {"state": state, "pictures": pictures, "figures": figures, "notes": notes}
        found[entry.number] = replace(entry, **changed, **given)  # type: ignore[arg-type]


def _pictures(record: Record) -> tuple[Picture, ...]:
    return tuple(Picture(**each) for each in record.get("pictures", ()))


def made_by(entries: Sequence[Entry], bundle: str) -> Entry | None:
    """The lesson that made a bundle; None if none did."""
    lessons = (each for each in reversed(entries) if each.kind == LESSON and each.done and each.after == bundle)
    return next(lessons, None)


def chain_of(entries: Sequence[Entry], bundle: str) -> list[Entry]:
    """The lessons from the first bundle to this one, the oldest first."""
    found: list[Entry] = []
    while (lesson := made_by(entries, bundle)) is not None and lesson not in found:
        found.append(lesson)
        bundle = lesson.before
    return found[::-1]


def placed_last(entries: Sequence[Entry]) -> str:
    """The bundle that a lesson, or what was undone, has put in place last; "" where none ever was."""
    return next((each.after for each in reversed(entries) if each.done), "")


def is_known(entries: Sequence[Entry], bundle: str) -> bool:
    """Whether the audit names a bundle."""
    return any(each.before == bundle or (each.after == bundle and each.done) for each in entries)


def locked_in(entries: Sequence[Entry]) -> dict[str, Picture]:
    """Digest -> picture, of all that were ever locked."""
    pictures = (picture for entry in entries for picture in entry.pictures)
    return {each.sha256: each for each in pictures if each.role in (HELD_BACK, DEFECT)}
