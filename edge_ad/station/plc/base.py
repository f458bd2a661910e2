"""What every link to a controller does, and what it may ask of the station.

A link is no sink. A sink gets every outcome, some time; a link gives an answer in time, or the controller must take the
part for a fault. So whoever sends "good" asks `Answer.in_time` at the last moment before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edge_ad.station.desk import Ticket
from edge_ad.station.events import EventKind
from edge_ad.station.outcomes import FAULT, GOOD, LATE, Decision

if TYPE_CHECKING:
    from edge_ad.station.config import Camera

_TELL_AGAIN_S = 60.0


@dataclass(frozen=True)
class Answer:
    """The durable outcome of a trigger.

    Attributes:
        part_id: as it was asked for.
        journal_id: as the journal has it: another one where the camera had that part id before.
        number: of the outcome in the journal.
        deadline_ns: by `time.monotonic_ns`.
        latency_ms: from the trigger to the decision.
        decision: outcome, reason, score and the rest.
    """

    camera: str
    part_id: str
    journal_id: str
    number: int
    deadline_ns: int
    latency_ms: float
    decision: Decision

    @property
    def in_time(self) -> bool:
        """Whether a good part may still be called good: nothing that says good is sent after the deadline."""
        return self.decision.outcome != GOOD or time.monotonic_ns() < self.deadline_ns

    @property
    def outcome(self) -> str:
        """The outcome to be sent now: a fault in place of a good part whose time is up."""
        return self.decision.outcome if self.in_time else FAULT

    @property
    def reason(self) -> str:
        """Why, of the outcome to be sent now."""
        return self.decision.reason if self.in_time else f"{LATE}: the controller could not be told before the deadline"


def answer_of(ticket: Ticket) -> Answer | None:
    """What a ticket ended with; None while it is not durable."""
    if ticket.decision is None or ticket.number is None or ticket.latency_ms is None:
        return None
    asked = ticket.capture
    told = (asked.camera, asked.part_id, ticket.part_id, ticket.number, ticket.deadline_ns, ticket.latency_ms)
    return Answer(*told, ticket.decision)


@dataclass(frozen=True)
class KnownRecipe:
    """A recipe of a camera.

    Attributes:
        path: of its bundle file.
        bundle: id of the bundle that the camera was inspected with by this recipe last; "" where it never was.
    """

    path: Path
    bundle: str


class Host(Protocol):
    """What a link may ask of the station. Thread-safe, and nothing here waits."""

    def ask(self, camera: str, part_id: str, answered: Callable[[Answer], None], recipe: int | None = None) -> None:
        """Asks for an inspection, now. `answered` is called once, by the thread of the journal: it must return at once.

        Where the station ends before the trigger is accepted, it is never called: a link counts the time itself.

        Args:
            recipe: the part is inspected with this one, or is a fault (`recipe`); None for whichever is in use.

        Raises:
            SpecError: there is no such camera, or the part id is empty.
            SourceError: the camera takes no triggers, or none now.
        """

    def listen(self, listener: Callable[[Answer], None]) -> Callable[[], None]:
        """From now on the listener is called with every durable outcome of every camera, by the thread of the journal:
        it must return at once. Returns what ends this."""

    def not_ready(self, camera: str) -> str:
        """Why a trigger of this camera would be a fault now; "" where it is ready."""

    def deadline_ms(self, camera: str) -> float:
        """From the trigger to the outcome."""

    def bundle(self, camera: str) -> str:
        """The id of the bundle that the camera inspects with now.

        Raises:
            SpecError: there is no such camera.
        """

    def recipe(self, camera: str) -> int:
        """The recipe that parts of this camera are inspected with: 0 is `bundle`, 1 the first of `recipes`.

        Raises:
            SpecError: there is no such camera.
        """

    def select_recipe(self, camera: str, number: int) -> None:
        """From now on parts of this camera are to be inspected with this recipe; also after a restart.

        It is opened meanwhile, and until it is in use the camera is not ready, and each trigger a fault (`recipe`).

        Raises:
            SpecError: there is no such camera or recipe. Nothing has changed.
        """

    def recipes(self, camera: str) -> tuple[KnownRecipe, ...]:
        """The recipes that may be selected; the first is `bundle`.

        Raises:
            SpecError: there is no such camera.
        """

    def opens_recipe(self, camera: str) -> bool:
        """Whether the camera is not ready for no other reason than that the recipe which is selected is being opened.

        Raises:
            SpecError: there is no such camera.
        """

    def tell(self, camera: str, kind: EventKind, text: str) -> None:
        """Journals an event."""


@dataclass(frozen=True)
class LinkOpening:
    """What a link is opened with.

    Attributes:
        id: of the link, for logs and events.
        station: name of the station.
        options: the keys of its kind.
        data: the station's data folder.
        cameras: of the station.
    """

    id: str
    station: str
    host: Host
    options: dict[str, Any]
    data: Path = Path()
    cameras: tuple[Camera, ...] = ()


@dataclass(frozen=True)
class LinkState:
    """How a link is.

    Attributes:
        well: whether the controller is there.
        text: for people, one line.
    """

    well: bool
    text: str


class Link(Protocol):
    """A link to a controller; it has threads of its own."""

    def state(self) -> LinkState:
        """How it is now. Thread-safe, and it never waits."""

    def close(self) -> None:
        """Tells the controller that nothing comes any more, and ends. May be called twice."""


class Sparing:
    """Tells the same once a minute at most: whoever reaches a link can make it say things without end. Thread-safe."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._lock = tell, threading.Lock()
        self._told: dict[str, float] = {}

    def __call__(self, what: str, mark: str = "") -> None:
        """Tells it, where it was not told just now.

        Args:
            mark: texts with the same one are the same thing; "" for the text itself.
        """
        now, mark = time.monotonic(), mark or what
        with self._lock:
            self._told = {each: at for each, at in self._told.items() if now - at < _TELL_AGAIN_S}
            if mark in self._told:
                return
            self._told[mark] = now
        self._tell(what)
