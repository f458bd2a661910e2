"""Normals of rendered surfaces, where the truth is known, and of real sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_ad.errors import FrameError, SpecError
from edge_ad.frames.photometric import normals
from edge_ad.frames.photometric.sets import read_set
from edge_ad.frames.photometric.solve import METHODS, require_light
from tests.frames.photometric.made import angles, part, photograph, ring, write_stack

TRUE, ALBEDO = part()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [3, 4, 6, 12, 24])
@pytest.mark.parametrize(("dtype", "error"), [(np.uint8, 0.7), (np.uint16, 0.01)])
def test_a_matt_surface(method: str, count: int, dtype: Any, error: float) -> None:
    true, albedo = part(bumps=0.03)
    lights = ring(count)
    found = normals(photograph(true, albedo, lights, dtype=dtype), lights, method=method)
    assert found.normals.dtype == np.float32
    assert found.valid.all()
    assert (found.lit == count).all()
    assert angles(found.normals, true).max() < 3 * error
    assert angles(found.normals, true).mean() < error
    np.testing.assert_allclose(found.albedo, 0.9 * albedo, atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(found.normals, axis=2), 1, atol=1e-6)
    assert found.mean_residual() < 0.01


@pytest.mark.parametrize("count", [6, 8, 12, 24])
@pytest.mark.parametrize("gloss", [0.0, 0.6])
def test_robust_sees_through_shadows_and_highlights(count: int, gloss: float) -> None:
    lights = ring(count)
    pictures = photograph(TRUE, ALBEDO, lights, gloss=gloss, noise=0.003)
    rng = np.random.default_rng(1)
    for picture in pictures:
        picture[rng.uniform(size=picture.shape) < 0.05] = 4  # cast shadows
    plain, robust = (angles(normals(pictures, lights, method=name).normals, TRUE).mean() for name in reversed(METHODS))
    assert robust < 0.75 * plain


def test_four_lights_lose_one_sample() -> None:
    lights = ring(4)
    true, albedo = part(bumps=0.03)
    for value in (2, 250):  # in shadow, a highlight
        pictures = photograph(true, albedo * 0.6, lights)
        pictures[2][10:20, 10:20] = value
        found = normals(pictures, lights)
        assert angles(found.normals, true)[10:20, 10:20].max() < 3
        assert angles(normals(pictures, lights, method="least_squares").normals, true)[10:20, 10:20].min() > 3


def test_colour_and_intensities() -> None:
    lights, strength = ring(6), np.random.default_rng(0).uniform(0.5, 1.5, (6, 3))
    true, albedo = part(bumps=0.03)
    grey = photograph(true, albedo, lights, dtype=np.uint16, gain=0.5)
    colour = [
        np.clip(picture[..., None] * (0.9, 1.0, 0.7) * power[::-1], 0, 65535).astype(np.uint16)
        for picture, power in zip(grey, strength, strict=True)
    ]
    for method in METHODS:
        assert angles(normals(colour, lights, strength, method=method).normals, true).max() < 0.1
        turned = [picture[..., ::-1] for picture in colour]
        turned = [np.ascontiguousarray(picture) for picture in turned]
        assert angles(normals(turned, lights, strength, method=method, color_order="rgb").normals, true).max() < 0.1
        assert angles(normals(grey, lights, np.ones(6), method=method).normals, true).max() < 0.1


def test_ambient_light_is_subtracted(tmp_path: Path) -> None:
    lights = ring(6)
    true, albedo = part(bumps=0.1)
    around = np.tile(np.arange(64, dtype=np.uint8), (48, 1))
    pictures = [picture + around for picture in photograph(true, albedo, lights, gain=0.6)]
    assert angles(normals(pictures, lights).normals, true).mean() > 2
    assert angles(normals(pictures, lights, ambient=around).normals, true).mean() < 1
    folder = write_stack(tmp_path / "a", [*pictures, around])
    files = sorted(map(str, folder.iterdir()))
    again = normals(files[:6], lights, ambient=files[6])
    np.testing.assert_array_equal(again.normals, normals(np.array(pictures), lights, ambient=around).normals)


def test_pixels_without_enough_light_have_no_normal() -> None:
    lights = ring(6)
    pictures = photograph(TRUE, ALBEDO, lights)
    for picture in pictures[:4]:
        picture[:5] = 0  # two lit samples are left
    for picture in pictures[:4]:
        picture[40:] = 255  # at white: they may have been brighter
    for picture in pictures:
        picture[:, :3] = 0
    mask = np.ones((48, 64), np.bool_)
    mask[20:25] = False
    for method in METHODS:
        found = normals(pictures, lights, mask=mask, method=method)
        empty = np.zeros((48, 64), np.bool_)
        empty[:5], empty[:, :3], empty[20:25] = True, True, True
        if method == "robust":
            empty[40:] = True
        assert not found.normals[empty].any()
        assert not found.albedo[empty].any()
        assert not found.valid[empty].any()
        assert found.lit_share(mask) == pytest.approx(found.valid[mask].mean())


def test_lights_that_leave_a_normal_open() -> None:
    row = np.array([(x, 0.0, 1.0) for x in (-0.5, 0.0, 0.3, 0.5)])
    for lights in (row, [(0, 0, 1)] * 5):
        with pytest.raises(SpecError, match="near one plane"):
            normals([np.zeros((20, 20), np.uint8)] * len(lights), lights)
    lights = np.vstack([row, [(0, 1, 1)]])  # all but the last, which a pixel's shadow may take
    pictures = photograph(*part(bumps=0.0), lights / np.linalg.norm(lights, axis=1, keepdims=True))
    pictures[4][:, :30] = 0
    found = normals(pictures, lights)
    assert not found.valid[:, :30].any()
    assert found.valid[:, 30:].all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda p: p[:5], "incomplete.*expected 6 pictures.*got 5"),
        (lambda p: [*p, p[0]], "too many pictures"),
        (lambda p: [*p[:5], p[5][:40]], "picture 6 of the stack is not like the first"),
        (lambda p: [*p[:5], p[5].astype(np.uint16)], "picture 6 of the stack is not like the first"),
        (lambda p: [*p[:5], p[5].astype(np.float32)], "picture 6 of the stack has the wrong dtype"),
        (lambda p: [*p[:5], "nowhere.png"], "nowhere.png"),
        (lambda p: "stack.png", "no stack of pictures"),
        (lambda p: None, "no stack of pictures"),
    ],
)
def test_stacks_that_are_none(change: Any, text: str) -> None:
    lights = ring(6)
    with pytest.raises(FrameError, match=text):
        normals(change(photograph(TRUE, ALBEDO, lights)), lights)


def test_arguments_that_are_wrong() -> None:
    lights = ring(6)
    pictures = photograph(TRUE, ALBEDO, lights)
    for given, error, text in (
        ({"method": "l3"}, SpecError, "no such method"),
        ({"mask": np.ones((48, 63), np.bool_)}, FrameError, "mask has another size"),
        ({"mask": np.ones((48, 64))}, FrameError, "no mask"),
        ({"intensities": np.ones(5)}, SpecError, "do not fit the lights"),
        ({"intensities": np.full(6, np.nan)}, SpecError, "not finite"),
        ({"ambient": pictures[0][:40]}, FrameError, "not like the first"),
    ):
        with pytest.raises(error, match=text):
            normals(pictures, lights, **given)
    with pytest.raises(SpecError, match="no direction"):
        normals(pictures, np.zeros((6, 3)))


def test_a_failed_light_and_a_picture_twice() -> None:
    pictures = photograph(TRUE, ALBEDO, ring(6), noise=0.003)
    require_light(pictures)
    with pytest.raises(FrameError, match="picture 3 of the stack is dark"):
        require_light([*pictures[:2], pictures[2] // 100, *pictures[3:]])
    with pytest.raises(FrameError, match="pictures 2 and 5 of the stack are the same"):
        require_light([*pictures[:4], pictures[1].copy(), pictures[5]])
    with pytest.raises(FrameError, match="dark"):
        require_light([np.zeros((20, 20), np.uint8)] * 3)


def test_diligent(shared: Path) -> None:
    """Least squares as others publish it, and much better by reweighting."""
    one = read_set(shared / "data" / "photometric_stereo" / "diligent" / "readingPNG")
    true = _truth(one.truth)
    assert one.lights is not None
    errors = {}
    for method in METHODS:
        found = normals(list(map(str, one.pictures)), one.lights, mask=one.mask, method=method)
        assert found.lit_share(one.mask) == 1
        assert not found.normals[~one.mask].any()
        errors[method] = float(angles(found.normals, true)[one.mask].mean())
    assert errors["least_squares"] == pytest.approx(20.9, abs=0.3)
    assert errors["robust"] <= 14.5


def _truth(path: Path | None) -> Any:
    pytest.importorskip("scipy", reason="scipy reads the true normals")
    from scipy.io import loadmat

    return loadmat(str(path))["Normal_gt"]


def test_real_objects_fit_better_robustly(shared: Path) -> None:
    for name in ("buddha", "owl"):
        one = read_set(shared / "data" / "photometric_stereo" / "uw" / name)
        pictures = [cv2.imread(str(path)) for path in one.pictures]
        assert one.lights is not None
        residuals = {m: normals(pictures, one.lights, mask=one.mask, method=m).mean_residual() for m in METHODS}
        assert residuals["robust"] < residuals["least_squares"] < 0.05
