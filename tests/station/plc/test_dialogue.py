"""A handshake with the station behind it: asking, recipes, events."""

from __future__ import annotations

from collections.abc import Callable

from edge_ad.station.outcomes import FAULT
from edge_ad.station.plc.dialogue import Dialogue
from edge_ad.station.plc.handshake import Code, Controls, Part, Result, Shown, State
from tests.station.plc.made import ScriptedHost

PART = Part("one", 1)


class Desk:
    """A dialogue, and the calls that were posted to its thread."""

    def __init__(self, host: ScriptedHost) -> None:
        self.posted: list[Callable[[], None]] = []
        self.dialogue = Dialogue(host, "top", "line 1", 60_000, self.posted.append)
        self._beat = 0

    def say(self, trigger: bool = False, acknowledge: bool = False, recipe: int = 0) -> Shown:
        self._beat += 1
        self.dialogue.take(Controls(self._beat, trigger, acknowledge, PART, recipe))
        return self.dialogue.show()

    def run(self) -> Shown:
        for call in self.posted:
            call()
        self.posted.clear()
        return self.dialogue.show()


def met(host: ScriptedHost, recipe: int = 0) -> Desk:
    desk = Desk(host)
    desk.say(recipe=recipe)
    desk.say(recipe=recipe)
    return desk


def test_an_answer_comes_by_the_thread_of_the_link() -> None:
    host = ScriptedHost()
    desk = met(host)
    assert host.told == ["line 1: the controller is there"]
    assert desk.say(trigger=True).busy
    host.give()
    assert desk.dialogue.show().busy
    assert desk.run().result == Result.GOOD
    assert desk.dialogue.state().well


def test_ready_is_what_the_station_says() -> None:
    host = ScriptedHost(why_not="the camera is not there")
    desk = met(host)
    assert desk.dialogue.show().state == State.NOT_READY
    host.why_not = ""
    desk.dialogue.tick()
    assert desk.dialogue.show().ready
    host.refuses, host.why_not = True, "the camera is gone"
    shown = desk.say(trigger=True)
    assert (shown.result, shown.code) == (Result.FAULT, Code.NOT_READY)
    assert "part one: fault not_ready: the camera takes no trigger now" in host.told[-1]


def test_the_recipe_is_followed_from_the_start_and_at_each_change() -> None:
    host = ScriptedHost()
    desk = met(host, recipe=1)
    assert host.selected == [1]
    assert desk.say(recipe=1).ready
    desk.say(recipe=2)
    assert (host.selected, desk.dialogue.recipe) == ([1, 2], 2)
    desk.dialogue.lost("cut")
    assert not desk.dialogue.state().well
    host.used = 0  # somebody else selected another one meanwhile
    desk.say(recipe=2)
    assert desk.say(recipe=2).ready
    assert host.selected == [1, 2, 2]


def test_a_part_is_never_inspected_by_another_recipe() -> None:
    host = ScriptedHost(opens=False)
    desk = met(host)
    assert not desk.say(recipe=1).ready  # it is being opened
    desk.say(trigger=True, recipe=1)
    shown = desk.run()
    assert (shown.result, shown.code) == (Result.FAULT, Code.RECIPE)
    assert host.asked == []
    desk.say(trigger=True, acknowledge=True, recipe=1)
    assert not desk.say(recipe=1).ready
    host.used = 1
    assert desk.say(recipe=1).ready
    assert desk.say(trigger=True, recipe=1).busy
    host.used = 0  # a person selects another one
    host.give()
    assert desk.run().result == Result.GOOD  # it was accepted under the one that was asked for


def test_a_recipe_that_is_not_there() -> None:
    host = ScriptedHost(recipes=2)
    desk = met(host, recipe=5)
    assert "line 1: recipe 5 cannot be selected" in host.told[-1]
    assert not desk.dialogue.show().ready
    desk.say(trigger=True, recipe=5)
    assert desk.run().code == Code.RECIPE


def test_the_trigger_and_its_recipe_in_one_request() -> None:
    """The recipe is selected before the part is asked for."""
    host = ScriptedHost()
    desk = met(host)
    assert desk.say(trigger=True, recipe=2).busy
    assert (host.selected, [part for part, _ in host.asked]) == ([0, 2], ["one"])
    host.give(FAULT, "engine: NaN")
    assert desk.run().code == Code.ENGINE


def test_the_heartbeat_grows_and_is_never_0() -> None:
    desk = Desk(ScriptedHost())
    assert desk.dialogue.heartbeat == 0
    desk.dialogue.tick()
    assert desk.dialogue.heartbeat == 1
    desk.dialogue._beat, desk.dialogue._beat_ns = 0xFFFE, 0
    desk.dialogue.tick()
    assert desk.dialogue.heartbeat == 1
