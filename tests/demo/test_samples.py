"""Samples of the page: named, in order, with a thumbnail also where there is no image in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_ad.demo.samples import MOST, THUMBNAIL_SIDE, evenly, load_samples
from edge_ad.spec import FrameSpec
from tests.tiny import good_frame, picture


@pytest.mark.parametrize(
    ("count", "most", "wanted"), [(0, 3, []), (2, 3, [0, 1]), (3, 3, [0, 1, 2]), (9, 3, [0, 4, 8])]
)
def test_evenly(count: int, most: int, wanted: list[int]) -> None:
    assert evenly(count, most) == wanted
    assert len(set(evenly(MOST + count, MOST))) == MOST


def test_thumbnails(tmp_path: Path) -> None:
    paths = [picture(tmp_path / "in" / "a.png", good_frame(1)), tmp_path / "broken.png"]
    paths[1].write_text("text")
    good, broken = load_samples(paths, tmp_path, FrameSpec((64, 64)))
    assert [good.name, broken.name] == ["in/a.png", "broken.png"]
    assert good.thumbnail.shape == broken.thumbnail.shape == (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
    assert len(np.unique(broken.thumbnail)) == 2
