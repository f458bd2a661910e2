"""Finds the labelled images of a category, and says how they are laid out.

MVTec AD             test/good  test/<kind>  ground_truth/<kind>/<stem>_mask.png (or <stem>.png)
BTAD                 test/ok    test/ko      ground_truth/ko/<stem>.png (or .bmp)
good/bad folders     good or ok, and bad, ko or defect; masks in ground_truth/<folder>, if any
CSV                  columns path, label and, if wanted, mask; paths from the folder of the file. A label is one of
                     `_ACCEPTED`, in any case; 0.0 and 1.0 are 0 and 1
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from edge_ad.data.layouts import TestImage, expand_home, find_category, images_of_kind, labelled_images, subfolders
from edge_ad.errors import DatasetError, FrameError
from edge_ad.frames.listing import list_images
from edge_ad.frames.mask import marked_pixels
from edge_ad.system.names import listed

_GOOD = ("good", "ok")
_BAD = ("bad", "ko", "defect")
# Labels of a CSV file in lower case, beside the numbers 0 (good) and 1 (a defect of no kind). Other words are kinds.
_GOOD_LABELS = frozenset({*_GOOD, "normal", "pass", "passed", "false"})
_DEFECT_LABELS = frozenset(
    {*_BAD, "defective", "anomaly", "anomalous", "abnormal", "ng", "nok", "fail", "failed", "true"}
)
_NO_LABELS = frozenset({"unknown", "unlabelled", "unlabeled", "none", "null", "n/a", "na", "nan", "inf", "yes", "no"})
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]*)?")  # 1.0, or 1,0
_ACCEPTED = "good, ok, normal, pass, false or 0; bad, ko, ng, defect, fail, true or 1; or the name of a kind of defect"
_KNOWN = "test/good and test/<defect> (MVTec AD), test/ok and test/ko (BTAD), good and bad, or a CSV of path,label"
_LISTED = 5  # lines in a message
_READERS = 8  # threads: decoding is most of the work, and OpenCV frees the GIL for it
_SLUG_BYTES = 100  # leaves room for what is put around it in names of 255 bytes


@dataclass(frozen=True)
class LabelledSet:
    """The labelled images of a category, in natural order.

    Attributes:
        name: of the category.
        layout: name of the layout (see the module), for a reader.
        folder: folder of the category; None for a CSV file.
        root: images are named by their paths from here.
        images: the images with their labels; empty if the category has no test images.
        notes: notes for a reader: missing masks, folders that were left out.
    """

    name: str
    layout: str
    folder: Path | None
    root: Path
    images: tuple[TestImage, ...]
    notes: tuple[str, ...]

    def describe(self) -> str:
        """bottle: MVTec AD layout, 83 test images: 20 good, 63 defects of 3 kinds, 63 masks."""
        if not self.images:
            return f"{self.name}: {self.layout} layout, no test images"
        defects = [image for image in self.images if image.defect is not None]
        kinds, masks = len(self.kinds), sum(image.mask is not None for image in defects)
        of = f" of {kinds} kinds" if kinds > 1 else ""
        return (
            f"{self.name}: {self.layout} layout, {len(self.images)} test images: "
            f"{len(self.images) - len(defects)} good, {len(defects)} defects{of}, {masks} masks"
        )

    def name_of(self, image: TestImage) -> str:
        """Path of an image from the root, with slashes."""
        path = image.path
        return (path.relative_to(self.root) if path.is_relative_to(self.root) else path).as_posix()

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of defect."""
        return frozenset(image.defect for image in self.images if image.defect is not None)

    def without(self, kinds: Collection[str]) -> LabelledSet:
        """The same without the defects of these kinds. A note says how many are left out."""
        left_out = Counter(image.defect for image in self.images if image.defect in kinds)
        if not left_out:
            return self
        images = tuple(image for image in self.images if image.defect not in left_out)
        notes = [f"{count} defects of {kind} are left out, as asked" for kind, count in left_out.items()]
        return replace(self, images=images, notes=(*self.notes, *notes))

    def digest(self) -> str:
        """A digest that changes if an image, a label or a mask changes (path, size or time of change)."""
        state = hashlib.blake2b(digest_size=16)
        for image in self.images:
            for path in (image.path, image.mask):
                stat = path.stat() if path is not None and path.exists() else None
                state.update(repr((str(path), image.defect, stat and (stat.st_size, stat.st_mtime_ns))).encode())
        return state.hexdigest()


