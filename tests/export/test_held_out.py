"""Scores of held-out goods, and the thresholds that come of them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from edge_ad import DatasetError, Runtime, SpecError
from edge_ad.bundle.file import Bundle
from edge_ad.calibration.recalibrate import Images, score_images
from edge_ad.spec import Manifest
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
        ("tail", 0.1),
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


# ------------------------------------------------------------------------------------------------- odd good images


@pytest.fixture
def with_odd(tiny: Path, tmp_path: Path) -> Path:
    """The tiny category with more good images, one of which is a defect."""
    folder = write(tmp_path / "odd/train/good", goods(24, start=300))
    write(folder, {"wrong.png": bad_frame(9)})
    return folder.parent.parent


def test_odd_good_images_are_named(export: Export, with_odd: Path) -> None:
    said, found = summary_of(export, category=str(with_odd))
    assert re.search(r"odd images +1 of 25 good image scores far above .*: wrong\.png \(.*--drop-outliers", said)
    assert (len(found.calibration.good_scores), found.calibration.left_out) == (25, 0)


def test_odd_good_images_leave_coreset_and_threshold(export: Export, with_odd: Path, tmp_path: Path) -> None:
    """The bundle is that of a folder that never had them, but for the count."""
    said, found = summary_of(export, category=str(with_odd), drop_outliers=True)
    assert re.search(r"left out +1 of 25 good image scores far above .*: wrong\.png \(", said)
    assert "odd images" not in said
    assert len(re.findall("^threshold", said, re.MULTILINE)) == 1
    (with_odd / "train/good/wrong.png").unlink()
    said, other = summary_of(export, category=str(with_odd), out=tmp_path / "other.bundle")
    assert "left out" not in said
    assert found.calibration.left_out == 1
    assert dataclasses.replace(found.calibration, left_out=0) == other.calibration
    assert found.members["coreset"] == other.members["coreset"]
    assert found.index == other.index


def test_a_rate_is_asked_for(export: Export, tmp_path: Path) -> None:
    said, found = summary_of(export, false_reject=0.0001)
    assert (found.calibration.rule, found.calibration.value) == ("tail", 0.0001)
    assert re.search(r"promise +the threshold is above all 12 held-out good images: .* expect 7\.7% rejected", said)
    assert "9999 good images are needed to promise 0.01%" in said
    with pytest.raises(SpecError, match="--false-reject chooses the rule"):
        export(false_reject=0.05, rule="sigma")
    with pytest.raises(SpecError, match="--false-reject is no rate"):
        export(false_reject=1.5)


def summary_of(export: Export, **changes: object) -> tuple[str, Manifest]:
    """What the export says, and the manifest of its bundle."""
    from export import pipeline

    kept = []
    real = pipeline.Summary
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pipeline, "Summary", lambda path: (kept.append(real(path)), kept[-1])[1])
        path = export(**changes)
    return str(kept[0]), Runtime(path).manifest
