"""What a bundle has learned after it was taught again: rows, scores, thresholds, operating points."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export needs onnx")

from edge_ad import Runtime
from edge_ad.bundle.file import Bundle
from edge_ad.errors import SpecError
from export.options import Options
from export.summary import Summary
from export.teach.again import teach_again
from tests.edited import edited, pointed, read
from tests.export.made import Export, goods, write


def teach(bundle: Path, images: Path, out: Path, **options: Any) -> Summary:
    summary = Summary(out)
    with Bundle.open(bundle) as opened:
        teach_again(opened, sorted(images.iterdir()), out, Options("", effort="quick", **options), summary)
    return summary


def rows_of(bundle: Path, name: str = "coreset") -> set[bytes]:
    return {row.tobytes() for row in read(bundle)[1][name]}


def test_one_image_is_scored_by_what_the_bundle_knew(golden: Path, tmp_path: Path) -> None:
    """Its own patches are learned after that."""
    images, out = write(tmp_path / "new", goods(1, 4000)), tmp_path / "out.bundle"
    teach(golden, images, out)
    ((score, peak),) = Runtime(golden, search="exact").scores_and_peaks([images / "0.png"])
    new = Runtime(out).manifest.calibration
    assert new.good_scores[-1] == pytest.approx(score, rel=1e-6)
    assert new.good_peaks[-1] == pytest.approx(peak, rel=1e-6)
    assert Runtime(out).inspect(images / "0.png").score < 0.9 * score


def test_an_image_is_held_out_from_the_rows_that_score_it(golden: Path, tmp_path: Path) -> None:
    """With two images, each is scored by a bundle that was taught the other one."""
    images, out = write(tmp_path / "new", goods(2, 4000)), tmp_path / "out.bundle"
    teach(golden, images, out)
    found = Runtime(out).manifest.calibration.good_scores[-2:]
    expected = []
    for own, other in ((0, 1), (1, 0)):
        alone = write(tmp_path / f"only {other}", {"0.png": goods(2, 4000)[f"{other}.png"]})
        teach(golden, alone, tmp_path / f"{other}.bundle")
        expected.append(Runtime(tmp_path / f"{other}.bundle", search="exact").inspect(images / f"{own}.png").score)
    assert sorted(found) == pytest.approx(sorted(expected), rel=1e-6)


def test_what_is_new_is_learned_first(golden: Path, tmp_path: Path) -> None:
    """A good part that was rejected is accepted after it was taught, however many rows its own share is."""
    frame = goods(1, 4000)["0.png"]
    frame[40:52, 8:20] = (40, 200, 200)  # a label that no part had before
    images, out = write(tmp_path / "new", {"0.png": frame}), tmp_path / "out.bundle"
    assert Runtime(golden, threads=1).inspect(frame).is_anomalous
    teach(golden, images, out)
    before = Runtime(golden, threads=1)
    assert Runtime(out, threads=1).inspect(frame).score < before.threshold < before.inspect(frame).score


def test_a_sign_in_every_picture_makes_no_image_known(export: Export, tmp_path: Path) -> None:
    """Patches that are the same in all pictures, such as those of a sign, say nothing of an image."""
    sign = np.random.default_rng(0).integers(0, 256, (24, 64, 3), np.uint8)

    def signed(count: int, start: int) -> dict[str, np.ndarray]:
        frames = goods(count, start)
        for frame in frames.values():
            frame[:24] = sign
        return frames

    made = export(category=str(write(tmp_path / "part", signed(12, 0))))
    summary = teach(made, write(tmp_path / "new", signed(3, 4000)), tmp_path / "taught.bundle")
    assert dict(summary.lines)["images"] == "3 new good images"


def test_what_it_knew_stays(golden: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.bundle"
    teach(golden, write(tmp_path / "new", goods(4, 4000)), out)
    assert rows_of(golden) < rows_of(out)
    for image in goods(4, 5000).values():
        assert Runtime(out, search="exact").inspect(image).score <= Runtime(golden, search="exact").inspect(image).score


def test_the_same_images_and_seed_give_the_same_bundle(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    images = write(tmp_path / "new", goods(3, 4000))
    for name in ("a", "b"):
        teach(golden, images, tmp_path / name, seed=3)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_local_scale_joined_sizes_and_points(export: Export, tmp_path: Path) -> None:
    """Every size and point learns; rows that were there keep their factors."""
    made = export(local_scale=0.5, smooth=0.7, second_size=(96, 96), more_sizes=((64, 64),))
    out = tmp_path / "taught.bundle"
    teach(made, write(tmp_path / "new", goods(3, 4000)), out)
    old, new = read(made)[0], read(out)[0]
    assert old.second is not None
    assert new.second is not None
    assert new.second.factor == old.second.factor
    assert [point.name for point in new.points] == [point.name for point in old.points] == ["f32-64x64"]
    assert new.points[0].fidelity == old.points[0].fidelity
    before, after = read(made)[1], read(out)[1]
    for place in ("", "second/", "points/f32-64x64/"):
        assert len(after[f"{place}coreset"]) > len(before[f"{place}coreset"])
        factors = dict(zip(map(bytes, after[f"{place}coreset"]), after[f"{place}coreset/scale"], strict=True))
        kept = zip(map(bytes, before[f"{place}coreset"]), before[f"{place}coreset/scale"], strict=True)
        assert all(factors[row] == factor for row, factor in kept)
    joint = Runtime(out, search="exact", self_check=True)
    image = goods(1, 6000)["0.png"]
    assert joint.inspect(image).score >= Runtime(out, point="f32-64x64", search="exact").inspect(image).score


def test_a_region_of_interest_stays(golden_roi: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.bundle"
    teach(golden_roi, write(tmp_path / "new", goods(3, 4000)), out)
    before, after = read(golden_roi), read(out)
    assert after[0].roi == before[0].roi
    assert (after[1]["roi/mask"] == before[1]["roi/mask"]).all()
    Runtime(out, self_check=True)


def test_power_is_not_claimed_any_more(export: Export, tmp_path: Path) -> None:
    made = export(effort="usual", local_scale=0.0, smooth=0.0)
    assert read(made)[0].power is not None
    summary = teach(made, write(tmp_path / "new", goods(2, 4000)), tmp_path / "taught.bundle")
    assert read(tmp_path / "taught.bundle")[0].power is None
    assert "not known any more" in dict(summary.lines)["power"]


def test_a_bank_of_knn_grows(export: Export, tmp_path: Path) -> None:
    made, out = export(method="knn", neighbors=2), tmp_path / "taught.bundle"
    teach(made, write(tmp_path / "new", goods(3, 4000)), out)
    assert rows_of(made) < rows_of(out)
    assert read(out)[0].head == read(made)[0].head


@pytest.mark.parametrize("method", ["padim", "spade", "centroid"])
def test_methods_that_keep_no_rows_are_refused_by_name(export: Export, tmp_path: Path, method: str) -> None:
    made = export(method=method)
    with pytest.raises(SpecError, match=f"a bundle of the method {method} cannot learn.*patchcore or knn.*anew"):
        teach(made, write(tmp_path / "new", goods(2, 4000)), tmp_path / "taught.bundle")
    assert not (tmp_path / "taught.bundle").exists()


def test_a_bundle_of_tiles_is_refused_by_name(export: Export, tmp_path: Path) -> None:
    made = export(tiles=(64, 64, 16), input_size=(96, 96))
    with pytest.raises(SpecError, match=r"cuts frames into tiles cannot learn more.*anew"):
        teach(made, write(tmp_path / "new", goods(2, 4000)), tmp_path / "taught.bundle")
    assert not (tmp_path / "taught.bundle").exists()


def test_a_threshold_by_labels_needs_another_rule(golden: Path, tmp_path: Path) -> None:
    labelled = edited(golden, tmp_path / "f1.bundle", calibration={"rule": "f1", "value": 0.0, "defect_scores": (9.0,)})
    images, out = write(tmp_path / "new", goods(2, 4000)), tmp_path / "out.bundle"
    with pytest.raises(SpecError, match=r"chosen by labelled defects \(f1\).*--false-reject"):
        teach(labelled, images, out)
    teach(labelled, images, out, false_reject=0.05)
    new = read(out)[0].calibration
    assert (new.rule, new.value, new.defect_scores) == ("tail", 0.05, ())


def test_a_point_that_does_not_run_here_is_left_out(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_ad.system import cpu

    made = pointed(golden, tmp_path / "bf16.bundle", {"bf16": "bf16"}, "openvino")
    here = dataclasses.replace(cpu.detect_cpu(), flags=frozenset())
    monkeypatch.setattr("edge_ad.serving.point.detect_cpu", lambda: here)
    summary = teach(made, write(tmp_path / "new", goods(2, 4000)), tmp_path / "out.bundle")
    assert read(tmp_path / "out.bundle")[0].points == ()
    assert "bf16" in dict(summary.lines)["left out"]
    assert np.isfinite(read(tmp_path / "out.bundle")[0].calibration.threshold)
