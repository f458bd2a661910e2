"""What an engine gives, checked before it can become a verdict: finite numbers, as many as the bundle says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_ad import EdgeADError, EngineError, ParityError, Runtime
from edge_ad.bundle.file import Bundle
from tests.tiny import good_frame


class FakeEngine:
    name, version, precision = "fake", "0", "f32"

    def __init__(self, patches: np.ndarray) -> None:
        self.patches = patches

    def __call__(self, tensor: np.ndarray) -> np.ndarray:
        return self.patches.copy()


@pytest.mark.parametrize("search", ["exact", "graph"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("many", [False, True])
def test_nan_is_never_a_verdict(
    golden: Path, monkeypatch: pytest.MonkeyPatch, search: str, value: float, many: bool
) -> None:
    runtime = Runtime(golden, search=search, threads=1)  # type: ignore[arg-type]
    patches = runtime.probe(good_frame(0)).patches
    for place in ((0, 0), (100, 5), (255, 23)):
        broken = patches.copy()
        broken[place] = value
        monkeypatch.setattr(runtime._point.sights[0], "engine", FakeEngine(broken))
        with pytest.raises(EngineError, match="NaN or Inf"):
            list(runtime.inspect_many([good_frame(0)])) if many else runtime.inspect(good_frame(0))
        with pytest.raises(ParityError):
            runtime.check()


def test_nan_outside_the_region_is_not_looked_at(
    roi: Runtime, golden_roi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patches = roi.probe(good_frame(0)).patches
    score = roi.inspect(good_frame(0)).score
    outside = ~np.array(Bundle.open(golden_roi).array("roi/patch_mask"), bool).ravel()
    assert outside.any()
    patches[outside] = np.nan
    monkeypatch.setattr(roi._point.sights[0], "engine", FakeEngine(patches))
    assert roi.inspect(good_frame(0)).score == score


@pytest.mark.parametrize("shape", [(255, 24), (257, 24), (256, 23), (0, 24), (16, 16, 24), (256,)])
def test_an_engine_with_other_patches_is_refused(
    golden: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    runtime = Runtime(golden, threads=1)
    monkeypatch.setattr(runtime._point.sights[0], "engine", FakeEngine(np.zeros(shape, np.float32)))
    with pytest.raises(EdgeADError, match="patches"):
        runtime.inspect(good_frame(0))


def test_float64_patches_are_refused(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(golden, threads=1)
    monkeypatch.setattr(runtime._point.sights[0], "engine", FakeEngine(np.zeros((256, 24))))
    with pytest.raises(EdgeADError, match="float64"):
        runtime.inspect(good_frame(0))
