"""Finds a category on disk, recognises its layout, and reads every image once before a long export begins.

Layouts, recognised by their folders:

    MVTec AD     train/good  test/good  test/<kind>  ground_truth/<kind>/<stem>_mask.png (or <stem>.png)
    BTAD         train/ok    test/ok    test/ko      ground_truth/ko/<stem>.png (or .bmp)
    flat folder  good images and nothing else

Where frames are stacks of pictures under several lights, each stack is a folder in the place of an image:
train/good/<capture>/<picture>.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edge_ad.errors import DatasetError, FrameError
from edge_ad.frames.capture import pictures_in
from edge_ad.frames.check import read_frame
from edge_ad.frames.listing import list_frames, list_images
from edge_ad.spec import Size
from edge_ad.system.names import listed
from edge_ad.system.progress import Counts

__all__ = [
    "MIN_GOOD",
    "Category",
    "Facts",
    "Look",
    "TestImage",
    "check_images",
    "expand_home",
    "find_category",
    "images_of_kind",
    "labelled_images",
    "load_category",
    "look_at_images",
    "subfolders",
]

MIN_GOOD = 2  # one for the coreset, one held out for the threshold
_GOOD = {"good": "MVTec AD", "ok": "BTAD"}  # name of the folder of good images -> layout
_LISTED = 8  # names in a message
_SEPARATORS = tuple({os.sep, os.altsep or os.sep})
_READERS = 8  # threads: decoding is most of the work, and OpenCV frees the GIL for it
_WHY = (
    f"An export needs at least {MIN_GOOD} good images: one to learn from, and one that is held out for the "
    "threshold. Give 50 or more; a false reject rate of 1% needs 100 or more."
)


@dataclass(frozen=True)
class TestImage:
    """An image of the test set: `defect` is its kind, None for a good one; `mask` is white on the defect."""

    __test__ = False  # pytest must not collect it, despite its name

    path: Path
    defect: str | None
    mask: Path | None


@dataclass(frozen=True)
class Category:
    """The images of one kind of part, in natural order.

    Attributes:
        name: of the folder.
        layout: as the module says, for a reader.
        train_good: images of good parts, to learn from.
        test: images with their labels; empty for a flat folder.
    """

    name: str
    layout: str
    train_good: tuple[Path, ...]
    test: tuple[TestImage, ...]


@dataclass(frozen=True)
class Facts:
    """What the readable images have in common.

    Attributes:
        sizes: every (H, W) that was seen.
        frames: the (H, W) of each image.
        bit_depth: 16 if any image has 16 bits, else 8.
        max_value: brightest pixel of the 16-bit images, 0 without any: 4095 or less hints at a 12-bit camera.
        bad: images left out, each with the reason.
        copies: images with the same pixels as an earlier one. If held out, they score 0 and lower the threshold.
    """

    sizes: frozenset[Size]
    frames: tuple[Size, ...]
    bit_depth: int
    max_value: int
    bad: tuple[tuple[Path, str], ...]
    copies: tuple[Path, ...]


def find_category(
    name_or_path: str | os.PathLike[str], data: Path | None = None, env: Mapping[str, str] = os.environ
) -> Path:
    """The folder of a category, given by its path or by its name.

    A path is used as it is if it is absolute, begins with ``.`` or ``~``, or ends with a slash. A name is looked up:
    with `data` only there; without it under ``$EDGE_AD_DATA``, then in the working directory, then under ``./data`` and
    ``./data/mvtec_ad``. A name with a slash inside may also be a path from the working directory. That is tried after
    `data` and before ``$EDGE_AD_DATA``.

    Raises:
        DatasetError: there is none (the message lists where it looked, and a similar name), or it is a file.
    """
    name = os.fspath(name_or_path).strip()
    if not name:
        raise DatasetError("no category was given", expected="a folder of images, or a name", got="nothing")
    if data is not None and not data.is_dir():
        raise DatasetError("--data is not a folder", expected="the folder that holds the categories", got=data)
    path = expand_home(name)
    roots = _roots(data, env, any(separator in name for separator in _SEPARATORS))
    is_path = path.is_absolute() or name.startswith((".", "~")) or name.endswith(_SEPARATORS)
    candidates = [path] if is_path else [root / path for root in roots]
    for candidate in candidates:
        if os.path.isdir(candidate):
            return candidate
    for candidate in candidates:
        if os.path.exists(candidate):
            raise DatasetError(
                f"{candidate} is a file",
                expected="a folder of images",
                got="a file",
                remedy="Unpack an archive first.",
            )
    near = _near(path.name, [path.parent] if is_path else roots)
    raise DatasetError(
        f"there is no category {name!r}",
        expected="a folder of images, or the name of one under --data or $EDGE_AD_DATA",
        got="nothing at " + ", ".join(map(str, candidates)),
        remedy=f"Did you mean {near}?" if near else "Give the folder's path, or --data.",
    )


def _roots(data: Path | None, env: Mapping[str, str], may_be_path: bool) -> list[Path]:
    here = Path()
    if data is not None:
        return [data, here] if may_be_path else [data]
    given = env.get("EDGE_AD_DATA")
    named = [expand_home(given)] if given else []
    first = [here, *named] if may_be_path else [*named, here]
    return list(dict.fromkeys([*first, Path("data"), Path("data", "mvtec_ad")]))


def expand_home(text: str) -> Path:
    """The path, with ``~`` as the home of the user.

    Raises:
        DatasetError: it begins with ``~`` and the user has no home.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise DatasetError(f"{text} cannot be found", got=error, remedy="Give the whole path, without ~.") from error


