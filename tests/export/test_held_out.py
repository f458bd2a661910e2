"""Scores of held-out goods, and the thresholds that come of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_ad import DatasetError, Runtime
from edge_ad.bundle.file import Bundle
from edge_ad.calibration.recalibrate import Images, score_images
from tests.export.made import Export, goods, write
from tests.tiny import bad_frame


def test_held_out_scores_are_those_of_the_runtime(export: Export, tiny: Path, tmp_path: Path) -> None:
    """A good image scored at calibration what the runtime gives it with the coreset of the other good images."""
    path = export(calibration="split", coreset=1.0)
    with Bundle.open(path) as bundle:
        calibration = bundle.manifest.calibration
    assert calibration.split.startswith("split")
    assert len(calibration.good_scores) == round(0.2 * 12)
    runtime = Runtime(path, search="exact")
    found = [runtime.inspect(image).score for image in sorted((tiny / "part" / "train" / "good").iterdir())]
    held_out = sorted(score for score in found if score > 1e-3)  # the others are in the coreset
    assert held_out == pytest.approx(sorted(calibration.good_scores), rel=1e-5)
    with Bundle.open(path) as bundle:  # and what `edge-ad calibrate` finds, peaks too
        goods = tuple(sorted((tiny / "part" / "train" / "good").iterdir()))
        again = score_images(bundle, runtime, Images("", Path(), "", goods, ()))
    peaks = [peak for score, peak in zip(again.goods, again.peaks, strict=True) if score > 1e-3]
    assert sorted(peaks) == pytest.approx(sorted(calibration.good_peaks), rel=1e-5)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("percentile", None),
        ("percentile", 90.0),
        ("sigma", None),
        ("sigma", 2.0),
        ("false-reject", 0.1),
        ("f1", None),
        ("youden", None),
    ],
)
def test_every_threshold_rule(export: Export, rule: str, value: float | None) -> None:
    path = export(rule=rule, value=value)
    calibration = Runtime(path).manifest.calibration
    assert calibration.rule == rule
    assert calibration.value == (value if value is not None else {"percentile": 99.5, "sigma": 3.0}.get(rule, 0.0))
    assert len(calibration.defect_scores) == (4 if rule in ("f1", "youden") else 0)
    if rule in ("f1", "youden"):
        assert max(calibration.good_scores) < calibration.threshold <= min(calibration.defect_scores)
    assert Runtime(path).inspect(bad_frame(7777)).is_anomalous


@pytest.mark.parametrize("rule", ["f1", "youden"])
def test_rules_of_defects_without_defects(export: Export, tmp_path: Path, rule: str) -> None:
    with pytest.raises(DatasetError, match="needs labelled defects"):
        export(category=str(write(tmp_path / "flat", goods())), rule=rule)
