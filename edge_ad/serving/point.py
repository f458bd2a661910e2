"""An operating point of a bundle, opened on this PC. The code reads as the data flow, from a frame to a verdict."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle.align import open_aligner
from edge_ad.bundle.file import Bundle
from edge_ad.bundle.models import common_models
from edge_ad.bundle.probes import Answer, deviations, load_probes
from edge_ad.engines import Engine, choose_engine, engines_for, installed_engines
from edge_ad.engines.finite import require_finite
from edge_ad.errors import EngineUnavailableError, FrameError, ParityError, SpecError
from edge_ad.frames.capture import open_frame, picture_of
from edge_ad.frames.check import in_declared_order
from edge_ad.frames.place import Place, followed
from edge_ad.frames.roi import RoiMasks, check_mask
from edge_ad.heads.base import Scored
from edge_ad.registry import ENGINES, METHODS, PRECISIONS, one_of
from edge_ad.serving.clock import Stopwatch
from edge_ad.serving.settings import Settings
from edge_ad.serving.sight import Sight
from edge_ad.spec import REFERENCE, Frame, FrameSpec, Manifest, Size, Tensor
from edge_ad.system.cpu import detect_cpu, pinned
from edge_ad.verdict.join import join, join_maps
from edge_ad.verdict.verdict import Verdict, latency_ms


@dataclass(frozen=True)
class Prepared:
    """A frame that is prepared and not yet judged.

    Attributes:
        point: the point that made the tensors; no other point can judge them.
        tensors: (1, H, W, 3) u8, or float32 of a normal map, for each input size of the point.
        regions: what is inspected of each tensor.
        frame_size: (H, W) of the frame.
        name: of the frame, for a message: its path, or "this frame".
        watch: runs since the frame was requested.
        place: where the part lies in the frame; None where the bundle takes every frame as it is.
    """

    point: Point
    tensors: tuple[Tensor, ...]
    regions: tuple[RoiMasks, ...]
    frame_size: Size
    name: str
    watch: Stopwatch
    place: Place | None = None


class Point:
    """Crop, engine and head of each input size, and the thresholds. Immutable once made, and safe to share between
    threads. Two input sizes run one after the other, with the same threads, and their answers are joined.

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
        self._factor = 1.0 if self._spec.second is None else self._spec.second.factor
        self._good_scores = np.sort(np.array(self._spec.calibration.good_scores, np.float64))
        with pinned(settings.cores):
            self._pool = native.Pool(settings.each, settings.cores, settings.streams)
            self._aligner = open_aligner(own, self._pool)
            beyond = None if self._aligner is None else self._aligner.picture
            self.sights = tuple(Sight(size, engine, settings, self._pool, beyond) for size in own.sights())

    @property
    def precision(self) -> str:
        """Arithmetic of the backbone: a name of `edge_ad.registry.PRECISIONS`."""
        return self._spec.backbone.precision

    @property
    def engine(self) -> Engine:
        """The engine of the first input size. The other one's is the same, with another model."""
        return self.sights[0].engine

    @property
    def search(self) -> str:
        """ "graph" where the head of an input size searches the HNSW graph, else "exact"."""
        return "graph" if any(sight.head.search == "graph" for sight in self.sights) else "exact"

    def prepare(self, frame: object, watch: Stopwatch, roi: object = None, *, judged: bool = True) -> Prepared:
        """Reads, checks and crops a frame; of a stack it makes a normal map first.

        Args:
            roi: a mask of its own, as `Runtime.inspect` takes it.
            judged: whether a stack is refused that does not fit its lights.

        Raises:
            FrameError: the frame or the mask cannot be used.
            SpecError: the method takes no mask.
        """
        read = partial(watch.lap, "read")
        pixels, from_file = open_frame(frame, self._spec.frame, self._pool, judged=judged, when_read=read)
        size = pixels.shape[0], pixels.shape[1]
        if self._spec.frame.stack is not None:
            watch.lap("normals")
        mask = None if roi is None else self._mask(roi, size)
        place = None
        if self._aligner is not None:
            place = self._aligner.find(pixels)
            mask = mask if mask is None or not place.moved else place.mask_at_reference(mask)
            watch.lap("align")
        tensors = tuple(sight.crop(pixels, from_file=from_file, place=place) for sight in self.sights)
        regions = tuple(sight.within(mask) for sight in self.sights)
        watch.lap("crop")
        name = f"{frame}" if isinstance(frame, (str, os.PathLike)) else "this frame"
        return Prepared(self, tensors, regions, size, name, watch, place)

    def judge(self, prepared: Prepared, budget_ms: float | None = None) -> Verdict:
        """The verdict on a frame that this point has prepared.

        Raises:
            EngineError: the engine failed, or gave NaN or Inf.
        """
        watch = prepared.watch
        with pinned(self.settings.cores):
            seen = self._see(prepared, watch)
        score, place = self._score(seen, prepared.name), prepared.place
        if place is not None and not place.found:  # whoever compares the score alone must not pass it
            score = max(score, self.threshold)
        timings = watch.total()
        return Verdict(
            score=score,
            threshold=self.threshold,
            pixel_threshold=self.pixel_threshold,
            p_value=self._p_value(score) if place is None or place.found else None,
            timings=timings,
            deadline_met=None if budget_ms is None else latency_ms(timings) <= budget_ms,
            point=self.name,
            engine=self.engine.name,
            precision=self.precision,
            search=self.search,
            bundle=self._bundle_id,
            _render=self._render(prepared, seen),
            _to_bgr=partial(_picture, self._spec.frame),
            place=place,
            _least=0.0 if self._spec.align is None else self._spec.align.least,
            nearest=seen[0].nearest,
        )

    def score_and_peak(self, prepared: Prepared) -> tuple[float, float | None]:
        """Score of a frame that this point has prepared, and peak of its map. Thresholds are chosen from them.

        Both are computed as at export: with exact search, and the peak at the tensor's scale (`map_peak`). The peak is
        None if the method gives no map.

        Raises:
            EngineError: the engine failed, or gave NaN or Inf.
            FrameError: the part was not found: such a frame is rejected at every threshold.
        """
        place = prepared.place
        if place is not None and not place.found:
            raise FrameError(
                f"the part was not found in {prepared.name}",
                expected="a frame in which it is: no other says anything about a threshold",
                got=f"confidence {place.confidence:.2f}",
                remedy="Leave the image out.",
            )
        with pinned(self.settings.cores):
            seen = self._see(prepared, Stopwatch(), exact=True)
        score = self._score(seen, prepared.name)
        if not self._has_map:
            return score, None
        parts = zip(self.sights, seen, prepared.regions, strict=True)
        return score, self._joined([sight.peak(scored, region) for sight, scored, region in parts])

    def latency(self, frame: Frame) -> float:
        """Milliseconds from this frame in memory to its verdict."""
        return self.judge(self.prepare(frame, Stopwatch(), judged=False)).latency_ms

    def probe(self, frame: Frame, rows: NDArray[np.int32] | None = None) -> Answer:
        """All results for a frame in the bundle's colour order, with exact search.

        Patches and distances are those of the first input size; map and score are joined, so they tell of both.

        Args:
            rows: row-major numbers of the patches that are wanted; None for all, which for a large frame in tiles take
                hundreds of megabytes.
        """
        prepared = self.prepare(frame, Stopwatch(), judged=False)
        with pinned(self.settings.cores):
            asked = [rows, *[np.zeros(0, np.int32)] * (len(self.sights) - 1)]
            found = [
                sight.probe(tensor, own)
                for sight, tensor, own in zip(self.sights, prepared.tensors, asked, strict=True)
            ]
        patches, seen = found[0][0], [scored for _, scored in found]
        render = self._render(prepared, seen)
        amap = np.zeros((0, 0), np.float32) if render is None else render()
        confidence = None if prepared.place is None else prepared.place.confidence
        return Answer(patches, seen[0].distances, amap, self._joined([scored.score for scored in seen]), confidence)

    def check(self) -> dict[str, float]:
        """Runs the golden probes; returns the largest relative deviation of patches, distances, map and score.

        Raises:
            ParityError: a deviation is above the tolerance of the bundle.
        """
        tolerance = self._spec.probes.tolerance
        worst: dict[str, float] = {}
        for probe in load_probes(self._probes):
            got = self.probe(in_declared_order(probe.frame, self._spec.frame), probe.rows)
            for name, value in deviations(probe.expected, got).items():
                worst[name] = max(worst.get(name, 0.0), value)
        if max(worst.values()) > tolerance:
            raise ParityError(
                "this PC does not give the answers that the bundle expects",
                expected=f"relative deviations of at most {tolerance:g}",
                got=", ".join(f"{name} {value:.2g}" for name, value in worst.items()) + f", by {self._by}",
                remedy=f"Try the other engine or the point {REFERENCE}, and report the CPU and the versions.",
            )
        return worst

    @property
    def _has_map(self) -> bool:
        return self.sights[0].head.has_map

    def _see(self, prepared: Prepared, watch: Stopwatch, *, exact: bool = False) -> list[Scored]:
        """What the head of each input size makes of its tensor."""
        watch.start()
        return [
            sight.look(tensor, region, watch, exact=exact)
            for sight, tensor, region in zip(self.sights, prepared.tensors, prepared.regions, strict=True)
        ]

    def _score(self, seen: Sequence[Scored], name: str) -> float:
        """The score of a frame. NaN and Inf are an error: they are no answer."""
        score = self._joined([scored.score for scored in seen])
        numbers = [part for scored in seen for part in (scored.score, scored.distances)]
        remedy = f"Run `edge-ad check` on the bundle, and try the point {REFERENCE} or the other engine."
        require_finite(score, *numbers, of=name, by=self._by, remedy=remedy)
        return score

    def _joined(self, values: Sequence[float]) -> float:
        """A number of the point, from that of each input size."""
        first, *second = values
        return join(first, second[0], self._factor) if second else first

    @property
    def _by(self) -> str:
        return f"{self.engine.name} {self.engine.version} in {self.precision}"

    def _p_value(self, score: float) -> float | None:
        n = len(self._good_scores)
        above = n - int(np.searchsorted(self._good_scores, score, "left"))
        return (1 + above) / (n + 1) if n else None

    def _mask(self, roi: object, size: Size) -> NDArray[np.bool_]:
        method = self._spec.head.method
        if not METHODS[method].masked:
            raise SpecError(
                f"{METHODS[method].title} scores a frame as a whole, so a frame can have no mask of its own",
                expected=f"inspect(frame) without roi, or a bundle of {one_of(METHODS.having(lambda m: m.masked))}",
                got="roi",
                remedy="Export with a region of interest.",
            )
        return check_mask(roi, size)

    def _render(self, prepared: Prepared, seen: Sequence[Scored]) -> Callable[[], NDArray[np.float32]] | None:
        if not self._has_map:
            return None
        size, place = prepared.frame_size, prepared.place
        parts = zip(self.sights, seen, prepared.regions, strict=True)
        first, *second = (sight.renderer(size, scored, region) for sight, scored, region in parts)
        render = partial(join_maps, first, second[0], self._factor) if second else first
        return render if place is None or not place.moved else partial(followed, render, place)


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
    engine = choose_engine(wanted, common_models(own), cpu, installed_engines(), restricted)
    if precision.cpu and device == "CPU" and not getattr(cpu, precision.cpu):
        raise EngineUnavailableError(
            f"this CPU has no {name} arithmetic",
            expected=precision.needs,
            got=cpu.model,
            remedy=f"Use the point {REFERENCE}.",
        )
    return engine


def _picture(spec: FrameSpec, frame: object) -> NDArray[np.uint8]:
    """(H, W, 3) u8 BGR picture of a frame, for people."""
    return picture_of(frame, spec)
