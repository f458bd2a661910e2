"""Bundles whose members do not fit one another are refused when a runtime opens them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_ad import BundleCorruptError, EdgeADError, Runtime
from edge_ad.bundle.file import Bundle
from tests.edited import edited


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_coreset_with_nan_is_refused(golden: Path, tmp_path: Path, value: float) -> None:
    coreset = np.array(Bundle.open(golden).array("coreset"))
    coreset[7, 3] = value
    with pytest.raises(BundleCorruptError, match="coreset"):
        Runtime(edited(golden, tmp_path / "nan.bundle", {"coreset": coreset}))


HOSTILE: dict[str, dict[str, object]] = {
    "rows of floats": {"probes/rows": np.zeros(64, np.float32)},
    "rows outside": {"probes/rows": np.full(64, 256, np.int32)},
    "negative rows": {"probes/rows": np.full(64, -1, np.int32)},
    "frames of floats": {"probes/frames": np.zeros((3, 64, 64, 3), np.float32)},
    "frames of another size": {"probes/frames": np.zeros((3, 32, 64, 3), np.uint8)},
    "no frames": {"probes/frames": None},
    "no maps": {"probes/maps": None},
    "patches of another length": {"probes/patches": np.zeros((3, 64, 23), np.float32)},
    "coreset of another shape": {"coreset": np.zeros((307, 25), np.float32)},
    "coreset of integers": {"coreset": np.zeros((307, 24), np.int32)},
    "coreset as bytes": {"coreset": b"\0" * 307 * 24 * 4},
    "no coreset": {"coreset": None},
    "no graph": {"graph/links0": None},
    "links outside": {"graph/links0": np.full((307, 32), 1000, np.int32)},
    "levels too high": {"graph/levels": np.full(307, 255, np.uint8)},
    "no models": {"model.onnx": None, "model.xml": None, "model.bin": None},
    "IR without weights": {"model.bin": None},
    "broken models": {"model.onnx": b"garbage", "model.xml": b"<garbage", "model.bin": b""},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_bundles_that_do_not_fit_together(golden: Path, tmp_path: Path, case: str) -> None:
    path = edited(golden, tmp_path / "hostile.bundle", HOSTILE[case])
    with pytest.raises(EdgeADError):
        Runtime(path, search="graph", self_check=True)
