"""What a lesson is asked for, and what makes its bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edge_ad.learning.policy import Limits
from edge_ad.learning.report import Figures

KNOWN = "the bundle has learned from it before"


@dataclass(frozen=True)
class Asked:
    """What a lesson is asked for.

    Attributes:
        bundle: the file that learns.
        good: good images to learn from.
        defects: confirmed defects to lock.
        store: the folder of its lessons.
        out: where the new bundle goes, if not in place of the old one.
        who: who says that the images are good.
        threads: most threads; None for the usual number.
    """

    bundle: Path
    good: Sequence[Path]
    defects: Sequence[Path]
    store: Path
    out: Path | None = None
    who: str = ""
    limits: Limits = field(default_factory=Limits)
    threads: int | None = None


@dataclass(frozen=True)
class Task:
    """What the maker of a new bundle is given.

    Attributes:
        bundle, first: the bundle that learns, and the first one of its chain.
        offered: good images to learn from.
        goods, defects: locked images: to calibrate and to test with.
        names: file -> what to call it.
        refused: folder for pictures of known defects that would pass.
    """

    bundle: Path
    first: Path
    offered: Sequence[Path]
    goods: Sequence[Path]
    defects: Sequence[Path]
    names: Mapping[Path, str]
    limits: Limits
    threads: int | None
    refused: Path


@dataclass(frozen=True)
class Made:
    """A new bundle.

    Attributes:
        path: the file; None if no image was rejected, so that there was nothing to learn.
        taught: the images that rows were taken from.
        lost: known defects that would pass -> the picture that was drawn of each.
    """

    path: Path | None
    taught: frozenset[Path]
    figures: tuple[Figures, ...]
    lost: Mapping[Path, Path]
    notes: tuple[str, ...] = ()


class Maker(Protocol):
    """Makes the new bundle: `export.learn.make`."""

    def check(self, bundle: Path) -> None:
        """Refuses a bundle that cannot learn so.

        Raises:
            EdgeADError: its method, its frames or its rule do not allow it.
        """
        ...

    def unfit(self, bundle: Path, images: Sequence[Path], threads: int | None) -> Mapping[Path, str]:
        """Images that say nothing new -> why: the part is not found in them, or the bundle learned from them."""
        ...

    def make(self, task: Task, folder: Path) -> Made:
        """Writes the new bundle into the folder, and measures both."""
        ...
