"""Lessons for tests: pictures, a maker that needs no fit, and the command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad.bundle.file import Bundle
from edge_ad.learning.lesson import learn
from edge_ad.learning.report import Figures, Report
from edge_ad.learning.store import Store, id_of, store_of
from edge_ad.learning.task import Asked, Made, Task
from tests.edited import edited
from tests.tiny import good_frame, picture

FIGURES = Figures("f32", (0.5, 0.5), (100, 110), (0.3,), (1, 1), 4, (1, 0), 2, (3, 0), 5, (0.5, 0.49), 300, 3)


def labelled_part(seed: int) -> np.ndarray:
    """A good part with a label that no part had before."""
    frame = good_frame(seed)
    frame[40:52, 8:20] = (40, 200, 200)
    return frame


def new_lot(folder: Path, count: int = 8, start: int = 4000) -> Path:
    """Good parts that the golden bundle rejects."""
    for at in range(count):
        picture(folder / f"lot_{start + at}.png", labelled_part(start + at))
    return folder


def usual(folder: Path, count: int = 4, start: int = 4100) -> Path:
    """Good parts that it accepts."""
    for at in range(count):
        picture(folder / f"usual_{start + at}.png", good_frame(start + at))
    return folder


@dataclass
class QuickMaker:
    """Gives the bundle another name instead of a lesson; all offered images are taught.

    Attributes:
        tasks: what it was given.
        error: raised in place of a bundle.
    """

    figures: Figures = FIGURES
    lost: Mapping[str, str] = field(default_factory=dict)
    unfit_ones: Mapping[str, str] = field(default_factory=dict)
    error: Exception | None = None
    tasks: list[Task] = field(default_factory=list)

    def check(self, bundle: Path) -> None:
        pass

    def unfit(self, bundle: Path, images: Sequence[Path], threads: int | None) -> dict[Path, str]:
        return {path: self.unfit_ones[path.name] for path in images if path.name in self.unfit_ones}

    def make(self, task: Task, folder: Path) -> Made:
        self.tasks.append(task)
        if self.error is not None:
            raise self.error
        if not task.offered:
            return Made(None, frozenset(), (), {})
        with Bundle.open(task.bundle, points=()) as bundle:
            name = f"{bundle.manifest.name}+"
        out = edited(task.bundle, folder / "new.bundle", name=name)
        lost = {path: Path(self.lost[task.names[path]]) for path in task.defects if task.names[path] in self.lost}
        return Made(out, frozenset(task.offered), (self.figures,), lost)


def lesson(bundle: Path, good: Path | None, maker: Any, defects: Path | None = None, **more: Any) -> Report:
    """A lesson from folders of images."""
    images = [sorted(folder.iterdir()) if folder is not None else [] for folder in (good, defects)]
    return learn(Asked(bundle, *images, store_of(bundle), who="anna", **more), maker)


def agrees(bundle: Path) -> bool:
    """Whether the audit is sound, and says that the bundle is what the file holds."""
    entries = Store(store_of(bundle)).entries
    placed = [each.after for each in entries if each.done and not each.target]
    return not any(each.open for each in entries) and (not placed or placed[-1] == id_of(bundle))
