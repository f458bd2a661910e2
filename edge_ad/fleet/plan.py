"""Keeps the books: which images are done, in flight, waiting, or to be tried again after their worker died.

The work is cut into shards of a fixed size; a shard becomes a file when all its rows are there. What a worker gets is a
piece of a shard. A piece whose worker dies is tried again; the second time it is cut into single images, so that the
one that kills its workers is found. An image that kills its worker twice is given up: its row has an error.

Nothing here starts anything: a plan is told what happened, and says what comes next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edge_ad.errors import EdgeADError

TRIES = 2  # of a piece, and then of an image
_GIVEN_UP_IN_A_ROW = 8  # images, with no answer between: then it is no image's fault


@dataclass(frozen=True)
class Piece:
    """Images for a worker.

    Attributes:
        shard: number of the shard.
        start, stop: place in the work list, half-open.
        deaths: workers that died at it.
    """

    shard: int
    start: int
    stop: int
    deaths: int = 0

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Finished:
    """A shard whose rows are all there.

    Attributes:
        columns: name -> values, in the order of the work list.
        retries: pieces and images of it that were tried again.
    """

    shard: int
    columns: dict[str, Any]
    retries: int


@dataclass
class _Open:
    """A shard of which something is in flight."""

    missing: int
    answers: dict[int, dict[str, Any]] = field(default_factory=dict)  # where a piece starts -> its columns
    retries: int = 0


def shards_of(count: int, size: int) -> list[tuple[int, int]]:
    """The shards of so many images: where each starts and stops."""
    return [(start, min(start + size, count)) for start in range(0, count, size)]


class Plan:
    """The books of a run.

    At most `ahead` shards are open at once, which bounds the rows that are held.

    Args:
        count: images in the work list.
        shard_size: images in a shard.
        todo: numbers of the shards to do.
        piece_size: images that a worker gets at once.
        ahead: open shards.
    """

    def __init__(self, count: int, shard_size: int, todo: Iterable[int], piece_size: int, ahead: int) -> None:
        self._bounds = shards_of(count, shard_size)
        self._todo = deque(todo)
        self._piece_size, self._ahead = piece_size, ahead
        self._waiting: deque[Piece] = deque()
        self._open: dict[int, _Open] = {}
        self._given_up = 0

    @property
    def is_done(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not (self._todo or self._open)

    def next(self) -> Piece | None:
        """The next piece to do, which is in flight then; None while there is none."""
        if not self._waiting and self._todo and len(self._open) < self._ahead:
            number = self._todo.popleft()
            start, stop = self._bounds[number]
            self._open[number] = _Open(stop - start)
            steps = range(start, stop, self._piece_size)
            self._waiting.extend(Piece(number, at, min(at + self._piece_size, stop)) for at in steps)
        return self._waiting.popleft() if self._waiting else None

    def put_back(self, piece: Piece) -> None:
        """A piece that its worker had not begun: it is the next again, and no try is counted."""
        self._waiting.appendleft(piece)

    def answered(self, piece: Piece, columns: dict[str, Any]) -> Finished | None:
        """Takes the rows of a piece; gives the shard if it is complete with them."""
        self._given_up = 0
        return self._took(piece, columns)

    def died(self, piece: Piece) -> bool:
        """A worker died at a piece: it, or its images one by one, are the next again.

        Returns:
            False if it is an image that is to be given up: its rows are wanted from `gave_up`.

        Raises:
            EdgeADError: image after image was given up, and none was inspected meanwhile.
        """
        shard = self._open[piece.shard]
        again = replace(piece, deaths=piece.deaths + 1)
        if again.deaths < TRIES:
            shard.retries += 1
            self._waiting.appendleft(again)
            return True
        if len(piece) > 1:
            shard.retries += len(piece)
            self._waiting.extendleft(Piece(piece.shard, at, at + 1) for at in reversed(range(piece.start, piece.stop)))
            return True
        self._given_up += 1
        if self._given_up >= _GIVEN_UP_IN_A_ROW:
            raise EdgeADError(
                "the workers die at every image",
                got=f"{self._given_up} images in a row, {TRIES} times each",
                remedy="Try one by edge-ad inspect. Is there enough memory for so many workers (--workers)?",
            )
        return False

    def gave_up(self, piece: Piece, columns: dict[str, Any]) -> Finished | None:
        """Takes the rows with errors of a piece that `died` gave up; gives the shard if it is complete with them."""
        return self._took(piece, columns)

    def _took(self, piece: Piece, columns: dict[str, Any]) -> Finished | None:
        shard = self._open[piece.shard]
        assert piece.start not in shard.answers, "a piece is in flight once"
        shard.answers[piece.start] = columns
        shard.missing -= len(piece)
        if shard.missing:
            return None
        del self._open[piece.shard]
        parts = [shard.answers[start] for start in sorted(shard.answers)]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return Finished(piece.shard, joined, shard.retries)
