"""An operating point of a bundle, opened on this PC. The code reads as the data flow, from a frame to a verdict."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle.file import Bundle
from edge_ad.bundle.models import models_of
from edge_ad.bundle.probes import Answer, deviations, load_probes
from edge_ad.bundle.roi import open_roi
from edge_ad.engines import Engine, Models, choose_engine, engines_for, installed_engines, open_engine
from edge_ad.engines.finite import require_finite
from edge_ad.errors import BundleCorruptError, EngineUnavailableError, ParityError
from edge_ad.frames.check import check_frame, in_declared_order, read_frame
from edge_ad.frames.crop import Crop
from edge_ad.frames.picture import to_picture
from edge_ad.heads import open_head
from edge_ad.heads.base import Opening, Scored
from edge_ad.registry import ENGINES, PRECISIONS
from edge_ad.serving.clock import Stopwatch
from edge_ad.serving.settings import Settings
from edge_ad.spec import REFERENCE, Frame, FrameSpec, Manifest, Size
from edge_ad.system.cpu import detect_cpu, pinned
from edge_ad.verdict.anomaly_map import anomaly_map, map_peak
from edge_ad.verdict.verdict import Verdict, latency_ms


@dataclass(frozen=True)
class Prepared:
    """A frame that is prepared and not yet judged.

    Attributes:
        point: the point that made the tensor; no other point can judge it.
        tensor: (1, H, W, 3) u8.
        frame_size: (H, W) of the frame.
        name: of the frame, for a message: its path, or "this frame".
        watch: runs since the frame was requested.
    """

    point: Point
    tensor: NDArray[np.uint8]
    frame_size: Size
    name: str
    watch: Stopwatch


class Point:
    """Crop, engine, head and threshold. Immutable once made, and safe to share between threads.

    Args:
        bundle: opened with this point's members.
        name: of the operating point.
        settings: what it is opened with.
        threshold: replaces the bundle's threshold of the reference's score. Another point has another scale of
            distances: its threshold changes in the same proportion, and so does the threshold of the map.

    Raises:
        SpecError: there is no such point, or a setting is out of range.
        EngineUnavailableError: no installed engine runs it here.
        BundleCorruptError: a member does not fit the manifest.
    """

    def __init__(self, bundle: Bundle, name: str, settings: Settings, threshold: float | None = None) -> None:
        self.name, self.settings = name, settings
        engine = runnable_engine(bundle, name, settings.engine, settings.device)
        own = bundle.at(name)
        self._spec, self._bundle_id = own.manifest, own.id
        self._probes = own.only("probes/")  # other members, above all the models, are freed with the bundle
        self.threshold, self.pixel_threshold = _thresholds(self._spec, bundle.manifest, threshold)
        self._good_scores = np.sort(np.array(self._spec.calibration.good_scores, np.float64))
        self._roi = open_roi(own)
        with pinned(settings.cores):
            pool = native.Pool(settings.threads, settings.cores)
            self.crop = Crop(self._spec.frame, self._spec.backbone, self._spec.roi, self._roi.pixels, pool)
            compiled = partial(_open_engine, own, engine, settings)
            self.engine = compiled()
            self.head = open_head(Opening(own, self._roi.rows, pool, settings.search, compiled))

    @property
    def precision(self) -> str:
        """Arithmetic of the backbone: a name of `edge_ad.registry.PRECISIONS`."""
        return self._spec.backbone.precision

    @property
    def search(self) -> str:
        """ "graph" where the head searches the HNSW graph, else "exact"."""
        return self.head.search

    def prepare(self, frame: object, watch: Stopwatch) -> Prepared:
        """Reads, checks and crops a frame.

        Raises:
            FrameError: it cannot be inspected.
        """
        pixels, from_file = _pixels(frame, self._spec.frame)
        watch.lap("read")
        tensor = self.crop(pixels, from_file=from_file)
        watch.lap("crop")
        name = f"{frame}" if from_file else "this frame"
        return Prepared(self, tensor, (pixels.shape[0], pixels.shape[1]), name, watch)

    def judge(self, prepared: Prepared, budget_ms: float | None = None) -> Verdict:
        """The verdict on a frame that this point has prepared.

        Raises:
            EngineError: the engine failed, or gave NaN or Inf.
        """
        watch = prepared.watch
        with pinned(self.settings.cores):
            watch.start()
            patches = self._patches(prepared.tensor)
            watch.lap("engine")
            scored = self.head(patches)
            watch.lap("head")
        self._refuse_nan(scored, prepared.name)
        timings = watch.total()
        return Verdict(
            score=scored.score,
            threshold=self.threshold,
            pixel_threshold=self.pixel_threshold,
            p_value=self._p_value(scored.score),
            timings=timings,
            deadline_met=None if budget_ms is None else latency_ms(timings) <= budget_ms,
            point=self.name,
            engine=self.engine.name,
            precision=self.precision,
            search=self.search,
            bundle=self._bundle_id,
            _render=self._render(prepared.frame_size, scored),
            _to_bgr=partial(_picture, self._spec.frame),
        )

    def score_and_peak(self, prepared: Prepared) -> tuple[float, float | None]:
        """Score of a frame that this point has prepared, and peak of its map. Thresholds are chosen from them.

        Both are computed as at export: with exact search, and the peak at the tensor's scale (`map_peak`). The peak is
        None if the method gives no map.

        Raises:
            EngineError: the engine failed, or gave NaN or Inf.
        """
        with pinned(self.settings.cores):
            scored = self.head(self._patches(prepared.tensor), exact=True)
        self._refuse_nan(scored, prepared.name)
        if not self.head.has_map:
            return scored.score, None
        plane = self._roi.to_grid(scored.distances)
        return scored.score, map_peak(plane, self._roi.patches, self._roi.pixels, self._spec.backbone.tensor_size)

    def latency(self, frame: Frame) -> float:
        """Milliseconds from this frame in memory to its verdict."""
        return self.judge(self.prepare(frame, Stopwatch())).latency_ms

    def probe(self, frame: Frame) -> Answer:
        """All results for a frame in the bundle's colour order, with exact search."""
        pixels = check_frame(frame, self._spec.frame)
        with pinned(self.settings.cores):
            patches = self._patches(self.crop(pixels))
            scored = self.head(patches, exact=True)
        render = self._render((pixels.shape[0], pixels.shape[1]), scored)
        amap = np.zeros((0, 0), np.float32) if render is None else render()
        return Answer(patches, scored.distances, amap, scored.score)

    def check(self) -> dict[str, float]:
        """Runs the golden probes; returns the largest relative deviation of patches, distances, map and score.

        Raises:
            ParityError: a deviation is above the tolerance of the bundle.
        """
        tolerance = self._spec.probes.tolerance
        worst: dict[str, float] = {}
        for probe in load_probes(self._probes):
            for name, value in deviations(probe, self.probe(in_declared_order(probe.frame, self._spec.frame))).items():
                worst[name] = max(worst.get(name, 0.0), value)
        if max(worst.values()) > tolerance:
            raise ParityError(
                "this PC does not give the answers that the bundle expects",
                expected=f"relative deviations of at most {tolerance:g}",
                got=", ".join(f"{name} {value:.2g}" for name, value in worst.items()) + f", by {self._by}",
                remedy=f"Try the other engine or the point {REFERENCE}, and report the CPU and the versions.",
            )
        return worst

    def _patches(self, tensor: NDArray[np.uint8]) -> NDArray[np.float32]:
        patches, backbone = self.engine(tensor), self._spec.backbone
        expected = (backbone.grid[0] * backbone.grid[1], backbone.dim)
        if patches.shape != expected or patches.dtype != np.float32:
            raise BundleCorruptError(
                "the model gives other patches than the manifest says",
                expected=f"{expected} float32",
                got=f"{patches.shape} {patches.dtype}",
            )
        return patches

    def _refuse_nan(self, scored: Scored, name: str) -> None:
        remedy = f"Run `edge-ad check` on the bundle, and try the point {REFERENCE} or the other engine."
        require_finite(scored.score, scored.distances, of=name, by=self._by, remedy=remedy)

    @property
    def _by(self) -> str:
        return f"{self.engine.name} {self.engine.version} in {self.precision}"

    def _p_value(self, score: float) -> float | None:
        n = len(self._good_scores)
        above = n - int(np.searchsorted(self._good_scores, score, "left"))
        return (1 + above) / (n + 1) if n else None

    def _render(self, frame_size: Size, scored: Scored) -> Callable[[], NDArray[np.float32]] | None:
        if not self.head.has_map:
            return None
        roi, size, box = self._roi, self._spec.backbone.tensor_size, self.crop.box(frame_size)
        return partial(anomaly_map, roi.to_grid(scored.distances), roi.patches, roi.pixels, size, box, frame_size)


