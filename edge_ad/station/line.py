"""A camera of the station: one thread takes triggers and frames, one inspects. The desk does the rest.

source -> capture -> accept -> inspect -> decide -> (durable) -> settle, picture, sinks

Over 400 lines: both threads share the state of the camera, which no other file may touch.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

from edge_ad.errors import EngineError, FrameError, SourceError, SpecError
from edge_ad.sources.base import Capture, Source, Triggered, Watched
from edge_ad.sources.registry import open_source
from edge_ad.sources.resume import Resume
from edge_ad.sources.state import CameraState
from edge_ad.station.config import Camera, Drift
from edge_ad.station.desk import Desk, Ticket
from edge_ad.station.drift import Watcher
from edge_ad.station.events import AGAIN, EventKind
from edge_ad.station.health import Health, health_after, health_of
from edge_ad.station.journal import Journal
from edge_ad.station.outcomes import ENGINE, FRAME, NO_FRAME, RECIPE, Decision, fault
from edge_ad.station.pictures import Pictures
from edge_ad.station.swap import InUse, Seen, Slot
from edge_ad.station.triggers import Request, Requests, capture_of, requests_of

_log = logging.getLogger("edge_ad.station")
_TURN_S = 0.1  # of a loop that waits
_AGAIN_S = (1.0, 30.0)  # before a source that is gone is opened again: at first, at most
_IDLE_S = 1.0  # without a trigger, and a source counts as idle: longer than a file of a hot folder rests
_SHARE = 0.9  # of the deadline, in which a frame must come


class Line:
    """See the module.

    Args:
        base: folder that relative addresses start from.
        ended: called with each ticket when its outcome is durable.
    """

    def __init__(
        self,
        camera: Camera,
        slot: Slot,
        desk: Desk,
        pictures: Pictures,
        data: Path,
        base: Path,
        ended: Callable[[Ticket], None],
        drift: Drift = Drift(),  # noqa: B008 # frozen
    ) -> None:
        self.camera, self.slot = camera, slot
        self._desk, self._pictures, self._base, self._ended = desk, pictures, base, ended
        self.drift = Watcher(camera.name, data, drift, desk.event)
        self._journal = Journal(data / "journal.sqlite")  # to look up what is known
        self._requests = requests_of(camera, data, self._known)
        self._stop = threading.Event()
        self._queue: queue.Queue[tuple[Ticket, InUse | str] | None] = queue.Queue(maxsize=1)
        self._taken = threading.Event()  # the queue is empty: the next frame would wait for one inspection at most
        self._taken.set()
        self._settled: deque[Ticket] = deque()
        self._source: Source | None = None
        self._heard = True  # False: a camera that is being opened, and has told of nothing yet
        self._again_s = 0.0
        self._again_at = 0.0
        self._last_trigger = time.monotonic()
        self._beats = [time.monotonic(), time.monotonic()]
        self.error: SourceError | None = None
        name = camera.name
        self._threads = (
            threading.Thread(target=self._read_all, name=f"edge-ad-read-{name}", daemon=True),
            threading.Thread(target=self._inspect_all, name=f"edge-ad-inspect-{name}", daemon=True),
        )

    def start(self) -> None:
        """Opens the source and begins.

        Raises:
            SpecError: the address of the source is not understood.
        """
        self.slot.start()
        self._open()
        self.drift.start()
        self._beats = [time.monotonic(), time.monotonic()]  # others may have been opened since it was made
        for thread in self._threads:
            thread.start()

    def trigger(
        self, part_id: str, answered: Callable[[Ticket], None] | None = None, recipe: int | None = None
    ) -> None:
        """With `trigger = "software"`: asks for an inspection, now. Thread-safe.

        Args:
            answered: see `Request`.
            recipe: the only one that will do.
        """
        if not isinstance(self._requests, Requests):
            raise SourceError(f"camera {self.camera.name} takes no triggers", expected='trigger = "software"')
        self._requests.call(
            part_id, answered, self.slot.use(recipe)
        )  # bound now: a recipe may change before it is read

    @property
    def not_ready(self) -> str:
        """Why a trigger would be a fault now; "" where it is ready. Asked by any thread."""
        use = self.slot.use()
        return self.away or (f"{RECIPE}: {use}" if isinstance(use, str) else "")

    @property
    def away(self) -> str:
        """Why no trigger is taken now; "" where one is."""
        if self._stop.is_set():
            return "the station stops"
        if self._desk.blocked:
            return "the journal cannot be written"
        health = self.health
        if health.is_there and self.camera.options.get("trigger") == "software":
            return ""  # it is told to take each picture, which may be a better one
        return health.why

    @property
    def health(self) -> Health:
        """How the camera is now. Asked by any thread."""
        return health_of(self._source, self.error)

    @property
    def state(self) -> CameraState | None:
        """What a live camera says of itself; None of another source, and where it is not there. Asked by any thread."""
        source = self._source
        return cast(Watched, source).state() if hasattr(source, "state") else None

    def stop(self) -> None:
        """Takes no more triggers, and lets the part in hand be finished."""
        self._stop.set()

    def join(self) -> None:
        """Waits for the part in hand, settles what is durable, and gives the source back."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self.drift.close()
        self._desk.flush(60.0)
        self._settle()
        if self._source is not None:
            self._source.close()
        self._journal.close()
        self.slot.close()

    @property
    def idle(self) -> bool:
        """Whether no trigger has come for a while, or none will ever come."""
        source = self._source
        if source is None or not self._heard:
            return False
        if self.camera.trigger != "software":
            if source.ended:
                return True
            if source.waiting:
                return False
        return self._taken.is_set() and time.monotonic() - self._last_trigger > _IDLE_S

    @property
    def oldest_beat(self) -> float:
        """By `time.monotonic`: when the slower of the two loops last got on."""
        return min(self._beats)

    # ------------------------------------------------------------------------------------------------ reading

    def _read_all(self) -> None:
        try:
            while not self._stop.is_set():
                self._beat(0)
                self._settle()
                self._tell()
                self._wait_for_pictures()
                try:
                    if self._source is None and not self._open():
                        self._stop.wait(_TURN_S)
                        continue
                    taken = self._next()
                except SourceError as error:
                    self._lost(error)
                    continue
                except Exception as error:  # of many kinds; the camera would take no more triggers, and nobody see it
                    _log.exception("camera %s", self.camera.name)
                    self._lost(SourceError(f"it failed: {type(error).__name__}: {error}"))
                    continue
                if taken is not None:
                    self._last_trigger = time.monotonic()
                    self._hand_over(taken)
        finally:
            self._hand_over(None)

    def _wait_for_pictures(self) -> None:
        """Gives a slow disk a moment before the next trigger; a camera that does not wait is not kept for longer."""
        for _ in range(10):
            if not self._pictures.behind or self._stop.wait(_TURN_S):
                return
            self._beat(0)

    def _next(self) -> tuple[Ticket, InUse | str] | None:
        """The next trigger, and what it is inspected with, or why with nothing."""
        source = self._source
        assert source is not None
        if source.ended and self.camera.trigger != "software":  # a clock asks for nothing more
            self._stop.wait(_TURN_S)
            return None
        if self._requests is None:
            if not self._taken.wait(_TURN_S):  # a frame that is read begins its deadline; a folder's may wait unread
                return None
            capture = source.read(_TURN_S)
            if capture is None:
                return None
            use = self.slot.use()
            ticket = self._accept(capture)
            if ticket is None:
                return None
            ticket.origin = replace(capture, frame=None)
            return ticket, use
        request = self._requests.next(_TURN_S)
        if request is None:
            return None
        if not request.part_id:
            self._desk.write(lambda journal: None, request.accepted)
            return None
        use = self.slot.use() if request.use is None else request.use
        ticket = self._accept(capture_of(request, self.camera), request.answered)
        if ticket is None:
            return None
        self._desk.write(lambda journal: None, request.accepted)
        self._get_frame(source, ticket, request)
        return ticket, use

    def _accept(self, capture: Capture, answered: Callable[[Ticket], None] | None = None) -> Ticket | None:
        done = self._done if answered is None else partial(self._answer, answered)
        return self._desk.accept(capture, self.camera.deadline_ms, done, self._waiting)

    def _waiting(self) -> bool:
        self._beat(0)
        return self._stop.is_set()

    def _get_frame(self, source: Source, ticket: Ticket, request: Request) -> None:
        """The frame that the camera took for this trigger; of a camera that is not told to take any, the first that was
        taken at the trigger or after it."""
        until_ns = request.clock_ns + round(_SHARE * self.camera.deadline_ms * 1e6)
        fault_text = "the source gave no frame before the deadline"
        tells = self.camera.options.get("trigger") == "software"
        try:
            if tells:
                cast(Triggered, source).trigger(request.part_id)
            while (left_s := (until_ns - time.monotonic_ns()) / 1e9) > 0 and not source.ended:
                self._beat(0)
                capture = source.read(min(left_s, _TURN_S))
                if capture is None:
                    continue
                if capture.part_id != request.part_id if tells else capture.clock_ns < request.clock_ns:
                    source.settle(capture)  # of a part before
                    continue
                frame, bare = capture.frame, replace(capture, frame=None)
                fields = {"source": bare.source, "sequence": bare.sequence, "fault": bare.fault}
                ticket.capture = replace(ticket.capture, **fields)  # type: ignore[arg-type]
                ticket.frame, ticket.origin = frame, bare
                if ticket.number is not None:  # it was late, and has been settled without a frame
                    source.settle(bare)
                return
        except SourceError as error:
            if not tells:  # a camera that is told opens itself again
                self._lost(error)
            fault_text = str(error)
        ticket.capture = replace(ticket.capture, fault=fault_text)

    def _hand_over(self, taken: tuple[Ticket, InUse | str] | None) -> None:
        while True:
            self._beat(0)
            self._settle()
            self._taken.clear()
            with contextlib.suppress(queue.Full):
                self._queue.put(taken, timeout=_TURN_S)
                return

    def _known(self, part_id: str) -> bool:
        return self._journal.known(self.camera.name, part_id)

    def _open(self) -> bool:
        if time.monotonic() < self._again_at:
            return False
        first = self._journal.next_sequence(self.camera.name)
        try:
            resume = Resume(self._base, first, self._known)
            self._source = open_source(self.camera.source, self.camera.name, self.camera.options, resume)
        except SourceError as error:
            self._lost(error)
            return False
        except SpecError:
            raise
        except Exception as error:  # of a library
            self._lost(SourceError(f"it cannot be opened: {type(error).__name__}: {error}"))
            return False
        self._heard = not hasattr(self._source, "events")
        if self.error is not None:
            _log.warning("camera %s: the source is there again", self.camera.name)
            self._desk.event(self.camera.name, EventKind.SOURCE, AGAIN)
        self.error, self._again_s = None, 0.0
        return True

    def _lost(self, error: SourceError) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
        if self.error is None or str(self.error) != str(error):
            _log.error("camera %s: %s", self.camera.name, error)
            self._desk.event(self.camera.name, EventKind.SOURCE, str(error))
        self.error = error
        self._again_s = min(max(2 * self._again_s, _AGAIN_S[0]), _AGAIN_S[1])
        self._again_at = time.monotonic() + self._again_s

    def _tell(self) -> None:
        """Journals what a live camera says of itself."""
        events = getattr(self._source, "events", None)
        for event in [] if events is None else cast(Watched, self._source).events():
            if not self._heard:
                self._heard, self._last_trigger = True, time.monotonic()
            kind = EventKind(event.kind)
            if kind == EventKind.DROPS and self.camera.trigger != "free":
                continue  # most frames of a camera are no part then
            health = health_after(None, kind, event.text)
            well = kind == EventKind.CONNECTED or (health is not None and health.is_well)
            level = logging.INFO if well else logging.WARNING
            _log.log(level, "camera %s: %s: %s", self.camera.name, kind, event.text)
            self._desk.event(self.camera.name, kind, event.text)

    def _settle(self) -> None:
        """Tells the source what is durable; by the thread that reads from it."""
        while self._settled:
            ticket = self._settled.popleft()
            if ticket.origin is None or self._source is None:
                continue
            try:
                self._source.settle(ticket.origin)
            except (SourceError, OSError) as error:
                _log.error("camera %s: %s", self.camera.name, error)

    # ------------------------------------------------------------------------------------------------ inspecting

    def _inspect_all(self) -> None:
        while True:
            self._beat(1)
            try:
                taken = self._queue.get(timeout=_TURN_S)
            except queue.Empty:
                continue
            self._taken.set()
            if taken is None:
                return
            ticket, use = taken
            if ticket.decision is None:
                frame, (decision, seen) = ticket.frame, self._judge(ticket, use)
                self._desk.decide(ticket, decision, seen)
                self.drift.look(frame, decision, seen)

    def _judge(self, ticket: Ticket, in_use: InUse | str) -> tuple[Decision, Seen | None]:
        """Whatever happens, it is a decision."""
        frame = ticket.frame
        if isinstance(in_use, str):
            return fault(RECIPE, in_use), None
        if frame is None:
            return fault(NO_FRAME, ticket.capture.fault or "the source gave no frame and no reason"), None
        try:
            return in_use.inspect(frame)
        except FrameError as error:
            decision = fault(FRAME, str(error))
        except EngineError as error:
            decision = fault(ENGINE, str(error))
        except Exception as error:  # of many kinds; a part without an outcome would be worse than any
            _log.exception("camera %s: part %s", self.camera.name, ticket.part_id)
            decision = fault(ENGINE, f"{type(error).__name__}: {error}")
        return replace(decision, bundle=in_use.runtime.bundle_id), None

    def _answer(self, answered: Callable[[Ticket], None], ticket: Ticket) -> None:
        """Who asked is told before anybody else."""
        answered(ticket)
        self._done(ticket)

    def _done(self, ticket: Ticket) -> None:
        """The outcome is durable; called by the desk's thread."""
        self._settled.append(ticket)
        self._pictures.keep(ticket)
        if ticket.decision is None:
            return
        if _log.isEnabledFor(logging.DEBUG):
            told = (self.camera.name, ticket.part_id, ticket.decision.outcome, ticket.decision.reason)
            _log.debug("camera %s: part %s: %s %s", *told)
        self._ended(ticket)

    def _beat(self, loop: int) -> None:
        self._beats[loop] = time.monotonic()
