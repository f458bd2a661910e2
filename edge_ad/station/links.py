"""The links of a station, and what they may ask of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edge_ad.errors import SourceError, SpecError
from edge_ad.station.desk import Desk, Ticket
from edge_ad.station.events import EventKind
from edge_ad.station.plc.base import Answer, KnownRecipe, Link, LinkOpening, LinkState, answer_of
from edge_ad.station.plc.table import LINKS

if TYPE_CHECKING:
    from edge_ad.station.config import Config, LinkConfig
    from edge_ad.station.line import Line

_log = logging.getLogger("edge_ad.station")


class Links:
    """Opens links, and is their host (`Host` of base.py). Thread-safe but for `open`, `exchange` and `close`.

    Args:
        lines: of the cameras, by name; may change.
    """

    def __init__(self, lines: Mapping[str, Line]) -> None:
        self._lines = lines
        self._open: dict[LinkConfig, Link] = {}
        self._listeners: tuple[Callable[[Answer], None], ...] = ()
        self._desk: Desk | None = None
        self._station = ""

    # ------------------------------------------------------------------------------------------------ the host

    def ask(self, camera: str, part_id: str, answered: Callable[[Answer], None], recipe: int | None = None) -> None:
        """See `Host`."""
        line = self._line(camera)
        why = line.away
        if why:
            raise SourceError(f"camera {camera} takes no trigger now: {why}")
        line.trigger(part_id, lambda ticket: _give(ticket, answered), recipe)

    def listen(self, listener: Callable[[Answer], None]) -> Callable[[], None]:
        """See `Host`."""
        self._listeners = (*self._listeners, listener)

        def end() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return end

    def not_ready(self, camera: str) -> str:
        """See `Host`."""
        try:
            return self._line(camera).not_ready
        except SpecError as error:
            return str(error)

    def deadline_ms(self, camera: str) -> float:
        """See `Host`."""
        return self._line(camera).camera.deadline_ms

    def recipe(self, camera: str) -> int:
        """See `Host`."""
        return self._line(camera).slot.number

    def select_recipe(self, camera: str, number: int) -> None:
        """See `Host`."""
        self._line(camera).slot.select(number)

    def recipes(self, camera: str) -> tuple[KnownRecipe, ...]:
        """See `Host`."""
        return tuple(KnownRecipe(path, bundle) for path, bundle in self._line(camera).slot.known())

    def opens_recipe(self, camera: str) -> bool:
        """See `Host`."""
        line = self._line(camera)
        return not line.away and line.slot.opens

    def bundle(self, camera: str) -> str:
        """See `Host`."""
        return self._line(camera).slot.current.runtime.bundle_id

    def tell(self, camera: str, kind: EventKind, text: str) -> None:
        """See `Host`."""
        if self._desk is not None:
            self._desk.event(camera, kind, text)

    def _line(self, camera: str) -> Line:
        line = self._lines.get(camera)
        if line is None:
            known = ", ".join(self._lines) or "none"
            raise SpecError("there is no camera of that name", expected=known, got=repr(camera))
        return line

    # ------------------------------------------------------------------------------------------------ the station

    def heard(self, ticket: Ticket) -> None:
        """Tells whoever listens of a durable outcome."""
        for listener in self._listeners:
            _give(ticket, listener)

    def open(self, config: Config, desk: Desk) -> None:
        """Opens those of a configuration that are not open.

        Raises:
            EdgeADError: one cannot be opened.
        """
        self._desk, self._station = desk, config.name
        for link in config.links:
            if link not in self._open:
                self._open[link] = self._opened(link, config)
                _log.info("link %s (%s): %s", link.id, link.kind, self._open[link].state().text)

    def _opened(self, link: LinkConfig, config: Config) -> Link:
        opening = LinkOpening(link.id, self._station, self, dict(link.options), config.data, config.cameras)
        return LINKS.open(link.kind, opening)

    def exchange(self, config: Config, desk: Desk) -> None:
        """Closes those that are gone from the configuration, and opens the new ones.

        Raises:
            EdgeADError: one cannot be opened. With the configuration before, all are as they were.
        """
        for link in [link for link in self._open if link not in config.links]:
            self._open.pop(link).close()
        self.open(config, desk)

    def states(self) -> dict[str, LinkState]:
        """How each link is."""
        return {link.id: opened.state() for link, opened in list(self._open.items())}

    def close(self) -> None:
        """May be called twice."""
        while self._open:
            self._open.popitem()[1].close()


def _give(ticket: Ticket, listener: Callable[[Answer], None]) -> None:
    answer = answer_of(ticket)
    if answer is None:
        return
    try:
        listener(answer)
    except Exception:  # of any kind; the desk must go on
        _log.exception("a link failed at the outcome of part %s", ticket.part_id)
