"""`--roi auto`: the region of interest that the good images alone give."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad import DatasetError, Runtime, SpecError
from edge_ad.frames.mask import marked_pixels
from edge_ad.spec import FrameSpec
from export.roi_auto import AutoRoi, auto_region
from tests.export.made import Export, write
from tests.tiny import SIZE, bad_frame, good_frame

SIDE = (240, 320)
FRAME = FrameSpec(SIDE)
Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]


def ring(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(frame, its part): a patterned ring that lies somewhere else in each image, before a lit, noisy background."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[: SIDE[0], : SIDE[1]].astype(np.float32)
    centre = np.array([120, 160]) + generator.uniform(-20, 20, 2)
    apart = np.hypot(y - centre[0], x - centre[1])
    part = (apart < 70) & (apart > 25)
    ground = 190 + 20 * x / SIDE[1]
    frame = np.where(part, 70 + 25 * np.sin(apart / 3), ground)
    frame = frame[..., None] * np.array([1.0, 0.9, 0.8]) + generator.normal(0, 2, (*SIDE, 3))
    return np.clip(frame, 0, 255).astype(np.uint8), apart < 70


def two(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two bars, apart from one another."""
    part = np.zeros(SIDE, np.bool_)
    part[60:180, 60:100] = part[80 + seed : 180, 220:250] = True
    noise = np.random.default_rng(seed).normal(0, 2, SIDE)
    return np.clip(np.where(part, 40, 160) + noise, 0, 255).astype(np.uint8), part


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 40, SIDE).astype(np.float32)
    return np.clip(128 + 2 * cv2.GaussianBlur(noise, (0, 0), 1.5), 0, 255).astype(np.uint8)


def vignette(seed: int) -> np.ndarray:
    """An even surface whose corners get less light."""
    y, x = np.mgrid[: SIDE[0], : SIDE[1]] / SIDE[1] - np.array([0.375, 0.5])[:, None, None]
    noise = np.random.default_rng(seed).normal(0, 2, SIDE)
    return np.clip(200 - 250 * (x**2 + y**2) + noise, 0, 255).astype(np.uint8)


def found_in(folder: Path, frames: list[np.ndarray], margin: float = 0.02, frame: FrameSpec = FRAME) -> AutoRoi:
    write(folder, {f"{i}.png": image for i, image in enumerate(frames)})
    return auto_region([folder / f"{i}.png" for i in range(len(frames))], frame, margin)


@pytest.mark.parametrize("draw", [ring, two])
def test_it_covers_each_part_closed_and_with_a_margin(tmp_path: Path, draw: Draw) -> None:
    drawn = [draw(seed) for seed in range(10)]
    found = found_in(tmp_path, [frame for frame, _ in drawn])
    assert found.region is not None
    mask = found.region.mask
    for _, part in drawn:
        assert (mask & part).sum() >= 0.99 * part.sum()
    union = np.logical_or.reduce([part for _, part in drawn])
    far = cv2.dilate(union.astype(np.uint8), np.ones((41, 41), np.uint8)) > 0
    assert not (mask & ~far).any()  # it ends near the parts
    near = cv2.dilate(union.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))) > 0
    assert (mask & near).sum() >= 0.99 * near.sum()
    around = np.pad(mask.astype(np.uint8), 1)
    cv2.floodFill(around, None, (0, 0), 2)
    assert (around != 0).all()  # no holes
    assert f"{100 * mask.mean():.0f}% of the frame, from 10 good images" in found.sentence


def test_a_margin_below_0_ends_inside_the_part(tmp_path: Path) -> None:
    frame, part = ring(0)
    found = found_in(tmp_path, [frame] * 3, margin=-0.03)
    assert found.region is not None
    assert not (found.region.mask & ~part).any()
    assert (found.region.mask & part).sum() > 0.6 * part.sum()


def test_a_margin_that_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"leaves nothing of the objects.*--roi-margin"):
        found_in(tmp_path, [two(0)[0]] * 3, margin=-0.2)


def test_pictures_of_16_bits(tmp_path: Path) -> None:
    frames = [frame.astype(np.uint16) * 16 for frame, _ in (ring(seed) for seed in range(4))]
    found = found_in(tmp_path, frames, frame=FrameSpec(SIDE, bit_depth=16, white_level=4095))
    assert found.region is not None
    assert found.region.mask[120, 160]


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([texture(seed) for seed in range(6)], "what surrounds the object is not plain|fills the frame"),
        ([np.full(SIDE, 128, np.uint8)] * 4, "there is no object in 4 of 4 images"),
        (
            [np.pad(ring(0)[0][6:-6, 6:-6] * 0, ((6, 6), (6, 6), (0, 0)), constant_values=200)] * 3,
            "fills|takes",
        ),
        ([vignette(seed) for seed in range(4)], "no clear outline in 4 of 4 images"),
        ([two(0)[0]] * 7 + [texture(0)] * 3, "in 3 of 10 images"),
    ],
)
def test_the_whole_frame_is_kept_and_a_sentence_says_why(tmp_path: Path, frames: list[np.ndarray], says: str) -> None:
    found = found_in(tmp_path, frames)
    assert found.region is None
    assert found.sentence.startswith("the whole frame is kept: ")
    assert re.search(says, found.sentence), found.sentence


