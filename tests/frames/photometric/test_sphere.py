"""Lights from a chrome sphere, rendered and real; fields from a matt plane."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.errors import FrameError, SpecError
from edge_ad.frames.photometric import calibrate_field, calibrate_lights, normals
from edge_ad.frames.photometric.lights import angles_between, directions_of, intensities_of, make_lights
from edge_ad.frames.photometric.sets import read_set
from edge_ad.frames.photometric.sphere import find_lights, lights_picture
from tests.frames.photometric.made import angles, chrome, part, photograph, ring


def test_a_rendered_sphere() -> None:
    lights = np.vstack([ring(5, 50), ring(3, 75)])
    pictures, mask = chrome(lights)
    found = calibrate_lights(pictures, mask)
    assert angles(directions_of(found), lights).max() < 1
    assert set(found.intensities) == {1.0}
    sphere = find_lights(pictures, mask)
    picture = lights_picture(sphere.lights, sphere)
    assert picture.shape == (400, round(160 * 400 / 120) + 400, 3)
    assert lights_picture(sphere.lights).shape == (400, 400, 3)


def test_a_real_sphere(shared: Path) -> None:
    """lights.txt of the set is rounded and off by some degrees: so the residual of other objects must agree too."""
    folder = shared / "data" / "photometric_stereo" / "uw"
    one = read_set(folder / "chrome")
    assert one.lights is not None
    assert one.mask is not None
    found = calibrate_lights(list(map(str, one.pictures)), one.mask)
    assert angles_between(found, one.lights).mean() < 3.2
    for name in ("buddha", "owl"):
        other = read_set(folder / name)
        pictures = [cv2.imread(str(path)) for path in other.pictures]
        ours, theirs = (normals(pictures, lights, mask=other.mask).mean_residual() for lights in (found, one.lights))
        assert ours < 1.1 * theirs


def test_spheres_that_show_nothing() -> None:
    lights = ring(4)
    pictures, mask = chrome(lights)
    half = mask.copy()
    half[:, 80:] = False
    for given, text in (
        ((pictures, half), "no disc"),
        ((pictures, np.zeros_like(mask)), "mask is empty"),
        ((pictures, mask[:100]), "does not fit"),
        (([*pictures[:3], np.zeros_like(pictures[0])], mask), "picture 4 of the sphere is dark"),
        (([*pictures[:3], np.where(mask, 90, 0).astype(np.uint8)], mask), "picture 4 .* no clear highlight"),
        ((pictures[:2], mask), "incomplete"),
    ):
        with pytest.raises(FrameError, match=text):
            calibrate_lights(*given)
    with pytest.raises(SpecError, match="near one plane"):
        calibrate_lights([pictures[0]] * 4, mask)


def test_a_field_evens_near_lights() -> None:
    lights = ring(6)
    y, x = np.mgrid[:96, :128] / 96
    falloff = [1 / (1 + 0.5 * ((x - 0.6 - 0.5 * light[0]) ** 2 + (y - 0.5 + 0.5 * light[1]) ** 2)) for light in lights]
    strength = np.linspace(0.7, 1.1, 6)
    true, albedo = part((96, 128), bumps=0.05)
    flat = np.zeros_like(true)
    flat[..., 2] = 1

    def under(surface: np.ndarray, paint: np.ndarray) -> list[np.ndarray]:
        taken = photograph(surface, paint, lights, dtype=np.uint16)
        return [
            (picture * even * power).astype(np.uint16)
            for picture, even, power in zip(taken, falloff, strength, strict=True)
        ]

    even = calibrate_field(under(flat, np.full((96, 128), 0.6)), lights)
    np.testing.assert_allclose(
        intensities_of(even)[:, 0] / intensities_of(even)[0, 0], strength / strength[0], rtol=0.1
    )
    pictures = under(true, albedo)
    plain = angles(normals(pictures, lights).normals, true).mean()
    assert plain > 4
    assert angles(normals(pictures, even).normals, true).mean() < 0.6
    with pytest.raises(FrameError, match="picture 2 of the plane is dark or white"):
        calibrate_field([pictures[0], np.full_like(pictures[0], 65535), *pictures[2:]], lights)


def test_lights_have_a_direction_and_a_strength() -> None:
    lights = make_lights([(0, 0, 2), (1, 0, 1), (0, 1, 1)], [1, 2, 3])
    np.testing.assert_allclose(directions_of(lights)[0], (0, 0, 1))
    np.testing.assert_allclose(intensities_of(lights)[1], (2, 2, 2))
    for wrong in ([(0, 0, 1)], "abc", [[1, 2]], [(1, 0, np.inf)] * 3):
        with pytest.raises(SpecError):
            make_lights(wrong)
    with pytest.raises(SpecError, match="not the same"):
        angles_between(lights, make_lights(ring(4)))
