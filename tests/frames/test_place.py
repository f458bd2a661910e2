"""Masks and maps go to the reference and back, and the crop of a moved frame is that of the part."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from edge_ad.frames.align import pose_of
from edge_ad.frames.crop import Crop
from edge_ad.frames.place import followed, rescaled, still
from edge_ad.spec import FrameSpec
from tests.aligning import SIDE, part_frame
from tests.bundle_maker import example_manifest

PLACE = pose_of(10, 1.05, 0.1, -0.05, (SIDE, SIDE))


def crop(beyond: np.ndarray | None = None, size: int = 48, **changes: object) -> Crop:
    from dataclasses import replace

    values = {"input_size": (size, size), "crop": (0, 0, size, size), "grid": (6, 6), **changes}
    return Crop(FrameSpec(None), replace(example_manifest().backbone, **values), None, None, None, beyond)


def test_a_map_comes_back_to_where_it_was() -> None:
    plane = np.zeros((SIDE, SIDE), np.float32)
    plane[40:50, 60:66] = 2
    there = PLACE.map_in_frame(plane)
    y, x = (float(np.average(axis, weights=there)) for axis in np.mgrid[:SIDE, :SIDE])
    wanted = PLACE.matrix @ [62.5, 44.5, 1]
    assert (x, y) == pytest.approx(tuple(wanted), abs=0.1)
    np.testing.assert_array_equal(followed(lambda: plane, PLACE), there)
    np.testing.assert_array_equal(followed(lambda: plane, still((SIDE, SIDE))), plane)
    mask = plane > 0
    again = PLACE.mask_at_reference(PLACE.mask_in_frame(mask))
    assert (again & mask).sum() > 0.85 * mask.sum()


def test_a_matrix_for_another_size() -> None:
    """A point that moves by a matrix moves alike in a picture of twice the size."""
    twice = rescaled(PLACE.matrix, (SIDE, SIDE), (2 * SIDE, 2 * SIDE))
    for point in ((0.0, 0.0), (10.0, 70.0)):
        small = PLACE.matrix @ [*point, 1]
        large = twice @ [2 * point[0] + 0.5, 2 * point[1] + 0.5, 1]
        assert tuple(large) == pytest.approx(tuple(2 * small + 0.5))


def test_what_a_place_says() -> None:
    again = pickle.loads(pickle.dumps(PLACE))
    np.testing.assert_array_equal(again.matrix, PLACE.matrix)
    said = PLACE.to_dict()
    assert said["shift"] == pytest.approx([0.1 * SIDE, -0.05 * SIDE])
    assert (said["turn_deg"], said["scale"]) == pytest.approx((10, 1.05))
    assert {type(value) for value in (said["confidence"], said["seen"], *said["shift"])} == {float}
    assert not still((4, 4)).moved


@pytest.mark.parametrize("side", [SIDE, 4 * SIDE])
@pytest.mark.parametrize("by", ["area", "bilinear", "bicubic"])
def test_the_crop_of_a_moved_frame_is_that_of_the_part(side: int, by: str) -> None:
    place = pose_of(10, 1.0, 0.08, -0.05, (side, side))
    one = crop(resize=by)
    moved = one(part_frame(0, side, place), place=place)[0].astype(int)
    unmoved = one(part_frame(0, side))[0].astype(int)
    inside = np.s_[10:38, 10:38]
    assert np.abs(moved - unmoved)[inside].mean() < 6
    assert np.abs(one(part_frame(0, side, place))[0].astype(int) - unmoved)[inside].mean() > 20


def test_a_frame_that_has_not_moved_is_cropped_as_ever() -> None:
    frame = part_frame(1)
    np.testing.assert_array_equal(crop()(frame, place=still((SIDE, SIDE), 0.9, found=True)), crop()(frame))


def test_beyond_the_frame_is_the_picture() -> None:
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[...] = (1, 2, 3)
    place = pose_of(0, 1, 0.25, 0, (SIDE, SIDE))  # the upper quarter of the frame is before the reference, not in it
    tensor = crop(picture)(np.full((SIDE, SIDE), 200, np.uint8), place=place)[0]
    assert (tensor[36:] == (1, 2, 3)).all()
    assert (tensor[:35] == 200).all()
    repeated = crop()(np.full((SIDE, SIDE), 200, np.uint8), place=place)[0]
    assert (repeated == 200).all()
    np.testing.assert_array_equal(crop(picture)(part_frame()), crop()(part_frame()))
