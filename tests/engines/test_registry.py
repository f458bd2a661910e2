"""What is derived from the registry of engines, shown by the new engine of CONTRIBUTING.md."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_ad import Runtime, SpecError
from edge_ad.bundle.file import Bundle
from edge_ad.cli import add_runtime_options, main
from edge_ad.engines import Models, choose_engine, engines_for, installed_engines
from edge_ad.registry import ENGINES, PRECISIONS, EngineEntry
from edge_ad.serving.tuning import candidates
from edge_ad.system.cpu import Cpu
from edge_ad.system.versions import build_info
from tests.contributing import the_engine
from tests.edited import pointed
from tests.tiny import good_frame

ARM = Cpu("arm", "a CPU", frozenset())


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the example's engine."""
    pytest.importorskip("onnx.reference", reason="the example runs by onnx")
    with the_engine(tmp_path, monkeypatch) as name:
        yield name


def test_the_example_gives_the_verdicts_of_the_others(engine: str, golden: Path) -> None:
    frame = good_frame(1)
    mine, other = Runtime(golden, engine=engine, self_check=True), Runtime(golden)
    assert (mine.engine, mine.inspect(frame).engine) == (engine, engine)
    assert mine.inspect(frame).score == pytest.approx(other.inspect(frame).score, rel=1e-3)


def test_the_command_lines_have_the_example(engine: str, golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_runtime_options(parser)
    assert parser.parse_args(["b", "--engine", engine]).engine == engine
    assert main(["check", str(golden)]) == 0
    out = capsys.readouterr().out
    assert f"{engine} " in out
    assert "between the engines" in out
    assert build_info()["onnx"][0].isdigit()


def test_it_is_tried_by_tune_and_named_in_messages(engine: str, golden: Path) -> None:
    with Bundle.open(golden) as bundle:
        found, _ = candidates(bundle, 1)
    assert engine in {candidate.engine for candidate in found["f32"]}
    with pytest.raises(SpecError, match=f"auto, openvino, onnxruntime or {engine}"):
        choose_engine("tensorrt", Models(onnx=b"x"), ARM, installed_engines())


def test_a_point_may_be_made_for_it(engine: str, golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pointed(golden, tmp_path / "points.bundle", {"own": "f32"}, engine=engine)
    assert Runtime(path, point="own").engine == engine
    monkeypatch.delitem(ENGINES, engine)
    with pytest.raises(Exception, match=r"manifest\.points\[0\]\.engine is unknown; expected 'any' or 'openvino'"):
        Runtime(path)


def test_an_engine_is_chosen_by_the_kind_of_model_and_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "third", EngineEntry("Third", "third", runs=("ir",), vendors=("arm",)))
    installed = tuple(ENGINES)
    assert choose_engine("auto", Models(ir=(b"x", b"y")), ARM, installed) == "third"
    assert choose_engine("auto", Models(onnx=b"x"), ARM, installed) == "onnxruntime"
    with pytest.raises(Exception, match=r"Third cannot run this bundle.*--to openvino or --to both"):
        choose_engine("third", Models(onnx=b"x"), ARM, installed)


def test_every_precision_has_an_engine_and_a_reference_is_everyone_s() -> None:
    assert engines_for("f32") == tuple(ENGINES)
    for name in PRECISIONS:
        assert engines_for(name)
    assert engines_for("bf16") == ("openvino",)
    assert engines_for("int8", "onnxruntime") == ("onnxruntime",)


def test_every_precision_of_its_own_models_has_a_maker_for_each_engine() -> None:
    quantize = pytest.importorskip("export.quantize", reason="the export is not installed")
    wanted = {(name, engine) for name, p in PRECISIONS.items() if p.own_models for engine in engines_for(name)}
    assert wanted == set(quantize.MAKERS)
