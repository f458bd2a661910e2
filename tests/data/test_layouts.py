"""Finding, describing and checking the images of a category."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_ad.data.layouts import Category, check_images, find_category, load_category
from edge_ad.errors import DatasetError, ImageWarning
from tests.paths import ROOT

DATA = Path(os.environ.get("EDGE_AD_SHARED", ROOT.parent / "shared")) / "data"
_seeds = iter(range(10**6))


def picture(path: Path, size: tuple[int, int] = (32, 40), dtype: type = np.uint8, top: int = 256) -> Path:
    """Writes a colour image that no other call has written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(next(_seeds)).integers(0, top, (*size, 3)).astype(dtype)
    assert cv2.imwrite(str(path), image)
    return path


def mvtec(root: Path, goods: int = 3) -> Path:
    for n in range(goods):
        picture(root / "train" / "good" / f"{n:03}.png")
    picture(root / "test" / "good" / "000.png")
    for kind in ("cut", "hole"):
        picture(root / "test" / kind / "000.png")
        picture(root / "ground_truth" / kind / "000_mask.png")
    return root


class Count:
    def __init__(self) -> None:
        self.calls: list[int] = []

    def update(self, n: int = 1) -> None:
        self.calls.append(n)


def labels(category: Category) -> list[tuple[str, str | None, str | None]]:
    return [(t.path.name, t.defect, t.mask and t.mask.name) for t in category.test]


def test_mvtec_layout(tmp_path: Path) -> None:
    root = mvtec(tmp_path / "cable")
    picture(root / "test" / "hole" / "001.png")  # without a mask: labels of images only
    category = load_category(root)
    assert (category.name, category.layout) == ("cable", "MVTec AD")
    assert [p.name for p in category.train_good] == ["000.png", "001.png", "002.png"]
    assert labels(category) == [
        ("000.png", "cut", "000_mask.png"),
        ("000.png", None, None),
        ("000.png", "hole", "000_mask.png"),
        ("001.png", "hole", None),
    ]
    assert [t.mask.parent.name for t in category.test if t.mask] == ["cut", "hole"]


def test_btad_layout(tmp_path: Path) -> None:
    root = tmp_path / "01"
    for n in range(2):
        picture(root / "train" / "ok" / f"{n}.bmp")
    picture(root / "test" / "ok" / "7.BMP")
    for n in (1, 2):
        picture(root / "test" / "ko" / f"{n}.PNG")
    picture(root / "ground_truth" / "ko" / "1.png")
    picture(root / "ground_truth" / "ko" / "2.bmp")
    category = load_category(root)
    assert category.layout == "BTAD"
    assert labels(category) == [("1.PNG", "ko", "1.png"), ("2.PNG", "ko", "2.bmp"), ("7.BMP", None, None)]


def test_a_mask_named_so_beats_a_file_with_the_stem_of_the_image(tmp_path: Path) -> None:
    root = mvtec(tmp_path / "cable")
    picture(root / "ground_truth" / "cut" / "000.png")
    assert ("000.png", "cut", "000_mask.png") in labels(load_category(root))


def test_a_good_image_has_no_mask(tmp_path: Path) -> None:
    root = mvtec(tmp_path / "cable")
    picture(root / "ground_truth" / "good" / "000_mask.png")  # black ones: some data sets have them
    assert ("000.png", None, None) in labels(load_category(root))


def test_flat_folder_in_natural_order(tmp_path: Path) -> None:
    for name in ("img10.PNG", "img2.jpg", "img1.bmp", "img3.TIF"):
        picture(tmp_path / "nuts" / name)
    (tmp_path / "nuts" / "notes.txt").write_text("not an image")
    (tmp_path / "nuts" / ".hidden.png").write_bytes(b"")
    with pytest.warns(ImageWarning, match=r"1 file that is no image \(notes\.txt\), 1 hidden file \(\.hidden\.png\)"):
        category = load_category(tmp_path / "nuts")
    assert (category.name, category.layout, category.test) == ("nuts", "flat folder", ())
    assert [p.name for p in category.train_good] == ["img1.bmp", "img2.jpg", "img3.TIF", "img10.PNG"]


def test_the_folder_of_good_images_is_named_after_its_category(tmp_path: Path) -> None:
    category = load_category(mvtec(tmp_path / "cable") / "train" / "good")
    assert (category.name, category.layout, len(category.train_good)) == ("cable", "flat folder", 3)


def test_this_very_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mvtec(tmp_path / "cable"))
    assert load_category(find_category(".", None, {})).name == "cable"


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no good images.*an empty folder"):
        load_category(tmp_path)


def test_a_folder_of_other_files_says_which(tmp_path: Path) -> None:
    for name in ("a.pdf", "b.PDF", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.warns(ImageWarning), pytest.raises(DatasetError, match=r"2 \.pdf; 1 \.txt"):
        load_category(tmp_path)


def test_no_good_images_in_a_known_layout(tmp_path: Path) -> None:
    root = mvtec(tmp_path / "cable", goods=0)
    (root / "train" / "good").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"no good images in .*train.good.*an empty folder"):
        load_category(root)


