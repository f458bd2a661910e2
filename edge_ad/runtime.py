"""The runtime: a bundle and a frame in, a verdict out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle.file import Bundle
from edge_ad.bundle.probes import Answer
from edge_ad.engines.ahead import run_ahead
from edge_ad.errors import FrameError, SpecError
from edge_ad.serving import clock
from edge_ad.serving.chooser import Chooser
from edge_ad.serving.clock import Stopwatch
from edge_ad.serving.fidelity import best_first
from edge_ad.serving.ladder import Ladder
from edge_ad.serving.meter import Meter, Stats
from edge_ad.serving.point import Point, Prepared
from edge_ad.serving.profile import load_profile
from edge_ad.serving.settings import Fixed
from edge_ad.sources.prefetch import prefetch
from edge_ad.spec import REFERENCE, Frame, Manifest
from edge_ad.system.arguments import flag, positive_number, text, whole_number
from edge_ad.system.cpu import check_cores, default_threads
from edge_ad.system.forks import Home
from edge_ad.verdict.verdict import Verdict

EngineName = str  # "auto", or one of `edge_ad.registry.ENGINES`
SearchName = Literal["auto", "exact", "graph"]
MissName = Literal["raise", "best_effort"]
Mask = NDArray[np.bool_] | NDArray[np.uint8]
Picture = Frame | str | os.PathLike[str]
Capture = Picture | Sequence[Picture]  # a sequence where the bundle's frames are stacks


class Runtime:
    """Inspects frames with a bundle.

    Thread-safe: share one Runtime between threads. After it is made, only its statistics change, and with a budget the
    operating point in use.

    With `budget_ms` it takes the operating point that sees most (`edge_ad.serving.fidelity`) among those whose p99 on
    this PC is within the budget. It knows the times from the machine's profile (`edge-ad tune`), or measures them in
    2.5 s at most with the golden probes' frames. It also opens the cheaper points, so that no frame waits for one; this
    costs memory. When frames keep missing the budget, it changes to the next cheaper point. When there is time again,
    it changes back (`edge_ad.serving.ladder`).

    A pickled Runtime holds its arguments, with an absolute path. Unpickling opens the bundle that is at the path at
    that time. So a Runtime can be passed to processes started by "spawn" or "forkserver". In a forked child of the
    process that opened it, every call raises ForkError.

    Args:
        path: the bundle. All other arguments are keyword-only. Numbers may have any numeric type, also NumPy's.
        engine: name of an engine, or "auto": OpenVINO on an Intel CPU and ONNX Runtime on others, if it is installed
            and the bundle has a model for it; else the other one.
        device: OpenVINO's device.
        threads: most threads for engine and search together; by default one for each physical core allowed.
        cores: ids of the logical cores to use (Linux); by default all cores that the process may use.
        streams: frames that are inspected side by side, by `inspect_many` or by threads that share the Runtime; they
            share the threads. More streams inspect more frames a second, and each frame takes longer. Scores stay the
            same. Not together with a budget, which holds for one frame at a time.
        point: name of the operating point. By default the reference, "f32", which is in every bundle; with a budget
            the one that fits.
        search: "exact", "graph", or "auto", which picks the faster one for this coreset and CPU. The image score is
            the same with each.
        threshold: threshold of the reference's score; replaces the bundle's. The threshold of the map, and those of
            other operating points, change in the same proportion.
        self_check: first run the golden probes of every point in use.
        budget_ms: time limit of a frame, from pixels in memory to the verdict. It does not include reading files,
            waiting for the camera, or (in `inspect_many`) waiting for the frame before.
        on_miss: what to do if no point keeps the budget: "raise", or "best_effort" to take the fastest.
        profile: whether the machine's profile may choose engine, threads, cores and search where you do not.

    Raises:
        BundleError: the bundle is missing, broken, or of a newer format.
        EngineUnavailableError: no installed engine runs this bundle; the message names the pip command.
        SpecError: an option is out of range.
        BudgetError: no operating point keeps the budget; the message has a table of their times.
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
        streams: int = 1,
        point: str | None = None,
        search: SearchName = "auto",
        threshold: float | None = None,
        self_check: bool = False,
        budget_ms: float | None = None,
        on_miss: MissName = "raise",
        profile: bool = True,
    ) -> None:
        name = REFERENCE if point is None else point
        _check_words(path, engine=engine, device=device, search=search, on_miss=on_miss, point=name)
        _check_flags(self_check=self_check, profile=profile)
        fixed = _fixed(engine, device, threads, cores, search, streams, budget_ms)
        threshold = None if threshold is None else positive_number("threshold", threshold)
        budget_ms = None if budget_ms is None else positive_number("budget_ms", budget_ms)
        best_effort = _check_on_miss(on_miss)
        self._home = Home("a Runtime")
        self._path = os.path.abspath(os.fspath(path))
        self._options: dict[str, Any] = {"engine": engine, "device": device, "point": point, "search": search}
        self._options |= {"threads": fixed.threads, "cores": fixed.cores, "threshold": threshold}
        self._options |= {"streams": streams}
        self._options |= {"self_check": self_check, "budget_ms": budget_ms, "on_miss": on_miss, "profile": profile}
        bundle = Bundle.open(path, points=(name,) if budget_ms is None else None)
        self._bundle_id, self._manifest = bundle.id, bundle.manifest
        # the times in a profile were measured on the CPU, so they say nothing about another device
        known = load_profile(bundle.id, bundle.manifest.point_names) if profile and device == "CPU" else None
        chooser = Chooser(bundle, fixed, threshold, known)
        self._ladder: Ladder | None = None
        if budget_ms is None:
            self._points: tuple[Point, ...] = (chooser.open(name)[0],)
        else:
            names = best_first(bundle.manifest) if point is None else (point,)
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
        """The id of the bundle, the same as in each verdict."""
        return self._bundle_id

    @property
    def point(self) -> str:
        """Name of the operating point in use. The properties below describe this point."""
        return self._point.name

    @property
    def threads(self) -> int:
        """Most threads for engine and search together."""
        return self._point.settings.threads

    @property
    def streams(self) -> int:
        """How many frames are inspected side by side."""
        return self._point.settings.streams

    @property
    def threshold(self) -> float:
        """Threshold of the score: a frame is anomalous when its score is at least this."""
        return self._point.threshold

    @property
    def pixel_threshold(self) -> float | None:
        """Threshold of the anomaly map, in units of distance; None if the method gives no map."""
        return self._point.pixel_threshold

    @property
    def manifest(self) -> Manifest:
        """The manifest of the bundle."""
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
        """ "graph" if the head searches the HNSW graph (at an input size, if there are two), else "exact"."""
        return self._point.search

    @property
    def points(self) -> tuple[str, ...]:
        """Names of the open operating points, those first that see most. There is more than one only with a budget."""
        return tuple(each.name for each in self._points)

    @property
    def budget_ms(self) -> float | None:
        """Time limit of a frame in milliseconds; None without a budget."""
        return self._budget_ms

    def inspect(self, frame: Capture, *, roi: Mask | None = None) -> Verdict:
        """The verdict on a frame. Thread-safe.

        With `roi`, only what is inside both the mask and the bundle's region of interest is judged: score, map and
        regions are of that part, and the map is 0 elsewhere. As at export, a pixel at the input size is inside if all
        frame pixels that it is made of are, and a patch is inside if any of its pixels is. The network still sees the
        whole crop, and nothing is filled: so what is near the mask's border can still change a score. What is saved is
        the search of the other patches, which is about what bringing the mask to the patches costs. (A region given to
        the export saves the network's time.)

        Args:
            frame: (H, W, 3) u8 in the bundle's colour order, (H, W) or (H, W, 1) grey u8 or u16, or an image file.
                It may have any size: it is resized as at export. The anomaly map has the size of the frame, and is in
                its pixels, wherever the part lies (``--align``). Of a bundle of stacks (`manifest.frame.stack`): the
                pictures in the order of the lights, as an (N, H, W) or (N, H, W, 3) array, N arrays or image files, or
                the folder of those files.
            roi: (H, W) mask of the frame's size: bool, or u8 where each value above 0 is inside. None: no mask.

        Raises:
            FrameError: the frame cannot be inspected; the mask has another dtype or size, is empty, or leaves nothing
                to inspect; a stack is incomplete or does not fit its lights. Then there is no verdict.
            SpecError: the bundle's method scores a frame as a whole, so it takes no mask.
            EngineError: the engine failed, or gave NaN or Inf. Then there is no verdict.
            ForkError: this is a forked child of the process that opened the Runtime.
        """
        self._home.check()
        return self._judge(self._point.prepare(frame, Stopwatch(), roi))

    def inspect_many(
        self, frames: Iterable[Capture], *, rois: Iterable[Mask | None] | None = None
    ) -> Iterator[Verdict]:
        """Verdicts in the order of the frames. While one frame is inspected, the next one is captured and cropped.

        With several `streams`, as many frames are inspected side by side; the first verdict comes when `streams` + 1
        frames were captured. A separate thread advances `frames`, at most two frames ahead. An error of a frame, or of
        `frames` itself, is raised when its turn comes, and ends the iteration. A verdict's "read" time includes waiting
        for the frame.

        Args:
            frames: each as `inspect` takes it.
            rois: a mask for each frame, as `inspect` takes it, or None for a frame without one; advanced with `frames`.

        Raises:
            FrameError: `frames` or `rois` is nothing to iterate over, or there are fewer masks than frames.
        """
        self._home.check()
        if isinstance(frames, (str, bytes, os.PathLike)) or not isinstance(frames, Iterable):
            raise FrameError("inspect_many takes several frames", expected="an iterable of frames", got=repr(frames))
        if rois is None:
            return run_ahead(self._judge, self.streams, prefetch(frames, self._prepare_next))
        if not isinstance(rois, Iterable):
            raise FrameError("rois are no masks", expected="an iterable, a mask for each frame", got=repr(rois))
        return run_ahead(self._judge, self.streams, prefetch(_with_masks(frames, rois), self._prepare_masked))

    def scores_and_peaks(self, frames: Iterable[Capture]) -> Iterator[tuple[float, float | None]]:
        """Score and map peak of each frame (None without a map). Thresholds are chosen from them.

        It searches exactly and takes the peaks as the export does: no map in frame pixels is rendered. It reads frames
        ahead and raises errors as `inspect_many` does; a frame in which the part was not found is a FrameError.
        """
        return (prepared.point.score_and_peak(prepared) for prepared in prefetch(frames, self._prepare_next))

    def probe(self, frame: Frame, rows: NDArray[np.int32] | None = None) -> Answer:
        """All results for a frame, with exact search. Golden probes hold these values and compare them.

        Args:
            frame: an array as `inspect` takes it, in the bundle's colour order.
            rows: (n,) int32 row-major numbers, in the grid, of the patches that are wanted; by default all.
        """
        self._home.check()
        return self._point.probe(frame, rows)

    def check(self) -> dict[str, float]:
        """Runs the golden probes of every open point.

        Returns:
            The largest relative deviation of "patches", "distances", "map" and "score".

        Raises:
            ParityError: a deviation is above the tolerance of the bundle.
        """
        self._home.check()
        found = [each.check() for each in self._points]
        return {name: max(worst[name] for worst in found) for name in found[0]}

    def stats(self) -> Stats:
        """Times of the last 1024 frames, and counts of misses and operating points. Thread-safe."""
        self._home.check()
        return self._meter.stats(self.point, 0 if self._ladder is None else self._ladder.changes)

    @property
    def _point(self) -> Point:
        return self._points[0 if self._ladder is None else self._ladder.rung]

    def _prepare_next(self, frames: Iterator[Capture]) -> Prepared:
        self._home.check()
        watch = Stopwatch()
        return self._point.prepare(next(frames), watch)

    def _prepare_masked(self, frames: Iterator[tuple[Capture, Mask | None]]) -> Prepared:
        self._home.check()
        watch = Stopwatch()
        frame, mask = next(frames)
        return self._point.prepare(frame, watch, mask)

    def _judge(self, prepared: Prepared) -> Verdict:
        """Inspects with the point that prepared the frame, even if the ladder has changed the point since."""
        verdict = prepared.point.judge(prepared, self._budget_ms)
        self._meter.record(verdict.point, verdict.latency_ms, clock.now())
        if self._ladder is not None:
            self._ladder.record(self._points.index(prepared.point), verdict.latency_ms)
        return verdict


