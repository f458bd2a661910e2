"""Options of the export: defaults, ranges, and that they are checked before the work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx", reason="the export needs onnx")
pytest.importorskip("hnswlib", reason="the export needs hnswlib")

from edge_ad import SpecError  # noqa: E402
from export.command_line import parse_options  # noqa: E402
from export.options import Options  # noqa: E402
from export.pipeline import export_bundle  # noqa: E402
from tests.export.made import Export  # noqa: E402
from tests.tiny import tiny_options  # noqa: E402

BAD: dict[str, dict[str, object]] = {
    "coreset 0": {"coreset": 0.0},
    "coreset 2": {"coreset": 2.0},
    "coreset NaN": {"coreset": float("nan")},
    "halo": {"halo": -1},
    "threads": {"threads": 0},
    "seed": {"seed": -1},
    "large seed": {"seed": 2**64},
    "rule": {"rule": "median"},
    "percentile": {"value": 101.0},
    "rate": {"rule": "false-reject", "value": 1.0},
    "a rate and a rule": {"rule": "sigma", "false_reject": 0.01},
    "a rate and a value": {"value": 90.0, "false_reject": 0.01},
    "no rate": {"false_reject": 0.0},
    "reweight": {"reweight": -1},
    "target": {"to": "tensorrt"},
    "calibration": {"calibration": "none"},
    "input size 0": {"input_size": (0, 0)},
    "input size": {"input_size": (64, 5000)},
    "input size twice": {"more_sizes": ((64, 64),)},
    "points": {"points": ("f16",)},
    "max drop": {"max_drop": -1.0},
    "std": {"std": (0.0, 1.0, 1.0)},
    "mean": {"mean": (float("nan"), 0.0, 0.0)},
    "white level": {"white_level": 0},
    "resize": {"resize": "lanczos"},
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options_are_refused(export: Export, tmp_path: Path, case: str) -> None:
    with pytest.raises(SpecError) as caught:
        export(**BAD[case])
    assert caught.value.expected
    assert list(tmp_path.iterdir()) == []


def test_bad_options_are_found_before_the_images_are_read(tiny: Path, tmp_path: Path) -> None:
    options = tiny_options(tiny, category="/nowhere", out=tmp_path / "o.bundle")
    for changes in BAD.values():
        if "calibration" in changes:
            continue
        with pytest.raises(SpecError):
            export_bundle(replace(options, **changes))


def test_the_command_line_and_the_class_have_the_same_defaults() -> None:
    assert parse_options(["part"]) == Options("part")
    changed = parse_options(
        [
            "part",
            "--to",
            "onnx",
            "--layers",
            "a",
            "b",
            "--input-size",
            "128,160",
            "--no-graph",
            "--threshold-rule",
            "sigma",
            "--threshold-value",
            "2",
            "--roi",
            "1,2,3,4",
            "--mean",
            "0",
            "0",
            "0",
            "--std",
            "1",
            "1",
            "1",
            "--skip-bad",
        ]
    )
    assert (changed.to, changed.layers, changed.input_size, changed.graph) == ("onnx", ("a", "b"), (128, 160), False)
    assert (changed.rule, changed.value, changed.roi, changed.skip_bad) == ("sigma", 2.0, "1,2,3,4", True)
    assert (changed.mean, changed.std) == ((0, 0, 0), (1, 1, 1))
    rate = parse_options(["part", "--false-reject", "0.01", "--drop-outliers"])
    assert (rate.rule_for(), rate.drop_outliers) == (("tail", 0.01), True)
    assert parse_options(["part", "--input-size", "128"]).input_size == (128, 128)
    for wrong in (["part", "--input-size", "a"], ["part", "--to", "x"], [], ["part", "--mean", "1"]):
        with pytest.raises(SystemExit) as caught:
            parse_options(wrong)
        assert caught.value.code == 2
