"""The user's own ONNX file as a backbone: what it must hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import BackboneError, EdgeADError, Runtime  # noqa: E402
from tests.export.made import Export  # noqa: E402
from tests.tiny import bad_frame, write_backbone  # noqa: E402


def test_layers_that_are_not_there(export: Export) -> None:
    with pytest.raises(BackboneError, match="no tensor named finest") as caught:
        export(layers=("finest", "coarse"))
    assert "coarse" in str(caught.value)


def test_no_layers(export: Export) -> None:
    with pytest.raises(BackboneError, match="Its outputs are: fine coarse"):
        export(layers=None)


def test_weights_beside_an_onnx_file(export: Export, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="its own weights"):
        export(weights=tmp_path / "x.pth")


def test_files_that_are_no_backbone(export: Export, tmp_path: Path) -> None:
    (tmp_path / "garbage.onnx").write_bytes(b"garbage" * 50)
    (tmp_path / "folder.onnx").mkdir()
    for name, says in (("garbage", "is not an ONNX file"), ("folder", "cannot read"), ("missing", "cannot read")):
        with pytest.raises(BackboneError, match=says):
            export(backbone=str(tmp_path / f"{name}.onnx"))
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(BackboneError):
        export(backbone=str(tmp_path / "empty.onnx"))


def test_external_data_that_is_not_there(export: Export, tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(str(tiny / "backbone.onnx"))
    path = tmp_path / "external.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    assert Runtime(export(backbone=str(path))).inspect(bad_frame(1)).is_anomalous  # and with it all is well
    (tmp_path / "w.bin").unlink()
    with pytest.raises(BackboneError, match=r"w\.bin"):
        export(backbone=str(path))


def test_a_fixed_input_size(export: Export, tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(str(tiny / "backbone.onnx"))
    for dim, value in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 3, 96, 96), strict=True):
        dim.dim_value = value
    onnx.save(model, str(tmp_path / "fixed.onnx"))
    with pytest.raises(BackboneError, match="--input-size 96,96"):
        export(backbone=str(tmp_path / "fixed.onnx"))
    assert Runtime(export(backbone=str(tmp_path / "fixed.onnx"), input_size=(96, 96))).manifest.backbone.grid == (
        24,
        24,
    )


def test_a_backbone_that_gives_nan(export: Export, tmp_path: Path) -> None:
    path = write_backbone(tmp_path / "nan.onnx")
    model = onnx.load(str(path))
    kernel = next(item for item in model.graph.initializer if item.name == "b0")
    kernel.CopyFrom(onnx.numpy_helper.from_array(np.full(8, np.nan, np.float32), "b0"))
    onnx.save(model, str(path))
    with pytest.raises(EdgeADError):
        export(backbone=str(path))
    assert not (tmp_path / "out.bundle").exists()
