"""The runtime: a bundle and a frame in, a verdict out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from edge_ad.bundle import Bundle
from edge_ad.cpu import check_cores, default_threads
from edge_ad.errors import SpecError
from edge_ad.point import Point, Prepared, Settings, Stopwatch
from edge_ad.prefetch import prefetch
from edge_ad.probes import Answer
from edge_ad.spec import REFERENCE, Frame, Manifest
from edge_ad.verdict import Verdict

EngineName = Literal["auto", "openvino", "onnxruntime"]
SearchName = Literal["auto", "exact", "graph"]


class Runtime:
    """Inspects frames with a bundle. Immutable once made, and safe to share between threads.

    Args:
        path: the bundle.
        engine: "auto" takes OpenVINO on Intel and ONNX Runtime elsewhere, as far as installed and in the bundle.
        device: OpenVINO's device.
        threads: bound of engine and search together; by default a thread for each physical core allowed.
        cores: ids of the logical cores to stay on (Linux); by default the process's own.
        point: name of the operating point; the reference, "f32", is in every bundle.
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
        point: str = REFERENCE,
        search: SearchName = "auto",
        threshold: float | None = None,
        self_check: bool = False,
    ) -> None:
        cores = check_cores(cores)
        settings = Settings(engine, device, _check_threads(threads, cores), cores, search)
        self._bundle = Bundle.open(path)
        self._point = Point(self._bundle, point, settings, threshold)
        if self_check:
            self.check()

    @property
    def bundle_id(self) -> str:
        """The id of the bundle, as verdicts carry it."""
        return self._bundle.id

    @property
    def point(self) -> str:
        """Name of the operating point."""
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
        return self._bundle.manifest

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
        """Arithmetic of the backbone: f32, bf16 or int8."""
        return self._point.precision

    @property
    def search(self) -> str:
        """ "graph" where the head searches the HNSW graph, else "exact"."""
        return self._point.search

    def inspect(self, frame: Frame | str | os.PathLike[str]) -> Verdict:
        """The verdict on a frame.

        Args:
            frame: (H, W, 3) u8 in the bundle's colour order, (H, W) or (H, W, 1) grey u8 or u16, or an image file.
                Any size: it is resized as at export, and the map comes back in its own pixels.

        Raises:
            FrameError: the frame cannot be inspected.
            EngineError: the engine failed, or gave NaN or Inf: there is no verdict then.
        """
        return self._point.judge(self._point.prepare(frame, Stopwatch()))

    def inspect_many(self, frames: Iterable[Frame | str | os.PathLike[str]]) -> Iterator[Verdict]:
        """Verdicts in the order of the frames; the next frame is captured and cropped while one is inspected.

        `frames` is advanced by a thread of its own, at most two frames ahead. An error of a frame, or of `frames`
        itself, is raised in its turn and ends the iteration. A verdict's "read" time includes waiting for the frame.
        """
        return (self._point.judge(prepared) for prepared in prefetch(frames, self._prepare_next))

    def probe(self, frame: Frame) -> Answer:
        """Everything that is computed of a frame, with exact search: what golden probes hold and check."""
        return self._point.probe(frame)

    def check(self) -> dict[str, float]:
        """Runs the golden probes; the largest relative deviation of patches, distances, map and score.

        Raises:
            ParityError: one of them is above the tolerance that the bundle allows.
        """
        return self._point.check()

    def _prepare_next(self, frames: Iterator[Frame | str | os.PathLike[str]]) -> Prepared:
        watch = Stopwatch()
        return self._point.prepare(next(frames), watch)


def _check_threads(threads: int | None, cores: tuple[int, ...] | None) -> int:
    if threads is None:
        return default_threads(cores)
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 1024:
        raise SpecError("threads is out of range", expected="1..1024", got=repr(threads))
    return threads if cores is None else min(threads, len(cores))
