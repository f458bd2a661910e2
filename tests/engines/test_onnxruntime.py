"""ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_ad import EngineUnavailableError, Runtime
from edge_ad.engines import installed_engines


def test_onnxruntime_is_for_the_cpu(golden: Path) -> None:
    if "onnxruntime" not in installed_engines():
        pytest.skip("onnxruntime is not installed")
    with pytest.raises(EngineUnavailableError, match="'GPU'"):
        Runtime(golden, engine="onnxruntime", device="GPU")