def test_stacks_that_are_taken_for_images(tmp_path: Path) -> None:
    stack = tmp_path / "part" / "train" / "good" / "0001"
    stack.mkdir(parents=True)
    cv2.imwrite(str(stack / "00.png"), np.zeros((16, 16), np.uint8))
    with pytest.raises(DatasetError, match="Then give --input photometric and --lights"):
        load_category(tmp_path / "part")


def test_the_root_of_a_dataset_lists_its_categories(tmp_path: Path) -> None:
    for name in ("cable", "nut"):
        mvtec(tmp_path / name)
    picture(tmp_path / "flat" / "0.png")
    (tmp_path / "papers").mkdir()
    with pytest.raises(DatasetError, match=r"holds categories.*cable, flat, nut\. Give one of them") as error:
        load_category(tmp_path)
    assert "papers" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "advised"),
    [("cable/train", "Give the folder above: .*cable$"), ("own", "own.good$"), ("loose", "loose.train$")],
)
def test_a_folder_beside_the_right_one_is_told_the_right_one(tmp_path: Path, given: str, advised: str) -> None:
    mvtec(tmp_path / "cable")
    picture(tmp_path / "own" / "good" / "0.png")
    picture(tmp_path / "own" / "bad" / "0.png")
    picture(tmp_path / "loose" / "train" / "0.png")
    with pytest.raises(DatasetError, match=advised):
        load_category(tmp_path / given)


def test_a_file_is_no_category(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="got a file"):
        load_category(path)
    with pytest.raises(DatasetError, match="is a file"):
        find_category(path, None, {})
    with pytest.raises(DatasetError, match="nothing there"):
        load_category(tmp_path / "b")


def test_one_good_image_is_too_few_and_it_says_why(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"expected 2 or more; got 1\..*held out.*threshold"):
        load_category(tmp_path)
    picture(tmp_path / "b.png")
    assert len(load_category(tmp_path).train_good) == 2


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)  # tests may run as root, who may read everything
    with pytest.raises(DatasetError, match=r"cannot be read.*Permission denied"):
        load_category(tmp_path)


def test_a_name_is_looked_up_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = {"EDGE_AD_DATA": str(tmp_path / "env")}
    for place in ("data/mvtec_ad/nut", "data/nut", "nut", "env/nut"):  # from the last looked at
        (tmp_path / place).mkdir(parents=True)
        assert find_category("nut", None, env).resolve() == tmp_path / place
    assert find_category("nut/", None, env).resolve() == tmp_path / "nut", "a path"
    assert find_category("mvtec_ad/nut", None, {}).resolve() == tmp_path / "data/mvtec_ad/nut"
    assert find_category(tmp_path / "env" / "nut", None, {}) == tmp_path / "env" / "nut"


