"""`inspect(frame, roi=mask)` by each method."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_ad import Runtime, SpecError
from edge_ad.registry import METHODS
from tests.export.made import Export
from tests.masks import WHOLE, cells_of, half
from tests.tiny import bad_frame, good_frame

MASKED: dict[str, Callable[[Export], Path]] = {
    "patchcore": lambda export: export(local_scale=0.5, smooth=0.0, reweight=0),
    "knn": lambda export: export(method="knn"),
    "padim": lambda export: export(method="padim", channels=(8,)),
    "padim with a region": lambda export: export(method="padim", channels=(8,), roi="4,4,60,60", halo=2),
}


@pytest.mark.parametrize("name", MASKED)
def test_methods_that_score_patches(export: Export, name: str) -> None:
    runtime = Runtime(MASKED[name](export), threads=1)
    frame = bad_frame(2001)
    everything = runtime.probe(frame).distances
    own = runtime._point.sights[0].roi.patches
    inside = cells_of(runtime, half()) if own is None else cells_of(runtime, half()) & own
    grid = np.zeros(runtime.manifest.backbone.grid, np.float32)
    grid[np.ones_like(inside) if own is None else own] = everything
    assert runtime.inspect(frame, roi=half()).score == grid[inside].max()


def test_smoothing_does_not_reach_over_the_mask(export: Export) -> None:
    """With `smooth` a cell is the mean of cells inside, as with a region at export: what lies outside adds nothing."""
    runtime = Runtime(export(smooth=1.0), threads=1)
    a, b = good_frame(3), good_frame(3)
    b[:, 52:] = 255  # farther from the mask than the network sees
    mask = np.zeros_like(WHOLE)
    mask[:, :24] = True
    assert runtime.inspect(a, roi=mask).score == runtime.inspect(b, roi=mask).score
    assert runtime.inspect(a).score != runtime.inspect(b).score


@pytest.mark.parametrize("method", ["spade", "centroid"])
def test_methods_that_score_the_frame_take_no_mask(export: Export, method: str) -> None:
    runtime = Runtime(export(method=method))
    with pytest.raises(SpecError, match="scores a frame as a whole"):
        runtime.inspect(good_frame(1), roi=WHOLE)
    assert not METHODS[method].masked
