"""The handshake with a controller, as a machine of states: no network, no thread, and the time is given to it.

    controller                                          station
    waits for ready; writes the part, raises trigger
                                                        busy
                                                        result, fault code, the part again, valid; not busy
    reads the result, raises acknowledge
                                                        no result, not valid
    lowers trigger and acknowledge
                                                        ready

Levels count, not edges, so a poll that is missed loses nothing. What it keeps, whatever happens:

- A result is shown for the part that the trigger stands for, and only while that trigger stands. The outcome of any
  other trigger is dropped.
- `good` is shown only where it is first shown before the deadline of its part.
- Whoever was away (the station, the controller, the line between them) finds nothing valid. A trigger that stands at
  that moment is answered with a fault, and is never inspected a second time.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edge_ad.station.outcomes import ENGINE, FRAME, GOOD, LATE, NO_FRAME, NO_PART, RECIPE, REJECT, RESTART
from edge_ad.station.outcomes import FAULT as _FAULT
from edge_ad.station.plc.base import Answer


class State(enum.IntEnum):
    """Where the handshake is."""

    OFFLINE = 0
    NOT_READY = 1
    READY = 2
    BUSY = 3
    RESULT = 4
    CLEAR = 5


class Result(enum.IntEnum):
    """What the controller is told of a part."""

    NONE = 0
    GOOD = 1
    REJECT = 2
    NO_PART = 3
    FAULT = 4


class Code(enum.IntEnum):
    """Why there is a fault."""

    NONE = 0
    LATE = 1
    NO_FRAME = 2
    FRAME = 3
    ENGINE = 4
    RESTART = 5
    NO_ANSWER = 6
    NOT_READY = 7
    BUSY = 8
    PART_ID = 9
    RECIPE = 10
    LINK = 11
    OTHER = 99


STATES = {
    State.OFFLINE: "the controller's heartbeat has not been seen, or has stopped",
    State.NOT_READY: "no part is asked for, and one would be a fault",
    State.READY: "waits for a trigger",
    State.BUSY: "a part is being inspected",
    State.RESULT: "the result stands, and waits for acknowledge",
    State.CLEAR: "it was acknowledged; waits for trigger and acknowledge to fall",
}
CODES = {
    Code.NONE: "no fault",
    Code.LATE: "the outcome was not there, or could not be shown, before the deadline",
    Code.NO_FRAME: "the camera gave no frame",
    Code.FRAME: "the bundle does not take such frames",
    Code.ENGINE: "the engine failed",
    Code.RESTART: "the station started while the trigger stood; the part is not inspected",
    Code.NO_ANSWER: "the station gave no outcome at all in time, such as on a full disk",
    Code.NOT_READY: "the camera takes no trigger now",
    Code.BUSY: "trigger stood for another part before the handshake of the one before was over",
    Code.PART_ID: "there is no part id, or it is no text",
    Code.RECIPE: "the recipe that is selected is not in use: it is being opened, cannot be opened, or is not there",
    Code.LINK: "the heartbeat stopped or the line was cut while the trigger stood; the outcome is in the journal alone",
    Code.OTHER: "another reason; the journal has it",
}
# From, what happens, to: the drawing and the table of the documentation; tests walk through every one.
TRANSITIONS = (
    (State.OFFLINE, "heartbeat, trigger low", State.NOT_READY),
    (State.OFFLINE, "heartbeat, trigger low, and the camera is ready", State.READY),
    (State.OFFLINE, "heartbeat, acknowledge still high", State.CLEAR),
    (State.OFFLINE, "heartbeat, trigger still high: a fault", State.RESULT),
    (State.NOT_READY, "the camera is ready", State.READY),
    (State.READY, "the camera is not ready", State.NOT_READY),
    (State.READY, "trigger", State.BUSY),
    (State.NOT_READY, "trigger: it is asked for, and will be a fault", State.BUSY),
    (State.READY, "trigger without a part id: a fault", State.RESULT),
    (State.NOT_READY, "trigger without a part id: a fault", State.RESULT),
    (State.READY, "acknowledge without a result", State.CLEAR),
    (State.NOT_READY, "acknowledge without a result", State.CLEAR),
    (State.BUSY, "the outcome is there, there is none in time, or the part changed", State.RESULT),
    (State.BUSY, "trigger is taken back", State.READY),
    (State.BUSY, "trigger is taken back, and the camera is not ready", State.NOT_READY),
    (State.BUSY, "trigger is taken back, acknowledge is high", State.CLEAR),
    (State.RESULT, "acknowledge", State.CLEAR),
    (State.RESULT, "trigger is taken back", State.READY),
    (State.RESULT, "trigger is taken back, and the camera is not ready", State.NOT_READY),
    (State.CLEAR, "trigger and acknowledge are low", State.READY),
    (State.CLEAR, "trigger and acknowledge are low, and the camera is not ready", State.NOT_READY),
    (State.CLEAR, "another part, without a fall of trigger: a fault", State.RESULT),
    (State.NOT_READY, "no heartbeat", State.OFFLINE),
    (State.READY, "no heartbeat", State.OFFLINE),
    (State.BUSY, "no heartbeat", State.OFFLINE),
    (State.RESULT, "no heartbeat", State.OFFLINE),
    (State.CLEAR, "no heartbeat", State.OFFLINE),
)

_RESULTS = {GOOD: Result.GOOD, REJECT: Result.REJECT, NO_PART: Result.NO_PART, _FAULT: Result.FAULT}
_CODES = {
    LATE: Code.LATE,
    NO_FRAME: Code.NO_FRAME,
    FRAME: Code.FRAME,
    ENGINE: Code.ENGINE,
    RESTART: Code.RESTART,
    RECIPE: Code.RECIPE,
}


def code_of(reason: str, other: Code = Code.OTHER) -> Code:
    """The code of a reason such as "late: ..."; `other` where its first word is none of a fault's."""
    return _CODES.get(reason.partition(":")[0], other)


