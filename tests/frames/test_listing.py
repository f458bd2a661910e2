"""Folders of images as they are found: names that say nothing, waste, links; and what a command says of them."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.cli import main
from edge_ad.data.layouts import check_images
from edge_ad.errors import DatasetError, FrameError, ImageWarning
from edge_ad.frames.check import read_frame
from edge_ad.frames.image_file import HEAD_BYTES, image_kind
from edge_ad.frames.listing import list_image_tree, list_images
from tests.tiny import bad_frame, good_frame

links = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


def encoded(suffix: str, image: np.ndarray) -> bytes:
    ok, data = cv2.imencode(suffix, image)
    assert ok
    return bytes(data.tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one good image."""
    made = tmp_path / "parts"
    made.mkdir()
    (made / "good.png").write_bytes(encoded(".png", good_frame(1000)))
    return made


def names(root: Path) -> list[str]:
    """What is listed under `root`; what is left out does not matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)
        paths, errors = list_image_tree(root)
    assert errors == []
    return [path.relative_to(root).as_posix() for path in paths]


def left_out(root: Path) -> str:
    with pytest.warns(ImageWarning) as caught:
        list_image_tree(root)
    assert len(caught) == 1
    return str(caught[0].message)


# ---------------------------------------------------------------------------------------------- what is an image


@pytest.mark.parametrize(
    ("name", "coded_as"),
    [
        ("bad.jfif", ".jpg"),
        ("bad.jpe", ".jpg"),
        ("bad.ppm", ".ppm"),
        ("bad.jp2", ".jp2"),
        ("bad.TIFF", ".tif"),
        ("bad.tif.bak", ".tif"),
        ("bad.gif", ".gif"),
        ("bad", ".png"),
        ("bad.dat", ".webp"),
        ("2026-07-01 12.30.05.123", ".bmp"),
    ],
)
def test_a_defect_is_found_whatever_its_file_is_called(golden: Path, folder: Path, name: str, coded_as: str) -> None:
    (folder / name).write_bytes(encoded(coded_as, bad_frame(2001)))
    assert main(["inspect", str(golden), str(folder)]) == 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp", ".jp2", ".ppm", ".pgm", ".pbm", ".gif"])
def test_the_first_bytes_tell_what_opencv_writes(suffix: str) -> None:
    image = good_frame(0)[..., 0] if suffix in (".pgm", ".pbm") else good_frame(0)
    assert image_kind(encoded(suffix, image)[:HEAD_BYTES]) is not None


@pytest.mark.parametrize("text", [b"", b"BMW, Audi, Volvo and some other cars", b"P1 is a part", b"\0\0\0\x20ftypisom"])
def test_other_bytes_are_no_image(text: bytes) -> None:
    assert image_kind(text) is None


def test_text_that_is_called_png_is_an_error(golden: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "notes.png").write_text("not an image")
    assert main(["inspect", str(golden), str(folder)]) == 2
    captured = capsys.readouterr()
    assert "notes.png cannot be decoded: it is not an image" in captured.err
    assert captured.out.startswith("good.png ")  # the others are inspected all the same


def test_a_folder_is_in_natural_order(folder: Path) -> None:
    for name in ("img10", "img9.png", "sub/img1", "²"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(encoded(".png", good_frame(0)))
    assert names(folder) == ["good.png", "img9.png", "img10", "²", "sub/img1"]


# --------------------------------------------------------------------------------------------------- left out


def test_what_is_left_out_is_said_once(golden: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("Thumbs.db", "notes.txt", "out.csv", "zones.json"):
        (folder / name).write_text("no image")
    (folder / ".DS_Store").write_bytes(b"\0")
    assert main(["inspect", str(golden), str(folder)]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert told == [
        f"note: left out of {folder}: 4 files that are no images (Thumbs.db, notes.txt, out.csv, ...), "
        "1 hidden file (.DS_Store)"
    ]


@pytest.mark.parametrize("name", [".thumbs", "@eaDir", "#recycle", "__MACOSX", "ground_truth", "$RECYCLE.BIN"])
def test_folders_that_hold_no_frames_are_not_inspected(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "bad.png").write_bytes(encoded(".png", bad_frame(2001)))
    assert names(folder) == ["good.png"]
    assert left_out(folder).endswith(f"1 folder that holds no frames ({name})")


def test_a_clean_folder_gives_no_note(folder: Path, capsys: pytest.CaptureFixture[str], golden: Path) -> None:
    assert main(["inspect", str(golden), str(folder)]) == 0
    assert "note" not in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes that have names")
def test_a_pipe_is_left_out_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert names(folder) == ["good.png"]
    assert "1 device, pipe or socket (pipe)" in left_out(folder)


def test_the_warning_pickles() -> None:
    warning = pickle.loads(pickle.dumps(ImageWarning("text", "a.tif")))
    assert (str(warning), warning.path) == ("text", "a.tif")


# ------------------------------------------------------------------------------------------------------ links


@links
@pytest.mark.parametrize("target", ["gone.png", "link.png"])
def test_a_link_to_nothing_is_an_error(
    golden: Path, folder: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "link.png").symlink_to(target)
    assert main(["inspect", str(golden), str(folder), "--overlay", str(folder.parent / "pictures")]) == 2
    assert f"cannot read {folder / 'link.png'}" in capsys.readouterr().err


@links
def test_a_link_to_nothing_stops_an_export(folder: Path) -> None:
    (folder / "other.png").write_bytes(encoded(".png", good_frame(1001)))
    (folder / "link").symlink_to("gone.png")
    with pytest.raises(DatasetError, match=r"cannot read .*link"):
        check_images(list_images(folder))


@links
def test_loops_of_links_end(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "up").symlink_to("..")
    (folder / "above").symlink_to(folder.parent)
    (folder / "self").symlink_to("self")
    with pytest.warns(ImageWarning, match="2 links to what is listed already"):
        paths, _ = list_image_tree(folder)
    assert paths == [folder / "good.png", folder / "self"]  # reading that one gives an error


@links
def test_linked_folders_are_followed_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "1.png").write_bytes(encoded(".png", good_frame(0)))
    for name in ("a", "b"):
        (folder / name).symlink_to(tmp_path / "other")
    assert names(folder) == ["good.png", "a/1.png"]


@links
def test_linked_images_are_taken_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(encoded(".png", good_frame(0)))
    (folder / "another").symlink_to(folder / "good.png")
    (folder / "linked").symlink_to(tmp_path / "outside.png")
    assert names(folder) == ["good.png", "linked"]
    assert "1 link to what is listed already (another)" in left_out(folder)


@links
def test_images_that_share_a_mask_by_links_keep_it(folder: Path) -> None:
    (folder / "002_mask.png").symlink_to("good.png")
    assert [path.name for path in list_images(folder)] == ["002_mask.png", "good.png"]


def test_a_subfolder_that_cannot_be_read_is_an_error(
    golden: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "closed").mkdir()
    scandir = os.scandir

    def guarded(path: Path) -> object:  # root may read what is closed to others
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert main(["inspect", str(golden), str(folder)]) == 2
    captured = capsys.readouterr()
    assert f"cannot read the folder {folder / 'closed'}; got Permission denied" in captured.err
    assert captured.out.startswith("good.png ")


# ---------------------------------------------------------------------------------------------- damaged images


def refusal(path: Path) -> str:
    with pytest.raises(FrameError) as caught:
        read_frame(path)
    return str(caught.value)


def test_a_damaged_png_says_so_and_where(tmp_path: Path) -> None:
    data = bytearray(encoded(".png", good_frame(0)))
    at = data.index(b"IDAT")
    data[at + 20 : at + 60] = bytes(40)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    message = refusal(path)
    assert f"{path} cannot be decoded: it is a damaged PNG image" in message
    assert f"the checksum of the chunk IDAT at byte {at - 4} is wrong" in message


@pytest.mark.parametrize(("suffix", "kind"), [(".tif", "TIFF"), (".webp", "WebP"), (".jp2", "JPEG 2000")])
def test_other_damaged_formats_are_named(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(encoded(suffix, good_frame(0))[:200])
    assert f"it is a damaged {kind} image" in refusal(path)


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG"), (".jpg", "JPEG"), (".bmp", "BMP")])
def test_a_cut_file_names_its_format(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(encoded(suffix, good_frame(0))[:400])
    assert f"is truncated; expected a whole {kind} file; got 400 bytes without the end" in refusal(path)


def test_a_format_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    assert "it is a HEIC image" in refusal(path)
