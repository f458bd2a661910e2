"""The runtime: a bundle and a frame in, a verdict out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

from edge_ad.bundle.file import Bundle
from edge_ad.bundle.probes import Answer
from edge_ad.errors import SpecError
from edge_ad.serving import clock
from edge_ad.serving.chooser import Chooser
from edge_ad.serving.clock import Stopwatch
from edge_ad.serving.fidelity import faithful_first
from edge_ad.serving.ladder import Ladder
from edge_ad.serving.meter import Meter, Stats
from edge_ad.serving.point import Point, Prepared
from edge_ad.serving.profile import load_profile
from edge_ad.serving.settings import Fixed
from edge_ad.sources.prefetch import prefetch
from edge_ad.spec import REFERENCE, Frame, Manifest
from edge_ad.system.cpu import check_cores
from edge_ad.system.forks import Home
from edge_ad.system.numbers import positive_number, whole_number
from edge_ad.verdict.verdict import Verdict

EngineName = str  # "auto", or one of `edge_ad.registry.ENGINES`
SearchName = Literal["auto", "exact", "graph"]
MissName = Literal["raise", "best_effort"]


class Runtime:
    """Inspects frames with a bundle. Safe to share between threads; only its counts, and with a budget the operating
    point in use, change once it is made.

    With `budget_ms` it takes the most faithful operating point whose p99 on this PC is within the budget: by the
    machine's profile (`edge-ad tune`), or by a quick measurement with the golden probes' frames, some 2.5 s at most.
    It opens the cheaper points too, which costs their memory, so that no frame waits for one: when misses persist the
    next cheaper point takes over, and hands back when there is room again (`edge_ad.serving.ladder`).

    It pickles as its arguments, the path made absolute, and opens itself again where it is unpickled, from the bundle
    that is at the path then: so it can be passed to processes started by "spawn" or "forkserver". In a forked child of
    the process that opened it every call raises ForkError.

    Args:
        path: the bundle; all else is given by name. Numbers may be of any type, NumPy's too.
        engine: "auto" takes OpenVINO on Intel and ONNX Runtime elsewhere, as far as installed and in the bundle.
        device: OpenVINO's device.
        threads: bound of engine and search together; by default a thread for each physical core allowed.
        cores: ids of the logical cores to stay on (Linux); by default the process's own.
        point: name of the operating point. By default the reference, "f32", which is in every bundle; with a budget
            the one that fits.
        search: "exact", "graph", or "auto" for what is faster, by the coreset and the CPU. The image score is the same.
        threshold: of the reference's score, instead of the bundle's. The map's threshold, and those of other operating
            points, are scaled alike.
        self_check: run the golden probes of every point in use before anything else.
        budget_ms: for a frame, from pixels in memory to the verdict. Reading files, waiting for the camera, and in
            `inspect_many` waiting for the frame before, are not in it.
        on_miss: what to do where no point keeps the budget: "raise", or "best_effort" to take the fastest.
        profile: whether the machine's profile may choose what is left to it: engine, threads, cores and search.

    Raises:
        BundleError: the bundle is missing, broken, or of a newer format.
        EngineUnavailableError: no installed engine runs this bundle; the message names the pip command.
        SpecError: an option is out of range.
        BudgetError: no operating point keeps the budget; the message has the table.
        ParityError: `self_check` found that this PC gives other answers than the export did.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        engine: EngineName = "auto",
        device: str = "CPU",
        threads: int | None = None,
        cores: Sequence[int] | None = None,
        point: str | None = None,
        search: SearchName = "auto",
        threshold: float | None = None,
        self_check: bool = False,
        budget_ms: float | None = None,
        on_miss: MissName = "raise",
        profile: bool = True,
    ) -> None:
        fixed = _fixed(engine, device, threads, cores, search)
        threshold = None if threshold is None else positive_number("threshold", threshold)
        budget_ms = None if budget_ms is None else positive_number("budget_ms", budget_ms)
        best_effort = _check_on_miss(on_miss)
        self._home = Home("a Runtime")
        self._path = os.path.abspath(os.fspath(path))
        self._options: dict[str, Any] = {
            "engine": engine,
            "device": device,
            "threads": fixed.threads,
            "cores": fixed.cores,
        }
        self._options |= {"point": point, "search": search, "threshold": threshold, "self_check": self_check}
        self._options |= {"budget_ms": budget_ms, "on_miss": on_miss, "profile": profile}
        name = REFERENCE if point is None else point
        bundle = Bundle.open(path, points=(name,) if budget_ms is None else None)
        self._bundle_id, self._manifest = bundle.id, bundle.manifest
        # an engine on another device has nothing to do with what was measured on the CPU
        known = load_profile(bundle.id, bundle.manifest.point_names) if profile and device == "CPU" else None
        chooser = Chooser(bundle, fixed, threshold, known)
        self._ladder: Ladder | None = None
        if budget_ms is None:
            self._points: tuple[Point, ...] = (chooser.open(name)[0],)
        else:
            names = faithful_first(bundle.manifest) if point is None else (point,)
            rungs = chooser.rungs(names, budget_ms, best_effort=best_effort)
            self._points = tuple(rung.point for rung in rungs)
            self._ladder = Ladder([rung.expected_ms for rung in rungs], budget_ms)
        bundle.close()  # the engines have copies of their models
        self._budget_ms = budget_ms
        self._meter = Meter([each.name for each in self._points], budget_ms)
        if self_check:
            self.check()

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), **self._options), (self._path,)

    @property
    def bundle_id(self) -> str:
        """The id of the bundle, as verdicts carry it."""
        return self._bundle_id

    @property
    def point(self) -> str:
        """Name of the operating point in use; what follows is that one's."""
        return self._point.name

    @property
    def threads(self) -> int:
        """Bound of engine and search together."""
        return self._point.settings.threads

    @property
    def threshold(self) -> float:
        """Of the score."""
        return self._point.threshold

    @property
    def pixel_threshold(self) -> float | None:
        """Of the anomaly map; None where the method gives none."""
        return self._point.pixel_threshold

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self._manifest

    @property
    def engine(self) -> str:
        """Name of the engine in use."""
        return self._point.engine.name

    @property
    def engine_version(self) -> str:
        """Version of the engine in use."""
        return self._point.engine.version

    @property
    def precision(self) -> str:
        """Arithmetic of the backbone: a name of `edge_ad.registry.PRECISIONS`."""
        return self._point.precision

    @property
    def search(self) -> str:
        """ "graph" where the head searches the HNSW graph, else "exact"."""
        return self._point.search

    @property
    def points(self) -> tuple[str, ...]:
        """Names of the operating points that are open, the most faithful first: more than one with a budget only."""
        return tuple(each.name for each in self._points)

    @property
    def budget_ms(self) -> float | None:
        """Of a frame; None without."""
        return self._budget_ms

    def inspect(self, frame: Frame | str | os.PathLike[str]) -> Verdict:
        """The verdict on a frame.

        Args:
            frame: (H, W, 3) u8 in the bundle's colour order, (H, W) or (H, W, 1) grey u8 or u16, or an image file.
                Any size: it is resized as at export, and the map comes back in its own pixels.

        Raises:
            FrameError: the frame cannot be inspected.
            EngineError: the engine failed, or gave NaN or Inf: there is no verdict then.
            ForkError: this is a forked child of the process that opened the Runtime.
        """
        self._home.check()
        return self._judge(self._point.prepare(frame, Stopwatch()))

    def inspect_many(self, frames: Iterable[Frame | str | os.PathLike[str]]) -> Iterator[Verdict]:
        """Verdicts in the order of the frames; the next frame is captured and cropped while one is inspected.

        `frames` is advanced by a thread of its own, at most two frames ahead. An error of a frame, or of `frames`
        itself, is raised in its turn and ends the iteration. A verdict's "read" time includes waiting for the frame.
        """
        self._home.check()
        return (self._judge(prepared) for prepared in prefetch(frames, self._prepare_next))

    def scores_and_peaks(
        self, frames: Iterable[Frame | str | os.PathLike[str]]
    ) -> Iterator[tuple[float, float | None]]:
        """Score, and peak of the map (None without one), of frame after frame: what thresholds are chosen from.

        By exact search, and with peaks as at export; no map in frame pixels is rendered. Frames are read ahead, and
        errors raised, as by `inspect_many`.
        """
        return (prepared.point.score_and_peak(prepared) for prepared in prefetch(frames, self._prepare_next))

    def probe(self, frame: Frame) -> Answer:
        """Everything that is computed of a frame, with exact search: what golden probes hold and check.

        Args:
            frame: an array as `inspect` takes it, in the bundle's colour order.
        """
        self._home.check()
        return self._point.probe(frame)

    def check(self) -> dict[str, float]:
        """Runs the golden probes of every open point; the largest relative deviation of patches, distances, map, score.

        Raises:
            ParityError: one of them is above the tolerance that the bundle allows.
        """
        self._home.check()
        found = [each.check() for each in self._points]
        return {name: max(worst[name] for worst in found) for name in found[0]}

    def stats(self) -> Stats:
        """Times, misses and operating points of the frames served; the times are of the last 1024. Thread-safe."""
        self._home.check()
        return self._meter.stats(self.point, 0 if self._ladder is None else self._ladder.changes)

    @property
    def _point(self) -> Point:
        return self._points[0 if self._ladder is None else self._ladder.rung]

    def _prepare_next(self, frames: Iterator[Frame | str | os.PathLike[str]]) -> Prepared:
        self._home.check()
        watch = Stopwatch()
        return self._point.prepare(next(frames), watch)

    def _judge(self, prepared: Prepared) -> Verdict:
        """By the point that prepared the frame, whatever the ladder has done since."""
        verdict = prepared.point.judge(prepared, self._budget_ms)
        self._meter.record(verdict.point, verdict.latency_ms, clock.now())
        if self._ladder is not None:
            self._ladder.record(self._points.index(prepared.point), verdict.latency_ms)
        return verdict


def _fixed(engine: str, device: str, threads: int | None, cores: Sequence[int] | None, search: str) -> Fixed:
    threads = None if threads is None else whole_number("threads", threads, 1, 1024)
    checked = check_cores(cores)
    if threads is not None and checked is not None:
        threads = min(threads, len(checked))
    return Fixed(None if engine == "auto" else engine, device, threads, checked, None if search == "auto" else search)


def _check_on_miss(on_miss: str) -> bool:
    if on_miss not in ("raise", "best_effort"):
        raise SpecError("on_miss is unknown", expected="raise or best_effort", got=repr(on_miss))
    return on_miss == "best_effort"
