"""Curves of an evaluation."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_ad.evaluation import curves
from tests.evaluation.evaluating import evaluate


def test_rates_by_hand() -> None:
    rejected, caught, precision = curves.rates(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    np.testing.assert_array_equal(rejected, [0, 0.5, 1])
    np.testing.assert_array_equal(caught, [0.5, 1, 1])
    np.testing.assert_allclose(precision, [1, 2 / 3, 0.5])


@pytest.mark.parametrize("missing", ["good", "scratch"])
def test_curves_of_one_label_only(part: Path, tmp_path: Path, golden: Path, missing: str) -> None:
    pytest.importorskip("matplotlib")
    shutil.rmtree(part / "test" / missing)
    assert evaluate(golden, part, tmp_path / "out") == 0
    drawn = {path.stem for path in (tmp_path / "out/part/format-1").glob("*.png")} & {
        "roc",
        "pr",
        "scores",
        "confusion",
    }
    assert drawn == {"scores", "confusion"}
    text = (tmp_path / "out/report.html").read_text()
    assert "nan" not in text.replace("data:", "").lower().split("base64")[0]
    assert ("False alarms" in text) == (missing != "good")
