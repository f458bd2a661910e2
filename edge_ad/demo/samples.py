"""Samples to choose from on the page: captures of a folder, with a thumbnail each. It knows no Gradio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_ad.demo.looking import thumbnail
from edge_ad.errors import FrameError
from edge_ad.frames.capture import picture_of
from edge_ad.spec import FrameSpec
from edge_ad.system.names import printable
from edge_ad.system.progress import Progress
from edge_ad.verdict.overlay import Picture

MOST = 60  # samples on the page: more would take a minute to read, and nobody would look at them
THUMBNAIL_SIDE = 160


@dataclass(frozen=True)
class Sample:
    """A capture of the folder.

    Attributes:
        name: below the folder, for people.
        path: the image file; of a stack its folder.
        thumbnail: (S, S, 3) u8 BGR; a grey field with a cross if it cannot be read.
    """

    name: str
    path: Path
    thumbnail: Picture


def load_samples(paths: Sequence[Path], base: Path, frame: FrameSpec) -> list[Sample]:
    """Reads the samples, `MOST` at most: of more, those at even distances, the first and the last among them.

    Args:
        paths: of the captures.
        base: the folder that names are below.
        frame: the frames of the bundle.
    """
    chosen = [paths[i] for i in evenly(len(paths), MOST)]
    found = []
    with Progress("samples", len(chosen), unit="images") as progress:
        for path in chosen:
            found.append(Sample(printable(path.relative_to(base).as_posix()), path, _thumbnail(path, frame)))
            progress.update(1)
    return found


def evenly(count: int, most: int) -> list[int]:
    """Numbers below `count`, `most` of them at most, at even distances, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def _thumbnail(path: Path, frame: FrameSpec) -> Picture:
    try:
        return thumbnail(picture_of(path, frame), THUMBNAIL_SIDE)
    except FrameError:  # when it is chosen, the page says what is wrong with it
        return _unreadable(THUMBNAIL_SIDE)


def _unreadable(side: int) -> Picture:
    y, x = np.mgrid[:side, :side]
    cross = (np.abs(y - x) < side // 40) | (np.abs(y + x - side) < side // 40)
    picture: Picture = np.where(cross, np.uint8(150), np.uint8(215))[..., None].repeat(3, axis=2)
    return picture