def load_labelled(given: str) -> LabelledSet:
    """The test images of a category: a folder, a name as `find_category` takes it, or a CSV file.

    Raises:
        DatasetError: there is nothing, the layout is unknown, or the CSV file cannot be used.
    """
    path = expand_home(given)
    if path.is_file() and path.suffix.lower() == ".csv":
        return _from_csv(path)
    folder = find_category(given).absolute()
    if folder.name == "test" and any((folder / name).is_dir() for name in (*_GOOD, "ko")):
        folder = folder.parent
    try:
        return _from_folder(folder)
    except OSError as error:
        got = error.strerror or error
        raise DatasetError(f"{folder} cannot be read", expected="a readable folder", got=got) from error


def _from_folder(folder: Path) -> LabelledSet:
    test = folder / "test"
    if any((folder / part).is_dir() for part in ("test", "train")):
        btad = any((folder / part).is_dir() for part in ("train/ok", "test/ok", "test/ko"))
        btad = btad and not any((folder / part).is_dir() for part in ("train/good", "test/good"))
        images, layout = labelled_images(folder, "ok" if btad else "good"), "BTAD" if btad else "MVTec AD"
        notes = []
        if test.is_dir() and (loose := len(list_images(test))):
            notes.append(f"{loose} images directly in {test} have no label and are left out")
        return LabelledSet(folder.name, layout, folder, test, tuple(images), (*notes, *_about_masks(folder, images)))
    folders = subfolders(folder)
    known = [f for f in folders if f.name.lower() in (*_GOOD, *_BAD)]
    truth = folder / "ground_truth"
    images = [
        image for f in known for image in images_of_kind(f, None if f.name.lower() in _GOOD else f.name.lower(), truth)
    ]
    if not known:
        raise _no_layout(folder, folders)
    others = [f.name for f in folders if f not in known and f != truth and list_images(f)]
    notes = [f"folders {', '.join(others)} are neither good nor bad and are left out"] if others else []
    return LabelledSet(
        folder.name, "good/bad folders", folder, folder, tuple(images), (*notes, *_about_masks(folder, images))
    )


def _about_masks(folder: Path, images: Sequence[TestImage]) -> list[str]:
    """A note if defects have no mask although there are masks with other names."""
    used = {image.mask for image in images}
    without = Counter(image.defect for image in images if image.defect is not None and image.mask is None)
    notes = []
    for kind, count in without.items():
        masks = folder / "ground_truth" / str(kind)
        names = [path.name for path in list_images(masks) if path not in used] if masks.is_dir() else []
        if names:
            notes.append(
                f"{count} of {kind} have no mask: {masks} holds {names[0]} and the like; expected the image's name, "
                f"or it with _mask"
            )
    return notes


def _no_layout(folder: Path, folders: Sequence[Path]) -> DatasetError:
    categories = [f.name for f in folders if any((f / part).is_dir() for part in ("test", "train", *_GOOD, *_BAD))]
    if categories:
        return DatasetError(
            f"{folder} is not a category but holds categories",
            expected="folders of categories",
            got=", ".join(categories[:_LISTED]),
            remedy=f"Give them: --data {' '.join(str(folder / name) for name in categories[:_LISTED])}",
        )
    got = ", ".join(f.name for f in folders[:_LISTED]) or f"{len(list_images(folder))} images without labels"
    return DatasetError(f"{folder} has no test images with labels", expected=_KNOWN, got=got)


