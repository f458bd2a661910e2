"""What an importer gives: all that a bundle takes from another tool's model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_ad.errors import DatasetError, SpecError
from edge_ad.spec import MAX_SIDE, MIN_FRAME_SIDE, Box, Size, Tensor
from edge_ad.spec.base import Range

if TYPE_CHECKING:  # --help needs neither onnx nor the native core
    from export.fit.base import Material, Method
    from export.network import Network


SIDES = Range(MIN_FRAME_SIDE, MAX_SIDE)


@dataclass(frozen=True)
class Asked:
    """What the command line says beside the file.

    Attributes:
        weights: file, or folder with the file, of the backbone's weights; None where the model brings them.
        resize: pixels of the shorter side before a centre crop; None for the tool's usual.
        view: how images are brought to the network, where the model does not say it.
    """

    weights: Path | None = None
    resize: int | None = None
    view: View | None = None


@dataclass(frozen=True)
class View:
    """How a tool brings a frame to its network: resized, then cropped in the centre.

    Attributes:
        size: (H, W) that every frame is resized to; None where the sides keep their proportion.
        shorter: pixels of the shorter side, where they do.
        crop: (H, W) of the centre crop; None for none.

    Raises:
        SpecError: a side is out of range.
    """

    size: Size | None = None
    shorter: int | None = None
    crop: Size | None = None

    def __post_init__(self) -> None:
        shorter = () if self.shorter is None else (self.shorter,)
        for side in (*(self.size or ()), *shorter, *(self.crop or ())):
            SIDES.check(side, "a side of the model's images")

    def at(self, frame: Size | None) -> tuple[Size, Box | None]:
        """The (H, W) that a frame is resized to, and the box of it that the network sees; None for all of it.

        Args:
            frame: (H, W) of all frames; None if they differ.

        Raises:
            DatasetError: they differ, and the view depends on that.
            SpecError: the crop is larger than the frame, or the frame would become too large.
        """
        if frame is None and (self.size is None or self.crop is not None):
            raise DatasetError(
                "the view of this model needs images of one size",
                expected="all (H, W) alike, as it crops the centre or keeps the sides in proportion",
                got="several sizes",
                remedy="Give images of the camera that the bundle is for.",
            )
        size = self.size or _scaled(frame or (0, 0), self.shorter or 0)
        SIDES.check(max(size), "the longer side of a resized frame")
        if self.crop is None or self.crop == size:
            return size, None
        if self.crop[0] > size[0] or self.crop[1] > size[1]:
            raise SpecError("the centre crop is larger than the frame", expected=f"at most {size}", got=self.crop)
        # torchvision's CenterCrop: Python's round, halves to even
        y, x = (round((whole - part) / 2) for whole, part in zip(size, self.crop, strict=True))
        return size, (y, x, y + self.crop[0], x + self.crop[1])


def _scaled(frame: Size, shorter: int) -> Size:
    """torchvision's Resize with one number: the longer side is cut to whole pixels."""
    height, width = frame
    if height <= width:
        return (shorter, int(shorter * width / height))
    return (int(shorter * height / width), shorter)


@dataclass(frozen=True)
class Given:
    """A threshold that comes with a model, in the units of the bundle's scores.

    Attributes:
        score: from which on a frame is anomalous.
        rule, value: how the tool chooses it, as `edge_ad.spec.CalibrationSpec` has it.
    """

    score: float
    rule: Literal["percentile", "f1"]
    value: float = 0.0


@dataclass(frozen=True)
class Imported:
    """A trained model, ready to become a bundle.

    Attributes:
        tool: its name, for a reader.
        network: gives the tool's own patches.
        view: how it sees a frame.
        method: one of `edge_ad.registry.METHODS`.
        own: options of the method.
        fit: the method, fitted already, whatever the images.
        rows: (N, D) float32 that patches are searched in; None for other methods.
        given: thresholds of the model; None if it has none.
        prove: the score of a (1, H, W, 3) tensor by the tool's own graph; None if it cannot be asked here.
        notes: (name, text) of what a reader should know.
    """

    tool: str
    network: Network
    view: View
    method: str
    own: Mapping[str, Any] = field(default_factory=dict)
    fit: Callable[[Material], Method] | None = None
    rows: NDArray[np.float32] | None = None
    given: Given | None = None
    prove: Callable[[Tensor], float] | None = None
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Format:
    """A tool's format.

    Attributes:
        title: the tool.
        files: what it writes, for a reader.
        claims: whether a file or folder is of the tool, by its content. It reads little of it, and raises nothing.
        read: reads it.
    """

    title: str
    files: str
    claims: Callable[[Path], bool]
    read: Callable[[Path, Asked], Imported]


def start_of(path: Path, count: int = 16) -> bytes:
    """The first bytes of a file; none if it cannot be read, or is a pipe or a device, which may never give any."""
    if not path.is_file():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""
