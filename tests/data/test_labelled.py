"""Test images with labels: layouts, tables, digests and names."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edge_ad.data import labelled
from edge_ad.data.labelled import LabelledSet, load_labelled, slugs
from edge_ad.data.layouts import TestImage
from edge_ad.errors import DatasetError
from tests.tiny import SIZE, bad_frame, good_frame, picture, write_category


@pytest.fixture(scope="module")
def category(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 4 good and 4 bad images to test with."""
    return write_category(tmp_path_factory.mktemp("labelled") / "part", goods=2)


def found(tests: LabelledSet) -> list[tuple[str, str | None, str | None]]:
    return [(tests.name_of(image), image.defect, image.mask and image.mask.name) for image in tests.images]


def test_mvtec_layout_is_said(category: Path) -> None:
    tests = load_labelled(str(category))
    assert tests.describe() == "part: MVTec AD layout, 8 test images: 4 good, 4 defects, 4 masks"
    assert found(tests)[0] == ("good/000.png", None, None)
    assert found(tests)[-1] == ("scratch/003.png", "scratch", "003_mask.png")
    assert load_labelled(str(category / "test")) == tests, "its folder of test images"


def test_btad_layout(tmp_path: Path) -> None:
    picture(tmp_path / "01/test/ok/0.png", good_frame(1))
    picture(tmp_path / "01/test/ko/7.png", bad_frame(1))
    picture(tmp_path / "01/ground_truth/ko/7.bmp", np.zeros((SIZE, SIZE), np.uint8))
    tests = load_labelled(str(tmp_path / "01"))
    assert tests.layout == "BTAD"
    assert found(tests) == [("ko/7.png", "ko", "7.bmp"), ("ok/0.png", None, None)]
    with pytest.raises(DatasetError, match=r"holds categories.*--data .*01"):
        load_labelled(str(tmp_path))


@pytest.mark.parametrize(("good", "bad"), [("good", "bad"), ("OK", "KO"), ("ok", "defect")])
def test_good_and_bad_folders(tmp_path: Path, good: str, bad: str) -> None:
    picture(tmp_path / good / "0.png", good_frame(1))
    picture(tmp_path / bad / "1.jpg", bad_frame(1))
    picture(tmp_path / "ground_truth" / bad / "1.png", np.zeros((SIZE, SIZE), np.uint8))
    picture(tmp_path / "unsure" / "2.png", good_frame(2))
    tests = load_labelled(str(tmp_path))
    assert tests.layout == "good/bad folders"
    assert sorted(found(tests)) == sorted([(f"{good}/0.png", None, None), (f"{bad}/1.jpg", bad.lower(), "1.png")])
    assert tests.notes == ("folders unsure are neither good nor bad and are left out",)


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_csv(tmp_path: Path, delimiter: str) -> None:
    picture(tmp_path / "a" / "0.png", good_frame(1))
    picture(tmp_path / "a" / "1.png", bad_frame(1))
    picture(tmp_path / "a" / "mask.png", np.zeros((SIZE, SIZE), np.uint8))
    lines = ["Path,Label,Mask", "a/0.png,OK,", "a/1.png,scratch,a/mask.png", "a/1.png,1,"]
    path = tmp_path / "list.csv"
    path.write_text("\n".join(lines).replace(",", delimiter), encoding="utf-8-sig")
    tests = load_labelled(str(path))
    assert (tests.name, tests.layout) == ("list", "CSV")
    assert found(tests) == [("a/0.png", None, None), ("a/1.png", "scratch", "mask.png"), ("a/1.png", "defect", None)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "lacks a column.*got an empty file"),
        ("file,label\n", "lacks a column.*got file, label"),
        ("path,label\nno.png,good\n", r"1 lines.*line 2: there is no no\.png"),
        ("path,label\n0.png,\n", r"line 2: no label for 0\.png"),
        ("path,label\n0.png\n", r"line 2: no label for 0\.png"),
        ("path,label,mask\n0.png,bad,m.png\n", r"line 2: there is no m\.png"),
        ("path,label\n" + "x.png,good\n" * 9, r"9 lines.*line 6: there is no x\.png and 4 more"),
    ],
)
def test_csv_that_cannot_be_used(tmp_path: Path, text: str, says: str) -> None:
    picture(tmp_path / "0.png", good_frame(1))
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DatasetError, match=says):
        load_labelled(str(tmp_path / "list.csv"))


def test_images_without_labels(tmp_path: Path) -> None:
    picture(tmp_path / "0.png", good_frame(1))
    with pytest.raises(DatasetError, match=r"no test images with labels.*MVTec AD.*got 1 images without labels"):
        load_labelled(str(tmp_path))


def test_slugs_are_files_of_their_own() -> None:
    names = ["good/000.png", "good/000.jpg", "a b/ü.png", "../x.png", "GOOD/000.bmp", ".png"]
    assert slugs(names) == ["good_000", "good_000-2", "a_b_ü", "x", "GOOD_000-3", "png"]


def test_the_digest_changes_with_a_mask_and_a_label(part: Path) -> None:
    tests = load_labelled(str(part))
    mask = part / "ground_truth/scratch/000_mask.png"
    before = tests.digest()
    assert load_labelled(str(part)).digest() == before
    relabelled = [dataclasses.replace(image, defect=image.defect and "cut") for image in tests.images]
    assert dataclasses.replace(tests, images=tuple(relabelled)).digest() != before
    picture(mask, np.zeros((SIZE, SIZE), np.uint8))
    assert load_labelled(str(part)).digest() != before


def test_images_outside_the_root_keep_their_path(tmp_path: Path) -> None:
    tests = LabelledSet("x", "CSV", None, tmp_path / "a", (TestImage(tmp_path / "b.png", None, None),), ())
    assert tests.name_of(tests.images[0]) == (tmp_path / "b.png").as_posix()
    assert labelled.slugs(["/x/b.png"]) == ["x_b"]


def test_a_set_without_some_kinds(tmp_path: Path) -> None:
    labelled = load_labelled(str(write_category(tmp_path / "part", goods=2, tests=2)))
    assert labelled.kinds == {"scratch"}
    assert labelled.without(["dent"]) is labelled
    less = labelled.without(["scratch", "dent"])
    assert (len(less.images), less.kinds) == (2, frozenset())
    assert less.notes == ("2 defects of scratch are left out, as asked",)
    assert less.digest() != labelled.digest()
    assert np.array_equal([image.defect for image in less.images], [None, None])
