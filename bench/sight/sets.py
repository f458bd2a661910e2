"""The labelled sets: found by name in the folder of the data, or rendered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.seen import masks_of
from edge_ad.data.layouts import TestImage, check_images, find_category, load_category
from edge_ad.errors import DatasetError
from export.sample.render import SAMPLES, render_sample

SETS = ("bottle", "magnetic_tile", "alien_toy", "leather_tiles", "can_hobby", *SAMPLES)


@dataclass(frozen=True)
class LabelledSet:
    """A category with labelled test images.

    Attributes:
        train: its good images to learn from.
        test: its test images: good ones and defects.
        has_masks: whether every defect has one; without, there is no pixel AUROC.
    """

    name: str
    folder: Path
    train: tuple[Path, ...]
    test: tuple[TestImage, ...]

    @property
    def defects(self) -> NDArray[np.bool_]:
        """(n,) of the test images: which show a defect."""
        return np.array([image.defect is not None for image in self.test])

    @property
    def has_masks(self) -> bool:
        return all(image.mask is not None for image in self.test if image.defect is not None)

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """(n, H, W) of the test images; see `bench.seen.masks_of`."""
        return masks_of(self.test)

    def good_images(self) -> list[Path]:
        """The images to learn from, without exact copies: what the export takes."""
        images, facts = check_images(self.train)
        return [path for path in images if path not in set(facts.copies)]

    @property
    def digest(self) -> str:
        """Of names and sizes of its files: it changes when the data do."""
        masks = [image.mask for image in self.test if image.mask is not None]
        files = [*self.train, *(image.path for image in self.test), *masks]
        lines = sorted(f"{path.relative_to(self.folder).as_posix()} {path.stat().st_size}" for path in files)
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()


def find_sets(names: Sequence[str], data: Path, rendered: Path) -> list[LabelledSet]:
    """The sets of these names, all checked before any work begins.

    A sample that `data` does not have is rendered into the folder `rendered`, or taken from there.

    Raises:
        DatasetError: there is no such set, or its test images are not labelled.
    """
    if not data.is_dir():
        got = "a file" if data.exists() else "nothing there"
        raise DatasetError(f"{data} is not a folder", expected="the folder that holds the sets", got=got)
    rendering = {name for name in names if name in SAMPLES and not (data / name).is_dir()}
    found = {name: open_set(find_category(name, data)) for name in names if name not in rendering}
    return [found.get(name) or open_set(render_sample(name, rendered)) for name in dict.fromkeys(names)]


def open_set(folder: Path) -> LabelledSet:
    """The set in a folder.

    Raises:
        DatasetError: its test images are not labelled.
    """
    category = load_category(folder)
    count = sum(image.defect is not None for image in category.test)
    if not 0 < count < len(category.test):
        raise DatasetError(
            f"{folder} has no labelled test images",
            expected="good images in test/good and defects in other folders of test",
            got=f"{len(category.test) - count} good images and {count} defects",
        )
    return LabelledSet(category.name, folder, category.train_good, category.test)
