"""Bundles of every format must load for ever, and give what they gave when they were made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_ad import Runtime
from edge_ad.bundle.drift import open_drift
from edge_ad.bundle.file import Bundle, write_bundle
from edge_ad.frames.check import read_frame
from tests.paths import DATA

NEAR = 0.05  # with --align, as versions of OpenCV move pixels in several ways (export/probes.py)
ANSWERS: dict[str, dict[str, dict[str, float]]] = {}
for path in sorted(DATA.glob("format-*.json")):
    ANSWERS |= json.loads(path.read_text())


CASES = [(stem, frame) for stem, answers in ANSWERS.items() for frame in answers]


def frame_of(name: str) -> Any:
    """A frame by its name; a stack is a file with its six pictures one below the other."""
    path = DATA / f"{name}.png"
    return np.stack(np.split(read_frame(path), 6)) if name.startswith("stack") else path


def open_golden(stem: str, engine: str, **options: object) -> Runtime:
    return Runtime(DATA / f"{stem}.bundle", engine=engine, **options)  # type: ignore[arg-type]


def test_every_bundle_has_its_answers() -> None:
    assert {path.stem for path in DATA.glob("*.bundle")} == set(ANSWERS)
    assert {"format-1", "format-1-roi", "format-2", "format-2-second", "format-3", "format-4", "format-5"} <= set(
        ANSWERS
    )
    assert {"format-2-drift", "format-3-autoencoder"} <= set(ANSWERS)


@pytest.mark.parametrize("stem", ANSWERS)
def test_the_probes_pass(stem: str, engine: str) -> None:
    runtime = open_golden(stem, engine, self_check=True)
    worst = runtime.check()
    follows = {"confidence"} if runtime.manifest.align else set()
    assert set(worst) == {"patches", "distances", "map", "score"} | follows
    near = 1e-3 if runtime.manifest.head.method == "autoencoder" else 1e-4  # small differences of pixels
    assert max(worst.values()) < (NEAR if follows else near)
    assert runtime.engine == engine


@pytest.mark.parametrize("search", ["exact", "graph"])
@pytest.mark.parametrize(("stem", "frame"), CASES)
def test_verdicts_are_those_of_the_export(stem: str, frame: str, search: str, engine: str) -> None:
    if search == "graph" and stem in ("format-3-autoencoder", "format-5"):
        pytest.skip("it searches nothing")
    verdict = open_golden(stem, engine, search=search).inspect(frame_of(frame))
    expected = ANSWERS[stem][frame]
    near = NEAR if verdict.place else 1e-4
    assert verdict.score == pytest.approx(expected["score"], rel=near)
    assert verdict.is_anomalous == ("bad" in frame)
    assert verdict.search == search
    if search == "exact":
        assert float(verdict.anomaly_map.max()) == pytest.approx(expected["peak"], rel=near)


def test_one_bundle_has_both_models_and_one_has_a_region() -> None:
    with Bundle.open(DATA / "format-1.bundle") as both, Bundle.open(DATA / "format-1-roi.bundle") as roi:
        assert {"model.onnx", "model.xml", "model.bin", "graph/links0"} <= set(both.manifest.members)
        assert {"model.onnx", "roi/mask", "roi/patch_mask"} <= set(roi.manifest.members)
        assert "model.xml" not in roi
        assert roi.manifest.head.reweight_neighbors == 5
        for old in (both, roi):
            assert (old.manifest.head.local_scale, old.manifest.head.smooth) == (0, 0)


def test_format_2_has_scale_smoothing_and_a_graph() -> None:
    with Bundle.open(DATA / "format-2.bundle") as bundle:
        assert (bundle.manifest.head.local_scale, bundle.manifest.head.smooth) == (0.75, 0.7)
        assert bundle.manifest.head.describe() == "patchcore, Eq. 7 b=5, local scale 0.75, smoothed by 0.7 patches"
        assert {"coreset/scale", "coreset/reach", "graph/links0", "roi/mask"} <= set(bundle.manifest.members)


def test_format_4_has_stacks_and_others_are_written_in_format_2(tmp_path: Path) -> None:
    """A reader of format 2 refuses a stack, and reads what this version writes otherwise."""
    comments = {stem: (DATA / f"{stem}.bundle").read_bytes()[-81:] for stem in ("format-2", "format-4")}
    assert comments["format-4"].startswith(b"edge-ad 4 ")
    with Bundle.open(DATA / "format-4.bundle") as bundle:
        assert bundle.manifest.frame.stack is not None
        assert bundle.manifest.frame.stack.lights.count == 6
        assert bundle.array("probes/frames").shape == (3, 6, 64, 64)
    with Bundle.open(DATA / "format-2.bundle") as bundle:
        members = bundle.payloads()
        write_bundle(tmp_path / "again.bundle", bundle.manifest, members)
    assert (tmp_path / "again.bundle").read_bytes()[-81:].startswith(b"edge-ad 2 ")


def test_format_2_has_a_second_size() -> None:
    with Bundle.open(DATA / "format-2-second.bundle") as bundle:
        assert [sight.backbone.input_size for sight in bundle.manifest.sights] == [(64, 64), (48, 48)]
        assert {"second/coreset", "second/graph/links0", "second/model.onnx"} <= set(bundle.manifest.members)


def test_a_reference_of_drift_needs_no_newer_reader() -> None:
    assert (DATA / "format-2-drift.bundle").read_bytes()[-81:].startswith(b"edge-ad 2 ")
    with Bundle.open(DATA / "format-2-drift.bundle") as bundle, Bundle.open(DATA / "format-2.bundle") as older:
        spec, found = bundle.manifest.drift, open_drift(bundle)
        assert spec is not None
        assert found is not None
        assert spec.statistics == ("brightness", "blue", "red", "sharpness")
        assert [len(values) for values in found.values.values()] == [12] * 4
        assert found.then.shape == (64, 64, 3)
        assert open_drift(older) is None


def test_format_3_has_a_reference() -> None:
    with Bundle.open(DATA / "format-3.bundle") as bundle:
        assert bundle.manifest.align is not None
        assert bundle.manifest.align.motion == "similarity"
        assert {"align/reference", "align/mask", "probes/confidences", "roi/mask"} <= set(bundle.manifest.members)


def test_format_5_has_a_score_that_is_the_peak_of_its_map() -> None:
    with Bundle.open(DATA / "format-5.bundle") as bundle:
        assert bundle.manifest.head.map_sigma == 2.0
        assert bundle.manifest.head.describe().endswith("peak of the map smoothed by 2 pixels")
    assert (DATA / "format-5.bundle").read_bytes()[-81:].startswith(b"edge-ad 5 ")
    for answer in ANSWERS["format-5"].values():
        assert answer["peak"] == pytest.approx(answer["score"], rel=1e-6)


def test_it_can_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle made now is the committed one, but for versions of packages and the last bits of their arithmetic.

    And but for the factors of format-2 and what follows from them: it keeps those of mean distances, as they were made
    until 2026-11-30. Those of today are in format-2-scale.
    """
    for package in ("onnx", "hnswlib"):
        pytest.importorskip(package, reason=f"the export needs {package}")
    from tests.data import make_fixture

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    monkeypatch.setattr(make_fixture, "DATA", tmp_path)
    assert make_fixture.main() == 0
    stems = ("format-2", "format-2-drift", "format-2-scale", "format-2-second", "format-3", "format-4", "format-5")
    for stem in stems:
        with Bundle.open(DATA / f"{stem}.bundle") as old, Bundle.open(tmp_path / f"{stem}.bundle") as new:
            assert new.manifest.created == old.manifest.created == "2023-11-14T22:13:20Z"
            assert new.manifest.frame == old.manifest.frame
            found, expected = new.manifest.calibration, old.manifest.calibration
            assert (found.rule, found.value) == (expected.rule, expected.value)
            if stem != "format-2":
                assert found.threshold == pytest.approx(expected.threshold, rel=1e-3)
            later = {"drift/values", "drift/then"}  # which only the latest has
            assert new.manifest.members.keys() - later == old.manifest.members.keys() - later
            assert (new.manifest.drift is None) == (stem == "format-4")
            for one, other in zip(new.manifest.sights, old.manifest.sights, strict=True):
                assert one.head == other.head
                assert one.index is None or one.index.size == other.index.size
                assert one.backbone.crop == other.backbone.crop
            assert (new.manifest.align is None) == (old.manifest.align is None)
            for name in {"coreset/scale", "coreset/levels"} & old.manifest.members.keys():
                assert new.array(name).shape == old.array(name).shape
                if stem != "format-2":
                    np.testing.assert_allclose(new.array(name), old.array(name), rtol=1e-2)
    for version in (2, 3, 4, 5):
        own = {stem for stem in stems if stem.startswith(f"format-{version}")}
        assert json.loads((tmp_path / f"format-{version}.json").read_text()).keys() == own
