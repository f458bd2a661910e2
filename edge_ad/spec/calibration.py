"""What a bundle says of its thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from edge_ad.spec.base import BundleId, Digest, Finite, Range, check_fields, require

Threshold = Annotated[float, Range(0, above=True)]


@dataclass(frozen=True)
class CalibrationSourceSpec:
    """Where thresholds came from that `edge-ad calibrate` chose, and not the export.

    Attributes:
        bundle: id of the bundle that was given.
        exported: id of the first one, as the export wrote it: `bundle` itself, unless that was calibrated again too.
            All but the calibration is the same in both.
        data: what was scored, for a reader: name and kind of the folder, no path of the machine.
        goods, defects: how many scores the threshold was chosen from.
        images_sha256: of the content of those images, whatever their names and order: SHA-256 of the sorted lines
            ``DIGEST good`` and ``DIGEST defect``, each with a line feed, where DIGEST is the hexadecimal SHA-256 of an
            image file. None where the scores are those that the bundle kept.
        engine, precision: what gave the scores: ``openvino 2026.4``, ``f32``.
        edge_ad: version that chose.
        created: when.
    """

    bundle: BundleId
    exported: BundleId
    data: str
    goods: Annotated[int, Range(2)]
    defects: Annotated[int, Range(0)]
    images_sha256: Digest | None
    engine: str
    precision: str
    edge_ad: str
    created: str

    def __post_init__(self) -> None:
        check_fields(self, "calibration.source")


@dataclass(frozen=True)
class CalibrationSpec:
    """Where the threshold came from. A frame is anomalous when its score is at least the threshold.

    Attributes:
        rule: how the threshold was chosen.
        value: the rule's parameter: a percentile, k of mean + k sigma, a target rate; 0 for f1 and youden, which take
            it from labelled defects.
        threshold: of the image score.
        pixel_threshold: of the anomaly map, by the same rule from the peaks of the maps of held-out good images; None
            where the method gives no map.
        interval: 95% bootstrap interval of the threshold.
        split: how images were held out, for a reader: ``4-fold`` or ``split 20%``, ``test images``.
        good_scores: image score of every held-out good image.
        good_peaks: peak of the anomaly map of every held-out good image; none where there is no map.
        defect_scores: image scores of labelled defects, where the rule uses them.
        source: None where the export chose.
    """

    rule: Literal["percentile", "sigma", "false-reject", "f1", "youden"]
    value: Finite
    threshold: Threshold
    pixel_threshold: Threshold | None
    interval: Annotated[tuple[float, float], Range()]
    split: str
    good_scores: tuple[Finite, ...]
    good_peaks: tuple[Finite, ...]
    defect_scores: tuple[Finite, ...] = ()
    source: CalibrationSourceSpec | None = None

    def __post_init__(self) -> None:
        check_fields(self, "calibration")
        low, high = self.interval
        require(low <= high, "calibration.interval is not an interval", expected="(low, high)", got=self.interval)
