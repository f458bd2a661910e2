"""What fitting a method needs and gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle.file import Members
from edge_ad.heads.base import Head
from edge_ad.spec import HeadSpec, IndexSpec
from export.options import Options
from export.stages import Stages
from export.summary import Summary


@dataclass(frozen=True)
class Material:
    """What a method is fitted to.

    Attributes:
        patches: (n, R, D) float32 of all good images, those of the region of interest; may be memory-mapped.
        goods: the files of those images.
        chosen: rows of the flattened patches that a method chose, by the bytes of the images' numbers: filled by the
            first operating point at an input size, and taken over by the others. Greedy selections differ widely after
            a change in the last digits; with the same rows, points differ by their arithmetic and by nothing else.
    """

    patches: NDArray[np.float32]
    goods: list[Path]
    stages: Stages
    options: Options
    pool: native.Pool
    chosen: dict[bytes, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitted:
    """A method, fitted.

    Attributes:
        head: scores (R, D) patches of the region of interest.
        spec, index, members: what the bundle says and holds of it.
    """

    head: Head
    spec: HeadSpec
    index: IndexSpec | None
    members: Members


class Method(Protocol):
    """Fits one method to the material it was made with, as often as calibration asks: a module's ``Fit``."""

    def fit(self, images: NDArray[np.int64], label: str) -> Head:
        """The head of some of the good images, for (R, D) patches of the region; `label` names the progress bar."""
        ...

    def finish(self, images: NDArray[np.int64], summary: Summary) -> Fitted:
        """The same with all that the bundle needs; says what was found."""
        ...
