"""A camera whose capture runs in a process of its own: it can hang, crash or be killed, and the station goes on."""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge_ad.errors import SourceError
from edge_ad.sources.base import Capture
from edge_ad.sources.options import CameraOptions
from edge_ad.sources.record import Record
from edge_ad.sources.state import ENDED, LIVE, LOST, SILENT, CameraEvent, CameraState
from edge_ad.sources.watch import Marks
from edge_ad.sources.worker import Worker
from edge_ad.system.forks import Home

_LOOK_S = 0.1  # between two looks at the clock
_START_S = 60.0  # for a process to start, on a PC that has much to do
_HANG_S = 3.0  # beyond its time-outs; a process without a sign of life is killed then
_STEADY_S = 5.0  # a connection that lasted so long was a good one: the next pause is the first again


@dataclass(frozen=True)
class Camera:
    """How a camera is captured.

    Attributes:
        module, name: of the grabber (`edge_ad.sources.grabber.Grabber`), which has `Options`.
        address: what it is made with; it may hold a password.
        live: whether it is opened again when it is lost. A video is not.
        trigger: "software", the name of a line, or "" for a camera that takes pictures by itself.
        patience_s: seconds that one `grab` may take, where the driver has a time-out of its own.
        environment: variables of the process that differ from this one's.
        in_step: frames come as fast as they are read: times are those of the reading.
    """

    module: str
    name: str
    address: str
    live: bool = True
    trigger: str = ""
    patience_s: float = 0.0
    environment: Mapping[str, str] | None = None
    in_step: bool = False


@dataclass
class _Ready:
    """A capture that nobody has read: its frame lies in a slot of the shared memory, or was saved from there."""

    fields: dict[str, Any]
    asked: bool  # somebody waits for it: a trigger
    withheld: bool = False  # the frame is not shown, as the camera sees nothing
    slot: int | None = None
    shape: tuple[int, ...] = ()
    dtype: str = "u1"
    frame: np.ndarray | None = None


