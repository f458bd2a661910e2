"""Detection power: puts synthetic defects on good images that a head has not seen, and scores them.

`draw_defects` draws them once for an export, in frame pixels; a defect is kept as the part of the frame that it
changes. Every operating point and every candidate of `export.choose` then looks at the same ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad.engines.finite import require_finite
from edge_ad.errors import DatasetError
from edge_ad.frames.align import Aligner
from edge_ad.frames.capture import open_frame
from edge_ad.spec import Box, Frame, FrameSpec
from edge_ad.spec.power import PowerSpec
from edge_ad.system.progress import Progress
from export.stages import Stages
from export.synth.defect import KINDS, add_defect
from export.synth.study import study

SIZES = (0.01, 0.02, 0.05, 0.1, 0.2)  # largest extents, as parts of the frame's shorter side
CONTRASTS = (0.05, 0.15, 0.4)  # barely visible, plain, strong
POWER_DEFECTS = {"quick": 0, "usual": 2, "thorough": 8}  # of each kind, size and contrast, in the power of a bundle
_FAINT = 0.5  # a defect with less than this share of the faintest contrast is not there to be found


@dataclass(frozen=True)
class SynthDefect:
    """A synthetic defect on a good image.

    Attributes:
        image: number of the good image.
        cell: as in `edge_ad.spec.power.PowerSpec`.
        box: the part of the frame that it changes.
        pixels: that part with the defect.
    """

    image: int
    cell: int
    box: Box
    pixels: Frame


@dataclass(frozen=True)
class SynthDefects:
    """Synthetic defects in the order of their images, and what drew them."""

    defects: tuple[SynthDefect, ...]
    seed: int

    def on(self, images: NDArray[np.int64]) -> list[SynthDefect]:
        """Those on some of the good images."""
        wanted = set(images.tolist())
        return [defect for defect in self.defects if defect.image in wanted]

    def spec(self, scores: Sequence[float], defects: Sequence[SynthDefect]) -> PowerSpec | None:
        """The power, from the scores of some of the defects; None without any."""
        if not defects:
            return None
        return PowerSpec(
            kinds=tuple(KINDS),
            sizes=SIZES,
            contrasts=CONTRASTS,
            cells=tuple(defect.cell for defect in defects),
            scores=tuple(map(float, scores)),
            images=len({defect.image for defect in defects}),
            seed=self.seed,
        )


NO_DEFECTS = SynthDefects((), 0)


def draw_defects(
    paths: Sequence[Path],
    images: NDArray[np.int64],
    region: NDArray[np.bool_] | None,
    frame: FrameSpec,
    seed: int,
    count: int = 1,
    aligner: Aligner | None = None,
) -> SynthDefects:
    """Seeded synthetic defects of every kind, size and contrast, `count` of each, spread over some of the images.

    A defect counts for the contrast that it reached, and not for the one that was asked for: white cannot get whiter.
    One that cannot be seen at all is left out.

    Args:
        paths: files of all good images.
        images: numbers of those to put defects on.
        region: (H, W) bool, the only pixels that may change; None for the object in the picture.
        aligner: finds the part, which the region follows.
    """
    if count == 0 or frame.stack is not None:  # a picture of a defect in a normal map is no surface
        return NO_DEFECTS
    work: dict[int, list[tuple[str, int, int, int]]] = {}
    for kind in KINDS:  # each kind takes the images in an order of its own
        order = np.random.default_rng([seed, zlib.crc32(kind.encode())]).permutation(images)
        cells = [(s, c, n) for s in range(len(SIZES)) for c in range(len(CONTRASTS)) for n in range(count)]
        for turn, (s, c, n) in enumerate(cells):
            work.setdefault(int(order[turn % len(order)]), []).append((kind, s, c, n))
    found: list[SynthDefect] = []
    with Progress("synthetic defects", sum(map(len, work.values())), unit="defects") as progress:
        for image in sorted(work):
            pixels, _ = open_frame(paths[image], frame)
            own = region if region is None or aligner is None else aligner.find(pixels).mask_in_frame(region)
            picture = study(pixels, own, frame.white_level if pixels.dtype == np.uint16 else None)
            for kind, s, c, n in work[image]:
                generator = np.random.default_rng([seed, zlib.crc32(kind.encode()), s, c, n])
                try:
                    made = add_defect(picture, kind, SIZES[s], CONTRASTS[c], generator)
                except DatasetError:  # this picture cannot show such a defect; `PowerSpec` counts those made
                    continue
                if made.reached >= _FAINT * CONTRASTS[0]:
                    y0, x0, y1, x1 = made.box
                    part = made.image[y0:y1, x0:x1].copy()
                    found.append(SynthDefect(image, _cell(kind, s, made.reached), made.box, part))
            progress.update(len(work[image]))
    return SynthDefects(tuple(found), seed)


def _cell(kind: str, size: int, reached: float) -> int:
    contrast = int(np.argmin(np.abs(np.log(np.asarray(CONTRASTS) / reached))))
    return (list(KINDS).index(kind) * len(SIZES) + size) * len(CONTRASTS) + contrast


def patches_with(
    defects: Sequence[SynthDefect], paths: Sequence[Path], stages: Stages
) -> Iterator[NDArray[np.float32]]:
    """(R, D) patches of the frame with each defect, in their order, as `export.features.stream` gives them."""
    by = f"{stages.engine.name} {stages.engine.version} in {stages.engine.precision}"
    for defect, frame in zip(defects, frames_with(defects, paths, stages.frame), strict=True):
        patches = stages.engine(stages.crop(frame, from_file=True))
        of = f"{paths[defect.image]} with a synthetic defect"
        require_finite(patches, of=of, by=by, remedy="Check the weights of the backbone.")
        yield patches if stages.masks.rows is None else patches[stages.masks.rows]


def frames_with(defects: Sequence[SynthDefect], paths: Sequence[Path], frame: FrameSpec) -> Iterator[Frame]:
    """The frames with the defects, in their order, each an array of its own. An image with several is read once."""
    at = -1
    good: Frame = np.empty((0, 0), np.uint8)
    for defect in defects:
        if defect.image != at:
            at = defect.image
            good, _ = open_frame(paths[at], frame)
        spoiled = good.copy()
        y0, x0, y1, x1 = defect.box
        spoiled[y0:y1, x0:x1] = defect.pixels
        yield spoiled
