"""Synthetic defects: the same seed gives the same bytes, masks are exact, every kind fits every frame."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_ad.errors import DatasetError, SpecError
from export.synth.defect import KINDS, VISIBLE, add_defect, make_defect
from export.synth.study import study, white_level
from export.synth.surface import HEIGHT_KINDS, heights

WHITE = {np.uint8: 255, np.uint16: 4095}


def surface(shape: tuple[int, ...], dtype: Any = np.uint8, blur: float = 2.0) -> NDArray[Any]:
    """A picture of a cloudy surface that fills the frame, with noise."""
    generator, white = np.random.default_rng(0), WHITE[dtype]
    clouds = cv2.GaussianBlur(generator.uniform(0.2, 0.7, shape).astype(np.float32), (0, 0), blur)
    return np.clip((clouds + generator.normal(0, 0.01, shape)) * white, 0, white).astype(dtype)


def part_on_white(side: int = 160) -> NDArray[np.uint8]:
    """A dark disc before a white ground."""
    image = np.full((side, side, 3), 250, np.uint8)
    cv2.circle(image, (side // 2, side // 2), side // 3, (60, 90, 120), -1, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), 0.8)


def change(image: NDArray[Any], other: NDArray[Any]) -> NDArray[np.int64]:
    """Largest change of a channel at each pixel."""
    difference = np.abs(other.astype(np.int64) - image.astype(np.int64))
    return difference if image.ndim == 2 else difference.max(axis=2)


FRAMES = [((64, 64), np.uint8), ((64, 64, 3), np.uint8), ((80, 300, 3), np.uint8), ((96, 64), np.uint16)]


@pytest.mark.parametrize("size", [0.01, 0.05, 0.2, 0.4])
@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_exact_on_every_frame(kind: str, size: float) -> None:
    for shape, dtype in FRAMES:
        for contrast in (0.03, 0.4):
            good = surface(shape, dtype)
            before = good.copy()
            image, mask = make_defect(good, kind, size, contrast, np.random.default_rng(3))
            assert (image.shape, image.dtype) == (good.shape, good.dtype)
            assert (mask.shape, mask.dtype, set(np.unique(mask))) == (good.shape[:2], np.uint8, {0, 255})
            changed = change(good, image)
            assert ((mask == 255) == (changed > VISIBLE * WHITE[dtype])).all()
            assert (changed[mask == 0] == 0).all()
            assert (good == before).all()
            assert image.max() <= WHITE[dtype]


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_bytes(kind: str) -> None:
    good = part_on_white()
    first, again, other = (make_defect(good, kind, 0.1, 0.2, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1].tobytes() == again[1].tobytes()
    assert first[0].tobytes() != other[0].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_looked_at_once_gives_the_same(kind: str) -> None:
    good = part_on_white()
    picture = study(good)
    add_defect(picture, kind, 0.2, 0.2, np.random.default_rng(1))
    made = add_defect(picture, kind, 0.1, 0.2, np.random.default_rng(5))
    image, mask = make_defect(good, kind, 0.1, 0.2, np.random.default_rng(5))
    assert (made.image == image).all()
    assert (made.mask == mask).all()
    y0, x0, y1, x1 = made.box
    assert mask[y0:y1, x0:x1].sum() == mask.sum()
    assert mask[y0].any()
    assert mask[:, x1 - 1].any()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_outside_the_region_changes(kind: str) -> None:
    good, region = surface((120, 160, 3)), np.zeros((120, 160), np.bool_)
    region[30:70, 90:140] = True
    for seed in range(3):
        image, mask = make_defect(good, kind, 0.4, 0.4, np.random.default_rng(seed), region)
        assert (image[~region] == good[~region]).all()
        assert not mask[~region].any()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("fibre", "missing")])
def test_without_a_region_defects_are_on_the_object(kind: str) -> None:
    good = part_on_white()
    y, x = np.mgrid[:160, :160]
    disc = np.hypot(y - 80, x - 80) < 160 / 3 + 3
    for seed in range(4):
        _, mask = make_defect(good, kind, 0.15, 0.3, np.random.default_rng(seed))
        assert not mask[~disc].any()


def test_a_surface_that_fills_the_frame_has_no_background() -> None:
    assert study(surface((128, 128, 3))).object is None
    assert study(part_on_white()).object is not None


def test_a_plain_part_in_a_cluttered_scene_gets_defects() -> None:
    """A black body without any detail on a striped board that reaches the border."""
    image = np.where(np.arange(200)[:, None, None] // 10 % 2, 60, 190) + np.zeros((200, 200, 3))
    image[50:150, 50:150] = 20
    picture = study(np.clip(image + np.random.default_rng(0).normal(0, 1, image.shape), 0, 255).astype(np.uint8))
    assert picture.object is None
    assert (picture.room[70:130, 70:130] > 0).all()


def test_plain_ground_gets_no_defects_where_no_object_is_found() -> None:
    """A striped part that reaches the border, beside plain ground."""
    image = np.full((200, 200), 230, np.uint8)
    image[:, :120] = np.where(np.arange(120)[None] // 6 % 2, 60, 150)
    picture = study(image)
    assert not (picture.room[:, 150:] > 0).any()
    assert (picture.room[:, 10:100] > 0).all()


@pytest.mark.parametrize("kind", ["spot", "fibre", "stain", "scratch", "dent"])
def test_the_contrast_is_the_one_asked_for(kind: str) -> None:
    picture = study(surface((256, 256, 3)))
    for contrast in (0.05, 0.1, 0.2):
        made = add_defect(picture, kind, 0.2, contrast, np.random.default_rng(2))
        assert made.reached == pytest.approx(contrast, rel=0.35)
        seen = np.percentile(change(picture.image, made.image)[made.mask == 255], 90) / 255
        assert seen == pytest.approx(contrast, rel=0.6)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("missing", "displaced")])
def test_the_size_is_the_one_asked_for(kind: str) -> None:
    picture = study(surface((300, 300, 3)))
    for size in (0.05, 0.1, 0.2):
        y0, x0, y1, x1 = add_defect(picture, kind, size, 0.3, np.random.default_rng(4)).box
        assert 0.5 * size * 300 - 1 <= max(y1 - y0, x1 - x0) <= 1.2 * size * 300 + 6


def test_a_blurred_picture_gets_blurred_defects() -> None:
    """The steepest step at the outline of a spot, as a part of its contrast."""
    steepest = []
    for sigma in (0.6, 2.5):
        image = cv2.GaussianBlur(np.kron([[60, 160], [160, 60]], np.ones((80, 80))).astype(np.float32), (0, 0), sigma)
        good = np.rint(image).astype(np.uint8)
        made = add_defect(study(good), "spot", 0.2, 0.3, np.random.default_rng(1))
        steps = made.image.astype(np.float32) - good
        steepest.append(np.abs(np.diff(steps, axis=1)).max())
    assert steepest[1] < 0.7 * steepest[0]


def test_what_covers_a_noisy_picture_is_as_noisy() -> None:
    generator = np.random.default_rng(0)
    for noise in (2.0, 8.0):
        good = np.clip(np.rint(generator.normal(200, noise, (200, 200))), 0, 255).astype(np.uint8)
        image, mask = make_defect(good, "spot", 0.4, 0.6, np.random.default_rng(1))
        inside = cv2.erode(mask, np.ones((9, 9), np.uint8)) > 0
        rest = cv2.Laplacian(image.astype(np.float32), -1)[inside].std()
        usual = cv2.Laplacian(good.astype(np.float32), -1).std()
        assert 0.4 < rest / usual < 1.6


@pytest.mark.parametrize("kind", HEIGHT_KINDS)
def test_heights_are_surfaces_without_any_picture(kind: str) -> None:
    for extent in (2.0, 10.0, 75.5):
        height, mask = heights(kind, extent, np.random.default_rng(1))
        again, _ = heights(kind, extent, np.random.default_rng(1))
        assert (height.dtype, mask.dtype, height.shape) == (np.float32, np.bool_, mask.shape)
        assert height.tobytes() == again.tobytes()
        assert np.isfinite(height).all()
        assert mask.any()
        assert (height[~mask] == 0).all()
        rows = np.flatnonzero(mask.any(axis=1))
        assert rows[-1] - rows[0] + 1 <= 1.35 * extent + 8
        deepest = height.flat[np.abs(height).argmax()]
        assert (deepest > 0) == (kind == "bump")


def test_white_levels_of_cameras() -> None:
    found = [white_level(value) for value in (0, 1023, 1024, 4095, 5000, 65535)]
    assert found == [1023, 1023, 4095, 4095, 16383, 65535]


def test_what_cannot_be_seen_is_an_error() -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(DatasetError, match="missing cannot be seen"):
        make_defect(black, "missing", 0.1, 0.3, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "scrach"}, "Did you mean scratch"),
        ({"size": 0.0}, "size of a defect is out of range"),
        ({"size": 0.9}, "size of a defect is out of range"),
        ({"contrast": float("nan")}, "contrast of a defect is out of range"),
        ({"image": np.zeros((64, 64), np.float32)}, "cannot have synthetic defects"),
        ({"image": np.zeros((8, 64), np.uint8)}, "cannot have synthetic defects"),
        ({"image": np.zeros((64, 64, 4), np.uint8)}, "cannot have synthetic defects"),
        ({"region": np.zeros((64, 64), np.bool_)}, "region cannot be used"),
        ({"region": np.ones((32, 64), np.bool_)}, "region cannot be used"),
    ],
)
def test_arguments_out_of_range(values: dict[str, Any], message: str) -> None:
    usual: dict[str, Any] = {"image": surface((64, 64)), "kind": "dent", "size": 0.1, "contrast": 0.2}
    with pytest.raises(SpecError, match=message):
        make_defect(**{**usual, "generator": np.random.default_rng(0), **values})


def test_there_is_no_such_height() -> None:
    with pytest.raises(SpecError, match="no such kind of height"):
        heights("stain", 10, np.random.default_rng(0))