def _thresholds(spec: Manifest, whole: Manifest, threshold: float | None) -> tuple[float, float | None]:
    own, reference = spec.calibration, whole.calibration
    if threshold is None:
        return own.threshold, own.pixel_threshold
    scale = threshold / reference.threshold
    pixel = None if own.pixel_threshold is None else own.pixel_threshold * scale
    return threshold * (own.threshold / reference.threshold), pixel


def runnable_engine(bundle: Bundle, name: str, wanted: str, device: str) -> str:
    """The name of the engine that runs the operating point `name` here. It opens nothing.

    Raises:
        EngineUnavailableError: the `wanted` engine does not run it, or with "auto" no engine does.
        SpecError: there is no such engine or point.
    """
    point, own, cpu = bundle.manifest.find_point(name), bundle.at(name), detect_cpu()
    name = own.manifest.backbone.precision
    able, precision = engines_for(name, "any" if point is None else point.engine), PRECISIONS[name]
    restricted = None if set(able) == set(ENGINES) else able
    engine = choose_engine(wanted, models_of(own), cpu, installed_engines(), restricted)
    if precision.cpu and device == "CPU" and not getattr(cpu, precision.cpu):
        raise EngineUnavailableError(
            f"this CPU has no {name} arithmetic",
            expected=precision.needs,
            got=cpu.model,
            remedy=f"Use the point {REFERENCE}.",
        )
    return engine


def _open_engine(bundle: Bundle, name: str, settings: Settings, models: Models | None = None) -> Engine:
    """Compiles models, by default the backbone's."""
    arithmetic, models = PRECISIONS[bundle.manifest.backbone.precision].arithmetic, models or models_of(bundle)
    return open_engine(name, models, device=settings.device, threads=settings.threads, precision=arithmetic)


def _pixels(frame: object, spec: FrameSpec) -> tuple[Frame, bool]:
    """A frame, or what an image file holds, checked; and whether it is of a file, which is BGR whatever is declared.

    What is wrong with a file names it.
    """
    if isinstance(frame, (str, os.PathLike)):
        return check_frame(read_frame(frame), spec, os.fspath(frame)), True
    return check_frame(frame, spec), False


def _picture(spec: FrameSpec, frame: object) -> NDArray[np.uint8]:
    """(H, W, 3) u8 BGR picture of a frame, for people."""
    pixels, from_file = _pixels(frame, spec)
    return to_picture(pixels, spec.white_level, rgb=spec.color_order == "rgb" and not from_file)
