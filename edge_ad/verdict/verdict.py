"""The answer to a frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import FrameError, SpecError
from edge_ad.frames.place import Place
from edge_ad.registry import METHODS, one_of
from edge_ad.spec import Box
from edge_ad.system.arguments import positive_number
from edge_ad.verdict.overlay import FULL, START, heat_of, with_heat


@dataclass(frozen=True)
class Region:
    """A connected part of the mask, in frame pixels.

    Attributes:
        box: half-open (y0, x0, y1, x1).
        area: number of pixels.
        peak: highest value of the anomaly map in the region.
        peak_at: (y, x) of that value.
        centroid: (y, x), mean of its pixels.
    """

    box: Box
    area: int
    peak: float
    peak_at: tuple[int, int]
    centroid: tuple[float, float]


@dataclass(frozen=True)
class Verdict:
    """The answer of `Runtime.inspect` to a frame. Map, mask and regions are computed when they are first read.

    A pickled Verdict holds what the map is computed from: the patch distances (some kilobytes) and the masks of the
    region of interest. It does not hold the Runtime or the map. A map computed in another process is the same.

    Attributes:
        score: higher is worse; the unit depends on the method. With PatchCore it is the largest patch distance
            (Euclidean). If the bundle says so, distances are first multiplied by a factor of the coreset row that they
            were measured from (local scale) and smoothed over neighbouring patches, and the largest of them is
            re-weighted by Eq. 7 of the paper.
            With two input sizes it is the larger of their scores, in the unit of the first.
        threshold: threshold of the score.
        p_value: how common such a score is among good parts: (1 + held-out good images that score at least this) /
            (n + 1). For good parts like those of the n images, it is at most p with probability p or less (conformal,
            Vovk et al. 2005). It does not depend on the threshold. None if the bundle keeps no scores of good images,
            or if the part was not found.
        pixel_threshold: threshold of the anomaly map; None if the method gives no map.
        timings: stage -> milliseconds, and "total".
        deadline_met: whether `latency_ms` is within the Runtime's budget; None without a budget.
        point: name of the operating point that gave the verdict.
        engine, precision, search: those of the point.
        bundle: id of the bundle.
        place: where the part lies in the frame; None if the bundle was exported without ``--align``.
        nearest: (R,) int32 rows of the coreset that the patches inside the region were nearest to, at the first input
            size; None if the method does not say, and in a verdict that was pickled. With the graph some are not the
            nearest.
    """

    score: float
    threshold: float
    pixel_threshold: float | None
    p_value: float | None
    timings: dict[str, float]
    deadline_met: bool | None
    point: str
    engine: str
    precision: str
    search: str
    bundle: str
    _render: Callable[[], NDArray[np.float32]] | None = field(repr=False)
    _to_bgr: Callable[[Any], NDArray[np.uint8]] = field(repr=False)
    place: Place | None = None
    _least: float = field(default=0.0, repr=False)
    nearest: NDArray[np.int32] | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """The fields only: not the map, mask and regions, and not `nearest`, which is for whoever made the verdict."""
        return {field.name: self.__dict__[field.name] for field in fields(self) if field.name != "nearest"}

    @property
    def is_anomalous(self) -> bool:
        """True when the score is at least the threshold, or the part was not found. A score that is not a number is
        never good.
        """
        return not (self.found and self.score < self.threshold)

    @property
    def found(self) -> bool:
        """Whether the part was found in the frame. If not, the frame was inspected as it is, its score is the threshold
        or more, and it is anomalous. Without ``--align`` nothing is looked for, and this is True.
        """
        return self.place is None or self.place.found

    @property
    def confidence(self) -> float | None:
        """How much the frame, moved to the reference, looks like it: normalised cross-correlation, -1..1. Below the
        bundle's `align.least` the part is not found. None without ``--align``.
        """
        return None if self.place is None else self.place.confidence

    @property
    def latency_ms(self) -> float:
        """From the frame in memory to the verdict: the total without "read"."""
        return latency_ms(self.timings)

    @property
    def has_map(self) -> bool:
        """Whether the method gives an anomaly map. If not, `anomaly_map` and `mask` raise SpecError."""
        return self._render is not None

    @cached_property
    def anomaly_map(self) -> NDArray[np.float32]:
        """(H, W) float32 in frame pixels, in units of distance; 0 outside the region of interest.

        Raises:
            SpecError: the method gives no map.
        """
        if self._render is None:
            raise SpecError(
                "this bundle's method gives no anomaly map",
                expected="has_map to be checked first",
                got="a method that judges the whole frame",
                remedy=f"Export with --method {one_of(METHODS.having(lambda method: method.has_map))}.",
            )
        return self._render()

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) bool: where an anomalous frame's map reaches the pixel threshold; empty for a good frame.

        The smoothed map of a tiny defect can stay below the pixel threshold although the score is above its own
        threshold. Then the mask is where the map reaches 90% of its peak. So an anomalous frame always shows where.

        Raises:
            SpecError: the method gives no map.
        """
        amap = self.anomaly_map
        if not self.is_anomalous:
            return np.zeros(amap.shape, np.bool_)
        return amap >= min(self._pixel_threshold, 0.9 * float(amap.max()))

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """Connected regions of the mask (8 neighbours), the highest peak first; empty if there is no map."""
        if not self.has_map:
            return ()
        amap = self.anomaly_map
        count, labels, stats, centroids = cv2.connectedComponentsWithStats(self.mask.astype(np.uint8), connectivity=8)
        found = []
        for label in range(1, count):
            x, y, width, height, area = (int(v) for v in stats[label])
            part = np.where(labels[y : y + height, x : x + width] == label, amap[y : y + height, x : x + width], -1)
            peak_y, peak_x = np.unravel_index(int(part.argmax()), part.shape)
            found.append(
                Region(
                    box=(y, x, y + height, x + width),
                    area=area,
                    peak=float(part.max()),
                    peak_at=(y + int(peak_y), x + int(peak_x)),
                    centroid=(float(centroids[label][1]), float(centroids[label][0])),
                )
            )
        return tuple(sorted(found, key=lambda region: -region.peak))

    def at_threshold(self, threshold: float) -> Verdict:
        """The same answer under another threshold, without inspecting again: what `Runtime(threshold=...)` would give.

        The threshold of the map changes in the same proportion. A frame without the part stays anomalous.

        Raises:
            SpecError: the threshold is not a finite number above 0.
        """
        threshold = positive_number("threshold", threshold)
        pixel = None if self.pixel_threshold is None else self.pixel_threshold * (threshold / self.threshold)
        score = self.score if self.found else max(self.score, threshold)
        return replace(self, score=score, threshold=threshold, pixel_threshold=pixel)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the arrays, ready for JSON. It reads the regions, so it computes the map."""
        return {
            "score": self.score,
            "threshold": self.threshold,
            "is_anomalous": self.is_anomalous,
            "found": self.found,
            "place": None if self.place is None else self.place.to_dict(),
            "p_value": self.p_value,
            "has_map": self.has_map,
            "regions": [
                {
                    "box": list(r.box),
                    "area": r.area,
                    "peak": r.peak,
                    "peak_at": list(r.peak_at),
                    "centroid": list(r.centroid),
                }
                for r in self.regions
            ],
            "timings_ms": dict(self.timings),
            "deadline_met": self.deadline_met,
            "point": self.point,
            "engine": self.engine,
            "precision": self.precision,
            "search": self.search,
            "bundle": self.bundle,
        }

    def overlay(self, frame: object) -> NDArray[np.uint8]:
        """(H, W, 3) u8 BGR picture: the frame, heat from the map, an outline around each region, the verdict.

        If the method gives no map, only the verdict is written on the frame.

        Args:
            frame: the frame that was inspected, as it was given to `inspect`.

        Raises:
            FrameError: it has another size than the inspected frame.
        """
        picture = self._to_bgr(frame)
        if not self.has_map:
            return self._caption(picture, max(1, round(min(picture.shape[:2]) / 256)))
        amap = self.anomaly_map
        if picture.shape[:2] != amap.shape:
            raise FrameError(
                "the frame of the overlay has another size",
                expected=f"the inspected frame, (H, W) {amap.shape}",
                got=picture.shape[:2],
            )
        heat = self.heat()
        assert heat is not None
        blended = with_heat(picture, heat)
        scale = max(1, round(min(amap.shape) / 256))
        contours, _ = cv2.findContours(self.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(blended, contours, -1, (0, 0, 255), scale)
        return self._caption(blended, scale)

    def picture(self, frame: object) -> NDArray[np.uint8]:
        """(H, W, 3) u8 BGR: the frame that was inspected, as people see it. Of a stack, what the network sees of it."""
        return self._to_bgr(frame)

    def heat(self) -> NDArray[np.float32] | None:
        """(H, W) float32 in 0..1, the heat that `overlay` draws; None if the method gives no map."""
        if not self.has_map:
            return None
        return heat_of(self.anomaly_map, START * self._pixel_threshold, FULL * self._pixel_threshold)

    @property
    def _pixel_threshold(self) -> float:
        assert self.pixel_threshold is not None  # a method with a map always has one
        return self.pixel_threshold

    def _caption(self, picture: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
        sign, word = (">=", "ANOMALOUS") if self.is_anomalous else ("<", "good")
        if self.place is not None and not self.place.found:
            return self._written(picture, scale, f"NOT FOUND  {self.place.confidence:.2f} < {self._least:.2f}")
        digits = decimals(self.threshold)
        return self._written(picture, scale, f"{word}  {self.score:.{digits}f} {sign} {self.threshold:.{digits}f}")

    def _written(self, picture: NDArray[np.uint8], scale: int, text: str) -> NDArray[np.uint8]:
        font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.4 * scale
        (width, height), base = cv2.getTextSize(text, font, size, scale)
        color = (0, 0, 200) if self.is_anomalous else (0, 130, 0)
        cv2.rectangle(picture, (0, 0), (width + 8 * scale, height + base + 4 * scale), color, -1)
        at = (4 * scale, height + 3 * scale)
        cv2.putText(picture, text, at, font, size, (255, 255, 255), scale, cv2.LINE_AA)
        return picture


def decimals(threshold: float) -> int:
    """How many digits after the point a score needs beside its threshold: a cosine distance may be 0.001."""
    return max(2, 2 - math.floor(math.log10(threshold)))


def latency_ms(timings: Mapping[str, float]) -> float:
    """From the frame in memory to the verdict: "total" without "read", which waits for a file or a camera."""
    return timings["total"] - timings.get("read", 0.0)
