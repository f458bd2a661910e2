"""What all crews of workers have in common: what they are asked, what they answer, and what a worker does."""

from __future__ import annotations

import time
import warnings
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from edge_ad.errors import EdgeADError, ImageWarning
from edge_ad.fleet.inspector import Inspector
from edge_ad.fleet.plan import Piece

DEPTH = 2  # pieces that a worker has at once: it begins the second while the driver writes down the first
START_S = 600.0  # until a worker is ready, and
PATIENCE_S, PATIENCE_PER_IMAGE_S = 600.0, 30.0  # until it answers a piece: after that it hangs
HANGS = "no answer for too long"  # why a worker is ended
_DEATHS_AT_START = 3  # in a row, beside one of each worker


@dataclass(frozen=True)
class Answer:
    """The columns of a batch as `Inspector` gives them.

    Attributes:
        notes: text of an `ImageWarning` -> number of images.
    """

    columns: dict[str, Any]
    notes: Mapping[str, int]


@dataclass(frozen=True)
class Ready:
    """A worker has opened its Runtime; `facts` is what `Inspector.open` says."""

    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Answered:
    """A worker has done a piece."""

    piece: Piece
    answer: Answer


@dataclass(frozen=True)
class Died:
    """A worker is gone, and another one starts in its place.

    Attributes:
        piece: that it was at; None if it had none.
        unbegun: pieces that waited for it.
        why: for a reader.
    """

    piece: Piece | None
    unbegun: tuple[Piece, ...]
    why: str


Event = Ready | Answered | Died


class Crew(Protocol):
    """Workers. Whoever makes one closes it, whatever happens."""

    size: int

    def wants(self) -> int | None:
        """The number of a worker that can take a further piece; None while there is none."""

    def give(self, worker: int, piece: Piece, paths: list[str]) -> None:
        """Gives a worker that wants it a piece."""

    def wait(self, timeout_s: float) -> list[Event]:
        """What has happened, at the latest after so long.

        Raises:
            EdgeADError: no worker can open the bundle.
        """

    def close(self) -> None:
        """Ends all workers at once."""


@dataclass
class Load:
    """The pieces that a worker has, the first of which it is at.

    Attributes:
        waited_s: for it to be ready, or to answer the first piece.
    """

    pieces: deque[Piece] = field(default_factory=deque)
    is_ready: bool = False
    waited_s: float = 0.0

    def ready(self) -> None:
        """The worker is."""
        self.is_ready, self.waited_s = True, 0.0

    def done(self) -> Piece:
        """The piece that the worker has answered."""
        self.waited_s = 0.0
        return self.pieces.popleft()

    def hangs(self, passed_s: float) -> bool:
        """Whether the worker has given no sign for too long, when so much more time has passed."""
        if self.is_ready and not self.pieces:
            self.waited_s = 0.0
            return False
        self.waited_s += passed_s
        if not self.is_ready:
            return self.waited_s > START_S
        return self.waited_s > PATIENCE_S + PATIENCE_PER_IMAGE_S * len(self.pieces[0])

    def death(self, why: str) -> Died:
        """The worker died."""
        first = self.pieces.popleft() if self.pieces and self.is_ready else None
        return Died(first, tuple(self.pieces), why)


class Watch:
    """The time that passes between two looks. A driver that was stopped itself, as by Ctrl-Z, does not count it all:
    its workers were stopped with it.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()

    def passed(self, timeout_s: float) -> float:
        """Seconds since the last look, which was to take so long."""
        before, self._last = self._last, time.monotonic()
        return min(self._last - before, timeout_s + 1)


class Starts:
    """Counts workers that die before they are ready, so that this does not go on for ever.

    Args:
        size: of the crew; a machine that goes takes several of them.
    """

    def __init__(self, size: int) -> None:
        self._died, self._most = 0, size + _DEATHS_AT_START

    def ready(self) -> None:
        """One is ready."""
        self._died = 0

    def died(self, why: str) -> None:
        """One died.

        Raises:
            EdgeADError: several have, and none became ready between.
        """
        self._died += 1
        if self._died >= self._most:
            raise EdgeADError(
                "the workers die when they open the bundle",
                got=f"{self._died} in a row; {why}",
                remedy="Is there enough memory for so many (--workers)?",
            )


def least_loaded(loads: Mapping[int, Load]) -> int | None:
    """The worker with the fewest pieces, if it may have more. One that is not ready gets none: pieces would wait."""
    able = [(len(load.pieces), number) for number, load in loads.items() if load.is_ready]
    fewest = min(able, default=None)
    return fewest[1] if fewest is not None and fewest[0] < DEPTH else None


def answered(inspector: Inspector, paths: list[str]) -> Answer:
    """The rows of a piece, and what `ImageWarning`s say. For the one thread of a worker: filters are the process's."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ImageWarning)
        columns = inspector({"path": paths})
    notes = Counter(str(each.message) for each in caught if issubclass(each.category, ImageWarning))
    return Answer({name: column for name, column in columns.items() if name != "path"}, notes)
