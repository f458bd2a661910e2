"""Reads published sets of photometric stereo.

DiLiGenT (pmsData)   NAME/filenames.txt, light_directions.txt, light_intensities.txt, mask.png, the pictures named
                     there; Normal_gt.mat holds the true normals, which scipy reads and only tests and reports need
chrome sphere sets   NAME/NAME.0.png, NAME.1.png, ... (or .tga), NAME/NAME.mask.png; lights.txt beside NAME or in it
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import DatasetError, FrameError
from edge_ad.frames.mask import marked_pixels
from edge_ad.frames.photometric.lights import make_lights, read_lights, rows_of
from edge_ad.frames.photometric.pictures import read_tga
from edge_ad.spec import LightsSpec
from edge_ad.system.inputs import read_input

_NUMBERED = re.compile(r"(.*?)[._-]?(\d+)\.(png|tga|tif|tiff|bmp|jpg|jpeg)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class LightSet:
    """A set of one object.

    Attributes:
        name: of the object.
        pictures: files, in the order of the lights.
        lights: None where the set names none.
        mask: (H, W) bool, True on the object; None where the set has none.
        truth: file of the true normals; None where the set has none.
        others: the other files that the set consists of: mask and lights.
    """

    name: str
    pictures: tuple[Path, ...]
    lights: LightsSpec | None
    mask: NDArray[np.bool_] | None
    truth: Path | None
    others: tuple[Path, ...] = ()


def is_set(folder: Path) -> bool:
    """Whether a folder is a set of one object, in a layout that is known."""
    return (folder / "filenames.txt").is_file() or bool(_numbered(folder))


def find_sets(folder: Path) -> list[Path]:
    """The folder itself if it is a set, or the sets in it.

    Raises:
        DatasetError: there is none.
    """
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        found = [folder] if is_set(folder) else [path for path in inside if is_set(path)]
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read", expected="a folder", got=error.strerror or error) from error
    if not found:
        raise DatasetError(
            f"there is no stack of pictures in {folder}",
            expected="filenames.txt of DiLiGenT, or NAME.0.png, NAME.1.png, ... with NAME.mask.png",
            got="neither",
        )
    return found


def read_set(folder: Path, *, lights_too: bool = True) -> LightSet:
    """The set in a folder. Its pictures are not read.

    Args:
        lights_too: False where others are used, or they are still looked for: then a file with old ones that lies
            beside pictures with numbers is not read.

    Raises:
        DatasetError: it is incomplete or of no known layout.
        FrameError, SpecError: a file of it cannot be used.
    """
    folder = Path(os.path.abspath(folder))  # "." has no name, and nothing beside it
    if (folder / "filenames.txt").is_file():
        return _diligent(folder)
    try:
        pictures = _numbered(folder)
    except OSError as error:
        got = error.strerror or error
        raise DatasetError(f"{folder} cannot be read", expected="a folder of pictures", got=got) from error
    if not pictures:
        raise DatasetError(
            f"{folder} is no set",
            expected="filenames.txt, or three or more pictures with numbers: 00.png, 01.png, ...",
            got="neither",
        )
    own = _NUMBERED.fullmatch(pictures[0].name)
    stem = own[1] if own else ""
    masks = [folder / name for name in (f"{stem}.mask.png", f"{stem}.mask.tga", "mask.png", "mask.tga")]
    given = [folder / "lights.json", folder / "lights.txt", folder.parent / "lights.json", folder.parent / "lights.txt"]
    known = [path for path in given if path.is_file()][:1] if lights_too else []
    drawn = [path for path in masks if path.is_file()][:1]
    lights = read_lights(known[0]) if known else None
    mask = read_mask(drawn[0]) if drawn else None
    _require_count(folder, pictures, lights)
    return LightSet(folder.name, tuple(pictures), lights, mask, None, (*known, *drawn))


def read_mask(path: Path) -> NDArray[np.bool_]:
    """(H, W) bool of a mask file; above half is inside in a TGA file."""
    if path.suffix.lower() != ".tga":
        return marked_pixels(path)
    image = read_tga(str(path))
    return np.asarray((image if image.ndim == 2 else image.max(axis=2)) > 127)


def _diligent(folder: Path) -> LightSet:
    names = [line.strip() for line in _text(folder / "filenames.txt").splitlines() if line.strip()]
    pictures = [folder / name for name in names]
    missing = [path.name for path in pictures if path.parent != folder or not path.is_file()]
    if missing:
        raise DatasetError(f"{folder} is incomplete", expected="every picture of filenames.txt", got=missing[:5])
    strength = folder / "light_intensities.txt"
    towards = _rows(folder / "light_directions.txt")
    lights = make_lights(towards, _rows(strength) if strength.is_file() else None)
    _require_count(folder, pictures, lights)
    mask, truth = folder / "mask.png", folder / "Normal_gt.mat"
    return LightSet(
        folder.name,
        tuple(pictures),
        lights,
        read_mask(mask) if mask.is_file() else None,
        truth if truth.is_file() else None,
        (folder / "filenames.txt", folder / "light_directions.txt", strength, mask, truth),
    )


def _require_count(folder: Path, pictures: Sequence[Path], lights: LightsSpec | None) -> None:
    if lights is not None and lights.count != len(pictures):
        raise DatasetError(f"{folder} is incomplete", expected=f"{lights.count} pictures, as lights", got=len(pictures))


def _rows(path: Path) -> list[list[float]]:
    try:
        return rows_of(_text(path))
    except ValueError as error:
        raise DatasetError(f"{path} holds no lights", expected="numbers", got=error) from error


def _text(path: Path) -> str:
    try:
        return read_input(path, most=2**24).decode()
    except (OSError, ValueError) as error:
        got = error.strerror if isinstance(error, OSError) else error
        raise FrameError(f"cannot read {path}", expected="a text file", got=got) from error


def _numbered(folder: Path) -> list[Path]:
    """The pictures with numbers of one name, by number: those of the most common name and kind."""
    groups: dict[tuple[str, str], dict[int, Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _NUMBERED.fullmatch(path.name)
        if match and path.is_file():
            group = groups.setdefault((match[1], match[3].lower()), {})
            first = group.setdefault(int(match[2]), path)
            if first != path:
                raise DatasetError(
                    f"two pictures in {folder} have one number",
                    expected="a number for each",
                    got=[first.name, path.name],
                )
    if not groups:
        return []
    largest = max(groups.values(), key=len)
    return [largest[number] for number in sorted(largest)] if len(largest) >= 3 else []
