"""Timings, and the frames that are timed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge_ad.bundle.file import Bundle
from edge_ad.serving.timing import read_frames, sample_frames, timing
from tests.edited import edited
from tests.tiny import bad_frame


def test_percentiles_are_values_that_were_measured() -> None:
    found = timing([1.0] * 99 + [50.0, 60.0])
    assert (found.frames, found.p50_ms, found.p95_ms, found.p99_ms) == (101, 1.0, 1.0, 50.0)
    assert timing([3.0]).p99_ms == 3.0


def test_frames_to_measure_with(golden: Path, tmp_path: Path) -> None:
    with Bundle.open(golden) as opened:
        own = sample_frames(opened)
        assert {frame.shape for frame in own} == {(*(opened.manifest.frame.size or (1024, 1024)), 3)}
    rgb = edited(golden, tmp_path / "rgb.bundle", frame={"color_order": "rgb"})
    with Bundle.open(rgb) as opened:
        np.testing.assert_array_equal(sample_frames(opened)[0][:, :, ::-1], own[0])
        folder = tmp_path / "images"
        folder.mkdir()
        cv2.imwrite(str(folder / "a.png"), bad_frame(1))
        np.testing.assert_array_equal(read_frames(folder, opened.manifest.frame)[0][:, :, ::-1], bad_frame(1))
