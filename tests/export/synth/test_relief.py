"""Reliefs of a given depth."""

from __future__ import annotations

import numpy as np
import pytest

from edge_ad.errors import SpecError
from export.synth.defect import KINDS
from export.synth.relief import RELIEF_KINDS, draw_extent, relief


@pytest.mark.parametrize("kind", RELIEF_KINDS)
@pytest.mark.parametrize("depth", [0.1, 2.0])
def test_it_is_as_deep_as_asked_and_ends_inside_its_window(kind, depth):
    height, mask = relief(kind, draw_extent(kind, np.random.default_rng(1)), depth, np.random.default_rng(1))
    assert np.abs(height).max() == pytest.approx(depth, rel=1e-5)
    assert height.dtype == np.float32
    assert mask.dtype == np.bool_
    assert height.shape == mask.shape
    assert not height[~mask].any()
    assert mask.any()
    border = np.concatenate([height[0], height[-1], height[:, 0], height[:, -1]])
    assert np.abs(border).max() < 0.2 * depth


@pytest.mark.parametrize("kind", RELIEF_KINDS)
def test_the_same_state_gives_the_same_bytes(kind):
    one, other = (relief(kind, 18, 0.5, np.random.default_rng(7))[0] for _ in range(2))
    assert one.tobytes() == other.tobytes()
    assert one.tobytes() != relief(kind, 18, 0.5, np.random.default_rng(8))[0].tobytes()


@pytest.mark.parametrize(("kind", "sign"), [("scratch", -1), ("dent", -1), ("bump", 1), ("pit", -1), ("wear", -1)])
def test_which_way_it_goes(kind, sign):
    height, _ = relief(kind, 20, 1.0, np.random.default_rng(3))
    assert sign * height.flat[np.abs(height).argmax()] > 0


def test_what_is_refused():
    with pytest.raises(SpecError, match="no such kind"):
        relief("stain", 20, 1.0, np.random.default_rng(0))
    for depth in (0, float("nan"), 100):
        with pytest.raises(SpecError, match="depth"):
            relief("dent", 20, depth, np.random.default_rng(0))


def test_kinds_of_photographs_are_not_touched():
    assert "pit" not in KINDS
    assert "wear" not in KINDS
