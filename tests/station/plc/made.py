"""A station that is only a script, and the answers that it gives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_ad.errors import SourceError, SpecError
from edge_ad.station.outcomes import FAULT, GOOD, Decision
from edge_ad.station.plc.base import Answer

HOUR_NS = 3600 * 10**9


def answer(part_id: str, outcome: str = GOOD, reason: str = "", deadline_ns: int | None = None) -> Answer:
    late = time.monotonic_ns() + HOUR_NS if deadline_ns is None else deadline_ns
    if outcome == FAULT and not reason:
        reason = "engine: it failed"
    return Answer("top", part_id, part_id, 7, late, 12.5, Decision(outcome, reason, 1.5, 2.5))


@dataclass
class ScriptedHost:
    """`Host`. Without `by_itself` it keeps what is asked until the test answers it."""

    by_itself: str = ""  # the outcome of each part
    keeps: int | None = None  # from this part on it waits for `give`
    why_not: str = ""
    recipes: int = 3
    used: int = 0
    opens: bool = True  # recipes that are selected, at once
    asked: list[tuple[str, Callable[[Answer], None]]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    selected: list[int] = field(default_factory=list)
    refuses: bool = False

    def ask(self, camera: str, part_id: str, answered: Callable[[Answer], None], recipe: int | None = None) -> None:
        if self.refuses:
            raise SourceError("the camera takes no trigger now")
        if recipe is not None and recipe != self.used:
            answered(answer(part_id, FAULT, "recipe: it is not in use"))
            return
        self.asked.append((part_id, answered))
        if self.by_itself and (self.keeps is None or len(self.asked) <= self.keeps):
            threading.Thread(target=answered, args=(answer(part_id, self.by_itself),), daemon=True).start()

    def give(self, outcome: str = GOOD, reason: str = "", deadline_ns: int | None = None) -> None:
        """Answers the last that was asked."""
        part_id, answered = self.asked[-1]
        answered(answer(part_id, outcome, reason, deadline_ns))

    def listen(self, listener: Callable[[Answer], None]) -> Callable[[], None]:
        return lambda: None

    def not_ready(self, camera: str) -> str:
        return self.why_not

    def deadline_ms(self, camera: str) -> float:
        return 60_000.0

    def recipe(self, camera: str) -> int:
        return self.used

    def select_recipe(self, camera: str, number: int) -> None:
        if number >= self.recipes:
            raise SpecError("there is no such recipe", got=number)
        self.selected.append(number)
        if self.opens:
            self.used = number

    def tell(self, camera: str, kind: str, text: str) -> None:
        self.told.append(text)
