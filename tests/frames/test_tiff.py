"""TIFF files give the pixels that a PNG of the same picture gives; the files are made here by hand."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.cli import main
from edge_ad.errors import ImageWarning
from edge_ad.frames.check import read_frame
from edge_ad.frames.tiff import read_tiff, tiff_size
from tests.tiny import good_frame

ASSOCIATED, UNASSOCIATED = 1, 2
MINISWHITE, MINISBLACK, RGB = 0, 1, 2


def tiff(
    pixels: np.ndarray, photometric: int, extra: int | None = None, order: str = "<", pages: int = 1, subfile: int = 0
) -> bytes:
    """A TIFF file of (H, W) or (H, W, C) pixels in RGB order, uncompressed; the later pages are of the given subfile
    type."""
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    stored = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4) + stored)
    link = 4
    for page in range(pages):
        tags: list[tuple[int, str, list[int]]] = [
            (254, "I", [subfile if page else 0]),
            (256, "H", [width]),
            (257, "H", [height]),
            (258, "H", [8 * pixels.dtype.itemsize] * samples),
            (259, "H", [1]),
            (262, "H", [photometric]),
            (273, "I", [8]),
            (277, "H", [samples]),
            (278, "H", [height]),
            (279, "I", [len(stored)]),
        ]
        if extra is not None:
            tags.append((338, "H", [extra]))
        directory = struct.pack(order + "H", len(tags))
        for tag, kind, values in tags:
            raw = struct.pack(f"{order}{len(values)}{kind}", *values)
            if len(raw) > 4:
                place = len(out)
                out += raw
                raw = struct.pack(order + "I", place)
            directory += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + raw.ljust(4, b"\0")
        struct.pack_into(order + "I", out, link, len(out))
        out += directory
        link = len(out)
        out += bytes(4)
    return bytes(out)


@pytest.fixture
def picture() -> np.ndarray:
    """(30, 40, 4) u8 RGBA, of every alpha."""
    rgba = np.random.default_rng(0).integers(0, 256, (30, 40, 4), dtype=np.uint8)
    rgba[..., 3] = np.linspace(0, 255, 40).astype(np.uint8)
    return rgba


def read(folder: Path, data: bytes) -> np.ndarray:
    (folder / "a.tif").write_bytes(data)
    return read_frame(folder / "a.tif")


def as_png(folder: Path, rgba: np.ndarray) -> np.ndarray:
    cv2.imwrite(str(folder / "a.png"), rgba[..., [2, 1, 0, 3]])
    return read_frame(folder / "a.png")


# ------------------------------------------------------------------------------------------------------ alpha


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("scale", [1, 257])
def test_alpha_changes_no_pixel(tmp_path: Path, picture: np.ndarray, order: str, scale: int) -> None:
    if scale > 1:
        picture = picture.astype(np.uint16) * np.uint16(scale)
    frame = read(tmp_path, tiff(picture, RGB, UNASSOCIATED, order))
    np.testing.assert_array_equal(frame, as_png(tmp_path, picture))


def test_colours_that_were_multiplied_by_alpha_are_restored(tmp_path: Path, picture: np.ndarray) -> None:
    alpha = picture[..., 3:].astype(np.float64) / 255
    multiplied = np.concatenate([np.rint(picture[..., :3] * alpha).astype(np.uint8), picture[..., 3:]], axis=2)
    frame = read(tmp_path, tiff(multiplied, RGB, ASSOCIATED))
    error = np.abs(frame.astype(int) - as_png(tmp_path, picture).astype(int))
    assert (error <= np.ceil(0.5 / np.maximum(alpha, 1 / 512))).all()  # what rounding took


def test_alpha_that_cannot_have_been_multiplied_in_is_dropped(tmp_path: Path, picture: np.ndarray) -> None:
    picture[..., 3] = 0  # a filling byte, by its writer called alpha
    frame = read(tmp_path, tiff(picture, RGB, ASSOCIATED))
    np.testing.assert_array_equal(frame, picture[..., 2::-1])


def test_a_half_transparent_good_part_is_good(golden: Path, tmp_path: Path) -> None:
    bgr = good_frame(1000)
    alpha = np.full((*bgr.shape[:2], 1), 128, np.uint8)
    (tmp_path / "a.tif").write_bytes(tiff(np.concatenate([bgr[..., ::-1], alpha], axis=2), RGB, UNASSOCIATED))
    assert main(["inspect", str(golden), str(tmp_path / "a.tif")]) == 0


# ------------------------------------------------------------------------------------------------- white at 0


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_at_0_comes_out_as_black_at_0(tmp_path: Path, dtype: type, order: str) -> None:
    grey = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (30, 40), dtype=dtype)
    frame = read(tmp_path, tiff(np.iinfo(dtype).max - grey, MINISWHITE, None, order))
    assert frame.dtype == dtype
    np.testing.assert_array_equal(frame, grey)


def test_black_at_0_stays(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 65535, (30, 40), dtype=np.uint16)
    np.testing.assert_array_equal(read(tmp_path, tiff(grey, MINISBLACK)), grey)


# ------------------------------------------------------------------------------------------------------ pages


def test_of_many_pages_the_first_is_taken_and_a_warning_says_so(tmp_path: Path) -> None:
    first, second = np.full((30, 40), 10, np.uint8), np.full((30, 40), 20, np.uint8)
    path = tmp_path / "pages.tif"
    assert cv2.imwritemulti(str(path), [first, second])
    with pytest.warns(ImageWarning, match="holds several pages; only the first one is used") as caught:
        frame = read_frame(path)
    np.testing.assert_array_equal(frame, first)
    assert [warning.message.path for warning in caught] == [str(path)]  # type: ignore[union-attr]


def test_a_stream_of_such_files_warns_once(tmp_path: Path, picture: np.ndarray) -> None:
    paths = [tmp_path / f"{i}.tif" for i in range(5)]
    for path in paths:
        path.write_bytes(tiff(picture[..., 0], MINISBLACK, pages=2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for path in paths:
            read_frame(path)
    assert len(caught) == 1


def test_a_command_names_the_files_in_one_line(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(5):
        (tmp_path / f"{i}.tif").write_bytes(tiff(good_frame(1000 + i)[..., ::-1], RGB, pages=3))
    assert main(["inspect", str(golden), str(tmp_path)]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    first = ", ".join(str(tmp_path / f"{i}.tif") for i in range(3))
    assert told == [f"note: a TIFF file holds several pages; only the first one is used: {first} and 2 more"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("subfile", "pages"), [(0, 3), (1, 1), (2, 3), (4, 1)])
def test_previews_and_masks_are_no_pages(picture: np.ndarray, order: str, subfile: int, pages: int) -> None:
    assert read_tiff(tiff(picture, RGB, None, order, pages=3, subfile=subfile)).pages == pages


# ------------------------------------------------------------------------------------------- damaged headers


def test_directories_in_a_ring_end(picture: np.ndarray) -> None:
    data = bytearray(tiff(picture, RGB, pages=2))
    data[-4:] = data[4:8]
    assert read_tiff(bytes(data)).pages == 2


def test_every_cut_is_harmless(picture: np.ndarray) -> None:
    data = tiff(picture[:2, :3], RGB, UNASSOCIATED, pages=2)
    for n in range(4, len(data)):
        assert read_tiff(data[:n]).pages >= 1
        assert tiff_size(data[:n]) in (None, (2, 3))


def test_the_file_is_left_as_it_is_where_nothing_is_amiss(picture: np.ndarray) -> None:
    data = tiff(picture[..., :3], RGB)
    assert read_tiff(data).data is data
