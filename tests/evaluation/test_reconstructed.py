"""`edge-ad eval` of a method that reconstructs: four pictures beside one another, and their folders."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.evaluation import grid, pictures
from edge_ad.evaluation.grid import OWN, Backbone, Recipe, combined
from tests.evaluation.evaluating import evaluate
from tests.tiny import SIZE

FOLDERS = ("input", "recon", "heatmap", "mask")


def test_four_pictures_and_their_folders(autoencoder: Path, category: Path, tmp_path: Path) -> None:
    assert evaluate(autoencoder, category, tmp_path, "--no-report", "--pictures", "all", "--threads", "1") == 0
    folder = tmp_path / "part/format-3-autoencoder"
    for slug in ("good_000", "scratch_003"):
        four = cv2.imread(str(folder / f"{slug}_four.png"))
        assert four.shape == (SIZE, 4 * SIZE + 3 * 4, 3)
        parts = [four[:, i * (SIZE + 4) : i * (SIZE + 4) + SIZE] for i in range(4)]
        for name, part in zip(FOLDERS, parts, strict=True):
            np.testing.assert_array_equal(cv2.imread(str(folder / f"results/{name}/{slug}.png")), part)
    np.testing.assert_array_equal(
        cv2.imread(str(folder / "results/input/scratch_003.png")), cv2.imread(str(category / "test/scratch/003.png"))
    )
    assert all(len(list((folder / "results" / name).iterdir())) == 8 for name in FOLDERS)
    again = tmp_path / "part/format-3-autoencoder/results/recon/good_000.png"
    again.unlink()
    assert evaluate(autoencoder, category, tmp_path, "--no-report", "--pictures", "worst", "--threads", "1") == 0
    assert again.exists()
    assert evaluate(autoencoder, category, tmp_path, "--no-report", "--pictures", "none", "--threads", "1") == 0
    assert not list((folder / "results").rglob("*.png"))
    assert not list(folder.glob("*_four.png"))


def test_other_methods_have_none(done: Path) -> None:
    assert not (done / "part/format-1/results").exists()
    assert not [path for part in pictures.MORE_PARTS for path in done.rglob(f"*_{part}.png")]


def test_a_network_of_its_own_is_made_once_whatever_the_backbones() -> None:
    one, other = Backbone("edge-s"), Backbone("resnet18")
    found = combined(("padim", "autoencoder"), (one, other))
    own = Backbone(OWN)
    assert found == [("padim", one), ("autoencoder", own), ("padim", other)]
    command = Recipe(Path("part"), "autoencoder", own, ("--seed", "1")).command(Path("x.bundle"), 2)
    assert "--backbone" not in command
    assert command[-2:] == ["--seed", "1"]


def test_all_methods_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    assert "autoencoder" in grid.choose_methods("autoencoder,padim")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else object())
    assert grid.choose_methods("all") == ("patchcore", "padim", "spade", "knn", "centroid")
    assert "autoencoder" in grid.choose_methods("autoencoder,padim")
    with pytest.raises(grid.EdgeADError, match=r"needs the export of autoencoder.*no torch"):
        grid.require_export([("autoencoder", Backbone(OWN))])
