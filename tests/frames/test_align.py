"""The part is found where it lies, and what shows none is not taken for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from edge_ad import native
from edge_ad.frames.align import Aligner, pose_of, small_copy
from edge_ad.frames.place import Place
from edge_ad.spec import MOTIONS, AlignSpec
from tests.aligning import SIDE, aligner, part_frame

PLACES = [(0, 1, 0, 0), (12, 1, 0, 0), (-19, 1.02, 0.05, 0.03), (3, 1.08, -0.1, 0.1), (-7, 0.93, 0.15, -0.12)]


def apart(found: Place, wanted: Place) -> float:
    """How far the two move a corner of the part from one another, as a share of the frame's side."""
    height, width = wanted.frame_size
    corners = np.array([[0.3, 0.7, 0.7, 0.3], [0.25, 0.25, 0.75, 0.75]]) * [[width], [height]]
    moved = [place.matrix[:, :2] @ corners + place.matrix[:, 2:] for place in (found, wanted)]
    return float(np.hypot(*(moved[0] - moved[1])).max()) / max(height, width)


@pytest.mark.parametrize("pose", PLACES)
@pytest.mark.parametrize("side", [SIDE, 250])
def test_a_known_place_is_found(pose: tuple[float, float, float, float], side: int) -> None:
    wanted = pose_of(*pose, (side, side))
    found = aligner().find(part_frame(3, side, wanted))
    assert found.found
    assert found.confidence > 0.9
    assert apart(found, wanted) < 0.005
    assert found.turn_deg == pytest.approx(pose[0], abs=0.5)
    assert found.scale == pytest.approx(pose[1], abs=0.01)
    assert found.shift == pytest.approx((pose[2] * side, pose[3] * side), abs=0.01 * side)


def test_shifts_alone() -> None:
    wanted = pose_of(0, 1, -0.15, 0.18, (SIDE, SIDE))
    found = aligner("shift").find(part_frame(3, place=wanted))
    assert found.found
    assert apart(found, wanted) < 0.005
    assert (found.turn_deg, found.scale) == (0, 1)
    turned = aligner("shift").find(part_frame(3, place=pose_of(15, 1, 0, 0, (SIDE, SIDE))))
    assert turned.turn_deg == 0


def test_beyond_the_limits_it_is_not_found() -> None:
    for pose in ((35, 1, 0, 0), (0, 1, 0, 0.33), (0, 1.35, 0, 0)):
        found = aligner().find(part_frame(1, place=pose_of(*pose, (SIDE, SIDE))))
        assert not found.found
        assert not found.moved
    assert not aligner(least_seen=0.97).find(part_frame(1, place=pose_of(0, 1, 0.1, 0, (SIDE, SIDE)))).found


def frames_without_the_part() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    bar = np.full((SIDE, SIDE, 3), 200, np.uint8)
    bar[40:60] = 90
    dot = np.full((SIDE, SIDE), 0, np.uint8)
    dot[5, 7] = 255
    return {
        "black": np.zeros((SIDE, SIDE, 3), np.uint8),
        "white": np.full((SIDE, SIDE), 255, np.uint8),
        "noise": generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8),
        "ramp": np.tile(np.arange(SIDE, dtype=np.uint8), (SIDE, 1)),
        "bar": bar,
        "dot": dot,
        "inverted": 255 - part_frame(),
        "mirrored": np.ascontiguousarray(part_frame()[:, ::-1]),
        "upside down": np.ascontiguousarray(part_frame()[::-1, ::-1]),
        "tiny": np.zeros((16, 16), np.uint8),
        "narrow": generator.integers(0, 256, (16, 900), dtype=np.uint8),
    }


@pytest.mark.parametrize("name", frames_without_the_part())
@pytest.mark.parametrize("motion", ["shift", "similarity"])
def test_what_shows_no_part_is_not_taken_for_it(name: str, motion: str) -> None:
    frame = frames_without_the_part()[name]
    found = aligner(motion).find(frame)
    assert not found.found
    assert np.isfinite(found.confidence)
    assert -1 <= found.confidence < 0.5
    assert not found.moved
    assert found.frame_size == frame.shape[:2]


def test_a_reference_that_shows_nothing_finds_nothing() -> None:
    plain = np.full((SIDE, SIDE), 77, np.uint8)
    for motion in ("shift", "similarity"):
        for frame in (plain, part_frame()):
            found = aligner(motion, plain).find(frame)
            assert (found.found, np.isfinite(found.confidence)) == (False, True)


def test_light_does_not_matter() -> None:
    wanted = pose_of(8, 1.03, 0.04, -0.06, (SIDE, SIDE))
    frame = part_frame(2, place=wanted)
    light = np.linspace(0.5, 1.0, SIDE)[None, :, None]
    for other in (frame * 0.5, frame * 0.6 + 90, frame * light):
        found = aligner().find(np.clip(other, 0, 255).astype(np.uint8))
        assert found.found
        assert apart(found, wanted) < 0.01


