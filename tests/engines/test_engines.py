"""The choice of an engine, what the CPU says, and engines that fail."""

from __future__ import annotations

import os
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
from edge_ad.system.cpu import Cpu, allowed_cores, check_cores, default_threads, detect_cpu, pinned
from tests.edited import edited, pointed
from tests.tiny import good_frame

ONNX, IR, BOTH = Models(onnx=b"x"), Models(ir=(b"x", b"y")), Models(onnx=b"x", ir=(b"x", b"y"))
EITHER = ("openvino", "onnxruntime")

INTEL = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model name\t: Intel(R) Xeon(R) Platinum 8488C
flags\t\t: fpu vme avx2 avx512f avx512_bf16 amx_bf16 amx_tile amx_int8

processor\t: 1
vendor_id\t: GenuineIntel
model name\t: another name that must not win
flags\t\t: fpu
"""
INTEL_OLD = "vendor_id : GenuineIntel\nmodel name : Intel(R) Core(TM) i5-7500T CPU @ 2.70GHz\nflags : fpu sse4_2 avx2\n"
AMD = "vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9R14\nflags\t\t: fpu avx2 avx512f avx512_bf16\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp bf16\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"
VIRTUAL = "vendor_id : TCGTCGTCGTCG\nmodel name : QEMU TCG CPU version 2.5+\nflags : fpu\n"


def cpu(vendor: str, *flags: str) -> Cpu:
    return Cpu(vendor, "a CPU", frozenset(flags))


@pytest.mark.parametrize(
    ("text", "machine", "vendor", "bf16"),
    [
        (INTEL, "x86_64", "intel", True),
        (INTEL_OLD, "x86_64", "intel", False),
        (AMD, "x86_64", "amd", True),
        (ARM, "aarch64", "arm", True),
        (ARM.replace(" bf16", ""), "arm64", "arm", False),
        (ARM, "armv7l", "arm", True),
        (VIRTUAL, "x86_64", "other", False),
        ("", "riscv64", "other", False),
        ("", "aarch64", "arm", False),
        (":::\n\0\n: \nflags\n", "mips", "other", False),
    ],
)
def test_detect_cpu(text: str, machine: str, vendor: str, bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.processor", lambda: "")
    found = detect_cpu(text, machine)
    assert (found.vendor, found.has_bf16) == (vendor, bf16)
    assert found.model


def test_the_first_processor_names_the_model() -> None:
    assert detect_cpu(INTEL, "x86_64").model == "Intel(R) Xeon(R) Platinum 8488C"
    assert "amx_tile" in detect_cpu(INTEL, "x86_64").flags


def test_this_cpu() -> None:
    found = detect_cpu()
    assert found.vendor in ("intel", "amd", "arm", "other")
    assert found.model


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


def test_openvino_runs_onnx_where_there_is_no_ir(golden: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs OpenVINO")
    path = edited(golden, tmp_path / "onnx.bundle", {"model.xml": None, "model.bin": None})
    runtime = Runtime(path, engine="openvino", self_check=True)
    frame = good_frame(0)
    assert runtime.inspect(frame).score == pytest.approx(
        Runtime(golden, engine="openvino").inspect(frame).score, rel=1e-6
    )


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


def test_onnxruntime_is_for_the_cpu(golden: Path) -> None:
    if "onnxruntime" not in installed_engines():
        pytest.skip("onnxruntime is not installed")
    with pytest.raises(EngineUnavailableError, match="'GPU'"):
        Runtime(golden, engine="onnxruntime", device="GPU")


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


def test_default_threads_is_within_the_cores() -> None:
    assert 1 <= default_threads() <= len(allowed_cores())
    assert default_threads([allowed_cores()[0]]) == 1


@pytest.mark.parametrize(
    ("text", "at_most"),
    [("max 100000\n", None), ("max\n", None), ("200000 100000\n", 2), ("50000 100000\n", 1), ("150000\n", 1)],
)
def test_the_containers_quota_bounds_the_threads(
    monkeypatch: pytest.MonkeyPatch, text: str, at_most: int | None
) -> None:
    monkeypatch.setattr("edge_ad.system.cpu.allowed_cores", lambda: tuple(range(1000, 1008)))  # eight without siblings
    read_text, exists = Path.read_text, Path.exists
    is_quota = {Path("/sys/fs/cgroup/cpu.max"): text}
    monkeypatch.setattr(Path, "read_text", lambda self, *a, **k: is_quota.get(self) or read_text(self, *a, **k))
    monkeypatch.setattr(Path, "exists", lambda self: self in is_quota or exists(self))
    assert default_threads() == (at_most or 8)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are pinned on Linux only")
def test_pinned_restores_even_after_an_error() -> None:
    before = allowed_cores()
    inside: list[tuple[int, ...]] = []

    def work() -> None:
        with pinned((before[0],)):
            inside.append(allowed_cores())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        work()
    assert inside == [(before[0],)]
    assert allowed_cores() == before
    with pinned(None):
        assert allowed_cores() == before
    assert check_cores(set(before)) is not None  # what sched_getaffinity gives
    assert check_cores(None) is None
