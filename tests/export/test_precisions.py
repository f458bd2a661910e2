"""A new precision is a line of the registry, and what makes its models where it has some of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx", reason="the export is not installed")
pytest.importorskip("hnswlib", reason="the export is not installed")
pytest.importorskip("onnxruntime", reason="the point is made for ONNX Runtime")

from edge_ad import Runtime, SpecError
from edge_ad.bundle.file import Bundle
from edge_ad.registry import PRECISIONS, Precision
from export.options import Options
from export.pipeline import export_bundle
from export.plan import Plan, hindrance, plan_points
from export.quantize import MAKERS, Maker
from tests.tiny import tiny_options, write_category


def same_model(model: Any, tensors: Any) -> dict[str, bytes]:
    """A model of its own that is the reference's, but for its name."""
    model.graph.name = "own"
    return {"model.onnx": model.SerializeToString()}


def test_a_new_precision_is_planned_made_and_run(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRECISIONS, "plain", Precision(0.01))
    monkeypatch.setitem(PRECISIONS, "own", Precision(0.02, engines=("onnxruntime",), own_models=True))
    monkeypatch.setitem(MAKERS, ("own", "onnxruntime"), Maker(same_model))
    write_category(tmp_path / "many", goods=16, tests=1)
    given = {"category": str(tmp_path / "many"), "to": "onnx", "points": ("plain", "own")}
    path = export_bundle(tiny_options(tiny, out=tmp_path / "o.bundle", **given)).bundle
    with Bundle.open(path) as bundle:
        points = {point.name: point for point in bundle.manifest.points}
        assert "points/own-onnxruntime/model.onnx" in bundle.manifest.members
        assert "points/plain/model.onnx" not in bundle.manifest.members
    found = {name: (point.engine, point.backbone.precision, point.probes.tolerance) for name, point in points.items()}
    assert found == {"plain": ("any", "plain", 0.01), "own-onnxruntime": ("onnxruntime", "own", 0.02)}
    assert "without" in points["own-onnxruntime"].calibration.split  # images that set its ranges are held out nowhere
    for name in points:
        assert Runtime(path, point=name, self_check=True).precision == points[name].backbone.precision


def test_a_precision_that_the_cpu_has_not_is_a_hindrance(monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_ad.system.cpu import Cpu

    monkeypatch.setitem(PRECISIONS, "new", Precision(0.01, cpu="has_bf16", needs="AMX"))
    assert "no new arithmetic" in str(hindrance(Plan("new", "new", "any", (64, 64)), Cpu("arm", "a CPU", frozenset())))


def test_points_are_words_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="different ones of f32, bf16, int8; got new"):
        plan_points(Options("part", points=("new",)))
    monkeypatch.setitem(PRECISIONS, "new", Precision(0.01))
    assert [plan.name for plan in plan_points(Options("part", points=("new", "bf16")))] == ["f32", "bf16", "new"]
