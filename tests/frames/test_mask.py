"""Masks as tools write them: what each marks, and which are refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.cli import main
from edge_ad.errors import DatasetError, FrameError
from edge_ad.frames.mask import marked_pixels

SIZE = (48, 64)


@pytest.fixture
def truth() -> np.ndarray:
    """(H, W) bool: a block and a line."""
    marked = np.zeros(SIZE, np.bool_)
    marked[10:20, 12:30] = marked[30, 5:50] = True
    return marked


def saved(path: Path, image: np.ndarray, *options: int) -> Path:
    assert cv2.imwrite(str(path), image, list(options))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        marked_pixels(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------- understood


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("value", [1, 2, 7, 38, 128, 255])
def test_two_values(tmp_path: Path, truth: np.ndarray, value: int, dtype: type) -> None:
    path = saved(tmp_path / "m.png", (truth * value).astype(dtype))
    np.testing.assert_array_equal(marked_pixels(path), truth)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_ids(tmp_path: Path, truth: np.ndarray, dtype: type) -> None:
    ids = np.where(truth, np.arange(SIZE[1]) % 7 + 1, 0).astype(dtype)
    np.testing.assert_array_equal(marked_pixels(saved(tmp_path / "m.png", ids)), truth)


def test_16_bit_white(tmp_path: Path, truth: np.ndarray) -> None:
    path = saved(tmp_path / "m.png", (truth * 65535).astype(np.uint16))
    np.testing.assert_array_equal(marked_pixels(path), truth)


def test_colours_of_a_palette(tmp_path: Path, truth: np.ndarray) -> None:
    """The first and the eighth colour of PASCAL VOC, the second darker than half."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[truth] = (0, 0, 128)
    image[30, 5:50] = (0, 0, 64)
    np.testing.assert_array_equal(marked_pixels(saved(tmp_path / "m.png", image)), truth)


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_the_noise_of_jpeg(tmp_path: Path, truth: np.ndarray, quality: int) -> None:
    truth[30] = False  # at this quality a line of one pixel is lost in any case
    image = (truth * 255).astype(np.uint8)
    path = saved(tmp_path / "m.jpg", image, cv2.IMWRITE_JPEG_QUALITY, quality)
    assert len(np.unique(cv2.imread(str(path), 0))) > 2
    np.testing.assert_array_equal(marked_pixels(path), truth)
    again = saved(tmp_path / "m.png", cv2.imread(str(path)))  # and as PNG
    np.testing.assert_array_equal(marked_pixels(again), truth)


def test_soft_edges(tmp_path: Path, truth: np.ndarray) -> None:
    truth[30] = False
    large = cv2.resize((truth * 255).astype(np.uint8), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(marked_pixels(saved(tmp_path / "m.png", large)), large > 127)


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 255)])
@pytest.mark.parametrize("hidden", [0, 255])
def test_painted_on_a_transparent_ground(
    tmp_path: Path, truth: np.ndarray, colour: tuple[int, ...], hidden: int
) -> None:
    image = np.full((*SIZE, 4), hidden, np.uint8)  # what editors keep under transparency
    image[..., 3] = 0
    image[truth] = (*colour, 255)
    np.testing.assert_array_equal(marked_pixels(saved(tmp_path / "m.png", image)), truth)


def test_alpha_that_is_opaque_says_nothing(tmp_path: Path, truth: np.ndarray) -> None:
    image = np.dstack([(truth * 255).astype(np.uint8)] * 3 + [np.full(SIZE, 255, np.uint8)])
    np.testing.assert_array_equal(marked_pixels(saved(tmp_path / "m.png", image)), truth)


@pytest.mark.parametrize(("value", "marked"), [(0, False), (1, True), (255, True)])
@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_one_value(tmp_path: Path, value: int, marked: bool, suffix: str) -> None:
    path = saved(tmp_path / f"m{suffix}", np.full(SIZE, value, np.uint8))
    assert (marked_pixels(path) == marked).all()


def test_a_black_jpeg_marks_nothing(tmp_path: Path) -> None:
    assert not marked_pixels(saved(tmp_path / "m.jpg", np.zeros(SIZE, np.uint8))).any()


# ---------------------------------------------------------------------------------------------------- refused


def test_ids_and_255_are_ambiguous(tmp_path: Path, truth: np.ndarray) -> None:
    image = truth.astype(np.uint8)
    image[0] = 255
    message = refusal(saved(tmp_path / "m.png", image))
    assert "got values 0, 1, 255: label ids, and 255, which may be a defect or be left out" in message


def test_ids_without_0_are_ambiguous(tmp_path: Path, truth: np.ndarray) -> None:
    assert "label ids without 0" in refusal(saved(tmp_path / "m.png", truth.astype(np.uint8) + 1))


def test_ids_as_jpeg_are_ambiguous(tmp_path: Path, truth: np.ndarray) -> None:
    path = saved(tmp_path / "m.jpg", (truth * 4).astype(np.uint8), cv2.IMWRITE_JPEG_QUALITY, 100)
    assert "none of them white" in refusal(path)


def test_a_grey_area_is_ambiguous(tmp_path: Path, truth: np.ndarray) -> None:
    image = (truth * 255).astype(np.uint8)
    image[38:46, 50:62] = 100
    assert "grey areas" in refusal(saved(tmp_path / "m.png", image))


def test_a_photograph_is_no_mask(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    refusal(saved(tmp_path / "m.png", cv2.GaussianBlur(noise, (0, 0), 2)))


def test_black_on_a_transparent_ground_is_ambiguous(tmp_path: Path, truth: np.ndarray) -> None:
    image = np.zeros((*SIZE, 4), np.uint8)
    image[truth, 3] = 255
    assert "black on a transparent ground" in refusal(saved(tmp_path / "m.png", image))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_text("no image")
    with pytest.raises(FrameError):
        marked_pixels(tmp_path / "m.png")


# --------------------------------------------------------------------------------------------------- commands


def listed(folder: Path, masks: list[np.ndarray]) -> Path:
    """A CSV file of a good image and of a defect for each mask."""
    picture = np.full((*SIZE, 3), 90, np.uint8)
    saved(folder / "good.png", picture)
    lines = ["path,label,mask", "good.png,good,"]
    for i, mask in enumerate(masks):
        saved(folder / f"{i}.png", picture + np.uint8(i + 1))
        saved(folder / f"{i}_mask.png", mask)
        lines.append(f"{i}.png,scratch,{i}_mask.png")
    (folder / "list.csv").write_text("\n".join(lines))
    return folder / "list.csv"


def test_an_evaluation_stops_before_its_work_at_an_ambiguous_mask(
    golden: Path, tmp_path: Path, truth: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    data = listed(tmp_path, [truth.astype(np.uint8), truth.astype(np.uint8) + 1])
    assert main(["eval", str(golden), "--data", str(data), "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert f"it is unclear what the mask {tmp_path / '1_mask.png'} marks" in captured.err
    assert "inspect" not in captured.err
