"""A whole station: cameras, desk, bundles, sinks, pictures and retention, from the start to the stop."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edge_ad._version import __version__
from edge_ad.errors import EdgeADError, SpecError
from edge_ad.station.alarms import BUNDLE, Alarms
from edge_ad.station.config import Camera, Config, SinkConfig, load_config
from edge_ad.station.desk import Desk, Ticket
from edge_ad.station.events import EventKind
from edge_ad.station.journal import Journal
from edge_ad.station.line import Line
from edge_ad.station.links import Links
from edge_ad.station.lock import FolderLock
from edge_ad.station.outbox import Outbox
from edge_ad.station.page.host import Page
from edge_ad.station.pictures import Pictures
from edge_ad.station.retention import Keeper
from edge_ad.station.swap import Slot

_log = logging.getLogger("edge_ad.station")
_PATIENCE_S = 5.0  # for sinks, at the end


class Station:
    """Everything that `edge-ad run` runs. Close it, whatever happened.

    Args:
        config: checked already.
        batch: process what is there, and end (`--until-idle`).

    Raises:
        EdgeADError: another station works on the data folder, or it cannot be written; a bundle, a source or a sink
            cannot be opened.
    """

    def __init__(self, config: Config, *, batch: bool = False) -> None:
        self.config, self._batch = config, batch
        self._lines: dict[str, Line] = {}
        self._outboxes: dict[str, Outbox] = {}
        self.outcomes: Counter[str] = Counter()  # that have become durable since the start
        self._links = Links(self._lines)
        self.page = Page(self)
        self._stack = contextlib.ExitStack()
        try:
            lock = FolderLock(config.data)
            self._stack.callback(lock.close)
            self.keeper = Keeper(config.data, config.retention)
            self._stack.callback(self.keeper.close)
            room = self.keeper.make_room_for_picture
            self.pictures = Pictures(config.data, config.retention.good_sample, room)
            room_for_journal = self.keeper.make_room_for_journal
            self.desk = Desk(config.journal, self.pictures.plan, room_for_journal, self.pictures.size_of)
            self._journal_file = _identity(config.journal)
            self._stack.callback(self.desk.close)
            self._stack.callback(self.pictures.close)
            with Journal(config.journal) as journal:
                self.alarms = Alarms(self.desk, journal.alarms())
            self.pictures.start(self.desk)
            self.keeper.start(self.desk)
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        if self.desk.recovered:
            text = f"{self.desk.recovered} triggers had no outcome when the process before ended; they are faults"
            _log.warning(text)
            self.desk.event("", EventKind.RESTART, text)
        self.desk.event("", EventKind.START, f"edge-ad {__version__}, {self.config.path}")
        self._open_sinks(self.config.sinks)
        self._forget_sinks(self.config.sinks)
        for camera in self.config.cameras:
            self._lines[camera.name] = self._line(camera)
        for line in self._lines.values():
            self._start(line)
        self._links.open(self.config, self.desk)
        self.page.exchange(None if self._batch else self.config.http)

    def _line(self, camera: Camera) -> Line:
        desk = self.desk

        def adopted(name: str, recipe: int, bundle: str) -> None:
            now = time.time_ns()
            desk.write(lambda journal: journal.adopted(name, bundle, now, recipe))

        def chosen(name: str, recipe: int) -> None:
            desk.write(lambda journal: journal.choose(name, recipe))

        def before(recipe: int) -> str | None:
            with Journal(self.config.journal) as journal:
                return next(iter(journal.bundles_of(camera.name, recipe)), None)

        with Journal(self.config.journal) as journal:
            number = journal.recipe_of(camera.name)
        slot = Slot(camera, self.config.data, desk.event, adopted, chosen, before, number)
        try:
            runtime = slot.current.runtime
            told = (camera.name, camera.address, runtime.bundle_id, runtime.point, runtime.engine, camera.deadline_ms)
            _log.info("camera %s: %s, bundle %s at %s by %s, deadline %g ms", *told)
            base = self.config.path.parent
            return Line(camera, slot, desk, self.pictures, self.config.data, base, self._ended, self.config.drift)
        except BaseException:
            slot.close()
            raise

    def _start(self, line: Line) -> None:
        line.start()
        if line.error is not None and self._batch:
            raise line.error

    def _replace(self, old: Line | None, new: Line) -> None:
        """Starts a camera anew: what was wrong with it before ends where it is right now."""
        if old is not None:
            new.error = old.error  # that it is over is told when the source is open
            if not new.slot.refused:
                self.alarms.end(BUNDLE, new.camera.name)
        self._start(new)

    def _open_sinks(self, sinks: tuple[SinkConfig, ...], patiently: bool = False) -> None:
        for sink in sinks:
            if sink.id not in self._outboxes:
                station = self.config.name
                self._outboxes[sink.id] = Outbox(sink, station, self.config.data, self.desk, patiently=patiently)

    def _forget_sinks(self, sinks: tuple[SinkConfig, ...]) -> None:
        """The places of all but these."""
        names = [sink.id for sink in sinks]
        self.desk.write(lambda journal: journal.keep_sinks(names))

    def _ended(self, ticket: Ticket) -> None:
        assert ticket.decision is not None
        self.outcomes[ticket.decision.outcome] += 1
        self._links.heard(ticket)
        self.alarms.ended(ticket.capture.camera, ticket.decision.outcome)
        self.page.ended(ticket)
        for outbox in list(self._outboxes.values()):
            outbox.wake()

    # ------------------------------------------------------------------------------------------------ running

    def trigger(self, camera: str, part_id: str) -> None:
        """With `trigger = "software"`: asks for an inspection, now. Thread-safe.

        Raises:
            SpecError: there is no such camera.
            SourceError: it takes no triggers.
        """
        self.config.camera(camera)
        self._lines[camera].trigger(part_id)

    @property
    def links(self) -> Links:
        """The links to controllers, and what they and the operator page may ask."""
        return self._links

    @property
    def lines(self) -> Mapping[str, Line]:
        """The cameras, by name."""
        return self._lines

    @property
    def outboxes(self) -> Mapping[str, Outbox]:
        """The sinks, by name."""
        return self._outboxes

    def turn(self) -> bool:
        """Looks after everything; to be called some times a second. Whether there is more to do.

        Raises:
            EdgeADError: it cannot go on: the journal failed, or is gone.
        """
        if self.desk.failed is not None:
            raise EdgeADError(
                f"the journal {self.config.journal} failed",
                got=self.desk.failed,
                remedy="No trigger was accepted since. Check the disk; edge-ad doctor helps.",
            ) from self.desk.failed
        if _identity(self.config.journal) != self._journal_file:
            raise EdgeADError(
                f"the journal {self.config.journal} was moved or removed while the station ran",
                remedy="Nobody would find what it writes from here on. Put it back, or start the station again.",
            )
        self.alarms.look(self._lines, self._outboxes, self.keeper, self._links.states())
        return not (self._batch and self._is_idle())

    def _is_idle(self) -> bool:
        for line in self._lines.values():
            if line.error is not None:
                raise line.error
        if not all(line.idle for line in self._lines.values()) or self.desk.open_triggers:
            return False
        behind = [outbox for outbox in self._outboxes.values() if outbox.behind]
        for outbox in behind:
            if outbox.fails:
                raise EdgeADError(
                    f"the sink {outbox.config.id} takes nothing",
                    expected="a sink that takes what waits, as the station is to end",
                    got=outbox.fails,
                    remedy="Nothing is lost: the next run gives it what waits in the journal.",
                )
        return not behind

    def stuck(self, limit_s: float) -> str:
        """The camera whose loop has not got on for so long; "" where all have. Thread-safe."""
        now = time.monotonic()
        return next((name for name, line in list(self._lines.items()) if now - line.oldest_beat > limit_s), "")

    def reload(self) -> None:
        """Reads the configuration again: cameras and sinks that changed are started anew, all others go on.

        Raises:
            EdgeADError: it cannot be used. Nothing has changed.
        """
        new, old = load_config(self.config.path), self.config
        if (new.data, new.name) != (old.data, old.name):
            raise SpecError("name and data of a station change by a restart", remedy="Stop it and start it again.")
        gone = [camera.name for camera in old.cameras if camera not in new.cameras]
        made = self._prepare([camera for camera in new.cameras if camera not in old.cameras], new)
        self.config = new  # nothing fails from here on: a source that is not there is opened again
        self._forget_sinks(new.sinks)
        self.keeper.settings = new.retention
        self.pictures.good_sample = new.retention.good_sample
        for line in (*self._lines.values(), *made):
            line.drift.settings = new.drift
        for name in gone:
            self._lines[name].stop()
        ended = {name: self._lines.pop(name) for name in gone}
        for line in ended.values():
            line.join()
        self._lines |= {line.camera.name: line for line in made}
        for line in made:
            self._replace(ended.get(line.camera.name), line)
        told = f"ended: {', '.join(gone) or 'none'}; started: {', '.join(line.camera.name for line in made) or 'none'}"
        self.desk.event("", EventKind.RELOAD, f"{new.path}; {told}")

    def _prepare(self, cameras: Sequence[Camera], new: Config) -> list[Line]:
        """All that may fail of a new configuration: lines of its new cameras, not started, its links, sinks and page.
        Where one of them fails, those before are as they were. What disturbs nobody comes first."""
        old, made = self.config, list[Line]()
        self.page.check(new.http)
        with contextlib.ExitStack() as back:
            for camera in cameras:
                made.append(self._line(camera))
                back.callback(made[-1].join)
            back.callback(self._take_back, lambda: self._links.exchange(old, self.desk))
            self._links.exchange(new, self.desk)
            back.callback(self._forget_sinks, old.sinks)
            back.callback(self._take_back, lambda: self._exchange_sinks(old.sinks, patiently=True))
            self._exchange_sinks(new.sinks)
            back.callback(self._take_back, lambda: self.page.exchange(old.http))
            self.page.exchange(new.http)
            back.pop_all()
        return made

    def _take_back(self, undo: Callable[[], object]) -> None:
        """Where that fails too, it is told: what the reload failed of is raised all the same."""
        try:
            undo()
        except EdgeADError as error:
            told = f"a part of the configuration before is not in use again: {error}"
            _log.error(told)
            self.desk.event("", EventKind.RELOAD, told)

    def _exchange_sinks(self, sinks: tuple[SinkConfig, ...], patiently: bool = False) -> None:
        """Those that changed are closed before they are opened anew, as they may write to the same file."""
        for name, outbox in list(self._outboxes.items()):
            if outbox.config not in sinks:
                del self._outboxes[name]
                outbox.close(_PATIENCE_S)
        self._open_sinks(sinks, patiently)

    def close(self) -> None:
        """Finishes the parts in hand, gives sinks what there is, and ends. May be called twice."""
        for line in self._lines.values():
            line.stop()
        for line in self._lines.values():
            line.join()
        self._lines.clear()
        self._links.close()  # after the last answers
        self.page.close()
        if self._outboxes:
            self.pictures.close()
            self.desk.flush(_PATIENCE_S)
        for outbox in self._outboxes.values():
            outbox.close(_PATIENCE_S)
        self._outboxes.clear()
        self._stack.close()


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