class ProcessSource:
    """A `Triggered` source, and what else a station asks of a camera: `state` and `events`. Any thread may ask.

    A camera that is lost is opened again, with longer and longer pauses. The reader gets a capture with a fault when it
    is lost or falls silent, and one for every trigger that it cannot answer. While it is frozen, dark or blinded, every
    frame comes as a capture with a fault and without the frame: a picture of nothing must not be found good.

    Args:
        name: of the camera, for its captures.
        camera: how it is captured.
        options: of its grabber.
    """

    def __init__(self, name: str, camera: Camera, options: CameraOptions) -> None:
        self._name, self._camera, self._options = name, camera, options
        self._record = Record(name, camera.address, options)
        self._changed = threading.Condition()
        self._ready: deque[_Ready] = deque()
        self._asked: dict[str, tuple[int, int]] = {}  # part -> when it was triggered, by both clocks
        self._sequence, self._prefix = 0, time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self._worker: Worker | None = None
        self._slot_bytes = 0
        self._phase = "lost"  # lost, starting, opening, open, over
        self._entered = self._heard = time.monotonic()  # the phase; the last answer
        self._began = self._retry = self._heard
        self._failures, self._full, self._closed, self._killed, self._failed = 0, False, False, "", ""
        self._home = Home(f"the camera {name}")
        self._thread = threading.Thread(target=self._tend, name="edge-ad-camera-tender", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    # ------------------------------------------------------------------------------------------------ for the reader

    @property
    def ended(self) -> bool:
        """Whether a video is at its end, and all of its frames were read."""
        with self._changed:
            return self._phase == "over" and not self._failed and not self._ready

    @property
    def waiting(self) -> bool:
        """Whether a capture waits, a video is not at its end, or a camera is being opened for the first time."""
        with self._changed:
            first = self._failures == 0 and self._phase != "open"
            return bool(self._ready) or (self._phase != "over" and (first or not self._camera.live))

    def read(self, timeout_s: float) -> Capture | None:
        """The next capture; None where none came within `timeout_s` seconds.

        Raises:
            SourceError: a video cannot be read, or the source was closed. A camera that is lost raises nothing: it is
                opened again.
            ForkError: in a forked child.
        """
        self._home.check()
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._closed or self._phase == "over", max(0.0, timeout_s))
            if self._closed:
                raise SourceError(f"camera {self._name} is closed", remedy="Open the source again.")
            if not self._ready:
                if self._failed:
                    raise SourceError(f"{self._record.shown} cannot be read", got=self._failed)
                return None
            ready = self._ready.popleft()
            self._save(ready)
            times = {"time_ns": time.time_ns(), "clock_ns": time.monotonic_ns()} if self._camera.in_step else {}
            return Capture(**{**ready.fields, **times}, frame=ready.frame)

    def settle(self, capture: Capture) -> None:
        """Nothing: a camera keeps no frames."""

    def trigger(self, part_id: str) -> None:
        """Tells a camera with a software trigger to take a picture of this part, and returns at once.

        The capture comes by `read`, with this part, and its times are those of this call. A picture that does not come
        is a capture with a fault.

        Raises:
            SourceError: the camera has no software trigger, or was asked for this part and has not answered.
            ForkError: in a forked child.
        """
        self._home.check()
        now = time.time_ns(), time.monotonic_ns()
        with self._changed:
            if self._camera.trigger != "software" or self._closed:
                raise SourceError(
                    f"camera {self._name} takes no software trigger",
                    got="a closed source" if self._closed else f"trigger {self._camera.trigger!r}",
                    remedy="Set its option trigger to 'software'.",
                )
            if part_id in self._asked:
                raise SourceError(f"camera {self._name} is asked twice for one part", got=part_id)
            self._asked[part_id] = now
            if self._phase == "open" and self._worker is not None and self._record.health != SILENT:
                self._worker.send(trigger=part_id)
            else:
                self._fail_triggers("the camera is not connected, or does not answer")

    def state(self) -> CameraState:
        """What is known of the camera now."""
        self._home.check()
        with self._changed:
            return self._record.state(self._worker.pid if self._worker is not None else None)

    def events(self) -> list[CameraEvent]:
        """What happened since the last call, oldest first; the last 1000 at most."""
        self._home.check()
        with self._changed:
            found = list(self._record.events)
            self._record.events.clear()
            return found

    def close(self) -> None:
        """Ends the process and gives everything back. Captures that were not read are lost. May be called twice."""
        if self._home.is_here():  # a forked child has neither the thread nor the process
            with self._changed:
                self._closed = True
                self._changed.notify_all()
            self._thread.join()
        atexit.unregister(self.close)

    # ------------------------------------------------------------------------------------------------ captures

    def _save(self, ready: _Ready) -> None:
        """Copies the frame out of its slot, and gives the slot back."""
        if ready.slot is None or self._worker is None:
            return
        if not ready.withheld:
            start, count = ready.slot * self._slot_bytes, int(np.prod(ready.shape))
            ready.frame = np.frombuffer(self._worker.map, ready.dtype, count, start).reshape(ready.shape).copy()
        self._free(ready)

    def _free(self, ready: _Ready) -> None:
        if self._worker is not None and ready.slot is not None:
            self._worker.send(free=ready.slot, of=self._slot_bytes)
        ready.slot = None

    def _made(self, part: str | None, clock: tuple[int, int], fault: str = "") -> _Ready:
        fields = {
            "camera": self._name,
            "sequence": self._sequence,
            "part_id": f"{self._prefix}-{self._sequence}" if part is None else part,
            "source": self._record.shown,
            "time_ns": clock[0],
            "clock_ns": clock[1],
            "fault": fault,
        }
        self._sequence += 1
        return _Ready(fields, part is not None)

    def _fault(self, why: str, part: str | None = None, clock: tuple[int, int] | None = None) -> None:
        last = self._ready[-1] if self._ready else None
        if part is None and last is not None and not last.asked and last.slot is None and last.frame is None:
            return  # nobody has read of the outage before
        self._ready.append(self._made(part, clock or (time.time_ns(), time.monotonic_ns()), self._record.say(why)))
        self._changed.notify_all()

    def _fail_triggers(self, why: str) -> None:
        for part, clock in self._asked.items():
            self._fault(why, part, clock)
        self._asked.clear()

    def _frame(self, answer: dict[str, Any]) -> None:
        self._sequence += answer["missed"]
        health = self._record.came(Marks(*answer["marks"]), answer["clock_ns"], answer["missed"])
        part, clock = answer["part"], (answer["time_ns"], answer["clock_ns"])
        asked = self._asked.pop(part, None) if part is not None else clock
        ready = self._made(part, asked or clock, "" if health == LIVE else f"the camera is {health}")
        ready.slot, ready.shape, ready.dtype = answer["frame"], tuple(answer["shape"]), answer["dtype"]
        ready.withheld = health != LIVE
        if asked is None:  # it comes too late: the part has its fault
            self._record.drops += 1
            self._free(ready)
            return
        if self._options.policy == "newest":
            self._drop_older()
        self._ready.append(ready)

    def _drop_older(self) -> None:
        """Frames that no reader has taken give way to a newer one. Faults of outages stay."""
        for old in [old for old in self._ready if old.slot is not None or old.frame is not None]:
            self._free(old)
            self._ready.remove(old)
            self._record.drops += not old.withheld

    # ------------------------------------------------------------------------------------------------ the process

    def _enter(self, phase: str) -> None:
        self._phase, self._entered = phase, time.monotonic()
        self._changed.notify_all()

    def _answer(self, worker: Worker, answer: dict[str, Any]) -> None:
        """One answer of the process; called by the thread that reads them."""
        with self._changed:
            if worker is not self._worker:
                return
            self._heard, self._full = time.monotonic(), "full" in answer
            if "frame" in answer:
                self._frame(answer)
            elif "drop" in answer:
                self._record.dropped(answer["missed"])
                self._sequence += 1 + answer["missed"]
            elif "stray" in answer:
                self._record.drops += 1
            elif "memory" in answer:
                for ready in self._ready:  # the memory changes its shape
                    self._save(ready)
                self._slot_bytes = answer["memory"]
                worker.look(self._slot_bytes * self._options.slots)
                worker.send(mapped=self._slot_bytes)
            elif "ready" in answer:
                self._open(worker)
            elif "opened" in answer:
                self._opened()
            elif "lost" in answer:
                self._lost(answer["lost"])
            elif "ended" in answer:
                self._over("")
            self._changed.notify_all()

    def _open(self, worker: Worker) -> None:
        self._enter("opening")
        worker.send(open=1)

    def _opened(self) -> None:
        self._enter("open")
        self._record.connect(self._record.shown)
        if self._camera.trigger:
            self._record.turn(LIVE, "it waits for triggers")

    def _lost(self, why: str) -> None:
        """The camera, or the process that captures it, is gone: it is opened again after a pause."""
        if not self._camera.live:
            self._over(why)
            return
        now = time.monotonic()
        arrived = self._record.arrived
        if self._phase == "open" and arrived is not None and arrived - self._entered > _STEADY_S:
            self._failures = 0
        pause = min(self._options.backoff_max_s, self._options.backoff_s * 2.0 ** min(self._failures, 30))
        self._failures, self._retry, self._began = self._failures + 1, now + pause, now
        self._enter("lost")
        self._record.disconnect()
        self._record.lose(why)
        self._fail_triggers(f"the camera was lost: {why}")
        if self._record.turn(SILENT, "it is not connected"):
            self._fault(f"the camera was lost: {why}")

    def _over(self, why: str) -> None:
        """A video ended, or cannot be read."""
        self._failed = self._record.say(why)
        self._enter("over")
        self._record.disconnect()
        self._record.event(LOST if why else ENDED, why or f"after {self._record.frames} frames")
        self._record.health = SILENT

    def _gone(self, worker: Worker, why: str) -> None:
        """The process has ended; called by the thread that read it."""
        with self._changed:
            if worker is self._worker:
                for ready in self._ready:
                    self._save(ready)
                self._worker = None
                if self._phase != "over":
                    self._lost(self._killed or why)
        worker.close()

    # ------------------------------------------------------------------------------------------------ the tender

    def _tend(self) -> None:
        """Starts the process, looks at the clock, ends the process."""
        while True:
            with self._changed:
                if self._closed:
                    worker, self._worker = self._worker, None
                    break
                now = time.monotonic()
                self._look(now)
                hung, worker = self._hung(now), self._worker
                due = self._phase == "lost" and now >= self._retry
                if due and worker is not None:
                    self._open(worker)
            if hung and worker is not None:
                self._killed = hung
                worker.kill()  # `_gone` follows
            elif due and worker is None:
                self._start()
            with self._changed:
                self._changed.wait_for(lambda: self._closed, _LOOK_S)
        if worker is not None:
            worker.close()

    def _start(self) -> None:
        camera = self._camera
        settings = {
            "module": camera.module,
            "name": camera.name,
            "address": camera.address,
            "options": asdict(self._options),
            "trigger": camera.trigger,
        }
        with self._changed:  # its first answer waits until it is known
            self._killed = ""
            self._enter("starting")
            try:
                self._worker = Worker(settings, camera.environment or {}, self._answer, self._gone)
            except SourceError as error:
                self._lost(str(error))

    def _look(self, now: float) -> None:
        """Notices silence, and tells of drops."""
        self._record.tell_drops(now)
        silent_s = self._options.silent_s
        waits = self._phase == "open" and bool(self._camera.trigger)  # for triggers: a sign of life is enough
        since = max(self._began, self._heard if waits or self._full else self._record.arrived or 0.0)
        if silent_s and self._phase != "over" and now - since > silent_s:
            why = f"{'no sign of life' if waits else 'no frame'} for {now - since:.1f} s"
            if self._record.turn(SILENT, why):
                self._fail_triggers(why)
                self._fault(why)
        elif waits and self._record.health == SILENT:
            self._record.turn(LIVE, "it answers again")

    def _hung(self, now: float) -> str:
        """Why the process must be killed; "" where it lives."""
        if self._phase == "starting" and now - self._entered > _START_S:
            return f"its process did not start within {_START_S:g} s"
        open_s = self._options.open_s + _HANG_S
        if self._phase == "opening" and now - self._entered > open_s:
            return f"it could not be opened within {open_s:g} s"
        hang_s = max(self._camera.patience_s, self._options.silent_s) + _HANG_S
        if self._phase == "open" and now - self._heard > hang_s:
            return f"its process gave no sign of life for {hang_s:g} s"
        return ""