def _near(name: str, folders: Iterable[Path]) -> str | None:
    """The folder with the most similar name, in a form that the user can give: its name, or its path."""
    there = {child.name.lower(): child for folder in folders for child in reversed(subfolders(folder))}
    matches = difflib.get_close_matches(name.lower(), there, n=1, cutoff=0.6)
    return str(there[matches[0]]) if matches else None


def subfolders(folder: Path) -> list[Path]:
    """Folders in `folder`, without hidden ones; none if it cannot be read."""
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError:
        return []


def load_category(path: Path, *, stacks: bool = False) -> Category:
    """Lists the images of a category; opens none of them.

    Args:
        path: its folder.
        stacks: frames are stacks, each a folder of pictures.

    Raises:
        DatasetError: it is not a folder or is the dataset's root folder, the layout is unknown, or there are too few
            good images.
    """
    if not path.is_dir():
        got = "a file" if path.exists() else "nothing there"
        raise DatasetError(f"{path} is not a folder", expected="a folder of images", got=got)
    try:
        good = next((name for name in _GOOD if (path / "train" / name).is_dir()), None)
        if good is not None:
            source, layout, test = path / "train" / good, _GOOD[good], labelled_images(path, good)
        else:
            source, layout, test = path, "flat folder", []
        images = list_frames(source, stacks=stacks)
        if not images and stacks:
            raise DatasetError(
                f"there are no stacks in {source}",
                expected="a folder for each good part, with its picture under each light",
                got=_describe(source),
            )
        if not images:
            raise _nothing_good(path, source)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read", expected="a readable folder", got=error.strerror or error
        ) from error
    _require_enough(len(images), source)
    return Category(_name(path), layout, tuple(images), tuple(test))


def _name(path: Path) -> str:
    """Name of the category that a folder holds; links keep the name they have here."""
    whole = Path(os.path.abspath(path))
    # its folder of good images was given
    inside = whole.name in _GOOD and whole.parent.name in ("train", "test")
    return (whole.parent.parent if inside else whole).name or "category"


def labelled_images(path: Path, good: str) -> list[TestImage]:
    """The images under ``path/test``: those in the folder `good` are good, the others have the folder's name as
    their defect."""
    return [
        image
        for folder in subfolders(path / "test")
        for image in images_of_kind(folder, None if folder.name == good else folder.name, path / "ground_truth")
    ]


def images_of_kind(folder: Path, defect: str | None, truth: Path) -> list[TestImage]:
    """The images in `folder`, or where there are none the stacks; a defect has its mask in the folder of the same name
    under `truth`, or none."""
    masks = truth / folder.name
    by_stem = {p.stem.lower(): p for p in list_images(masks)} if defect and masks.is_dir() else {}
    frames = list_images(folder) or list_frames(folder, stacks=True)
    stems = ((image, (image.name if image.is_dir() else image.stem).lower()) for image in frames)
    return [TestImage(image, defect, by_stem.get(f"{stem}_mask", by_stem.get(stem))) for image, stem in stems]


def _holds_images(path: Path) -> bool:
    folders = [path, *(path / "train" / good for good in _GOOD)]
    try:
        return any(folder.is_dir() and list_images(folder) for folder in folders)
    except OSError:
        return False


def _nothing_good(path: Path, source: Path) -> DatasetError:
    """The error for a folder without good images, by what is there instead."""
    what = f"there are no good images in {source}"
    folders = subfolders(path)
    stacks = "Are these stacks of pictures under several lights? Then give --input photometric and --lights."
    if source != path:
        remedy = stacks if any(map(_holds_images, subfolders(source))) else ""
        return DatasetError(what, expected="PNG, JPEG, BMP, TIFF or WebP images", got=_describe(source), remedy=remedy)
    good = next((folder for folder in folders if folder.name.lower() in _GOOD), None)
    if good is not None and path.name == "train":
        remedy = f"Give the folder above: {path.parent}"
    elif good is not None:
        remedy = f"Give the folder of the good images: {good}"
    elif list(filter(_holds_images, [path / "train"])):
        remedy = f"Give the folder of the good images: {path / 'train'}"
    elif categories := [folder.name for folder in folders if _holds_images(folder)]:
        return DatasetError(
            f"{path} is not a category but holds categories",
            expected="the folder of one category",
            got=listed(categories, _LISTED),
            remedy=f"Give one of them: {path / categories[0]}",
        )
    else:
        remedy = "Put images of good parts there, or give another folder."
    return DatasetError(
        what,
        expected="images, or a folder train/good or train/ok with images",
        got=_describe(path),
        remedy=remedy,
    )