def _with_masks(frames: Iterable[Capture], rois: Iterable[Mask | None]) -> Iterator[tuple[Capture, Mask | None]]:
    """Each frame with its mask. A frame without one is an error, as a shorter `zip` would leave frames out."""
    masks = iter(rois)
    for number, frame in enumerate(frames):
        try:
            mask = next(masks)
        except StopIteration:
            raise FrameError(
                "there are fewer masks than frames", expected="a mask, or None, each", got=number
            ) from None
        yield frame, mask


def _check_words(path: object, **words: object) -> None:
    if not isinstance(path, (str, os.PathLike)):
        raise SpecError("the bundle is not a path", expected="str or os.PathLike", got=repr(path))
    for name, value in words.items():
        text(name, value)


def _check_flags(**flags: object) -> None:
    for name, value in flags.items():
        flag(name, value)


def _fixed(
    engine: str,
    device: str,
    threads: int | None,
    cores: Sequence[int] | None,
    search: str,
    streams: int,
    budget_ms: float | None,
) -> Fixed:
    threads = None if threads is None else whole_number("threads", threads, 1, 1024)
    checked = check_cores(cores)
    if threads is not None and checked is not None:
        threads = min(threads, len(checked))
    side_by_side = whole_number("streams", streams, 1, threads or default_threads(checked))
    if side_by_side > 1 and budget_ms is not None:
        raise SpecError(
            "streams and budget_ms do not go together",
            expected="one frame at a time within a budget",
            got=f"{side_by_side} streams",
            remedy="Leave out one of them, or open a Runtime with cores of its own for each camera.",
        )
    return Fixed(
        None if engine == "auto" else engine,
        device,
        threads,
        checked,
        None if search == "auto" else search,
        None if side_by_side == 1 else side_by_side,
    )


def _check_on_miss(on_miss: str) -> bool:
    if on_miss not in ("raise", "best_effort"):
        raise SpecError("on_miss is unknown", expected="raise or best_effort", got=repr(on_miss))
    return on_miss == "best_effort"