@dataclass(frozen=True)
class Part:
    """The part that a trigger stands for. Two that differ in anything are two parts.

    Attributes:
        id: its part id; "" where the controller wrote none that can be used.
        sequence: the controller's own number of the trigger, to be given back.
        echo: whatever else is to be given back, as the controller wrote it.
    """

    id: str
    sequence: int = 0
    echo: tuple[int, ...] = ()


NO_ONE = Part("")


@dataclass(frozen=True)
class Controls:
    """What the controller says, read at one moment."""

    heartbeat: int
    trigger: bool = False
    acknowledge: bool = False
    part: Part = NO_ONE
    recipe: int = 0


@dataclass(frozen=True)
class Ask:
    """The station is to be asked for an inspection.

    Attributes:
        token: names this trigger among all; its answer comes back with it.
    """

    token: int
    part_id: str


@dataclass(frozen=True)
class Shown:
    """What the controller is to see. Without `valid`, result, code and numbers are all none.

    Attributes:
        part: while `busy` or `valid`: the part that this is about.
        number: of the outcome in the journal; 0 where there is none.
    """

    state: State
    ready: bool = False
    busy: bool = False
    valid: bool = False
    result: Result = Result.NONE
    code: Code = Code.NONE
    part: Part = NO_ONE
    score: float = 0.0
    threshold: float = 0.0
    number: int = 0
    latency_ms: float = 0.0


