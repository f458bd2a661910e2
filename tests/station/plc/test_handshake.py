"""The handshake, state by state: each event in each state, and what it never does, whatever comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_ad.station.outcomes import FAULT, GOOD, LATE, NO_PART, OUTCOMES, RECIPE, REJECT
from edge_ad.station.plc.base import Answer
from edge_ad.station.plc.handshake import (
    CODES,
    NO_ONE,
    STATES,
    TRANSITIONS,
    Ask,
    Code,
    Controls,
    Handshake,
    Part,
    Result,
    Shown,
    State,
    code_of,
)
from tests.station.plc.made import answer

MS = 10**6
TIMEOUT = 500 * MS
DEADLINE = 10**15
ONE, TWO = Part("one", 1, (1, 2)), Part("two", 2, (1, 2))


class Bench:
    """A handshake and a controller whose heartbeat goes on."""

    def __init__(self) -> None:
        self.shake, self.now, self.beat = Handshake(TIMEOUT), 0, 0
        self.asked: list[Ask] = []
        self.shake.ready("")

    def say(self, trigger: bool = False, acknowledge: bool = False, part: Part = ONE) -> Shown:
        self.now += MS
        self.beat += 1
        ask = self.shake.controls(Controls(self.beat, trigger, acknowledge, part), self.now)
        if ask is not None:
            self.asked.append(ask)
        return self.show()

    def show(self) -> Shown:
        return self.shake.show(self.now)

    def give(self, outcome: str = GOOD, deadline: int = DEADLINE, token: int | None = None, part: str = "") -> Shown:
        ask = self.asked[-1]
        told = answer(part or ask.part_id, outcome, deadline_ns=deadline)
        self.shake.answered(ask.token if token is None else token, told)
        return self.show()


def at(state: State) -> Bench:
    """In a state, with part ONE from BUSY on."""
    bench = Bench()
    if state == State.OFFLINE:
        return bench
    bench.say()
    bench.say()
    if state == State.NOT_READY:
        bench.shake.ready("the camera is not there")
    if state >= State.BUSY:
        bench.say(trigger=True)
    if state >= State.RESULT:
        bench.give()
        bench.say(trigger=True)
    if state >= State.CLEAR:
        bench.say(trigger=True, acknowledge=True)
    assert bench.shake.state == state
    return bench


def test_a_part_from_the_trigger_to_ready_again() -> None:
    bench = Bench()
    assert bench.say() == Shown(State.OFFLINE)
    assert bench.say() == Shown(State.READY, ready=True)
    assert bench.say(trigger=True) == Shown(State.BUSY, busy=True, part=ONE)
    (ask,) = bench.asked
    assert ask.part_id == "one"
    shown = bench.give()
    assert shown == Shown(State.RESULT, False, False, True, Result.GOOD, Code.NONE, ONE, 1.5, 2.5, 7, 12.5)
    assert bench.say(trigger=True) == shown
    assert bench.say(trigger=True, acknowledge=True) == Shown(State.CLEAR)
    assert bench.say(trigger=False, acknowledge=True) == Shown(State.CLEAR)
    assert bench.say() == Shown(State.READY, ready=True)
    bench.say(trigger=True)  # the same words again are another part
    assert len(bench.asked) == 2
    assert bench.asked[1].token != ask.token


@pytest.mark.parametrize(
    ("outcome", "reason", "result", "code"),
    [
        (GOOD, "", Result.GOOD, Code.NONE),
        (REJECT, "score 2 >= threshold 1", Result.REJECT, Code.NONE),
        (NO_PART, "the part was not found", Result.NO_PART, Code.NONE),
        (FAULT, "late: there was no verdict", Result.FAULT, Code.LATE),
        (FAULT, "no_frame: gone", Result.FAULT, Code.NO_FRAME),
        (FAULT, "frame: it is grey", Result.FAULT, Code.FRAME),
        (FAULT, "engine: NaN", Result.FAULT, Code.ENGINE),
        (FAULT, "restart: it was killed", Result.FAULT, Code.RESTART),
        (FAULT, "recipe: 2 is being opened", Result.FAULT, Code.RECIPE),
        (FAULT, "some new word: ...", Result.FAULT, Code.OTHER),
    ],
)
def test_outcomes_as_results(outcome: str, reason: str, result: Result, code: Code) -> None:
    bench = at(State.BUSY)
    bench.shake.answered(bench.asked[0].token, answer("one", outcome, reason, DEADLINE))
    shown = bench.show()
    assert (shown.valid, shown.result, shown.code) == (True, result, code)


def test_every_word_of_a_reason_has_a_code() -> None:
    import edge_ad.station.outcomes as outcomes

    words = [value for name, value in vars(outcomes).items() if name.isupper() and isinstance(value, str)]
    assert {LATE, RECIPE} <= set(words) - set(OUTCOMES)
    assert all(code_of(f"{word}: text") != Code.OTHER for word in words if word not in OUTCOMES)
    assert set(CODES) == set(Code)
    assert set(STATES) == set(State)


def test_good_is_shown_before_the_deadline_or_never() -> None:
    bench = at(State.BUSY)
    shown = bench.give(deadline=bench.now)
    assert (shown.result, shown.code) == (Result.FAULT, Code.LATE)
    bench = at(State.BUSY)
    bench.shake.answered(bench.asked[0].token, answer("one", deadline_ns=bench.now + 1))
    bench.now += 1  # it was in time when it came, and is not when it is to be written
    assert bench.show().code == Code.LATE
    bench = at(State.BUSY)
    assert bench.give(deadline=bench.now + 1).result == Result.GOOD
    bench.now += 10
    assert bench.show().result == Result.GOOD  # it was told in time
    bench = at(State.BUSY)
    assert bench.give(REJECT, deadline=0).result == Result.REJECT


Event = Callable[[Bench], object]
EVENTS: dict[str, Event] = {
    "rest": lambda b: b.say(),
    "trigger": lambda b: b.say(trigger=True),
    "trigger two": lambda b: b.say(trigger=True, part=TWO),
    "trigger nobody": lambda b: b.say(trigger=True, part=NO_ONE),
    "acknowledge": lambda b: b.say(acknowledge=True),
    "both": lambda b: b.say(trigger=True, acknowledge=True),
    "both two": lambda b: b.say(trigger=True, acknowledge=True, part=TWO),
    "ready": lambda b: b.shake.ready(""),
    "not ready": lambda b: b.shake.ready("no camera"),
    "good": lambda b: b.asked and b.give(),
    "good of an old token": lambda b: b.asked and b.give(token=0),
    "good of another part": lambda b: b.asked and b.give(part="two"),
    "good too late": lambda b: b.asked and b.give(deadline=0),
    "reject": lambda b: b.asked and b.give(REJECT),
    "refused": lambda b: b.asked and b.shake.refused(b.asked[-1].token, Code.NOT_READY, "no"),
    "refused of old": lambda b: b.asked and b.shake.refused(0, Code.NOT_READY, "no"),
    "no beat": lambda b: b.shake.tick(b.now + TIMEOUT + 1),
    "no answer": lambda b: b.shake.tick(b.now + b.shake.patience_ns + 1),
    "lost": lambda b: b.shake.lost("cut"),
    "a moment": lambda b: b.shake.tick(b.now + 1),
}
X, N, R, B, V, C = State
# What each event makes of each state, by hand: X is OFFLINE, then NOT_READY, READY, BUSY, RESULT (V), CLEAR.
EXPECTED = {
    "rest": (X, N, R, R, R, R),
    "trigger": (X, B, B, B, V, C),
    "trigger two": (X, B, B, V, V, V),
    "trigger nobody": (X, V, V, V, V, V),
    "acknowledge": (X, C, C, C, C, C),
    "both": (X, C, C, B, C, C),
    "both two": (X, C, C, V, V, C),
    "ready": (X, R, R, B, V, C),
    "not ready": (X, N, N, B, V, C),
    "good": (X, N, R, V, V, C),
    "good of an old token": (X, N, R, B, V, C),
    "good of another part": (X, N, R, B, V, C),
    "good too late": (X, N, R, V, V, C),
    "reject": (X, N, R, V, V, C),
    "refused": (X, N, R, V, V, C),
    "refused of old": (X, N, R, B, V, C),
    "no beat": (X, X, X, X, X, X),
    "no answer": (X, X, X, X, X, X),  # patience is longer than the heartbeat here; see the test of its own
    "lost": (X, X, X, X, X, X),
    "a moment": (X, N, R, B, V, C),
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", EVENTS)
def test_each_event_in_each_state(state: State, event: str) -> None:
    assert set(EXPECTED) == set(EVENTS)
    bench = at(state)
    before = bench.show()
    EVENTS[event](bench)
    after = bench.show()
    assert after.state == EXPECTED[event][state]
    assert after.valid == (after.state == State.RESULT)
    assert after.busy == (after.state == State.BUSY)
    assert after.ready == (after.state == State.READY)
    if not after.valid:
        assert (after.result, after.code, after.score, after.number) == (Result.NONE, Code.NONE, 0.0, 0)
    if after.result == Result.GOOD:
        assert after == before or (state == State.BUSY and event == "good")


def test_a_fault_without_a_row_says_why() -> None:
    for state, event, code in [
        (State.READY, "trigger nobody", Code.PART_ID),
        (State.BUSY, "trigger two", Code.BUSY),
        (State.RESULT, "trigger two", Code.BUSY),
        (State.CLEAR, "trigger two", Code.BUSY),
        (State.BUSY, "refused", Code.NOT_READY),
    ]:
        bench = at(state)
        EVENTS[event](bench)
        shown = bench.show()
        assert (shown.result, shown.code) == (Result.FAULT, code)
        assert f"fault {code.name.lower()}" in bench.shake.notes[-1]


def test_no_answer() -> None:
    bench = at(State.BUSY)
    bench.shake.patience_ns = 100 * MS
    bench.shake.tick(bench.now + 100 * MS)
    assert bench.show().busy
    bench.shake.tick(bench.now + 101 * MS)
    assert bench.show().code == Code.NO_ANSWER
    assert bench.give().code == Code.NO_ANSWER  # what comes then is for the journal alone
    assert "did not wait for it any more" in bench.shake.notes[-1]
    bench.say(trigger=True)
    bench.say(trigger=True, acknowledge=True)
    assert bench.say().ready


def test_a_trigger_that_stood_before_the_station_was_there_is_a_fault() -> None:
    bench = Bench()
    bench.say(trigger=True)
    shown = bench.say(trigger=True)
    assert (shown.result, shown.code, shown.part) == (Result.FAULT, Code.RESTART, ONE)
    assert not bench.asked
    bench.say(trigger=True, acknowledge=True)
    assert bench.say().ready


@pytest.mark.parametrize("state", [State.BUSY, State.RESULT, State.CLEAR])
def test_a_controller_that_comes_back_with_its_trigger_is_told_a_fault(state: State) -> None:
    bench = at(state)
    bench.shake.tick(bench.now + TIMEOUT + 1)
    assert bench.show() == Shown(State.OFFLINE)
    assert f"while part one was {state.name}" in bench.shake.notes[-1]
    bench.now += 2 * TIMEOUT
    assert bench.say(trigger=True) == Shown(State.OFFLINE)  # a heartbeat is one that changes
    assert bench.say(trigger=True).code == Code.LINK
    if state == State.BUSY:
        assert bench.give().code == Code.LINK
    assert bench.say().ready


def test_an_acknowledge_that_stands_for_ever_acknowledges_nothing() -> None:
    bench = at(State.BUSY)
    bench.say(trigger=True, acknowledge=True)
    bench.give()
    for _ in range(5):
        assert bench.say(trigger=True, acknowledge=True).valid
    bench.say(trigger=True)
    assert not bench.say(trigger=True, acknowledge=True).valid


def test_a_heartbeat_that_stands_still_is_none() -> None:
    bench = at(State.READY)
    for _ in range(3):
        bench.now += TIMEOUT // 2
        bench.shake.controls(Controls(bench.beat), bench.now)
    assert bench.shake.state == State.OFFLINE


def test_the_drawn_transitions_are_those_that_happen() -> None:
    """Walks from state to state by every event, and compares with what the documentation draws."""
    seen: set[tuple[State, State]] = set()
    for state in State:
        for first in EVENTS:
            for second in EVENTS:
                bench = at(state)
                for event in (first, second, second):
                    before = bench.shake.state
                    EVENTS[event](bench)
                    seen.add((before, bench.shake.state))
    drawn = {(a, b) for a, _, b in TRANSITIONS}
    assert drawn == {(a, b) for a, b in seen if a != b}


STEP = st.one_of(
    st.tuples(
        st.just("say"),
        st.booleans(),
        st.booleans(),
        st.sampled_from([ONE, TWO, replace(ONE, sequence=9), NO_ONE]),
        st.booleans(),
    ),
    st.tuples(st.just("answer"), st.integers(0, 3), st.sampled_from(OUTCOMES), st.booleans()),
    st.tuples(st.just("refuse"), st.integers(0, 3)),
    st.tuples(st.just("ready"), st.booleans()),
    st.tuples(st.just("time"), st.sampled_from([MS, TIMEOUT // 2, 2 * TIMEOUT])),
    st.tuples(st.just("lost")),
    st.tuples(st.just("new")),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, max_size=40))
def test_good_is_only_shown_of_an_outcome_in_time_of_the_trigger_that_stands(steps: list[tuple]) -> None:
    """Whatever comes. `given` holds what was answered of which ask, and `stands` the ask of the trigger that stands."""
    shake, now, beat = Handshake(TIMEOUT), 0, 0
    asks: list[tuple[Ask, Part]] = []
    stands: tuple[Ask, Part] | None = None
    good: set[int] = set()  # tokens with a good outcome that was in time when it was shown first
    answered: set[int] = set()
    for step in steps:
        if step[0] == "say":
            _, trigger, acknowledge, part, beats = step
            now, beat = now + MS, beat + beats
            ask = shake.controls(Controls(beat, trigger, acknowledge, part), now)
            if not trigger or (stands is not None and part != stands[1]):
                stands = None
            if ask is not None:
                assert trigger
                assert ask.part_id == part.id
                assert ask.token not in [each.token for each, _ in asks]
                asks.append((ask, part))
                stands = asks[-1]
        elif step[0] == "answer" and len(asks) > step[1]:
            ask, _ = asks[-1 - step[1]]
            if ask.token not in answered:  # the station answers once
                answered.add(ask.token)
                told: Answer = answer(ask.part_id, step[2], deadline_ns=now + (1 if step[3] else 0))
                if step[2] == GOOD and step[3]:
                    good.add(ask.token)
                shake.answered(ask.token, told)
        elif step[0] == "refuse" and len(asks) > step[1]:
            shake.refused(asks[-1 - step[1]][0].token, Code.NOT_READY, "no")
        elif step[0] == "ready":
            shake.ready("" if step[1] else "no")
        elif step[0] == "time":
            now += step[1]
            shake.tick(now)
        elif step[0] == "lost":
            shake.lost("cut")
            stands = None
        elif step[0] == "new":  # the process was killed and started again; its old answers reach nobody
            shake, asks, stands, answered, good = Handshake(TIMEOUT), [], None, set(), set()
        shown = shake.show(now)
        if shown.state == State.OFFLINE:
            stands = None
        if shown.result == Result.GOOD:
            assert stands is not None
            assert stands[0].token in good
            assert shown.part == stands[1]
            assert shown.valid
        if not shown.valid:
            assert (shown.result, shown.code, shown.number) == (Result.NONE, Code.NONE, 0)
        assert shown.ready + shown.busy + shown.valid <= 1
