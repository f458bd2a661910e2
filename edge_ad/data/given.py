"""Images that a command is given to learn from: files, folders, or all below the folder of a camera."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_ad.data.layouts import Look, expand_home, load_category
from edge_ad.errors import DatasetError
from edge_ad.frames.listing import list_image_tree, list_images
from edge_ad.spec import FrameSpec
from edge_ad.system.names import listed

_LISTED = 5  # names in a message


def find_images(given: Sequence[Path], source: Path | None) -> list[Path]:
    """Good images, each file once.

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
        found += images_below(expand_home(str(source)))
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


def images_below(path: Path) -> list[Path]:
    """An image, or all images in a folder and below it.

    Raises:
        DatasetError: there is none, or a folder cannot be read.
    """
    if os.path.isfile(path):
        return [path]
    if not os.path.exists(path):
        raise DatasetError(f"there is no {path}", expected="an image, or a folder of images", got="nothing there")
    try:
        images, errors = list_image_tree(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if errors:
        raise DatasetError(f"a folder below {path} cannot be read", got=errors[0].what)
    if not images:
        raise DatasetError(
            f"there are no images below {path}", expected="PNG, JPEG, BMP, TIFF or WebP images", got="none"
        )
    return images


def _unreadable(folder: Path, error: OSError) -> DatasetError:
    got = error.strerror or error
    return DatasetError(f"{folder} cannot be read", expected="a readable folder of images", got=got)


def check_frames(frame: FrameSpec, looks: Mapping[Path, Look]) -> None:
    """Refuses images that are no frames of a bundle.

    Raises:
        DatasetError: another size, or 16 bits where the bundle has 8.
    """
    other = [path for path, look in looks.items() if frame.size not in (None, look.size)]
    if other:
        size = looks[other[0]].size
        raise DatasetError(
            f"{len(other)} of {len(looks)} images have another size than the frames of the bundle",
            expected="{} x {}".format(*frame.size or ()),
            got=f"{size[0]} x {size[1]}: {names_of(other)}",
            remedy="Give images of the same camera and setting, or make a bundle anew for these.",
        )
    deep = [path for path, look in looks.items() if look.bit_depth > frame.bit_depth]
    if deep:
        raise DatasetError(
            "the bundle is for frames of 8 bits",
            expected="images with 8 bits",
            got=f"16 bits: {names_of(deep)}",
            remedy="Export anew with these images.",
        )


def names_of(paths: Sequence[Path]) -> str:
    """The first few names, for a message."""
    return listed([path.name for path in paths], _LISTED)
