"""OpenVINO: its devices, and the precision that it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_ad import Runtime
from edge_ad.bundle.file import Bundle
from edge_ad.bundle.models import models_of
from edge_ad.engines import open_engine
from tests.edited import edited
from tests.tiny import good_frame


def test_openvino_runs_onnx_where_there_is_no_ir(golden: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs OpenVINO")
    path = edited(golden, tmp_path / "onnx.bundle", {"model.xml": None, "model.bin": None})
    runtime = Runtime(path, engine="openvino", self_check=True)
    frame = good_frame(0)
    assert runtime.inspect(frame).score == pytest.approx(
        Runtime(golden, engine="openvino").inspect(frame).score, rel=1e-6
    )


def test_precision_is_never_left_to_openvino(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ov = pytest.importorskip("openvino", reason="needs OpenVINO")
    asked: list[tuple[str, dict[str, str]]] = []
    compile_model = ov.Core.compile_model

    def spy(self: object, model: object, device: str, config: dict[str, str]) -> object:
        asked.append((device, config))
        return compile_model(self, model, "CPU", {})

    monkeypatch.setattr(ov.Core, "compile_model", spy)
    with Bundle.open(golden) as bundle:
        for device in ("CPU", "GPU", "AUTO"):
            open_engine("openvino", models_of(bundle), device=device, threads=1, precision="f32")
    assert [device for device, _ in asked] == ["CPU", "GPU", "AUTO"]
    assert all(config["INFERENCE_PRECISION_HINT"] == "f32" for _, config in asked)
    assert asked[0][1]["INFERENCE_NUM_THREADS"] == "1"


def test_openvino_on_another_device_name(golden: Path) -> None:
    pytest.importorskip("openvino", reason="needs OpenVINO")
    assert Runtime(golden, engine="openvino", device="AUTO:CPU", self_check=True).precision == "f32"
