"""A handshake with the station behind it: asks for inspections, follows the recipe that is selected, journals.

What every link does that hands a controller registers or variables. Used by one thread, the link's own; answers of the
station are posted to it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

from edge_ad.errors import EdgeADError
from edge_ad.station.events import EventKind
from edge_ad.station.plc.base import Answer, Host, LinkState
from edge_ad.station.plc.handshake import Ask, Code, Controls, Handshake, Shown, State, code_of

_log = logging.getLogger("edge_ad.station")
_BEAT_NS = 10**8
_MARGIN_MS = 250.0  # after the deadline, before an outcome is not waited for any more

Post = Callable[[Callable[[], None]], None]


class Dialogue:
    """See the module. One thread but for `state`.

    Args:
        name: of the link.
        heartbeat_ms: as in `Handshake`.
        post: has a call made by the link's thread, at once. Thread-safe.
    """

    def __init__(self, host: Host, camera: str, name: str, heartbeat_ms: float, post: Post) -> None:
        self._host, self._camera, self._name, self._post = host, camera, name, post
        self._shake = Handshake(round(heartbeat_ms * 1e6))
        self._selected: int | None = None  # that the controller said last, since it is there
        self._beat, self._beat_ns = 0, 0
        self._deadline_ms = 1000.0

    def take(self, controls: Controls) -> None:
        """The controller was read."""
        ask = self._shake.controls(controls, time.monotonic_ns())
        if self._shake.state == State.OFFLINE:
            self._selected = None
        elif controls.recipe != self._selected:
            self._select(controls.recipe)
        if ask is not None:
            self._ask(ask, controls.recipe)
        self._look(controls.recipe)
        self._tell()

    def tick(self) -> None:
        """Time passes; some times in each tenth of a second."""
        now = time.monotonic_ns()
        if now - self._beat_ns >= _BEAT_NS:
            self._beat_ns, self._beat = now, self._beat % 0xFFFE + 1
        self._look(self._selected)
        self._shake.tick(now)
        if self._shake.state == State.OFFLINE:
            self._selected = None
        self._tell()

    def lost(self, why: str) -> None:
        """The line to the controller is cut."""
        self._shake.lost(why)
        self._selected = None
        self._tell()

    def show(self) -> Shown:
        """What the controller is to see, judged now: to be called at the very moment at which it is written."""
        shown = self._shake.show(time.monotonic_ns())
        self._tell()
        return shown

    @property
    def heartbeat(self) -> int:
        """Of the station; grows with `tick`, and is never 0."""
        return self._beat

    @property
    def recipe(self) -> int | None:
        """The recipe that is in use; None where there is no such camera now."""
        try:
            return self._host.recipe(self._camera)
        except EdgeADError:
            return None

    def state(self) -> LinkState:
        """For `Link.state`. Thread-safe."""
        state = self._shake.state
        return LinkState(state != State.OFFLINE, "no controller" if state == State.OFFLINE else state.name.lower())

    # ------------------------------------------------------------------------------------------------ the station

    def _look(self, wanted: int | None) -> None:
        """Whether a trigger would be inspected."""
        why_not, used = self._host.not_ready(self._camera), self.recipe
        if not why_not and wanted is not None and used != wanted:
            why_not = f"recipe {wanted} is selected, and {used} is in use"
        self._shake.ready(why_not)

    def _select(self, number: int) -> None:
        self._selected = number
        try:
            self._host.select_recipe(self._camera, number)
        except EdgeADError as error:
            self._shake.notes.append(f"recipe {number} cannot be selected: {error}")

    def _ask(self, ask: Ask, recipe: int) -> None:
        answered = partial(self._hear, ask.token)
        try:
            self._deadline_ms = self._host.deadline_ms(self._camera)
            self._shake.patience_ns = round((self._deadline_ms + _MARGIN_MS) * 1e6)
            self._host.ask(self._camera, ask.part_id, answered, recipe)
        except EdgeADError as error:
            self._shake.refused(ask.token, code_of(self._host.not_ready(self._camera), Code.NOT_READY), str(error))

    def _hear(self, token: int, answer: Answer) -> None:
        """By the thread of the journal."""
        self._post(partial(self._shake.answered, token, answer))

    def _tell(self) -> None:
        notes = self._shake.notes
        while notes:
            text = f"{self._name}: {notes.pop(0)}"
            _log.info("camera %s: %s", self._camera, text)
            self._host.tell(self._camera, EventKind.PLC, text)
