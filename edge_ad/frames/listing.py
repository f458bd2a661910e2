"""Lists the images of a folder, and says what is left out and why. Every command lists images here.

A file is an image by its content or by its name. A file that begins like an image is listed under any name. A file
named ``.png`` is listed even if it holds text, so that reading it gives an error. A file that cannot be opened (a link
to nothing, or no permission) is listed for the same reason: it could be the image with the defect. Everything else is
left out, and an `ImageWarning` names it.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from edge_ad.errors import FrameError, ImageWarning
from edge_ad.frames.image_file import HEAD_BYTES, image_kind

__all__ = [
    "empty_folders",
    "files_of",
    "has_image_name",
    "list_frames",
    "list_image_tree",
    "list_images",
    "natural_key",
]

# A file with such a name is listed without opening it: 100,000 of them cost no more than the listing.
_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".jp2", ".j2k"}
    | {".pbm", ".pgm", ".ppm", ".pnm", ".gif", ".avif", ".heic", ".heif"}
)
# Thumbnails, trash and resource forks of NAS and PCs, and the masks of a dataset. Compared in lower case.
_NO_FRAMES = frozenset(
    {"@eadir", "@recycle", "#recycle", "$recycle.bin", "#snapshot", "__macosx", "ground_truth", "lost+found"}
    | {"system volume information"}
)
_LISTED = 3  # names in a warning

_FILE, _LINKED_FOLDER, _FOLDER = "file", "linked folder", "folder"
_NO_IMAGE, _HIDDEN, _SPECIAL = "no image", "hidden file", "device, pipe or socket"
_SKIPPED, _AGAIN = "folder that holds no frames", "link to what is listed already"


def list_images(folder: Path) -> list[Path]:
    """Images directly in `folder`, in natural order (img2 before img10). An `ImageWarning` names what is left out.

    Raises:
        OSError: the folder cannot be read.
    """
    left_out: dict[str, list[str]] = defaultdict(list)
    images = []
    for entry, kind in _entries(folder):
        if kind == _FILE:
            images.append(Path(folder, entry.name))
        elif kind not in (_FOLDER, _LINKED_FOLDER, _SKIPPED):
            left_out[kind].append(entry.name)
    _tell(folder, left_out)
    return sorted(images, key=natural_key)


def list_frames(folder: Path, *, stacks: bool) -> list[Path]:
    """The frames directly in `folder`, in natural order: its images, or where they are stacks its folders with images.

    Among stacks an empty folder is one too: it is a capture without pictures, so reading it gives an error.

    Raises:
        OSError: the folder cannot be read.
    """
    if not stacks:
        return list_images(folder)
    inside = [Path(folder, entry.name) for entry, kind in _entries(folder) if kind in (_FOLDER, _LINKED_FOLDER)]
    with warnings.catch_warnings():  # what is left out of a stack is told when it is read
        warnings.simplefilter("ignore", ImageWarning)
        stacks_there = [path for path in inside if list_images(path)]
        empty = [path for path in inside if not any(path.iterdir())] if stacks_there else []
        return sorted([*stacks_there, *empty], key=natural_key)


def has_image_name(name: str) -> bool:
    """Whether a file is an image by its name alone, where its content is far away. Hidden files are none, nor are
    thumbnails and masks, whose folders hold no frames."""
    *folders, last = name.lower().split("/")
    unwanted = any(part in _NO_FRAMES for part in folders) or last.startswith(".")
    return os.path.splitext(last)[1] in _SUFFIXES and not unwanted


def files_of(frame: Path) -> list[Path]:
    """The files of a frame: the image itself, or all that lie in the folder of a stack."""
    return [path for path in frame.iterdir() if path.is_file()] if frame.is_dir() else [frame]


def empty_folders(root: Path) -> list[Path]:
    """The folders under `root`, in natural order, that hold neither images nor folders: captures without pictures."""
    found = []
    for folder, names, _ in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".") and name.lower() not in _NO_FRAMES]
        with warnings.catch_warnings():  # told already
            warnings.simplefilter("ignore", ImageWarning)
            if not names and Path(folder) != root and not list_images(Path(folder)):
                found.append(Path(folder))
    return sorted(found, key=lambda path: [natural_key(Path(part)) for part in path.parts])


def list_image_tree(root: Path) -> tuple[list[Path], list[FrameError]]:
    """Images in `root` and its subfolders, folder by folder in natural order, and an error for each subfolder that
    cannot be read. An `ImageWarning` names what is left out.

    Links to folders and images are followed once. A link that leads back, or to something already listed, is left out.

    Raises:
        OSError: `root` itself cannot be read.
    """
    left_out: dict[str, list[str]] = defaultdict(list)
    images: dict[Path, list[Path]] = {}
    links: list[Path] = []  # to images
    errors: list[FrameError] = []
    whole = Path(os.path.realpath(root))
    # A link to a folder above would give the neighbours of `root`, which nobody asked for.
    seen = {_identity(above) for above in whole.parents}
    folders, linked = [root], list[Path]()
    while folders or linked:
        # Links last: what has a place of its own under `root` is named by that place.
        folder = folders.pop() if folders else linked.pop(0)
        try:
            identity = _identity(folder)
            entries = [] if identity in seen else _entries(folder)
        except OSError as error:
            if folder == root:
                raise
            errors.append(FrameError(f"cannot read the folder {folder}", got=error.strerror or error))
            continue
        if identity in seen:
            left_out[_AGAIN].append(_relative(folder, root))
            continue
        seen.add(identity)
        for entry, kind in entries:
            path = Path(folder, entry.name)
            if kind == _FOLDER:
                folders.append(path)
            elif kind == _LINKED_FOLDER:
                linked.append(path)
            elif kind != _FILE:
                left_out[kind].append(_relative(path, root))
            elif entry.is_symlink():
                links.append(path)
            else:
                images.setdefault(folder, []).append(path)
    left_out[_AGAIN] += [_relative(path, root) for path in _add_links(images, links)]
    _tell(root, left_out)
    return [path for folder in sorted(images) for path in sorted(images[folder], key=natural_key)], errors


def _entries(folder: Path) -> list[tuple[os.DirEntry[str], str]]:
    """Name -> kind, for everything in a folder."""
    with os.scandir(folder) as entries:
        return [(entry, _kind(entry)) for entry in sorted(entries, key=lambda entry: entry.name)]


def _kind(entry: os.DirEntry[str]) -> str:
    hidden = entry.name.startswith(".")
    try:
        if entry.is_dir():
            if hidden or entry.name.lower() in _NO_FRAMES:
                return _SKIPPED
            return _LINKED_FOLDER if entry.is_symlink() or _is_junction(entry) else _FOLDER
        if hidden:
            return _HIDDEN
        if not entry.is_file():
            # a pipe would be waited for; what is not there (a link to nothing) is listed, and cannot be read
            return _SPECIAL if os.path.exists(entry.path) else _FILE
        if os.path.splitext(entry.name)[1].lower() in _SUFFIXES:
            return _FILE
        with open(entry.path, "rb") as file:
            return _NO_IMAGE if image_kind(file.read(HEAD_BYTES)) is None else _FILE
    except OSError:  # a link to itself, a file that may not be read
        return _HIDDEN if hidden else _FILE


def _is_junction(entry: os.DirEntry[str]) -> bool:
    """Whether this is a junction of Windows, which is no symbolic link and yet leads elsewhere."""
    attributes = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0)
    return bool(attributes & getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0))


def _identity(folder: Path) -> tuple[int, int] | str:
    """What two names of one folder have in common; some file systems of Windows number nothing."""
    found = os.stat(folder)
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.normcase(os.path.realpath(folder))


def _add_links(images: dict[Path, list[Path]], links: Iterable[Path]) -> list[Path]:
    """Adds the links to images that are not listed yet; returns the others."""
    links = list(links)
    if not links:
        return []
    real = {folder: os.path.realpath(folder) for folder in images}
    known = {os.path.normcase(os.path.join(real[folder], p.name)) for folder in images for p in images[folder]}
    again = []
    for link in links:
        target = os.path.normcase(os.path.realpath(link))
        if target in known and os.path.exists(target):
            again.append(link)
        else:
            known.add(target)
            images.setdefault(link.parent, []).append(link)
    return again


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sorts names as people do: img2 before img10."""
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in re.split(r"(\d+)", path.name.lower()) if p]


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _tell(folder: Path, left_out: dict[str, list[str]]) -> None:
    """Warns of what is left out: "3 files that are no images (Thumbs.db, notes.txt, out.csv), 1 hidden file (.a)"."""
    texts = {
        _NO_IMAGE: ("1 file that is no image", "{} files that are no images"),
        _HIDDEN: ("1 hidden file", "{} hidden files"),
        _SPECIAL: ("1 device, pipe or socket", "{} devices, pipes or sockets"),
        _SKIPPED: ("1 folder that holds no frames", "{} folders that hold no frames"),
        _AGAIN: ("1 link to what is listed already", "{} links to what is listed already"),
    }
    parts = []
    for kind, (one, many) in texts.items():
        if names := sorted(left_out.get(kind, [])):
            more = ", ..." if len(names) > _LISTED else ""
            what = one if len(names) == 1 else many.format(len(names))
            parts.append(f"{what} ({', '.join(names[:_LISTED])}{more})")
    if parts:
        warnings.warn(ImageWarning(f"left out of {folder}: {', '.join(parts)}"), stacklevel=3)