def test_images_of_several_sizes_keep_the_whole_frame(tmp_path: Path) -> None:
    found = found_in(tmp_path, [two(0)[0], two(0)[0][:200]], frame=FrameSpec(None))
    assert (found.region, found.sentence) == (None, "the whole frame is kept: the images differ in size")


def test_an_odd_image_is_left_out_and_counted(tmp_path: Path) -> None:
    frames = [two(seed)[0] for seed in range(12)]
    frames[5] = np.full(SIDE, 160, np.uint8)
    frames[5][100:130, 10:30] = 20  # something small, elsewhere
    found = found_in(tmp_path, frames)
    assert found.region is not None
    assert not found.region.mask[100:130, 10:30].any()
    assert "1 images with another object, or none, are left out" in found.sentence


# -------------------------------------------------------------------------------------------------------- exported


def plain_frame(seed: int, bad: bool = False) -> np.ndarray:
    """A tiny frame whose disc stands before a plain ground."""
    frame = (bad_frame if bad else good_frame)(seed)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    frame[np.hypot(y - 0.5, x - 0.5) > 0.33] = (220, 220, 220)
    return frame


@pytest.fixture
def plain(tmp_path: Path) -> str:
    return str(write(tmp_path / "plain", {f"{i}.png": plain_frame(i) for i in range(8)}))


def test_an_export_with_the_region_it_finds(export: Export, plain: str, tmp_path: Path) -> None:
    runtime = Runtime(export(category=plain, roi="auto", halo=2))
    assert runtime.manifest.roi is not None
    assert runtime.manifest.roi.source == "auto from 8 images"
    preview = cv2.imread(str(tmp_path / "out.roi.png"))
    assert preview.shape == (SIZE, SIZE, 3)
    frame = plain_frame(2001, bad=True)
    other = frame.copy()
    other[:4] = other[:, :4] = 0  # beyond the region
    assert runtime.inspect(other).score == runtime.inspect(frame).score
    assert runtime.inspect(frame).is_anomalous
    assert not runtime.inspect(plain_frame(1001)).is_anomalous


def test_an_export_of_a_texture_is_that_of_the_whole_frame(export: Export, tmp_path: Path) -> None:
    folder = write(tmp_path / "texture", {f"{i}.png": texture(i)[:SIZE, :SIZE] for i in range(8)})
    whole = Runtime(export(category=str(folder)))
    found = Runtime(export(category=str(folder), roi="auto", roi_preview=tmp_path / "p.png"))
    assert found.manifest.roi is None
    frame = texture(99)[:SIZE, :SIZE]
    assert found.inspect(frame).score == whole.inspect(frame).score
    assert (tmp_path / "p.png").is_file()


def test_images_of_several_sizes_need_no_region(export: Export, tmp_path: Path) -> None:
    frames = {f"{i}.png": good_frame(i, SIZE + 8 * (i % 2)) for i in range(8)}
    folder = str(write(tmp_path / "sizes", frames))
    assert Runtime(export(category=folder, roi="auto")).manifest.roi is None
    with pytest.raises(DatasetError, match="needs images of one size"):
        export(category=folder, roi="0,0,32,32")


def test_a_preview_replaces_no_image(export: Export, plain: str) -> None:
    image = Path(plain) / "0.png"
    before = image.read_bytes()
    with pytest.raises(SpecError, match="--roi-preview would replace a training image"):
        export(category=plain, roi="auto", roi_preview=image)
    assert image.read_bytes() == before


@pytest.mark.parametrize("margin", [-21, 51, float("nan")])
def test_a_margin_out_of_range(export: Export, margin: float) -> None:
    with pytest.raises(SpecError, match="--roi-margin"):
        export(roi="auto", roi_margin=margin)


# ------------------------------------------------------------------------------------------------------ real images


def real(shared: Path, name: str, count: int | None) -> AutoRoi:
    paths = sorted((shared / "data" / name / "train" / "good").iterdir())[:count]
    shapes = {cv2.imread(str(path)).shape[:2] for path in paths}
    return auto_region(paths, FrameSpec(shapes.pop() if len(shapes) == 1 else None))


@pytest.mark.parametrize(("name", "least"), [("hazelnut", 1.0), ("bottle", 0.99)])
def test_labelled_defects_lie_inside(shared: Path, name: str, least: float) -> None:
    """They are only compared: of the bottle, a fibre hangs over its rim."""
    found = real(shared, name, 50)
    assert found.region is not None
    masks = [marked_pixels(path) for path in (shared / "data" / name / "ground_truth").glob("*/*")]
    inside = sum(int((mask & found.region.mask).sum()) for mask in masks)
    assert inside >= least * sum(int(mask.sum()) for mask in masks) > 0
    assert found.region.mask.mean() < 0.8


@pytest.mark.parametrize("name", ["leather_tiles", "magnetic_tile", "transistor"])
def test_real_textures_keep_the_whole_frame(shared: Path, name: str) -> None:
    assert real(shared, name, None).region is None
