"""The choice of an engine, and engines that fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edge_ad.serving.point
from edge_ad import EngineError, EngineUnavailableError, Runtime, SpecError
from edge_ad.bundle.file import Bundle
from edge_ad.bundle.models import models_of
from edge_ad.engines import Models, choose_engine, installed_engines, open_engine
from edge_ad.engines.ahead import run_ahead
from edge_ad.system.cpu import Cpu
from tests.edited import edited, pointed
from tests.tiny import good_frame

ONNX, IR, BOTH = Models(onnx=b"x"), Models(ir=(b"x", b"y")), Models(onnx=b"x", ir=(b"x", b"y"))


EITHER = ("openvino", "onnxruntime")


def cpu(vendor: str, *flags: str) -> Cpu:
    return Cpu(vendor, "a CPU", frozenset(flags))


@pytest.mark.parametrize("models", [ONNX, IR, BOTH], ids=["onnx", "ir", "both"])
@pytest.mark.parametrize("vendor", ["intel", "amd", "arm", "other"])
@pytest.mark.parametrize(
    "installed", [EITHER, ("openvino",), ("onnxruntime",), ()], ids=lambda i: "+".join(i) or "none"
)
def test_auto(vendor: str, installed: tuple[str, ...], models: Models) -> None:
    order = ["openvino", "onnxruntime"] if vendor == "intel" else ["onnxruntime", "openvino"]
    able = [name for name in order if name in installed and (name == "openvino" or models.onnx is not None)]
    if able:
        assert choose_engine("auto", models, cpu(vendor), installed) == able[0]
        return
    with pytest.raises(EngineUnavailableError) as caught:
        choose_engine("auto", models, cpu(vendor), installed)
    best = "openvino" if vendor == "intel" or models.onnx is None else "onnx"
    assert f"pip install 'edge-ad[{best}]'" in str(caught.value)
    assert ("--to both" in str(caught.value)) == (models.onnx is None)


def test_a_named_engine() -> None:
    assert choose_engine("openvino", ONNX, cpu("arm"), EITHER) == "openvino"
    assert choose_engine("onnxruntime", BOTH, cpu("intel"), EITHER) == "onnxruntime"
    with pytest.raises(EngineUnavailableError, match=r"pip install 'edge-ad\[openvino\]'"):
        choose_engine("openvino", BOTH, cpu("intel"), ("onnxruntime",))
    with pytest.raises(EngineUnavailableError, match=r"pip install 'edge-ad\[onnx\]'"):
        choose_engine("onnxruntime", BOTH, cpu("intel"), ("openvino",))
    with pytest.raises(EngineUnavailableError, match="--to onnx or --to both"):
        choose_engine("onnxruntime", IR, cpu("amd"), EITHER)
    with pytest.raises(SpecError, match="'tensorrt'"):
        choose_engine("tensorrt", BOTH, cpu("intel"), EITHER)


@pytest.mark.parametrize("vendor", ["intel", "amd"])
def test_the_runtime_asks_the_cpu(golden: Path, monkeypatch: pytest.MonkeyPatch, vendor: str) -> None:
    if len(installed_engines()) < 2:
        pytest.skip("both engines are needed")
    monkeypatch.setattr(edge_ad.serving.point, "detect_cpu", lambda: cpu(vendor))
    assert Runtime(golden).engine == ("openvino" if vendor == "intel" else "onnxruntime")


def test_no_engine_at_all(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_ad.serving.point, "installed_engines", lambda: ())
    with pytest.raises(EngineUnavailableError, match="pip install"):
        Runtime(golden)


def test_ir_only_with_onnxruntime_only(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = edited(golden, tmp_path / "ir.bundle", {"model.onnx": None})
    monkeypatch.setattr(edge_ad.serving.point, "installed_engines", lambda: ("onnxruntime",))
    with pytest.raises(EngineUnavailableError) as caught:
        Runtime(path)
    assert "pip install 'edge-ad[openvino]'" in str(caught.value)
    assert "--to onnx or --to both" in str(caught.value)


def test_bf16_needs_hardware(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pointed(golden, tmp_path / "points.bundle", {"bf16": "bf16"}, engine="openvino")
    monkeypatch.setattr(edge_ad.serving.point, "installed_engines", lambda: ("openvino", "onnxruntime"))
    monkeypatch.setattr(edge_ad.serving.point, "detect_cpu", lambda: cpu("intel", "avx512f"))
    with pytest.raises(EngineUnavailableError, match="bf16"):
        Runtime(path, point="bf16")


def test_a_point_runs_by_the_engine_that_it_was_made_with(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pointed(golden, tmp_path / "points.bundle", {"int8": "int8"}, engine="openvino")
    monkeypatch.setattr(edge_ad.serving.point, "installed_engines", lambda: ("onnxruntime",))
    with pytest.raises(EngineUnavailableError, match="cannot run this operating point"):
        Runtime(path, point="int8", engine="onnxruntime")
    with pytest.raises(EngineUnavailableError, match=r"edge-ad\[openvino\]"):
        Runtime(path, point="int8")


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x08\x0a" * 100])
def test_broken_models(engine: str, data: bytes) -> None:
    with pytest.raises(EngineError, match="model"):
        open_engine(engine, Models(onnx=data), device="CPU", threads=1, precision="f32")
    if engine == "openvino":
        with pytest.raises(EngineError, match="model"):
            open_engine(engine, Models(ir=(data, data)), device="CPU", threads=1, precision="f32")


def test_an_engine_says_why_it_refuses_a_tensor(golden: Path, engine: str) -> None:
    with Bundle.open(golden) as bundle:
        opened = open_engine(engine, models_of(bundle), device="CPU", threads=1, precision="f32")
    with pytest.raises(EngineError):
        opened(np.zeros((1, 63, 64, 3), np.uint8))
    assert opened(np.zeros((1, 64, 64, 3), np.uint8)).shape == (256, 24)  # and it still works


def test_patches_are_the_callers(golden: Path, engine: str) -> None:
    with Bundle.open(golden) as bundle:
        opened = open_engine(engine, models_of(bundle), device="CPU", threads=1, precision="f32")
    first = opened(good_frame(0)[None])
    kept = first.copy()
    opened(255 - good_frame(1)[None])
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    np.testing.assert_array_equal(opened(good_frame(0)[None]), kept)
    assert (opened.name, opened.precision) == (engine, "f32")
    assert opened.version[0].isdigit()


def test_engines_are_found_without_an_import() -> None:
    code = "import sys; from edge_ad.engines import installed_engines as i; print(i(), {*i()} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == f"{installed_engines()} set()"


# --------------------------------------------------------------------------------------------------- cores


def test_ir_only_needs_openvino(golden: Path, tmp_path: Path) -> None:
    path = edited(golden, tmp_path / "ir.bundle", {"model.onnx": None})
    if "openvino" in installed_engines():
        assert Runtime(path).engine == "openvino"
    else:
        with pytest.raises(EngineUnavailableError, match=r"pip install 'edge-ad\[openvino\]'"):
            Runtime(path)
    with pytest.raises(EngineUnavailableError, match="openvino"):
        Runtime(path, engine="onnxruntime")


def test_streams_give_what_one_gives(golden: Path, engine: str) -> None:
    frames = [good_frame(seed)[None] for seed in range(6)]
    with Bundle.open(golden) as bundle:
        one, two = (
            open_engine(engine, models_of(bundle), device="CPU", threads=2, precision="f32", streams=streams)
            for streams in (1, 2)
        )
    assert (one.streams, two.streams) == (1, 2)
    for patches, frame in zip(run_ahead(two, 2, frames), frames, strict=True):
        np.testing.assert_allclose(patches, one(frame), rtol=1e-5, atol=1e-5)
