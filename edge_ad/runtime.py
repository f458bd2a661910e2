"""The runtime: a bundle and a frame in, a verdict out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.anomaly_map import anomaly_map
from edge_ad.bundle import Bundle
from edge_ad.cpu import check_cores, default_threads, detect_cpu, pinned
from edge_ad.crop import Crop
from edge_ad.engines import Engine, Models, choose_engine, installed_engines, open_engine
from edge_ad.errors import BundleCorruptError, EngineError, EngineUnavailableError, ParityError, SpecError
from edge_ad.frame import check_frame, read_frame
from edge_ad.heads import open_head
from edge_ad.heads.base import Scored
from edge_ad.prefetch import prefetch
from edge_ad.probes import Answer, deviations, load_probes
from edge_ad.spec import Frame, FrameSpec, Manifest, Size
from edge_ad.verdict import Verdict

EngineName = Literal["auto", "openvino", "onnxruntime"]
SearchName = Literal["auto", "exact", "graph"]
_Prepared = tuple[NDArray[np.uint8], Size, "_Stopwatch"]


class Runtime:
    """Inspects frames with a bundle. Immutable once made, and safe to share between threads.

    Args:
        path: the bundle.
        engine: "auto" takes OpenVINO on Intel and ONNX Runtime elsewhere, as far as installed and in the bundle.
        device: OpenVINO's device.
        threads: bound of engine and search together; by default a thread for each physical core allowed.
        cores: ids of the logical cores to stay on (Linux); by default the process's own.
        precision: "f32", or "bf16" where OpenVINO has it in hardware; by default what the bundle was made with.
        search: "exact", "graph", or "auto" for what is faster at the coreset's size. The image score is the same.
        threshold: of the score, instead of the bundle's. The map's threshold is scaled alike.
        self_check: run the bundle's golden probes before anything else.

    Raises:
        BundleError: the bundle is missing, broken, or of a newer format.
        EngineUnavailableError: no installed engine runs this bundle; the message names the pip command.
        SpecError: an option is out of range.
        ParityError: `self_check` found that this PC gives other answers than the export did.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        engine: EngineName = "auto",
        device: str = "CPU",
        threads: int | None = None,
        cores: Sequence[int] | None = None,
        precision: Literal["f32", "bf16"] | None = None,
        search: SearchName = "auto",
        threshold: float | None = None,
        self_check: bool = False,
    ) -> None:
        self._cores = check_cores(cores)
        self.threads = _check_threads(threads, self._cores)
        self._bundle = Bundle.open(path)
        self._spec = self._bundle.manifest
        self.threshold, self.pixel_threshold = _thresholds(self._spec, threshold)
        self._mask, self._patch_mask = _masks(self._bundle)
        self._rows = None if self._patch_mask is None else np.flatnonzero(self._patch_mask).astype(np.int32)
        self._crop = Crop(self._spec.frame, self._spec.backbone, self._spec.roi, self._mask)
        with pinned(self._cores):
            self._engine = _open_engine(self._bundle, engine, device, self.threads, precision)
            self._head = open_head(self._bundle, self._rows, native.Pool(self.threads, self._cores), search)
        if self_check:
            self.check()

    @property
    def bundle_id(self) -> str:
        """The id of the bundle, as verdicts carry it."""
        return self._bundle.id

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self._spec

    @property
    def engine(self) -> str:
        """Name of the engine in use."""
        return self._engine.name

    @property
    def precision(self) -> str:
        """Arithmetic of the engine."""
        return self._engine.precision

    @property
    def search(self) -> str:
        """ "graph" where the head searches the HNSW graph, else "exact"."""
        return self._head.search

    def inspect(self, frame: Frame | str | os.PathLike[str]) -> Verdict:
        """The verdict on a frame.

        Args:
            frame: (H, W, 3) u8 in the bundle's colour order, (H, W) or (H, W, 1) grey u8 or u16, or an image file.
                Any size: it is resized as at export, and the map comes back in its own pixels.

        Raises:
            FrameError: the frame cannot be inspected.
            EngineError: the engine failed, or gave NaN or Inf: there is no verdict then.
        """
        return self._judge(*self._prepare(frame, _Stopwatch()))

    def inspect_many(self, frames: Iterable[Frame | str | os.PathLike[str]]) -> Iterator[Verdict]:
        """Verdicts in the order of the frames; the next frame is captured and cropped while one is inspected.

        `frames` is advanced by a thread of its own, at most two frames ahead. An error of a frame, or of `frames`
        itself, is raised in its turn and ends the iteration. A verdict's "read" time includes waiting for the frame.
        """
        return (self._judge(*prepared) for prepared in prefetch(frames, self._prepare_next))

    def probe(self, frame: Frame) -> Answer:
        """Everything that is computed of a frame, with exact search: what golden probes hold and check."""
        pixels = check_frame(frame, self._spec.frame)
        with pinned(self._cores):
            patches = self._patches(self._crop(pixels, from_file=True))
            scored = self._head(patches, exact=True)
        render = self._render((pixels.shape[0], pixels.shape[1]), scored)
        amap = np.zeros((0, 0), np.float32) if render is None else render()
        return Answer(patches, scored.distances, amap, scored.score)

    def check(self) -> dict[str, float]:
        """Runs the golden probes; the largest relative deviation of patches, distances, map and score.

        Raises:
            ParityError: one of them is above the tolerance that the bundle allows.
        """
        tolerance = self._spec.probes.tolerance
        worst: dict[str, float] = {}
        for probe in load_probes(self._bundle):
            for name, value in deviations(probe, self.probe(probe.frame)).items():
                worst[name] = max(worst.get(name, 0.0), value)
        if max(worst.values()) > tolerance:
            raise ParityError(
                "this PC does not give the answers that the bundle expects",
                expected=f"relative deviations of at most {tolerance:g}",
                got=", ".join(f"{name} {value:.2g}" for name, value in worst.items())
                + f", by {self._engine.name} {self._engine.version} in {self._engine.precision}",
                remedy="Try the other engine or precision='f32', and report the CPU and the versions.",
            )
        return worst

    def _prepare_next(self, frames: Iterator[Frame | str | os.PathLike[str]]) -> _Prepared:
        watch = _Stopwatch()
        return self._prepare(next(frames), watch)

    def _prepare(self, frame: object, watch: _Stopwatch) -> _Prepared:
        pixels, from_file = self._accept(frame)
        watch.lap("read")
        tensor = self._crop(pixels, from_file=from_file)
        watch.lap("crop")
        return tensor, (pixels.shape[0], pixels.shape[1]), watch

    def _accept(self, frame: object) -> tuple[Frame, bool]:
        from_file = isinstance(frame, (str, os.PathLike))
        pixels = read_frame(frame) if isinstance(frame, (str, os.PathLike)) else frame
        return check_frame(pixels, self._spec.frame), from_file

    def _judge(self, tensor: NDArray[np.uint8], frame_size: Size, watch: _Stopwatch) -> Verdict:
        with pinned(self._cores):
            watch.start()
            patches = self._patches(tensor)
            watch.lap("engine")
            scored = self._head(patches)
            watch.lap("head")
        if not (np.isfinite(scored.score) and np.isfinite(scored.distances).all()):
            raise EngineError(
                "the patches of this frame hold NaN or Inf",
                expected="finite numbers",
                got=f"from {self._engine.name} {self._engine.version} in {self._engine.precision}",
                remedy="Run `edge-ad check` on the bundle, and try precision='f32' or the other engine.",
            )
        return Verdict(
            score=scored.score,
            threshold=self.threshold,
            pixel_threshold=self.pixel_threshold,
            timings=watch.total(),
            engine=self._engine.name,
            precision=self._engine.precision,
            search=self.search,
            bundle=self._bundle.id,
            _render=self._render(frame_size, scored),
            _to_bgr=partial(_to_bgr, self._spec.frame),
        )

    def _patches(self, tensor: NDArray[np.uint8]) -> NDArray[np.float32]:
        patches, backbone = self._engine(tensor), self._spec.backbone
        expected = (backbone.grid[0] * backbone.grid[1], backbone.dim)
        if patches.shape != expected or patches.dtype != np.float32:
            raise BundleCorruptError(
                "the model gives other patches than the manifest says",
                expected=f"{expected} float32",
                got=f"{patches.shape} {patches.dtype}",
            )
        return patches

    def _render(self, frame_size: Size, scored: Scored) -> Callable[[], NDArray[np.float32]] | None:
        if not self._head.has_map:
            return None
        size, box, grid = self._spec.backbone.tensor_size, self._crop.box(frame_size), self._to_grid(scored.distances)
        return partial(anomaly_map, grid, self._patch_mask, self._mask, size, box, frame_size)

    def _to_grid(self, distances: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._patch_mask is None:
            return distances.reshape(self._spec.backbone.grid)
        grid = np.zeros(self._spec.backbone.grid, np.float32)
        grid[self._patch_mask] = distances
        return grid


class _Stopwatch:
    """Milliseconds of each stage."""

    def __init__(self) -> None:
        self._laps: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._laps[stage] = 1e3 * (now - self._last)
        self._last = now

    def total(self) -> dict[str, float]:
        return {**self._laps, "total": sum(self._laps.values())}


def _check_threads(threads: int | None, cores: tuple[int, ...] | None) -> int:
    if threads is None:
        return default_threads(cores)
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 1024:
        raise SpecError("threads is out of range", expected="1..1024", got=repr(threads))
    return threads if cores is None else min(threads, len(cores))


def _thresholds(spec: Manifest, threshold: float | None) -> tuple[float, float | None]:
    own = spec.calibration
    if threshold is None:
        return own.threshold, own.pixel_threshold
    if isinstance(threshold, bool) or not (isinstance(threshold, (int, float)) and 0 < threshold < np.inf):
        raise SpecError("threshold is out of range", expected="a finite number above 0", got=repr(threshold))
    scale = float(threshold) / own.threshold
    return float(threshold), None if own.pixel_threshold is None else own.pixel_threshold * scale


def _masks(bundle: Bundle) -> tuple[NDArray[np.uint8] | None, NDArray[np.bool_] | None]:
    if bundle.manifest.roi is None:
        return None, None
    mask, patch_mask = bundle.array("roi/mask"), bundle.array("roi/patch_mask")
    backbone = bundle.manifest.backbone
    if mask.shape != backbone.tensor_size or patch_mask.shape != backbone.grid or not patch_mask.any():
        raise BundleCorruptError(
            "the masks of the region of interest do not fit the crop",
            expected=f"{backbone.tensor_size} and {backbone.grid}, not empty",
            got=f"{mask.shape} and {patch_mask.shape}",
        )
    return mask, patch_mask.astype(np.bool_)


def models_of(bundle: Bundle) -> Models:
    """The models that a bundle holds."""
    ir = (bundle.blob("model.xml"), bundle.blob("model.bin")) if "model.xml" in bundle else None
    return Models(onnx=bundle.blob("model.onnx") if "model.onnx" in bundle else None, ir=ir)


def _open_engine(bundle: Bundle, wanted: str, device: str, threads: int, precision: str | None) -> Engine:
    models, cpu = models_of(bundle), detect_cpu()
    name = choose_engine(wanted, models, cpu, installed_engines())
    precision = bundle.manifest.backbone.precision if precision is None else precision
    if precision not in ("f32", "bf16"):
        raise SpecError("there is no such precision", expected="f32 or bf16", got=repr(precision))
    if precision == "bf16" and device == "CPU" and not cpu.has_bf16:
        raise EngineUnavailableError(
            "this CPU has no bf16 arithmetic", expected="AMX or AVX512_BF16", got=cpu.model, remedy="Use f32."
        )
    return open_engine(name, models, device=device, threads=threads, precision=precision)


def _to_bgr(spec: FrameSpec, frame: object) -> NDArray[np.uint8]:
    """(H, W, 3) u8 BGR picture of a frame, for people to look at."""
    from_file = isinstance(frame, (str, os.PathLike))
    pixels = check_frame(read_frame(frame) if isinstance(frame, (str, os.PathLike)) else frame, spec)
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=255.0 / spec.white_level)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    if spec.color_order == "rgb" and not from_file:
        return np.ascontiguousarray(pixels[:, :, ::-1])
    return pixels.copy()
