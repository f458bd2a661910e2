"""Stacks relit with another height."""

from __future__ import annotations

import numpy as np
import pytest

from edge_ad.errors import FrameError
from edge_ad.frames.photometric import make_lights, normals
from export.synth.relief import relief
from export.synth.relight import added, open_surface, relit
from tests.frames.photometric.made import angles, part, photograph, ring

SIZE = (64, 80)
LIGHTS = ring(8)


def surface(**changes):
    true, albedo = part(SIZE)
    pictures = photograph(true, albedo, LIGHTS, **{"dtype": np.uint16, **changes})
    return open_surface(pictures, make_lights(LIGHTS)), true, pictures


def dent(depth, kind="dent", extent=20):
    height, mask = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.bool_)
    form, where = relief(kind, extent, depth, np.random.default_rng(2))
    n = len(form)
    height[20 : 20 + n, 20 : 20 + n], mask[20 : 20 + n, 20 : 20 + n] = form, where
    return height, mask


@pytest.mark.parametrize("kind", ["dent", "bump", "scratch"])
def test_stereo_finds_the_normals_of_the_changed_height(kind):
    given, true, _ = surface()
    height, mask = dent(1.0, kind)
    found = normals(relit(given, height), make_lights(LIGHTS)).normals
    wanted = added(true.astype(np.float32), height)
    assert np.median(angles(found, wanted)[mask]) < 1.0
    assert np.median(angles(found, true)[mask]) > 4 * np.median(angles(found, wanted)[mask])


def test_normals_of_a_changed_height_are_integrable():
    flat = np.zeros((*SIZE, 3), np.float32)
    flat[..., 2] = 1
    height, _ = dent(2.0)
    found = added(flat, height)
    p, q = -found[..., 0] / found[..., 2], -found[..., 1] / found[..., 2]  # y is up
    curl = np.gradient(p, axis=0) + np.gradient(q, axis=1)
    assert np.abs(curl).max() < 1e-5 < np.abs(p).max()


def test_pixels_away_from_the_change_keep_their_values():
    given, _, pictures = surface(noise=0.01, gloss=0.5)
    height, mask = dent(1.0)
    far = np.ones(SIZE, np.bool_)
    far[10:60, 10:60] = False
    for old, new in zip(pictures, relit(given, height), strict=True):
        assert new.dtype == old.dtype
        assert new.shape == old.shape
        assert np.array_equal(new[far], old[far])
        assert not np.array_equal(new[mask], old[mask])


def test_no_change_gives_the_same_pictures_as_copies():
    given, _, pictures = surface()
    made = relit(given, np.zeros(SIZE, np.float32))
    assert all(np.array_equal(old, new) and old is not new for old, new in zip(pictures, made, strict=True))


def test_a_wall_casts_a_shadow_away_from_the_light():
    lights = np.array([[0.8, 0, 0.6], [-0.8, 0, 0.6], [0, 0.8, 0.6], [0, -0.8, 0.6]])
    flat = np.zeros((*SIZE, 3))
    flat[..., 2] = 1
    pictures = photograph(flat, np.full(SIZE, 0.7), lights, dtype=np.uint16)
    height = np.zeros(SIZE, np.float32)
    height[20:44, 38:42] = 6
    first, second, *_ = relit(open_surface(pictures, make_lights(lights)), height)
    left, right = (32, 34), (32, 45)  # of the wall; the first light comes from the right
    assert first[left] < 0.1 * pictures[0][left]
    assert first[right] == pictures[0][right]
    assert second[right] < 0.1 * pictures[1][right]
    assert second[left] == pictures[1][left]


def test_a_camera_is_white_at_most_and_ambient_light_stays():
    true, albedo = part(SIZE)
    ambient = np.full(SIZE, 20, np.uint8)
    pictures = [picture + np.minimum(20, 255 - picture) for picture in photograph(true, albedo, LIGHTS, gain=1.2)]
    given = open_surface(pictures, make_lights(LIGHTS), ambient=ambient)
    height, _ = dent(8.0)
    made = relit(given, height)
    assert max(int(picture.max()) for picture in made) <= 255
    assert min(int(picture.min()) for picture in made) >= 19


def test_colours_change_alike():
    true, albedo = part(SIZE)
    colour = np.array([0.5, 0.8, 1.0])
    pictures = [
        np.rint(picture[..., None] * colour).astype(np.uint16)
        for picture in photograph(true, albedo, LIGHTS, dtype=np.uint16)
    ]
    height, mask = dent(1.0)
    made = relit(open_surface(pictures, make_lights(LIGHTS)), height)
    ratio = made[2][mask].astype(float) / np.maximum(pictures[2][mask], 1)
    assert np.abs(ratio - ratio[:, :1]).max() < 0.02


def test_heights_that_do_not_fit_are_refused():
    given, _, _ = surface()
    for height in (np.zeros((3, 3), np.float32), np.full(SIZE, np.nan, np.float32)):
        with pytest.raises(FrameError, match="height"):
            relit(given, height)
    with pytest.raises(FrameError, match="no surface"):
        open_surface([np.zeros(SIZE, np.uint8)] * 8, make_lights(LIGHTS))
