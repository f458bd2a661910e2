"""Chooses the operating points: the one that sees most and keeps the budget on this PC, and cheaper ones below it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from edge_ad.bundle.file import Bundle
from edge_ad.errors import BudgetError, EdgeADError, EngineUnavailableError
from edge_ad.serving import clock
from edge_ad.serving.point import Point
from edge_ad.serving.profile import Profile
from edge_ad.serving.settings import Fixed, Settings
from edge_ad.serving.timing import Timing, latencies, sample_frames, time_frames, timing
from edge_ad.spec import Frame
from edge_ad.system.cpu import default_threads
from edge_ad.system.tables import aligned

QUICK_FRAMES = 40  # timed for a point without a profile; if one is late, more are timed
SURE_FRAMES = 101  # with this many frames, the p99 is the second longest time
QUICK_S = 2.5  # seconds for all points together, without the time to open them
RATIO_FRAMES = 8  # timed for a point below the chosen one: only the ratio of the times is used
CHEAPER = 0.9  # a rung of the ladder takes at most this share of the time of the one above it


@dataclass(frozen=True)
class Rung:
    """An operating point that serves, and the time of a frame on it."""

    point: Point
    expected_ms: float


@dataclass(frozen=True)
class Tried:
    """An operating point that was tried: opened and timed, or refused for a reason."""

    name: str
    point: Point | None
    timing: Timing | None
    reason: str = ""


class Chooser:
    """Opens operating points of a bundle and times them.

    Args:
        bundle: opened with all its points.
        fixed: settings that the user has fixed.
        threshold: threshold of the reference; None for the bundle's.
        profile: the profile of this machine, if there is one.
    """

    def __init__(self, bundle: Bundle, fixed: Fixed, threshold: float | None, profile: Profile | None) -> None:
        self._bundle, self._fixed, self._threshold, self._profile = bundle, fixed, threshold, profile
        self._frames: list[Frame] = []

    def open(self, name: str, budget_ms: float | None = None) -> tuple[Point, Timing | None]:
        """Opens the operating point with its best settings; also gives their timing if it is known.

        Raises:
            EdgeADError: as `Point` raises.
        """
        entry = None if self._profile is None else self._profile.best(name, self._fixed, budget_ms)
        if entry is not None:
            # an entry of a profile that cannot be opened was edited by hand
            with contextlib.suppress(EdgeADError):
                return self._opened(name, entry.settings), entry.timing
        usual = Settings("auto", "CPU", default_threads(self._fixed.cores), None, "auto")
        return self._opened(name, usual), None

    def rungs(self, names: Sequence[str], budget_ms: float, *, best_effort: bool) -> list[Rung]:
        """The chosen point and those below it, each clearly cheaper than the one before; all are open and warm.

        Args:
            names: the points that may serve, the one that sees most first.
            best_effort: take the fastest if none keeps the budget.

        Raises:
            BudgetError: none keeps the budget.
        """
        tried: list[Tried] = []
        end = clock.now() + QUICK_S
        for i, name in enumerate(names):
            tried.append(self._try(name, budget_ms, end, len(names) - i))
            chosen = tried[-1]
            if chosen.point and chosen.timing and chosen.timing.p99_ms <= budget_ms:
                return self._below(Rung(chosen.point, chosen.timing.p50_ms), names[i + 1 :])
        usable = [(t.timing.p99_ms, Rung(t.point, t.timing.p50_ms)) for t in tried if t.point and t.timing]
        if best_effort and usable:
            return [min(usable, key=lambda found: found[0])[1]]
        raise BudgetError(
            "no operating point keeps the latency budget on this PC",
            expected=f"a p99 of {budget_ms:g} ms at most",
            table=table(tried),
            remedy="Allow more time, export cheaper points, free this PC of other work, or pass on_miss='best_effort'.",
        )

    def _opened(self, name: str, base: Settings) -> Point:
        return Point(self._bundle, name, self._fixed.merged(base), self._threshold)

    def _try(self, name: str, budget_ms: float, end: float, left: int) -> Tried:
        try:
            point, known = self.open(name, budget_ms)
        except EngineUnavailableError as error:
            return Tried(name, None, None, f"{error.what}: {error.got}")
        if known is not None:
            warm_up(point, self._sample())
            return Tried(name, point, known)
        found: list[float] = []
        began = clock.now()
        share = began + (end - began) / left  # the part of the remaining time that one point may take
        for latency in latencies(point, self._sample()):
            found.append(latency)
            late = sum(value > budget_ms for value in found)
            enough = late > 1 or len(found) >= (SURE_FRAMES if late else QUICK_FRAMES)
            if enough or (len(found) >= 5 and clock.now() >= (end if late else share)):
                break
        return Tried(name, point, timing(found))

    def _below(self, top: Rung, names: Sequence[str]) -> list[Rung]:
        rungs = [top]
        for name in names:
            try:
                point, known = self.open(name)
            except EngineUnavailableError:
                continue  # this PC has no such rung
            if known is None:
                known = time_frames(point, self._sample(), RATIO_FRAMES, QUICK_S / 5)
            else:
                warm_up(point, self._sample())
            if known.p50_ms <= CHEAPER * rungs[-1].expected_ms:
                rungs.append(Rung(point, known.p50_ms))
        return rungs

    def _sample(self) -> list[Frame]:
        if not self._frames:
            self._frames = sample_frames(self._bundle)
        return self._frames


def warm_up(point: Point, frames: Sequence[Frame]) -> None:
    """Runs a few frames, as an engine is slower at first."""
    next(latencies(point, frames))


def table(tried: Sequence[Tried]) -> str:
    """A table: the times of each operating point, or why it was not run."""
    head = ("point", "engine", "threads", "cores", "search", "p50", "p95", "p99", "frames")
    rows: list[tuple[str, ...]] = [head]
    for found in tried:
        if found.point is None or found.timing is None:
            rows.append((found.name, f"not run: {found.reason}"))
            continue
        point, own, t = found.point, found.point.settings, found.timing
        times = (f"{t.p50_ms:.1f}", f"{t.p95_ms:.1f}", f"{t.p99_ms:.1f}", str(t.frames))
        rows.append((found.name, point.engine.name, str(own.threads), own.cores_text, point.search, *times))
    return aligned(rows)
