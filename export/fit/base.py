"""The input and the result of fitting a method."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.bundle.file import Members
from edge_ad.heads.base import Head
from edge_ad.heads.index import Estimate
from edge_ad.spec import HeadSpec, IndexSpec
from export.folds import Splits
from export.options import Options
from export.power import Changed, Nearby, SynthDefect
from export.stages import Stages
from export.summary import Summary

if TYPE_CHECKING:
    from export.fit.coresets import Coresets


@dataclass(frozen=True)
class Kept:
    """What stays of a bundle that learns from more images.

    Attributes:
        rows: (N, D) float32: the patches that it searches in.
        patches: how many they were chosen from.
        scale: (N,) float32 factors of the rows; None if the bundle has none.
    """

    rows: NDArray[np.float32]
    patches: int
    scale: NDArray[np.float32] | None


@dataclass(frozen=True)
class Searches:
    """What the heads of the folds found in pictures that they had not seen, so that nothing is searched twice.

    PatchCore fills it (`edge_ad.heads.patchcore`).

    Attributes:
        good: number of a good image -> what the head of the fold that holds it out finds in it.
        defects: `id` of a synthetic defect's pixels -> these, so that they live on with their id, and what is known of
            the picture.
    """

    good: dict[int, Nearby] = field(default_factory=dict)
    defects: dict[int, tuple[NDArray[Any], Estimate]] = field(default_factory=dict)

    def known(self, defect: SynthDefect, changed: Changed, good: NDArray[np.float32]) -> Estimate | None:
        """What is known of a picture with a defect; None if its good image was not searched.

        Args:
            changed: by the defect.
            good: (R, D) patches of the good image.
        """
        if (nearby := self.good.get(defect.image)) is None:
            return None
        new = defect.pixels, changed.estimate(nearby, good)
        return self.defects.setdefault(id(defect.pixels), new)[1]


@dataclass(frozen=True)
class Material:
    """What a method is fitted to.

    Attributes:
        patches: (n, R, D) float32 of all good images, those of the region of interest; may be memory-mapped.
        good_images: the files of those images.
        splits: how they are held out for calibration.
        chosen: bytes of the images' numbers -> rows of the flattened patches that a method chose. The first operating
            point at an input size fills it, and the others use it. A greedy selection changes much after a change in
            the last digits. With the same rows, points differ only by their arithmetic.
        kept: what a bundle that is taught again has learned before; None for a new one.
        searches: what was found in held-out images.
        tried: the coresets of trials of the same images and folds; None where there were none.
    """

    patches: NDArray[np.float32]
    good_images: list[Path]
    stages: Stages
    options: Options
    pool: native.Pool
    splits: Splits
    chosen: dict[bytes, NDArray[np.int64]] = field(default_factory=dict)
    kept: Kept | None = None
    searches: Searches = field(default_factory=Searches)
    tried: Coresets | None = None


@dataclass(frozen=True)
class Fitted:
    """A fitted method.

    Attributes:
        head: scores (R, D) patches of the region of interest.
        spec, index, members: its parts of the manifest and its members.
    """

    head: Head
    spec: HeadSpec
    index: IndexSpec | None
    members: Members


class Method(Protocol):
    """Fits one method to its material, as often as calibration needs it. Each module's ``Fit`` has this form."""

    def fit(self, images: NDArray[np.int64], label: str) -> Head:
        """The head of some of the good images, for (R, D) patches of the region; `label` names the progress bar."""
        ...

    def finish(self, images: NDArray[np.int64], summary: Summary) -> Fitted:
        """The same, with everything that the bundle needs. Adds lines to the summary."""
        ...
