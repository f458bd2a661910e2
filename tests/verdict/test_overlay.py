"""The picture of a verdict over its frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad import FrameError, Runtime
from edge_ad.verdict.overlay import heat_layer
from tests.tiny import bad_frame
from tests.verdict.made import make_verdict


def test_overlay_pixels() -> None:
    frame = np.full((128, 128, 3), 100, np.uint8)
    amap = np.zeros((128, 128), np.float32)
    amap[60:90, 40:80] = 2.0
    picture = make_verdict(2.0, amap).overlay(frame)
    assert (picture.shape, picture.dtype) == ((128, 128, 3), np.uint8)
    assert (picture[120, 10] == 100).all()  # cold: the frame itself
    assert tuple(picture[60, 60]) == (0, 0, 255)  # outline, red in BGR
    assert np.abs(picture[75, 60].astype(int) - 100).max() > 30  # hot
    assert picture[2, 2, 2] > picture[2, 2, 1]  # the caption of an anomalous frame is red
    good = make_verdict(0.1, np.zeros((128, 128), np.float32)).overlay(frame)
    assert good[2, 2, 1] > good[2, 2, 2]  # and of a good one green
    assert (frame == 100).all()


def test_overlay_of_frames_and_files(runtime: Runtime, deep: Runtime, tmp_path: Path) -> None:
    frame = bad_frame(2001)
    path = tmp_path / "frame.png"
    cv2.imwrite(str(path), frame)
    verdict = runtime.inspect(frame)
    np.testing.assert_array_equal(verdict.overlay(frame), verdict.overlay(path))
    wide = np.rint(frame * (4095 / 255)).astype(np.uint16)
    picture = deep.inspect(wide).overlay(wide)
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - verdict.overlay(frame).astype(int)).max() <= 3
    grey = frame[:, :, 0].copy()
    assert runtime.inspect(grey).overlay(grey).shape == (64, 64, 3)
    with pytest.raises(FrameError, match="another size"):
        verdict.overlay(frame[:32])
    with pytest.raises(FrameError):
        verdict.overlay(None)
    untouched = frame.copy()
    verdict.overlay(frame)
    np.testing.assert_array_equal(frame, untouched)


def test_heat_as_a_layer() -> None:
    """What a page lays over the frame, and fades."""
    frame = np.full((32, 32, 3), 100, np.uint8)
    amap = np.zeros((32, 32), np.float32)
    amap[8:16, 8:16] = 9.0
    verdict = make_verdict(2.0, amap)
    heat = verdict.heat()
    assert heat is not None
    assert (heat.dtype, heat.min(), heat.max()) == (np.float32, 0.0, 1.0)
    layer = heat_layer(heat)
    assert (layer.shape, layer.dtype) == ((32, 32, 4), np.uint8)
    assert layer[10, 10, 3] == 255
    assert layer[0, 0, 3] == 0
    np.testing.assert_array_equal(verdict.picture(frame), frame)
