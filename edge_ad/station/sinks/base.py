"""What every sink does: it takes rows of the journal, or raises to be given them again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edge_ad.station.journal import Row


@dataclass(frozen=True)
class SinkOpening:
    """What a sink is opened with.

    Attributes:
        station: name of the station.
        data: its data folder; pictures of rows lie below it.
        options: the keys of its kind.
        stopping: set when the station ends: what waits for a peer gives up.
        tell: says something of the sink in the log and among the events of the journal, before what it gives back.
    """

    station: str
    data: Path
    options: dict[str, Any]
    stopping: threading.Event = field(default_factory=threading.Event)
    tell: Callable[[str], None] = logging.getLogger("edge_ad.station").error


@dataclass(frozen=True)
class Message:
    """An outcome for a sink.

    Attributes:
        key: the same whenever this outcome is given, and no other's: a receiver leaves out what it has by it.
        row: the outcome; `row.number` grows from one to the next.
    """

    key: str
    row: Row


class NotYet(Exception):  # noqa: N818 - it is no error
    """Nothing is wrong: a picture is still being written, or the station ends. Try again soon."""


class Sink(Protocol):
    """Used by one thread."""

    def deliver(self, messages: Sequence[Message]) -> int | None:
        """Takes outcomes, in order. When it returns, they are safe there.

        Returns:
            None, or the number of the last outcome that it took: the others are given again, at once.

        Raises:
            NotYet: see there.
            Exception: any other; they all will be given again, after a pause that grows.
        """

    def close(self) -> None:
        """Gives everything back. May be called twice."""