def test_kinds_of_frames() -> None:
    """Colours in either order, grey, 16 bits, views: the place is that of the colours' mean."""
    wanted = pose_of(-9, 0.97, 0.08, 0.02, (SIDE, SIDE))
    frame, one = part_frame(4, place=wanted), aligner()
    first = one.find(frame)
    for same in (frame[:, :, ::-1], np.asfortranarray(frame), np.repeat(frame, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(one.find(same).matrix, first.matrix)
    for other in (
        cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY),
        frame.astype(np.uint16) * 257,
        cv2.resize(frame, (300, 200)),
    ):
        found = one.find(other)
        assert found.found
        size = (other.shape[0], other.shape[1])
        if size == (SIDE, SIDE):
            assert apart(found, wanted) < 0.01
        else:  # another aspect ratio: what is squeezed is squeezed back
            assert found.shift == pytest.approx((0.08 * 200, 0.02 * 300), abs=3)


def test_the_small_copy_reads_16_bits_by_the_white_level() -> None:
    frame = np.full((32, 32), 1000, np.uint16)
    assert small_copy(frame, (16, 16), 4000).max() == 64
    assert small_copy(frame, (16, 16), 500).max() == 255


@pytest.mark.parametrize("side", [(96, 96), (48, 192), (100, 130), (97, 95), (96, 211), (60, 40)])
def test_the_small_copy_is_the_area_average_of_the_mean_colour(side: tuple[int, int]) -> None:
    frame = cv2.resize(part_frame(2), side[::-1])
    by = cv2.INTER_AREA if min(side) >= 48 else cv2.INTER_LINEAR
    wanted = cv2.resize(frame, (48, 48), interpolation=by).astype(float).mean(axis=2)
    assert np.abs(small_copy(frame, (48, 48), 65535) - wanted).max() <= 1.5
    np.testing.assert_array_equal(
        small_copy(np.asfortranarray(frame), (48, 48), 65535), small_copy(frame[:, :, ::-1], (48, 48), 65535)
    )


def test_answers_are_the_same_in_every_thread_and_with_every_pool() -> None:
    frames = [part_frame(n, 512, pose_of(3 * n - 9, 1, 0.02 * n, 0, (512, 512))) for n in range(6)]
    alone = aligner()
    pooled = Aligner(alone.spec, alone.reference, alone.mask, alone.picture, 65535, native.Pool(2))
    with ThreadPoolExecutor(4) as threads:
        for one, other in zip(threads.map(pooled.find, frames), map(alone.find, frames), strict=True):
            np.testing.assert_array_equal(one.matrix, other.matrix)
            assert one.confidence == other.confidence


def test_a_mask_keeps_what_does_not_move_out_of_it() -> None:
    """A fixture beside the part stays where it is, and is larger."""

    def with_fixture(frame: np.ndarray) -> np.ndarray:
        frame = frame.copy()
        frame[:14] = np.random.default_rng(1).integers(0, 256, (14, SIDE, 1))
        return frame

    wanted = pose_of(0, 1, 0.1, 0.05, (SIDE, SIDE))
    whole = aligner("shift", with_fixture(part_frame()))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[18:80, 22:76] = 255
    masked = Aligner(whole.spec, whole.reference, mask, whole.picture, 65535)
    frame = with_fixture(part_frame(5, place=wanted))
    assert apart(whole.find(frame), wanted) > 0.05
    assert apart(masked.find(frame), wanted) < 0.01


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("side", [1, 2, 6, 16])
def test_a_small_part_at_the_border_is_looked_for_in_any_frame(motion: str, side: int) -> None:
    """Nearly all of it lies outside many poses: what is not to be found is not found, and nothing is divided by 0."""
    size, generator = (96, 128), np.random.default_rng(0)
    reference = cv2.GaussianBlur(generator.integers(0, 255, size).astype(np.uint8), (0, 0), 2)
    reference = cv2.normalize(reference, None, 0, 255, cv2.NORM_MINMAX)
    mask = np.zeros(size, np.uint8)
    mask[: side + 4, : side + 4] = 128
    mask[:side, :side] = 255
    turns = motion != "shift"
    spec = AlignSpec(motion, size, size, 0.2, 20.0 * turns, 0.1 * turns, 0.97, 0.35, 0.7, 12)
    aligner = Aligner(spec, reference, mask, cv2.merge([reference] * 3), 255)
    for number in range(20):
        noise = cv2.GaussianBlur(generator.integers(0, 255, size).astype(np.uint8), (0, 0), 1 + number % 4)
        moved = np.roll(reference, generator.integers(-30, 30, 2), (0, 1))
        for frame in (noise, moved):
            assert 0 <= aligner.find(frame).confidence <= 1.001 or not aligner.find(frame).found
