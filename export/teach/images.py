"""The good images that `edge-ad teach` is given: files, folders, or all below the folder of a camera."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edge_ad.data.layouts import Look, expand_home, load_category, look_at_images
from edge_ad.errors import DatasetError
from edge_ad.frames.listing import list_image_tree, list_images
from edge_ad.spec import FrameSpec
from edge_ad.system.names import listed
from edge_ad.system.progress import Progress
from export.summary import Summary

_LISTED = 5  # names in a message


def find_images(given: Sequence[Path], source: Path | None) -> list[Path]:
    """The files, each once.

    Args:
        given: files, and folders of good images or of a category, whose good images are then taken.
        source: a folder; images in folders below it are taken too.

    Raises:
        DatasetError: there is nothing, a folder without images, or one that cannot be read.
    """
    if not given and source is None:
        raise DatasetError(
            "there are no images to learn from",
            expected="files or folders of good images after the name, or --source with the folder of a camera",
            got="none",
        )
    found = [image for path in given for image in _images_of(expand_home(str(path)))]
    if source is not None:
        found += _below(expand_home(str(source)))
    return list(dict.fromkeys(found))


def _images_of(path: Path) -> list[Path]:
    if os.path.isdir(path):  # unlike Path, it takes a name that is too long
        try:
            # a folder without images may be a category; if it is none, the error says what is there
            return list_images(path) or list(load_category(path).train_good)
        except OSError as error:
            raise _unreadable(path, error) from error
    if not os.path.exists(path):
        raise DatasetError(f"there is no {path}", expected="an image, or a folder of good images", got="nothing there")
    return [path]


def _below(folder: Path) -> list[Path]:
    try:
        images, errors = list_image_tree(folder)
    except OSError as error:
        raise _unreadable(folder, error) from error
    if errors:
        raise DatasetError(f"a folder below {folder} cannot be read", got=errors[0].what)
    if not images:
        raise DatasetError(
            f"there are no images below {folder}", expected="PNG, JPEG, BMP, TIFF or WebP images", got="none"
        )
    return images


def _unreadable(folder: Path, error: OSError) -> DatasetError:
    got = error.strerror or error
    return DatasetError(f"{folder} cannot be read", expected="a readable folder of images", got=got)


def check_for(frame: FrameSpec, paths: Sequence[Path], skip_bad: bool, summary: Summary) -> list[Path]:
    """The images that a bundle for such frames can learn from: readable, and each picture once.

    Raises:
        DatasetError: one cannot be read, or is no frame of this bundle; or none is left.
    """
    with Progress("reading", len(paths), unit="images") as progress:
        seen, bad = look_at_images(paths, skip_bad, progress)
    if bad:
        summary.say("left out", f"{len(bad)} unreadable: {_names([path for path, _ in bad])}")
    first: dict[bytes, Path] = {}
    for path, look in seen.items():
        first.setdefault(look.digest, path)
    if copies := [path for path, look in seen.items() if first[look.digest] is not path]:
        summary.say("left out", f"{len(copies)} copies of other images: {_names(copies)}")
    if not first:
        raise DatasetError("there is no image to learn from", expected="1 or more that can be read", got="none")
    _check_frames(frame, {path: seen[path] for path in first.values()})
    return list(first.values())


def _check_frames(frame: FrameSpec, looks: dict[Path, Look]) -> None:
    other = [path for path, look in looks.items() if frame.size not in (None, look.size)]
    if other:
        size = looks[other[0]].size
        raise DatasetError(
            f"{len(other)} of {len(looks)} images have another size than the frames of the bundle",
            expected="{} x {}".format(*frame.size or ()),
            got=f"{size[0]} x {size[1]}: {_names(other)}",
            remedy="Give images of the same camera and setting, or make a bundle anew for these.",
        )
    deep = [path for path, look in looks.items() if look.bit_depth > frame.bit_depth]
    if deep:
        raise DatasetError(
            "the bundle is for frames of 8 bits",
            expected="images with 8 bits",
            got=f"16 bits: {_names(deep)}",
            remedy="Export anew with these images.",
        )


def _names(paths: Sequence[Path]) -> str:
    return listed([path.name for path in paths], _LISTED)
