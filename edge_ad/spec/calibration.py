"""The thresholds in a manifest, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from edge_ad.spec.base import BundleId, Digest, Finite, Range, check_fields, require

Threshold = Annotated[float, Range(0, above=True)]
AS_GIVEN = "taken as they are"  # `CalibrationSpec.split` begins so where the model may have learned from the images


@dataclass(frozen=True)
class CalibrationSourceSpec:
    """The origin of thresholds that `edge-ad calibrate` chose, and not the export.

    Attributes:
        bundle: id of the bundle that was given.
        exported: id of the bundle that the export wrote: the same as `bundle`, unless that was calibrated again too.
            All but the calibration is the same in both.
        data: what was scored, for a reader: name and kind of the folder, no path of the machine.
        goods: how many scores of good images the threshold was chosen from.
        defects: how many scores of defects it was chosen from.
        images_sha256: digest of the content of those images; names and order do not count. It is the SHA-256 of the
            sorted lines ``DIGEST good`` and ``DIGEST defect``, each with a line feed, where DIGEST is the hexadecimal
            SHA-256 of an image file. None if the scores were those in the bundle.
        engine, precision: what computed the scores: ``openvino 2026.4``, ``f32``.
        edge_ad: version that chose the thresholds.
        created: date and time of the choice.
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
    """The thresholds and their origin. A frame is anomalous when its score is at least the threshold.

    Attributes:
        rule: how the threshold was chosen.
        value: the rule's parameter: a percentile, k of mean + k sigma, a false reject rate (tail, false-reject); 0 for
            f1 and youden, which have none.
        threshold: threshold of the image score.
        pixel_threshold: threshold of the anomaly map, chosen by the same rule from the peaks of the maps of held-out
            good images; None if the method gives no map.
        interval: 95% bootstrap interval of the threshold.
        split: how images were held out, for a reader: ``4-fold`` or ``split 20%``, ``test images``; of an imported
            model ``taken as they are``.
        good_scores: image score of every held-out good image.
        good_peaks: peak of the anomaly map of every held-out good image; empty if there is no map.
        defect_scores: image scores of labelled defects, if the rule uses them.
        source: origin of the thresholds; None if the export chose them.
        left_out: how many odd good images were left out on request, and so are not among the scores.
    """

    rule: Literal["percentile", "sigma", "tail", "false-reject", "f1", "youden"]
    value: Finite
    threshold: Threshold
    pixel_threshold: Threshold | None
    interval: Annotated[tuple[float, float], Range()]
    split: str
    good_scores: tuple[Finite, ...]
    good_peaks: tuple[Finite, ...]
    defect_scores: tuple[Finite, ...] = ()
    source: CalibrationSourceSpec | None = None
    left_out: Annotated[int, Range(0)] = 0

    def __post_init__(self) -> None:
        check_fields(self, "calibration")
        low, high = self.interval
        require(low <= high, "calibration.interval is not an interval", expected="(low, high)", got=self.interval)

    @property
    def held_out(self) -> bool:
        """Whether the method had not seen the good images of the scores, so that these promise something."""
        return not self.split.startswith(AS_GIVEN)
