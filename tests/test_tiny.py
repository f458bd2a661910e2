"""The tiny category, on which many tests stand."""

from __future__ import annotations

from pathlib import Path

import cv2

from tests.tiny import write_category


def test_write_category_is_what_it_says(tmp_path: Path) -> None:
    folder = write_category(tmp_path / "x", goods=3, tests=2)
    assert len(list((folder / "train" / "good").iterdir())) == 3
    mask = cv2.imread(str(folder / "ground_truth" / "scratch" / "000_mask.png"), cv2.IMREAD_GRAYSCALE)
    assert 0 < (mask > 0).mean() < 0.1
