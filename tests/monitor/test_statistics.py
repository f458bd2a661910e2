"""The numbers of a frame: what they are, and what they do not depend on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_ad.errors import FrameError
from edge_ad.frames.place import Place, still
from edge_ad.frames.roi import RoiMasks
from edge_ad.monitor.causes import CAUSES, NAMES
from edge_ad.monitor.statistics import STATISTICS, Gauge, rows_share, thumbnail
from edge_ad.spec import FrameSpec
from tests.monitor.made import backbone, blurred, gauge
from tests.tiny import good_frame


def test_a_frame_is_measured() -> None:
    frame = np.zeros((60, 80, 3), np.uint8)
    frame[:] = (51, 102, 153)
    found = gauge().measure(frame)
    assert found["brightness"] == pytest.approx(0.4)
    assert found["blue"] == pytest.approx(1 / 6)
    assert found["red"] == pytest.approx(1 / 2)
    assert found["sharpness"] == 0.0  # nothing is there to be sharp


def test_grey_has_no_colour_and_16_bits_have_their_white() -> None:
    grey = good_frame(0)[:, :, 1]
    narrow, wide = gauge().measure(grey), gauge(4095).measure(grey.astype(np.uint16) * 16)
    assert set(narrow) == set(wide) == {"brightness", "sharpness"}
    assert wide["brightness"] == pytest.approx(narrow["brightness"] * 255 * 16 / 4095)
    assert wide["sharpness"] == pytest.approx(narrow["sharpness"], rel=1e-4)


def test_sharpness_falls_with_focus_and_not_with_light() -> None:
    frame = cv2.resize(good_frame(1), (256, 256), interpolation=cv2.INTER_NEAREST)
    own = gauge().measure(frame)
    assert gauge().measure((frame * 0.7).astype(np.uint8))["sharpness"] == pytest.approx(own["sharpness"], rel=0.03)
    soft = [gauge().measure(blurred(frame, days))["sharpness"] for days in (5, 10, 20)]
    assert own["sharpness"] > soft[0] > soft[1] > soft[2]


@pytest.mark.parametrize("size", [(17, 900), (16, 16), (1500, 40), (700, 1100)])
def test_any_size(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    found = gauge().measure(frame)
    assert found["brightness"] == pytest.approx(0.5, abs=0.02)
    assert found["sharpness"] > 1


def inside(mask: np.ndarray) -> Gauge:
    own = backbone(crop=(16, 16, 48, 48))
    return Gauge(FrameSpec(None), own, RoiMasks((8, 8), mask, np.ones((8, 8), np.bool_)))


def test_only_the_region_counts() -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 255  # of the crop: pixels 24..40 of the input
    frame = good_frame(2, 128)
    there = inside(mask).measure(frame)
    around = frame.copy()
    around[:40] = around[88:] = 255  # outside, beyond what a sample or a line of pixels reaches
    assert inside(mask).measure(around) == pytest.approx(there)
    frame[50:78, 50:78] //= 2
    assert inside(mask).measure(frame)["brightness"] < 0.8 * there["brightness"]


def test_a_region_smaller_than_a_sample_is_one_sample() -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[0, 0] = 255
    own = Gauge(FrameSpec(None), backbone((1024, 1024), (0, 0, 32, 32)), RoiMasks((8, 8), mask))
    assert own.measure(np.full((100, 100, 3), 51, np.uint8))["brightness"] == pytest.approx(0.2)


def test_the_region_goes_with_the_part() -> None:
    mask = np.full((32, 32), 255, np.uint8)
    frame = np.full((64, 64, 3), 10, np.uint8)
    frame[24:56, 24:56] = 200  # the part, which lies 8 pixels lower and to the right
    moved = Place(True, 0.9, np.array([[1.0, 0, 8], [0, 1, 8]]), (64, 64))
    found = inside(mask).measure(frame, moved)
    assert found["brightness"] == pytest.approx(200 / 255, abs=0.01)
    assert (found["shift_y"], found["shift_x"]) == pytest.approx((0.125, 0.125))
    assert (found["turn"], found["scale"]) == pytest.approx((0, 1))
    away = Place(True, 0.9, np.array([[1.0, 0, 200], [0, 1, 0]]), (64, 64))
    assert set(inside(mask).measure(frame, away)) == {"shift_y", "shift_x", "turn", "scale"}
    assert "turn" not in inside(mask).measure(frame, still((64, 64)))


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(FrameError, match="not measured"):
        gauge().measure(np.zeros((4, 64, 64), np.uint8))
    with pytest.raises(FrameError, match="not measured"):
        gauge().measure(np.zeros((64, 64), np.float32))


def test_rows_and_thumbnails() -> None:
    assert rows_share(np.array([3, 3, 5, 0], np.int32), 10) == 0.3
    assert thumbnail(np.zeros((200, 100), np.uint16), 4095, 50).shape == (50, 25, 3)
    assert thumbnail(good_frame(0), 255, 480).shape == (64, 64, 3)


def test_each_statistic_has_a_name_and_causes() -> None:
    assert NAMES.keys() == STATISTICS.keys()
    sides = {f"{name}.{side}" for name, own in STATISTICS.items() for side in ("up", "down") if getattr(own, side)}
    assert CAUSES.keys() == sides
