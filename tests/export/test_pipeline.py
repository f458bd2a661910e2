"""The whole export, from images to a bundle, with a backbone that is small enough for a test and without torch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edge_ad import DatasetError, EdgeADError, ParityError, Runtime, SpecError, native
from edge_ad.bundle.file import Bundle
from edge_ad.engines import installed_engines
from tests.export.made import Export
from tests.tiny import SIZE, bad_frame

# --------------------------------------------------------------------------------------------- end to end


@pytest.mark.parametrize(
    ("to", "models"),
    [
        ("onnx", {"model.onnx"}),
        ("openvino", {"model.xml", "model.bin"}),
        ("both", {"model.onnx", "model.xml", "model.bin"}),
    ],
)
def test_targets(export: Export, to: str, models: set[str]) -> None:
    if to != "onnx":
        pytest.importorskip("openvino", reason="makes IR")
    path = export(to=to)
    with Bundle.open(path) as bundle:
        assert {name for name in bundle.manifest.members if name.startswith("model")} == models
        assert bundle.manifest.producer["engine"].startswith("openvino") or to != "openvino"
    for engine in installed_engines():
        if engine == "openvino" or "model.onnx" in models:
            assert Runtime(path, engine=engine, self_check=True).inspect(bad_frame(1)).is_anomalous  # type: ignore[arg-type]


def test_the_manifest_tells_where_everything_came_from(export: Export) -> None:
    with Bundle.open(export(seed=3, coreset=0.05)) as bundle:
        manifest = bundle.manifest
    assert (manifest.name, manifest.frame.size, manifest.roi) == ("part", (SIZE, SIZE), None)
    assert (manifest.index.seed, manifest.index.patches) == (3, 12 * 256)
    assert manifest.index.size == round(0.05 * 12 * 256)
    assert manifest.backbone.layers == ("fine", "coarse")
    assert (manifest.backbone.grid, manifest.backbone.dim) == ((16, 16), 24)
    assert len(manifest.backbone.weights_sha256) == 64
    assert len(manifest.calibration.good_scores) == len(manifest.calibration.good_peaks) == 12
    assert manifest.calibration.split == "4-fold"
    assert manifest.calibration.defect_scores == ()
    assert manifest.calibration.interval[0] <= manifest.calibration.threshold
    assert "torch" not in manifest.producer or manifest.producer["torch"]
    assert manifest.index.graph is not None
    assert 0.9 <= manifest.index.graph.recall <= 1


def test_export_and_runtime_resize_by_the_same_filter(export: Export) -> None:
    assert Runtime(export(input_size=(48, 40))).manifest.backbone.resize == "area"
    for by in ("bilinear", "bicubic"):
        runtime = Runtime(export(input_size=(48, 40), resize=by), self_check=True)
        assert runtime.manifest.backbone.resize == by
        expected = native.resample(bad_frame(1), (48, 40), by)
        np.testing.assert_array_equal(runtime._point.sights[0].crop(bad_frame(1))[0], expected)


def test_the_same_seed_gives_the_same_bytes(export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first = export(out=tmp_path / "a.bundle", threads=1).read_bytes()
    assert export(out=tmp_path / "b.bundle", threads=1).read_bytes() == first
    other = export(out=tmp_path / "c.bundle", threads=1, seed=1).read_bytes()
    with Bundle.open(tmp_path / "a.bundle") as a, Bundle.open(tmp_path / "c.bundle") as c:
        assert not np.array_equal(a.array("coreset"), c.array("coreset"))
    assert other != first


def test_without_a_graph(export: Export) -> None:
    path = export(graph=False)
    with Bundle.open(path) as bundle:
        assert bundle.manifest.index.graph is None
        assert not any(name.startswith("graph/") for name in bundle.manifest.members)
    assert Runtime(path).search == "exact"


def test_eq_7_is_recorded_and_calibrated_alike(export: Export, tmp_path: Path) -> None:
    plain = Runtime(export(out=tmp_path / "plain.bundle"))
    weighted = Runtime(export(reweight=9))
    assert weighted.manifest.head.reweight_neighbors == 9
    assert weighted.threshold < plain.threshold
    assert weighted.inspect(bad_frame(1)).is_anomalous
    np.testing.assert_array_equal(weighted.inspect(bad_frame(1)).anomaly_map, plain.inspect(bad_frame(1)).anomaly_map)


# ------------------------------------------------------------------------------------ nothing half done


def test_engines_that_differ_stop_the_export(export: Export, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if len(installed_engines()) < 2:
        pytest.skip("both engines are needed")
    monkeypatch.setattr("export.stages.relative_difference", lambda a, b: float("nan"))
    with pytest.raises(ParityError, match="differs between"):
        export()
    assert list(tmp_path.iterdir()) == []


def test_targets_that_cannot_be_written(export: Export, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "no" / "x.bundle", tmp_path, tmp_path / "file" / "x.bundle"):
        with pytest.raises(SpecError, match=r"written|folder"):
            export(out=out)
    with pytest.raises(EdgeADError, match="written"):
        export(out=Path("/proc/x.bundle"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(export: Export, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(SpecError, match="writable"):
        export(out=locked / "x.bundle")


def test_no_room_for_the_patches(export: Export, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("export.features._IN_MEMORY", 1000)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = Runtime(export(out=tmp_path / "spilled.bundle")).threshold  # from a file it works as from memory
    monkeypatch.setattr("export.features._IN_MEMORY", 2**31)
    assert Runtime(export(out=tmp_path / "memory.bundle")).threshold == before
    monkeypatch.setattr("export.features._IN_MEMORY", 1000)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match="No space left"):
        export(out=tmp_path / "full.bundle")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["memory.bundle", "spilled.bundle"]
