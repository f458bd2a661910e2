"""Where a source goes on, when it is opened again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def _nothing(part_id: str) -> bool:
    return False


@dataclass(frozen=True)
class Resume:
    """What whoever reads knows of a source from before.

    Attributes:
        base: folder that relative paths start from.
        first: the source's first number (`Capture.sequence`): one more than the last that is known. Part ids that are
            made of it are unique after a restart too.
        known: whether a part id has been accepted already: what a source would give twice is left out by it.
    """

    base: Path = Path()
    first: int = 0
    known: Callable[[str], bool] = _nothing
