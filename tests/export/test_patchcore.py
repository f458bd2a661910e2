"""What PatchCore's fit keeps from the folds, and what it must make anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the export needs onnx")

from edge_ad import native
from edge_ad.spec import FrameSpec
from export.features import extract
from export.fit.base import Material
from export.fit.patchcore import Fit
from export.folds import folds
from export.network import open_networks
from export.options import Options
from export.stages import open_stages
from export.summary import Summary
from tests.export.made import goods, write


def test_the_final_factors_are_of_the_final_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one split the last coreset is made of the images of the fold, but its rows stand in another order."""
    monkeypatch.setattr("export.fit.patchcore.choose_basis", lambda vectors, seed: np.eye(60, 192, dtype=np.float32))
    paths = sorted(write(tmp_path / "good", goods(8)).iterdir())
    options = Options("part", effort="quick", coreset=0.3, threads=2, local_scale=0.5, smooth=0.0)
    stages = open_stages(options, open_networks(options)[0], FrameSpec(None), None, paths, (64, 64))
    patches = np.empty((len(paths), stages.masks.count, stages.backbone.dim), np.float32)
    extract(patches, paths, stages.frame, stages.crop, stages.engine, None)
    splits, found = folds(8, "split"), []
    for fold_before in (True, False):
        method = Fit(Material(patches, paths, stages, options, native.Pool(2), splits))
        if fold_before:
            method.fit(splits.pairs[0][0], "fold")
        found.append(method.finish(splits.final, Summary(tmp_path)).members["coreset/scale"])
    np.testing.assert_array_equal(*found)
