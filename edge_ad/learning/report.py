"""What a lesson did: the pictures, and figures before and after. The audit keeps it, and commands print it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_ad.system.names import listed

OFFERED, TAUGHT, ACCEPTED = "offered", "taught", "accepted"
HELD_BACK, DEFECT, LEFT_OUT = "locked", "defect", "left out"
ROLES = (OFFERED, TAUGHT, ACCEPTED, HELD_BACK, DEFECT, LEFT_OUT)
_ROLE_TEXT = {
    OFFERED: "offered",
    TAUGHT: "taught",
    ACCEPTED: "accepted already, so nothing was taken from them",
    HELD_BACK: "held back: locked good images, which are never taught",
    DEFECT: "locked defects, which are never taught",
    LEFT_OUT: "left out",
}


@dataclass(frozen=True)
class Picture:
    """A picture of a lesson.

    Attributes:
        sha256: of the file.
        name: of the file, for a reader.
        role: one of `ROLES`.
        note: why it was left out.
    """

    sha256: str
    name: str
    role: str
    note: str = ""


@dataclass(frozen=True)
class Figures:
    """What an operating point was and is. Each pair is before and after.

    Attributes:
        point: its name.
        threshold: of the image score.
        rows: of its coreset; of both, where it has two input sizes.
        radius: the covering radius that rows had to lie beyond, of each input size.
        misses: locked defects that it does not find, of `defects`.
        held_back: locked good images that it rejects, of `goods`.
        offered: offered good images that it rejects, of `images`.
        power: share of synthetic defects that it finds, the mean of all kinds, sizes and contrasts, of `synthetic` on
            `pictures` pictures; None where none could be drawn.
    """

    point: str
    threshold: tuple[float, float]
    rows: tuple[int, int]
    radius: tuple[float, ...]
    misses: tuple[int, int]
    defects: int
    held_back: tuple[int, int]
    goods: int
    offered: tuple[int, int]
    images: int
    power: tuple[float, float] | None
    synthetic: int = 0
    pictures: int = 0

    def lines(self) -> list[tuple[str, str]]:
        """For a reader: what, and from what to what."""
        power = "not measured: no synthetic defect could be drawn"
        if self.power is not None:
            power = "{:.1%} -> {:.1%}".format(*self.power)
            power += f" of {self.synthetic} synthetic defects on {self.pictures} good picture{_s(self.pictures)}"
        radius = " and ".join(f"{each:.4g}" for each in self.radius)
        return [
            ("rows", f"{self.rows[0]:,} -> {self.rows[1]:,}; patches beyond the covering radius of {radius} alone"),
            ("threshold", "{:.4g} -> {:.4g}".format(*self.threshold)),
            ("misses", f"{self.misses[0]} -> {self.misses[1]} of {self.defects} locked defects"),
            ("false rejects", f"{self.held_back[0]} -> {self.held_back[1]} of {self.goods} locked good images"),
            ("offered", f"{self.offered[0]} -> {self.offered[1]} of {self.images} rejected"),
            ("power", power),
        ]


@dataclass(frozen=True)
class Report:
    """A lesson, or what was undone.

    Attributes:
        state: "learned", "nothing" (no offered image was rejected; what is to be locked is locked) or "undone".
        bundle: the file that was written.
        before, after: ids.
        number: of the record in the audit.
        seconds: that it took.
    """

    state: str
    bundle: str
    store: str
    before: str
    after: str
    who: str
    time: str
    number: int
    pictures: tuple[Picture, ...] = ()
    figures: tuple[Figures, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return dataclasses.asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """For a reader."""
        if self.state == "undone":
            return [("undone", f"{self.bundle} is {self.after} again, and {self.before} no more")]
        rows = [
            ("bundle", f"{self.bundle}: {self.before} -> {self.after}")
            if self.state == "learned"
            else ("nothing", f"none of the images is a false reject: {self.bundle} stays {self.before}")
        ]
        rows += picture_lines(self.pictures)
        for figures in self.figures:
            name = "" if len(self.figures) == 1 else f"{figures.point}: "
            rows += [(what, name + text) for what, text in figures.lines()]
        return [*rows, *(("note", note) for note in self.notes), ("store", self.store)]


def picture_lines(pictures: tuple[Picture, ...], most: int = 5) -> list[tuple[str, str]]:
    """For a reader: how many pictures have each role, and the names of the first few."""
    names: dict[tuple[str, str], list[str]] = {}
    for each in sorted(pictures, key=lambda picture: ROLES.index(picture.role)):
        names.setdefault((each.role, each.note), []).append(each.name)
    return [
        ("pictures", f"{len(own)} {_ROLE_TEXT[role]}{f', as {note}' if note else ''}: {listed(own, most)}")
        for (role, note), own in names.items()
    ]


def figures_of(found: Mapping[str, Any]) -> Figures:
    """Figures, from what JSON makes of them."""
    values: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in found.items()}
    return Figures(**values)


def _s(count: int) -> str:
    return "" if count == 1 else "s"