def _from_csv(path: Path) -> LabelledSet:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {path}", expected="a CSV file in UTF-8", got=error) from error
    head = text.partition("\n")[0]
    table = csv.DictReader(text.splitlines(), delimiter=";" if head.count(";") > head.count(",") else ",")
    table.fieldnames = [name.strip().lower() for name in table.fieldnames or []]
    twice = len(set(table.fieldnames)) < len(table.fieldnames)
    if twice or not {"path", "label"} <= set(table.fieldnames):
        got = ", ".join(table.fieldnames) or "an empty file"
        what = f"{path} has a column twice" if twice else f"{path} lacks a column"
        raise DatasetError(what, expected="path, label and, if wanted, mask", got=got)
    root = path.absolute().parent
    images, wrong = [], []
    said: dict[str, tuple[bool, int]] = {}
    for row in table:
        try:
            image = _csv_image(root, row)
            good, line = said.setdefault(os.path.realpath(image.path), (image.defect is None, table.line_num))
            if good != (image.defect is None):
                raise ValueError(f"{row['path']} is {'good' if good else 'a defect'} on line {line}")
            images.append(image)
        except ValueError as error:
            wrong.append(f"line {table.line_num}: {error}")
    if wrong:
        raise DatasetError(
            f"{len(wrong)} lines of {path} cannot be used",
            expected=f"an image and its label in each, paths from the folder of the file; a label is {_ACCEPTED}",
            got=listed(wrong, _LISTED, "; "),
        )
    return LabelledSet(path.stem, "CSV", None, root, tuple(images), ())


def _csv_image(root: Path, row: Mapping[str, str | None]) -> TestImage:
    name, label, mask = ((row.get(column) or "").strip() for column in ("path", "label", "mask"))
    if not name or not label:
        raise ValueError("no path" if not name else f"no label for {name}")
    for given in (name, mask):
        if given and not (root / given).is_file():
            raise ValueError(f"there is no {given}")
    try:
        defect = _defect_of(label)
    except ValueError as error:
        raise ValueError(f"the label {label!r} of {name} is {error}") from error
    return TestImage(root / name, defect, root / mask if mask else None)


def _defect_of(label: str) -> str | None:
    """The kind of defect that a label names; None for a good image.

    Raises:
        ValueError: the label says neither, such as 0.5, NaN, unknown.
    """
    lower = label.lower()
    if lower in _NO_LABELS or not any(map(str.isalnum, lower)):
        raise ValueError("neither good nor a defect")
    if _NUMBER.fullmatch(lower) is None:
        return None if lower in _GOOD_LABELS else "defect" if lower in _DEFECT_LABELS else label
    number = float(lower.replace(",", "."))
    if number < 0 or not number.is_integer():
        raise ValueError("a number, and no class: those are 0, 1, 2 and so on")
    return None if number == 0 else "defect" if number == 1 else str(int(number))


def check_masks(images: Iterable[TestImage]) -> None:
    """Reads every mask once, before any image is inspected.

    A file that cannot be read is skipped here: its image has no pixel metrics, and a note says so.

    Raises:
        DatasetError: it is unclear what a mask marks (says how many there are).
    """
    masks = [image.mask for image in images if image.mask is not None]
    with ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1), thread_name_prefix="masks") as pool:
        wrong = [error for error in pool.map(_mask_error, masks) if error is not None]
    if len(wrong) > 1:
        raise DatasetError(f"{len(wrong)} of {len(masks)} masks cannot be used", got=f"first, {wrong[0]}")
    if wrong:
        raise wrong[0]


def _mask_error(path: Path) -> DatasetError | None:
    try:
        marked_pixels(path)
    except FrameError:
        return None
    except DatasetError as error:
        return error
    return None


def slugs(names: Iterable[str]) -> list[str]:
    """A unique file name for each image name: broken_large/000.jpg gives broken_large_000."""
    taken: set[str] = set()
    found = []
    for name in names:
        stem = re.sub(r"[^\w.-]+", "_", name.rpartition(".")[0] or name).strip("._") or "image"
        stem = stem.encode()[-_SLUG_BYTES:].decode(errors="ignore")
        slug, n = stem, 1
        while slug.lower() in taken:  # a.png and a.jpg, and A.png where the file system does not tell them apart
            n += 1
            slug = f"{stem}-{n}"
        taken.add(slug.lower())
        found.append(slug)
    return found
