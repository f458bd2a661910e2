"""What the page asks the journal: a gallery's page, the story of a part, scores of a camera. It reads, and never waits
long: a search looks at so many of the latest outcomes, and older parts are found by their whole id. `Context.journal`
opens what is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from urllib.parse import urlencode

from edge_ad.errors import SpecError
from edge_ad.station.journal import LABELS, Journal, Row
from edge_ad.station.outcomes import GOOD, OUTCOMES, REJECT

ALL, NONE = "all", "none"
PAGE = 24  # parts of a page of the gallery
FAR = 500_000  # outcomes that a search looks at


@dataclass(frozen=True)
class Filter:
    """Which parts.

    Attributes:
        camera: its name; "" for all.
        outcome: one of `OUTCOMES`, or "all".
        label: a label, "none" (no label), or "all".
        day: by this PC's clock, such as "2026-11-29"; "" for all.
        part: what the part id contains, upper or lower case; "" for all.
    """

    camera: str = ""
    outcome: str = REJECT
    label: str = ALL
    day: str = ""
    part: str = ""

    def __post_init__(self) -> None:
        if self.outcome not in (*OUTCOMES, ALL):
            raise SpecError("outcome is not known", expected=", ".join((*OUTCOMES, ALL)), got=repr(self.outcome))
        if self.label not in (*LABELS[:-1], NONE, ALL):
            raise SpecError("label is not known", expected=", ".join((*LABELS[:-1], NONE, ALL)), got=repr(self.label))
        if self.day:
            self.span()

    def query(self, **more: object) -> str:
        """As the query of an address: only what is not the default. Pairs of `more` follow."""
        own = {name: value for name, value in vars(self).items() if value != getattr(Filter, name)}
        return urlencode({**own, **more}, errors="backslashreplace")

    def span(self) -> tuple[int, int]:
        """The day in nanoseconds since 1970, half-open: days of this PC's clock, also where it changes in summer."""
        try:
            first = date.fromisoformat(self.day)
            edges = [datetime(each.year, each.month, each.day) for each in (first, first + timedelta(days=1))]
            start, end = (int(each.timestamp()) * 10**9 for each in edges)
        except (ValueError, OverflowError, OSError) as error:
            raise SpecError("day is not a date", expected="such as 2026-11-29", got=repr(self.day)) from error
        return start, end

    def where(self) -> tuple[list[str], list[object]]:
        """Conditions and their values."""
        texts, values = ["number IS NOT NULL"], []
        chosen: list[tuple[str, object]] = [("camera", self.camera)]
        chosen.append(("outcome", "" if self.outcome == ALL else self.outcome))
        chosen.append(("label", "" if self.label in (ALL, NONE) else self.label))
        for column, value in chosen:
            if value:
                texts.append(f"{column} = ?")
                values.append(value)
        if self.label == NONE:
            texts.append("label = ''")
        if self.day:
            texts.append("time_ns >= ? AND time_ns < ?")
            values += self.span()
        if self.part:
            texts.append("part_id LIKE ? ESCAPE '\\'")
            values.append("%" + "".join(f"\\{c}" if c in "%_\\" else c for c in self.part) + "%")
        return texts, values


@dataclass(frozen=True)
class Found:
    """A page of the gallery.

    Attributes:
        rows: the latest first.
        newer: number after which the page before begins; None where this is the first.
        older: number before which the next page begins; None where this is the last.
        far: whether there are older parts that were not searched.
    """

    rows: tuple[Row, ...]
    newer: int | None
    older: int | None
    far: bool


def gallery(
    journal: Journal,
    wanted: Filter,
    cameras: Sequence[str],
    before: int | None = None,
    after: int | None = None,
    most: int = PAGE,
) -> Found:
    """Parts before or after a number, or the latest."""
    texts, values = wanted.where()
    least = journal.number - FAR
    if wanted.part and before is None and after is None:
        exact = _exact(journal, wanted, cameras)
        if exact:
            return Found(exact, None, None, False)
    edge, up = (after, True) if after is not None else (before, False)
    if edge is not None:
        texts.append("number > ?" if up else "number < ?")
        values.append(edge)
    texts.append("number > ?")
    values.append(least)
    order = "number" if up else "number DESC"
    rows = list(journal.rows(" AND ".join(texts), values, order, most + 1))
    more, rows = len(rows) > most, rows[:most]
    if up:
        rows.reverse()
    first = rows[0].number if rows else None
    last = rows[-1].number if rows else None
    newer = first if (more if up else before is not None) else None
    older = last if (more or up) else None
    return Found(tuple(rows), newer, older, least > 0 and not more and not up)


def _exact(journal: Journal, wanted: Filter, cameras: Sequence[str]) -> tuple[Row, ...]:
    """Parts of that very id, however old: the index knows them by camera."""
    texts, values = Filter(wanted.camera, wanted.outcome, wanted.label, wanted.day).where()
    found: list[Row] = []
    for camera in [wanted.camera] if wanted.camera else cameras:
        condition = " AND ".join([*texts, "camera = ?", "part_id = ?"])
        found += journal.rows(condition, (*values, camera, wanted.part))
    return tuple(sorted(found, key=lambda row: -(row.number or 0)))


def part(journal: Journal, camera: str, number: int) -> Row | None:
    """The part with that number; None where the camera has none."""
    if number >= 2**63:
        return None
    return next(journal.rows("camera = ? AND number = ?", (camera, number), most=1), None)


def beside(journal: Journal, wanted: Filter, number: int) -> tuple[Row | None, Row | None]:
    """The next newer and the next older part of the filter."""
    texts, values = wanted.where()
    near = (("number > ? AND number < ?", "number", FAR), ("number < ? AND number > ?", "number DESC", -FAR))
    found: list[Row | None] = []
    for condition, order, far in near:
        where = " AND ".join([*texts, condition])
        found.append(next(journal.rows(where, (*values, number, number + far), order, 1), None))
    return found[0], found[1]


def scores(journal: Journal, camera: str, most: int) -> list[Row]:
    """The last outcomes of a camera, the oldest first."""
    rows = list(journal.rows("camera = ? AND number IS NOT NULL", (camera,), "sequence DESC", most))
    return sorted(rows, key=lambda row: row.number or 0)


def confirmed(journal: Journal, camera: str, most: int) -> list[Row]:
    """Rejects of a camera that a person called good, the latest first: what can be learned."""
    condition = f"camera = ? AND outcome = '{REJECT}' AND label = '{GOOD}' AND number > ?"
    return list(journal.rows(condition, (camera, journal.number - FAR), "number DESC", most))
