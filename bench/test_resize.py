"""Times the resize filters beside OpenCV and Pillow (if it is installed). The answers are asserted after the timing.

pytest bench/test_resize.py --benchmark-only
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from bench.conftest import Timer
from edge_ad import native
from edge_ad.frames.crop import resize
from edge_ad.spec import RESIZES

SIZES = {
    "1024-256": ((1024, 1024), (256, 256)),
    "1200-384": ((1200, 1600), (384, 512)),
    "1024-102": ((1024, 1280), (102, 128)),
}
OPENCV = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR}  # INTER_LINEAR aliases


def _frames(size: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, size[0] // 8, size[1] // 8, 3)).astype(np.uint8)
    return [cv2.resize(picture, size[::-1]) for picture in coarse]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("by", [*RESIZES, "box"])
def test_ours(timer: Timer, by: str, name: str, threads: int) -> None:
    old, new = SIZES[name]
    frames, pool = _frames(old), native.Pool(threads)
    timer(lambda frame: resize(frame, new, pool, by), frames)
    found = resize(frames[0], new, pool, by).astype(int)
    assert np.abs(found - cv2.resize(frames[0], new[::-1], interpolation=cv2.INTER_AREA)).mean() < 4


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("by", OPENCV)
def test_opencvs(timer: Timer, by: str, name: str) -> None:
    old, new = SIZES[name]
    frames = _frames(old)
    timer(lambda frame: cv2.resize(frame, new[::-1], interpolation=OPENCV[by]), frames)
    assert cv2.resize(frames[0], new[::-1], interpolation=OPENCV[by]).shape == (*new, 3)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("by", ["bilinear", "bicubic"])
def test_pillows(timer: Timer, by: str, name: str) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    old, new = SIZES[name]
    pictures = [pillow.fromarray(frame) for frame in _frames(old)]
    call: Callable[[object], object] = lambda picture: picture.resize(new[::-1], pillow.Resampling[by.upper()])  # noqa: E731
    timer(call, pictures)
    theirs = np.asarray(call(pictures[0])).astype(int)
    assert np.abs(theirs - native.resample(_frames(old)[0], new, by)).max() <= 1
