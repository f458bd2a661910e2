"""Measures every operating point of a bundle with every engine, number of threads, cores and search that this PC has.

Successive halving (Jamieson & Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016), for each operating point separately, as points differ in fidelity and do not compete: all candidates are
timed with few frames, then the better half with more frames, and so on. Each round has a fixed share of the time. So a
slow PC times fewer frames and does not take longer. Candidates that could not be timed are counted.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_ad.bundle.file import Bundle
from edge_ad.engines import installed_engines
from edge_ad.errors import EngineUnavailableError
from edge_ad.registry import ENGINES, METHODS
from edge_ad.serving import clock
from edge_ad.serving.fidelity import best_first
from edge_ad.serving.point import Point, runnable_engine
from edge_ad.serving.profile import Entry, handicapped
from edge_ad.serving.settings import Settings
from edge_ad.serving.timing import time_frames
from edge_ad.spec import Frame, Manifest
from edge_ad.system.cpu import can_pin, default_threads, fastest_cores

ROUNDS = ((8, 0.40), (24, 0.60), (72, 0.72))  # most frames, and the share of all the time at which the round ends
FINALISTS = 2  # of each operating point
FINAL_FRAMES, FINAL_END = 400, 0.85  # the rest of the time is for idle pauses
LEAST_FRAMES = 3
IDLE_S = 1.0
MOST_GAPS = 3


@dataclass
class Tuned:
    """The results.

    Attributes:
        entries: the last timing of each candidate.
        refused: "POINT by ENGINE" -> why it cannot run here.
        left_out: how many candidates were not timed, for lack of time.
    """

    entries: list[Entry] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    left_out: int = 0


def candidates(bundle: Bundle, most_threads: int | None = None) -> tuple[dict[str, list[Settings]], dict[str, str]]:
    """The settings to try with each operating point, the most promising first, and why an engine cannot run a point.

    Args:
        most_threads: most threads to try; by default the number of physical cores.
    """
    found: dict[str, list[Settings]] = {}
    refused: dict[str, str] = {}
    for name in best_first(bundle.manifest):
        engines = []
        for engine in installed_engines():
            try:
                engines.append(runnable_engine(bundle, name, engine, "CPU"))
            except EngineUnavailableError as error:
                refused[f"{name} by {engine}"] = error.what
        choices = itertools.product(_threads(most_threads), searches(bundle.manifest.at(name)), engines)
        own = [
            Settings(engine, "CPU", threads, cores, search)
            for threads, search, engine in choices
            for cores in _cores(threads)
        ]
        if own:
            found[name] = own
    return found, refused


def searches(spec: Manifest) -> tuple[str, ...]:
    """The searches that an operating point's method has, at each of its input sizes."""
    has_graph = all(sight.index is not None and sight.index.graph is not None for sight in spec.sights)
    return tuple(search for search in METHODS[spec.head.method].searches if search != "graph" or has_graph)


def steps(found: dict[str, list[Settings]]) -> int:
    """How many measurements `tune` makes if the time is enough for all."""
    total = 0
    for own in found.values():
        count = len(own)
        for _ in ROUNDS:
            total += count
            count = _half(count)
        total += min(count, FINALISTS)
    return total


def tune(
    bundle: Bundle,
    frames: Sequence[Frame],
    seconds: float,
    most_threads: int | None = None,
    step: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Tuned:
    """Measures; takes about `seconds` at most.

    Args:
        bundle: opened with all its points.
        frames: as the camera gives them; used in turn.
        most_threads: as in `candidates`.
        step: called after each measurement.
        sleep: waits for a number of seconds.

    Raises:
        EngineUnavailableError: no operating point can run here.
        EdgeADError: one cannot be opened, or fails.
    """
    alive, refused = candidates(bundle, most_threads)
    if not alive:
        raise EngineUnavailableError(
            "no operating point of this bundle can run here",
            expected="an engine for one of them",
            got="; ".join(f"{name}: {why}" for name, why in refused.items()) or "no engine installed",
            remedy=f"Run {' or '.join(engine.pip for engine in ENGINES.values())}.",
        )
    began, found = clock.now(), _Found(bundle, frames, step, sleep)
    for number, (count, share) in enumerate(ROUNDS, 1):
        found.round(number, alive, count, began + share * seconds)
        alive = {name: found.better_half(name, own, number) for name, own in alive.items()}
    last, alive = len(ROUNDS) + 1, {name: own[:FINALISTS] for name, own in alive.items()}
    gaps = int((1 - FINAL_END) * seconds / IDLE_S / sum(map(len, alive.values())))
    found.round(last, alive, FINAL_FRAMES, began + FINAL_END * seconds, gaps=min(gaps, MOST_GAPS))
    return Tuned(list(found.entries.values()), refused, found.left_out)


class _Found:
    """Entries so far."""

    def __init__(
        self, bundle: Bundle, frames: Sequence[Frame], step: Callable[[], None], sleep: Callable[[float], None]
    ) -> None:
        self._bundle, self._frames, self._step, self._sleep = bundle, frames, step, sleep
        self.entries: dict[tuple[str, Settings], Entry] = {}
        self.left_out = 0

    def round(self, number: int, alive: dict[str, list[Settings]], count: int, end: float, gaps: int = 0) -> None:
        """Times the remaining candidates until the time is up, the most promising of each operating point first.

        The first candidate of each point is always timed, as each point needs at least one time.
        """
        queue = list(_by_turns([(name, settings) for settings in own] for name, own in alive.items()))
        for i, (name, settings) in enumerate(queue):
            left = end - clock.now()
            if left <= 0 and i >= len(alive):
                self.left_out += len(queue) - i if number == 1 else 0
                return
            self.entries[name, settings] = self._time(number, name, settings, count, left / (len(queue) - i), gaps)
            self._step()

    def better_half(self, name: str, own: list[Settings], number: int) -> list[Settings]:
        """The settings of a point that the round has timed, the best first."""
        timed = [found for s in own if (found := self.entries.get((name, s))) and found.rounds == number]
        return [entry.settings for entry in sorted(timed, key=handicapped)[: _half(len(timed))]]

    def _time(self, number: int, name: str, settings: Settings, count: int, seconds: float, gaps: int) -> Entry:
        began = clock.now()
        point = Point(self._bundle, name, settings)
        seconds -= clock.now() - began  # opening takes time too
        timing = time_frames(point, self._frames, count, seconds, LEAST_FRAMES)
        idle = []
        for i in range(gaps):
            self._sleep(IDLE_S)
            idle.append(point.latency(self._frames[i % len(self._frames)]))
        return Entry(name, settings, timing, number, float(np.median(idle)) if idle else None)


def _half(count: int) -> int:
    return -(-count // 2)


def _threads(most: int | None) -> list[int]:
    """Numbers of threads: all physical cores first, then the powers of two below."""
    bound = min(most or default_threads(), default_threads())
    return sorted({bound, *(1 << i for i in range(bound.bit_length()) if 1 << i < bound)}, reverse=True)


def _cores(threads: int) -> list[tuple[int, ...] | None]:
    """Choices of cores: not pinned, and if the system can pin, as many of the fastest cores."""
    chosen = fastest_cores(threads)
    return [None, chosen] if len(chosen) == threads and can_pin() else [None]


def _by_turns(lists: Iterable[Sequence[tuple[str, Settings]]]) -> list[tuple[str, Settings]]:
    return [c for turn in itertools.zip_longest(*lists) for c in turn if c is not None]