class Handshake:
    """See the module. One thread. Times are those of `time.monotonic_ns`.

    Args:
        timeout_ns: without a change of the heartbeat for so long, the controller is not there.

    Attributes:
        patience_ns: time from the trigger after which no answer is waited for.
        notes: what is worth an event in the journal; whoever reads them empties it.
    """

    def __init__(self, timeout_ns: int) -> None:
        self._timeout_ns = timeout_ns
        self.patience_ns = 10**9
        self.notes: list[str] = []
        self.state = State.OFFLINE
        self._why_not = "it has not been asked yet"
        self._beat: int | None = None
        self._beat_ns = self._asked_ns = 0
        self._met = False  # the controller has been there before
        self._token = 0
        self._part = NO_ONE
        self._answer: Answer | None = None  # that has not been shown yet
        self._shown = Shown(State.OFFLINE)  # in RESULT
        self._acknowledge_was_low = True  # when the result came, or since

    # ------------------------------------------------------------------------------------------------ events

    def controls(self, given: Controls, now_ns: int) -> Ask | None:
        """The controller was read. Returns what to ask the station for."""
        beats = self._beat is not None and given.heartbeat != self._beat
        if beats or self._beat is None:
            self._beat, self._beat_ns = given.heartbeat, now_ns
        ask: Ask | None = None
        if self.state == State.OFFLINE:
            if beats:
                self._meet(given)
                self._acknowledge_was_low = not given.acknowledge
            return None
        self.tick(now_ns)
        if self.state in (State.NOT_READY, State.READY):
            ask = self._waiting(given, now_ns)
        elif self.state == State.BUSY:
            self._busy(given)
        elif self.state == State.RESULT:
            self._standing(given)
        elif self.state == State.CLEAR:
            self._clearing(given)
        self._acknowledge_was_low = not given.acknowledge or (self._acknowledge_was_low and self.state == State.RESULT)
        return ask

    def ready(self, why_not: str) -> None:
        """Whether a trigger would be inspected now: "", or why it would not."""
        self._why_not = why_not
        if self.state in (State.NOT_READY, State.READY):
            self._rest()

    def answered(self, token: int, answer: Answer) -> None:
        """The durable outcome of what was asked for."""
        if self.state != State.BUSY or token != self._token or answer.part_id != self._part.id:
            outcome = answer.decision.outcome
            self.notes.append(f"part {answer.part_id}: {outcome} came when the controller did not wait for it any more")
            return
        self._answer, self.state = answer, State.RESULT

    def refused(self, token: int, code: Code, text: str) -> None:
        """The station does not take what was asked for."""
        if self.state == State.BUSY and token == self._token:
            self._fault(code, self._part, text)

    def tick(self, now_ns: int) -> None:
        """Time passes."""
        if self.state == State.OFFLINE:
            return
        if now_ns - self._beat_ns > self._timeout_ns:
            self.lost(f"its heartbeat has stood still for {self._timeout_ns / 1e6:g} ms")
        elif self.state == State.BUSY and now_ns - self._asked_ns > self.patience_ns:
            self._fault(Code.NO_ANSWER, self._part, f"no outcome for {self.patience_ns / 1e6:g} ms")

    def lost(self, why: str) -> None:
        """The controller is not there, or the line to it is cut."""
        if self.state == State.OFFLINE:
            return
        during = f" while part {self._part.id} was {self.state.name}" if self._part is not NO_ONE else ""
        self.notes.append(f"the controller is gone{during}: {why}")
        self._forget()
        self.state, self._beat = State.OFFLINE, None

    # ------------------------------------------------------------------------------------------------ what is shown

    def show(self, now_ns: int) -> Shown:
        """What the controller is to see; to be called at the very moment at which it is written."""
        if self._answer is not None:
            self._shown, self._answer = self._judged(self._answer, now_ns), None
        if self.state == State.RESULT:
            return self._shown
        busy = self.state == State.BUSY
        return Shown(self.state, ready=self.state == State.READY, busy=busy, part=self._part if busy else NO_ONE)

    def _judged(self, answer: Answer, now_ns: int) -> Shown:
        told = answer.decision
        result, code = _RESULTS[told.outcome], Code.NONE
        if result == Result.FAULT:
            code = code_of(told.reason)
        elif result == Result.GOOD and now_ns >= answer.deadline_ns:
            result, code = Result.FAULT, Code.LATE
            self.notes.append(
                f"part {self._part.id}: good could not be shown before the deadline; it is told as a fault"
            )
        score, threshold = told.score or 0.0, told.threshold or 0.0
        numbers = (score, threshold, answer.number, answer.latency_ms)
        return Shown(State.RESULT, False, False, True, result, code, self._part, *numbers)

    # ------------------------------------------------------------------------------------------------ states

    def _meet(self, given: Controls) -> None:
        code, self._met = (Code.LINK if self._met else Code.RESTART), True
        self.notes.append("the controller is there")
        if given.acknowledge:  # it has read what was there
            self.state = State.CLEAR
        elif given.trigger:
            self._fault(code, given.part, "its trigger stood already")
        else:
            self._rest()

    def _waiting(self, given: Controls, now_ns: int) -> Ask | None:
        if given.acknowledge:
            self.state = State.CLEAR
        elif given.trigger:
            if not given.part.id:
                self._fault(Code.PART_ID, given.part, "there is no part id that can be used")
                return None
            self._token += 1
            self.state, self._part, self._asked_ns = State.BUSY, given.part, now_ns
            return Ask(self._token, given.part.id)
        return None

    def _busy(self, given: Controls) -> None:
        if not given.trigger:
            self.notes.append(f"part {self._part.id}: the controller took the trigger back before it had a result")
            self._end(given)
        elif given.part != self._part:
            self._fault(Code.BUSY, given.part, f"part {self._part.id} was still being inspected")

    def _standing(self, given: Controls) -> None:
        if not given.trigger:
            if not given.acknowledge:
                self.notes.append(f"part {self._part.id}: the controller took the trigger back and did not acknowledge")
            self._end(given)
        elif given.part != self._part:
            self._fault(Code.BUSY, given.part, f"the result of part {self._part.id} was not acknowledged")
        elif given.acknowledge and self._acknowledge_was_low:
            self.state, self._answer = State.CLEAR, None

    def _clearing(self, given: Controls) -> None:
        if not given.trigger:
            self._end(given)
        elif not given.acknowledge and given.part != self._part:
            self._fault(Code.BUSY, given.part, f"trigger had not fallen since part {self._part.id}")

    def _end(self, given: Controls) -> None:
        """Trigger is low: nothing stands any more."""
        self._forget()
        if given.acknowledge:
            self.state = State.CLEAR
        else:
            self._rest()

    def _rest(self) -> None:
        self.state = State.NOT_READY if self._why_not else State.READY

    def _forget(self) -> None:
        self._part, self._answer, self._shown = NO_ONE, None, Shown(State.OFFLINE)

    def _fault(self, code: Code, part: Part, text: str) -> None:
        """Answers a trigger with a fault that the journal has no row of."""
        self._part, self._answer = part, None
        self.state = State.RESULT
        self._shown = Shown(State.RESULT, False, False, True, Result.FAULT, code, part)
        self.notes.append(f"part {part.id}: fault {code.name.lower()}: {text}")