def _describe(folder: Path) -> str:
    """What is in a folder without images: an empty folder; folders a, b; 12 .heic."""
    entries = [p for p in folder.iterdir() if not p.name.startswith(".")]
    suffixes = Counter(p.suffix.lower() or "files without suffix" for p in entries if not p.is_dir())
    parts = [f"{count} {suffix}" for suffix, count in suffixes.most_common(_LISTED)]
    if folders := [p.name for p in subfolders(folder)]:
        parts.append(f"folders {listed(folders, _LISTED)}")
    return "; ".join(parts) or "an empty folder"


def _require_enough(count: int, where: object) -> None:
    if count < MIN_GOOD:
        raise DatasetError(f"too few good images in {where}", expected=f"{MIN_GOOD} or more", got=count, remedy=_WHY)


def check_images(
    paths: Sequence[Path], skip_bad: bool = False, progress: Counts | None = None
) -> tuple[tuple[Path, ...], Facts]:
    """Reads every image once, so that a broken one is found before a long export.

    Args:
        paths: images of good parts.
        skip_bad: leave unreadable images out, and report them in `Facts.bad`.
        progress: its ``update(1)`` is called after each image, from this thread.

    Returns:
        The readable images in their order, and what was seen in them.

    Raises:
        DatasetError: an image cannot be read (names the first few), or too few are left.
    """
    seen, bad = look_at_images(paths, skip_bad, progress)
    _require_enough(len(seen), f"the {len(paths)} given, of which {len(bad)} cannot be read" if bad else "those given")
    first: dict[bytes, Path] = {}
    copies = tuple(path for path, look in seen.items() if first.setdefault(look.digest, path) is not path)
    looks = seen.values()
    return tuple(seen), Facts(
        sizes=frozenset(look.size for look in looks),
        frames=tuple(look.size for look in looks),
        bit_depth=max(look.bit_depth for look in looks),
        max_value=max(look.max_value for look in looks),
        bad=tuple(bad),
        copies=copies,
    )


@dataclass(frozen=True)
class Look:
    """Facts of an image that was read; `digest` is of its pixels."""

    size: Size
    bit_depth: int
    max_value: int
    digest: bytes


def look_at_images(
    paths: Sequence[Path], skip_bad: bool = False, progress: Counts | None = None
) -> tuple[dict[Path, Look], list[tuple[Path, str]]]:
    """Reads every image once: facts of the readable ones in their order, and the others with the reason.

    Raises:
        DatasetError: an image cannot be read (names the first few), and `skip_bad` is False.
    """
    bad: list[tuple[Path, str]] = []
    seen: dict[Path, Look] = {}
    pool = ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1), thread_name_prefix="read")
    try:
        for path, look in zip(paths, pool.map(_look, paths), strict=True):
            if isinstance(look, str):
                bad.append((path, look))
            else:
                seen[path] = look
            if progress is not None:
                progress.update(1)
    finally:
        pool.shutdown(cancel_futures=True)  # so that Ctrl-C does not wait for the rest
    if bad and not skip_bad:
        raise DatasetError(
            f"{len(bad)} of {len(paths)} images cannot be used",
            expected="whole 8 or 16 bit images",
            got=listed([reason for _, reason in bad], _LISTED),
            remedy="Repair or remove them, or leave them out with --skip-bad.",
        )
    return seen, bad


def _look(path: Path) -> Look | str:
    """The facts of an image, or of a stack's pictures together; or why it cannot be read."""
    try:
        pictures = [read_frame(file) for file in (pictures_in(path) if path.is_dir() else [path])]
    except FrameError as error:
        return error.what
    if len({(*picture.shape, picture.dtype) for picture in pictures}) != 1:
        return f"{path} has pictures of several sizes or depths, or none"
    first = pictures[0]
    wide, shape = first.dtype.itemsize == 2, f"{first.shape}{first.dtype}".encode()
    digest = hashlib.blake2b(digest_size=16, key=shape)
    for picture in pictures:
        digest.update(picture.tobytes())
    brightest = max(int(picture.max()) for picture in pictures) if wide else 0
    return Look((first.shape[0], first.shape[1]), 16 if wide else 8, brightest, digest.digest())
