"""A station that does what a test says, for links."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge_ad.errors import SourceError, SpecError
from edge_ad.station.outcomes import Decision
from edge_ad.station.plc.base import Answer, KnownRecipe


class FakeHost:
    """A host with the camera "top".

    Attributes:
        asked: part ids, in order.
        why: why it is not ready.
        deadline: milliseconds.
        events: (kind, text).
        decides: the outcome of a part; None leaves it open.
        paths: of the bundles of its recipes.
        bundles: that it was inspected with, by recipe.
        opening: the recipe that was selected and waits for `opened` or `broken`.
        opens: whether recipes are in use as soon as they are selected.
    """

    def __init__(self, decides: Callable[[str], str | None] = lambda part_id: "good") -> None:
        self.asked: list[str] = []
        self.why, self.deadline = "", 60_000.0
        self.events: list[tuple[str, str]] = []
        self.decides = decides
        self.open: list[tuple[str, Callable[[Answer], None], int]] = []
        self.listeners: list[Callable[[Answer], None]] = []
        self.paths = [Path("part.bundle")]
        self.bundles, self.used = {0: "b1"}, 0
        self.opening: int | None = None
        self.opens = True
        self.recipes_asked: list[int | None] = []
        self._broken = ""
        self._count = 0
        self._lock = threading.Lock()

    def ask(self, camera: str, part_id: str, answered: Callable[[Answer], None], recipe: int | None = None) -> None:
        self._check(camera)
        if self.why:
            raise SourceError(f"camera {camera} takes no trigger now: {self.why}")
        with self._lock:
            self.asked.append(part_id)
            self.recipes_asked.append(recipe)
        self.open.append((part_id, answered, time.monotonic_ns() + round(self.deadline * 1e6)))
        outcome = self.decides(part_id)
        if outcome is not None:
            self.settle(outcome)

    def settle(self, outcome: str) -> Answer:
        """Answers the oldest that is open."""
        part_id, answered, deadline_ns = self.open.pop(0)
        self._count += 1
        decision = Decision(outcome, "" if outcome == "good" else "a test", 0.5, 1.0)
        answer = Answer("top", part_id, part_id, self._count, deadline_ns, 3.0, decision)
        answered(answer)
        for listener in self.listeners:
            listener(answer)
        return answer

    def listen(self, listener: Callable[[Answer], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def not_ready(self, camera: str) -> str:
        return self.why or self._broken or ("" if self.opening is None else f"recipe {self.opening} is being opened")

    def deadline_ms(self, camera: str) -> float:
        self._check(camera)
        return self.deadline

    def bundle(self, camera: str) -> str:
        self._check(camera)
        return self.bundles[self.used]

    def recipe(self, camera: str) -> int:
        self._check(camera)
        return self.used

    def recipes(self, camera: str) -> tuple[KnownRecipe, ...]:
        self._check(camera)
        return tuple(KnownRecipe(path, self.bundles.get(at, "")) for at, path in enumerate(self.paths))

    def opens_recipe(self, camera: str) -> bool:
        self._check(camera)
        return self.opening is not None and not self.why

    def select_recipe(self, camera: str, number: int) -> None:
        self._check(camera)
        if not 0 <= number < len(self.paths):
            raise SpecError(f"camera {camera} has no recipe {number}")
        self._broken, self.opening = "", None if number == self.used else number
        if self.opens and self.opening is not None:
            self.opened(f"b{number + 1}")

    def opened(self, bundle: str) -> None:
        """The recipe that is being opened is in use now."""
        assert self.opening is not None
        self.bundles[self.opening] = bundle
        self.used, self.opening = self.opening, None

    def broken(self) -> None:
        """The recipe that is being opened cannot be."""
        self._broken, self.opening = f"recipe {self.opening} cannot be opened: a test", None

    def tell(self, camera: str, kind: str, text: str) -> None:
        self.events.append((kind, text))

    def _check(self, camera: str) -> None:
        if camera != "top":
            raise SpecError("there is no camera of that name", expected="top", got=repr(camera))