def test_a_folder_here_does_not_win_over_what_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it taken where --data has no such category: four broken bottles became four good ones that way."""
    monkeypatch.chdir(tmp_path)
    for place in ("nut", "env/nut", "given/bolt"):
        (tmp_path / place).mkdir(parents=True)
    with pytest.raises(DatasetError, match="no category 'nut'"):
        find_category("nut", tmp_path / "given", {"EDGE_AD_DATA": str(tmp_path / "env")})
    (tmp_path / "given/nut").mkdir()
    assert find_category("nut", tmp_path / "given", {}).resolve() == tmp_path / "given/nut"


def test_a_name_with_a_slash_may_be_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = {"EDGE_AD_DATA": str(tmp_path / "env")}
    (tmp_path / "given").mkdir()
    for place, data in (("env/set/nut", None), ("set/nut", None), ("given/set/nut", tmp_path / "given")):
        (tmp_path / place).mkdir(parents=True)
        assert find_category("set/nut", data, env).resolve() == tmp_path / place


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(DatasetError, match=r"~/nut cannot be found; got Could not.*whole path"):
        find_category("~/nut", None, {})


def test_a_path_is_not_looked_up_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "nut").mkdir(parents=True)
    with pytest.raises(DatasetError, match="no category"):
        find_category("./nut", None, {})


def test_what_is_not_found_says_where_and_what_is_near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given" / "Hazelnut").mkdir(parents=True)
    (tmp_path / "data" / "mvtec_ad" / "transistor").mkdir(parents=True)
    env = {"EDGE_AD_DATA": str(tmp_path / "env")}
    with pytest.raises(DatasetError) as error:
        find_category("hazlenut", tmp_path / "given", env)
    assert str(Path("given/hazlenut")) in str(error.value)
    assert "Did you mean" in str(error.value)
    assert "Hazelnut?" in str(error.value)
    with pytest.raises(DatasetError) as error:
        find_category("hazlenut", None, env)
    for place in ("env/hazlenut", "data/hazlenut", "data/mvtec_ad/hazlenut"):
        assert str(Path(place)) in str(error.value)
    with pytest.raises(DatasetError, match=r"Did you mean .*transistor\?"):
        find_category("transitor", None, {})
    with pytest.raises(DatasetError) as error:
        find_category("zzz", None, {})
    assert "Did you mean" not in str(error.value)


def test_a_near_miss_of_a_path(tmp_path: Path) -> None:
    (tmp_path / "bottle").mkdir()
    with pytest.raises(DatasetError, match=r"Did you mean .*bottle\?"):
        find_category(tmp_path / "botle", None, {})


@pytest.mark.parametrize("name", ["", "  "])
def test_no_name_is_not_this_folder(name: str) -> None:
    with pytest.raises(DatasetError, match="no category was given"):
        find_category(name, None, {})


def test_data_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="--data is not a folder"):
        find_category("nut", tmp_path / "nowhere", {})


def test_facts_of_colour_images(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{n}.png", size) for n, size in enumerate([(32, 40), (40, 32), (32, 40)])]
    count = Count()
    goods, facts = check_images(paths, progress=count)
    assert goods == tuple(paths)
    assert facts.sizes == {(32, 40), (40, 32)}
    assert (facts.bit_depth, facts.max_value, facts.bad, facts.copies) == (8, 0, (), ())
    assert count.calls == [1, 1, 1]


def test_facts_of_a_12_bit_camera(tmp_path: Path) -> None:
    paths = [picture(tmp_path / f"{n}.png", dtype=np.uint16, top=4096) for n in range(2)]
    paths.append(picture(tmp_path / "8.png"))
    _, facts = check_images(paths)
    assert facts.bit_depth == 16
    assert 4000 < facts.max_value <= 4095


def test_copies_are_reported_whatever_their_file(tmp_path: Path) -> None:
    first = picture(tmp_path / "0.png")
    again = tmp_path / "1.bmp"
    cv2.imwrite(str(again), cv2.imread(str(first)))
    other = picture(tmp_path / "2.png")
    assert check_images([first, again, other])[1].copies == (again,)


def test_plain_images_of_another_shape_are_no_copies(tmp_path: Path) -> None:
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    for path, size in zip(paths, [(32, 40), (40, 32)], strict=True):
        cv2.imwrite(str(path), np.full(size, 9, np.uint8))
    assert check_images(paths)[1].copies == ()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_truncated_images_are_found_and_named(tmp_path: Path, suffix: str) -> None:
    paths = [picture(tmp_path / f"{n}{suffix}") for n in range(5)]
    for n in (1, 3):
        paths[n].write_bytes(paths[n].read_bytes()[:-40])
    with pytest.raises(DatasetError, match=rf"2 of 5 images.*1{suffix} is truncated.*3{suffix}.*--skip-bad"):
        check_images(paths)
    count = Count()
    goods, facts = check_images(paths, True, count)
    assert goods == (paths[0], paths[2], paths[4])
    assert [path for path, _ in facts.bad] == [paths[1], paths[3]]
    assert all("truncated" in reason for _, reason in facts.bad)
    assert sum(count.calls) == 5


def test_many_bad_images_are_not_all_named(tmp_path: Path) -> None:
    paths = [tmp_path / f"bad{n}.png" for n in range(50)]
    for path in paths:
        path.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"50 of 50 .*bad7\.png.* and 42 more") as error:
        check_images(paths)
    assert "bad8.png" not in str(error.value)


def test_too_few_are_left(tmp_path: Path) -> None:
    paths = [picture(tmp_path / "0.png"), tmp_path / "1.png"]
    paths[1].write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"2 given, of which 1 cannot be read; expected 2 or more; got 1"):
        check_images(paths, skip_bad=True)


def test_an_interrupt_does_not_read_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edge_ad.data import layouts as dataset

    read: list[Path] = []
    real = dataset.read_frame
    monkeypatch.setattr(dataset, "read_frame", lambda path: (read.append(path), real(path))[1])

    class Interrupt:
        def update(self, n: int = 1) -> None:
            raise KeyboardInterrupt

    path = picture(tmp_path / "0.png", (1000, 1000))
    with pytest.raises(KeyboardInterrupt):
        check_images([path] * 400, progress=Interrupt())
    assert len(read) < 200


@pytest.mark.shared
@pytest.mark.skipif(not DATA.is_dir(), reason="no development data here")
@pytest.mark.parametrize(
    ("name", "goods", "test_good", "defects", "kinds"),
    [("bottle", 209, 20, 63, 3), ("magnetic_tile", 220, 80, 190, 5), ("hazelnut", 50, 2, 8, 4)],
)
def test_real_categories(name: str, goods: int, test_good: int, defects: int, kinds: int) -> None:
    category = load_category(find_category(name, DATA, {}))
    assert category.layout == "MVTec AD"
    assert len(category.train_good) == goods
    assert sum(t.defect is None for t in category.test) == test_good
    found = [t for t in category.test if t.defect is not None]
    assert (len(found), len({t.defect for t in found})) == (defects, kinds)
    assert all(t.mask is not None and t.mask.stem == f"{t.path.stem}_mask" for t in found)
    usable, facts = check_images(category.train_good)
    assert len(usable) == goods
    assert (len(facts.sizes) == 1) == (name != "magnetic_tile")
