"""Detection power: puts synthetic defects on good images that a head has not seen, and scores them.

`draw_defects` draws them once for an export, in frame pixels; a defect is kept as the part of the frame that it
changes. Every operating point and every candidate of `export.choose` then looks at the same ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_ad.engines.ahead import run_ahead
from edge_ad.engines.finite import require_finite
from edge_ad.errors import DatasetError
from edge_ad.frames.align import Aligner
from edge_ad.frames.capture import open_frame
from edge_ad.heads.base import Found
from edge_ad.heads.index import Estimate
from edge_ad.sources.prefetch import prefetch
from edge_ad.spec import Box, Frame, FrameSpec
from edge_ad.spec.power import PowerSpec
from edge_ad.system.progress import Progress
from export.stages import Stages
from export.synth.defect import KINDS, add_defect
from export.synth.study import study

SIZES = (0.01, 0.02, 0.05, 0.1, 0.2)  # largest extents, as parts of the frame's shorter side
CONTRASTS = (0.05, 0.15, 0.4)  # barely visible, plain, strong
POWER_DEFECTS = {"quick": 0, "usual": 2, "thorough": 8}  # of each kind, size and contrast, in the power of a bundle
ONE = range(1)
Numbers = NDArray[np.int32]
KEPT = 2**28  # bytes of frames that drawn defects may keep: they are looked at again and again
_ROUNDING = 1e-4  # relative: far more than what distances of some thousand numbers are rounded by
_FAINT = 0.5  # a defect with less than this share of the faintest contrast is not there to be found


@dataclass(frozen=True)
class SynthDefect:
    """A synthetic defect on a good image.

    Attributes:
        image: number of the good image.
        cell: as in `edge_ad.spec.power.PowerSpec`.
        box: the part of the frame that it changes.
        pixels: that part with the defect.
        good: the frame of the good image, which all defects on it share; None where it has to be read again.
    """

    image: int
    cell: int
    box: Box
    pixels: Frame
    good: Frame | None = None


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

    def among(self, paths: Sequence[Path], others: Sequence[Path]) -> SynthDefects | None:
        """The same on the same files, with their numbers among `others`; None if one is missing there.

        Args:
            paths: files of the good images, by the numbers of now.
        """
        number = {path: at for at, path in enumerate(others)}
        images = {defect.image for defect in self.defects}
        if not images <= {at for at, path in enumerate(paths) if path in number}:
            return None
        return self.numbered([number.get(path, -1) for path in paths])

    def numbered(self, numbers: Sequence[int] | NDArray[np.int64]) -> SynthDefects:
        """The same, where image n is image `numbers[n]`."""
        moved = (replace(defect, image=int(numbers[defect.image])) for defect in self.defects)
        return SynthDefects(tuple(sorted(moved, key=lambda defect: defect.image)), self.seed)

    def with_more(self, more: SynthDefects) -> SynthDefects:
        """Both."""
        return SynthDefects(tuple(sorted((*self.defects, *more.defects), key=lambda defect: defect.image)), self.seed)


NO_DEFECTS = SynthDefects((), 0)


def draw_defects(
    paths: Sequence[Path],
    images: NDArray[np.int64],
    region: NDArray[np.bool_] | None,
    frame: FrameSpec,
    seed: int,
    turns: range = ONE,
    aligner: Aligner | None = None,
) -> SynthDefects:
    """Seeded synthetic defects of every kind, size and contrast, one in each turn, spread over some of the images.

    A defect counts for the contrast that it reached, and not for the one that was asked for: white cannot get whiter.
    One that cannot be seen at all is left out.

    Args:
        paths: files of all good images.
        images: numbers of those to put defects on.
        region: (H, W) bool, the only pixels that may change; None for the object in the picture.
        turns: their numbers; a turn draws the same whether it is the first one or goes on after others.
        aligner: finds the part, which the region follows.
    """
    if not turns or frame.stack is not None:  # a picture of a defect in a normal map is no surface
        return NO_DEFECTS
    work = _spread(images, seed, turns)
    found: list[SynthDefect] = []
    room = KEPT
    with Progress("synthetic defects", sum(map(len, work.values())), unit="defects") as progress:
        images_in_order = sorted(work)
        frames = prefetch(
            [paths[image] for image in images_in_order], lambda source: open_frame(next(source), frame)[0]
        )
        for image, pixels in zip(images_in_order, frames, strict=True):
            own = region if region is None or aligner is None else aligner.find(pixels).mask_in_frame(region)
            picture = study(pixels, own, frame.white_level if pixels.dtype == np.uint16 else None)
            good = pixels if pixels.nbytes <= room else None
            room -= 0 if good is None else good.nbytes
            for kind, s, c, n in work[image]:
                generator = np.random.default_rng([seed, zlib.crc32(kind.encode()), s, c, n])
                try:
                    made = add_defect(picture, kind, SIZES[s], CONTRASTS[c], generator)
                except DatasetError:  # this picture cannot show such a defect; `PowerSpec` counts those made
                    continue
                if made.reached >= _FAINT * CONTRASTS[0]:
                    y0, x0, y1, x1 = made.box
                    part = made.image[y0:y1, x0:x1].copy()
                    found.append(SynthDefect(image, _cell(kind, s, made.reached), made.box, part, good))
            progress.update(len(work[image]))
    return SynthDefects(tuple(found), seed)


def _spread(images: NDArray[np.int64], seed: int, turns: range) -> dict[int, list[tuple[str, int, int, int]]]:
    """Image -> kind, number of the size, number of the contrast, and turn, of each defect on it."""
    work: dict[int, list[tuple[str, int, int, int]]] = {}
    for kind in KINDS:  # each kind takes the images in an order of its own
        order = np.random.default_rng([seed, zlib.crc32(kind.encode())]).permutation(images)
        cells = [(s, c, n) for n in turns for s in range(len(SIZES)) for c in range(len(CONTRASTS))]
        for number, (s, c, n) in enumerate(cells, turns.start * len(SIZES) * len(CONTRASTS)):
            work.setdefault(int(order[number % len(order)]), []).append((kind, s, c, n))
    return work


def _cell(kind: str, size: int, reached: float) -> int:
    contrast = int(np.argmin(np.abs(np.log(np.asarray(CONTRASTS) / reached))))
    return (list(KINDS).index(kind) * len(SIZES) + size) * len(CONTRASTS) + contrast


@dataclass(frozen=True)
class Changed:
    """What a synthetic defect changes in the patches of its good image.

    Attributes:
        rows: (k,) int64, ascending: the patches of the region that differ in a bit.
        patches: (k, D) float32: these.
    """

    rows: NDArray[np.int64]
    patches: NDArray[np.float32]

    def on(self, good: NDArray[np.float32]) -> NDArray[np.float32]:
        """(R, D): all patches of the picture, from (R, D) of the good image."""
        patches = np.array(good)
        patches[self.rows] = self.patches
        return patches

    def vector(self, good: NDArray[np.float32]) -> Callable[[int], NDArray[np.float32]]:
        """Gives a patch of the picture by its number: what `on` holds, without a copy of all."""

        def of(number: int) -> NDArray[np.float32]:
            at = int(np.searchsorted(self.rows, number))
            return self.patches[at] if at < len(self.rows) and self.rows[at] == number else good[number]

        return of

    def estimate(self, good: Nearby, old: NDArray[np.float32]) -> Estimate:
        """What can be said of the picture without a search: a distance grows by no more than its patch has moved.

        Args:
            good: of the good image.
            old: (R, D) its patches.
        """
        distances, nearest = good.distances.copy(), good.nearest.copy()
        at, open_patches, sure = self.rows, np.zeros(len(old), np.bool_), np.zeros(len(old), np.bool_)
        moved = np.linalg.norm(self.patches - old[at], axis=1)
        distances[at] = (distances[at] + moved) * np.float32(1 + _ROUNDING)
        open_patches[at] = True
        sure[at] = distances[at] < (good.second[at] - moved) * np.float32(1 - _ROUNDING)
        return Estimate(distances, nearest, open_patches, sure)

    def search(self, find: Callable[[NDArray[np.float32], NDArray[np.int32]], Found]) -> Callable[[Numbers], Found]:
        """Finds the patches of the picture by their numbers; `find` searches some of (k, D)."""
        return lambda numbers: find(self.patches, np.searchsorted(self.rows, numbers).astype(np.int32))


@dataclass(frozen=True)
class Nearby:
    """Distances of a good image's patches to a coreset, each (R,): to the nearest row, which row, to the second one."""

    distances: NDArray[np.float32]
    nearest: NDArray[np.int32]
    second: NDArray[np.float32]


@dataclass
class Known:
    """What synthetic defects change at one input size of a network, so that no picture is looked at twice.

    It holds `most` bytes; of further defects it keeps nothing.
    """

    most: int = 0
    _found: dict[int, tuple[SynthDefect, Changed]] = field(default_factory=dict)

    def get(self, defect: SynthDefect) -> Changed | None:
        """What this defect changes, if it is known."""
        found = self._found.get(id(defect.pixels))
        return None if found is None else found[1]

    def keep(self, defect: SynthDefect, changed: Changed) -> None:
        """Remembers it, where there is room."""
        if changed.patches.nbytes <= self.most:
            self.most -= changed.patches.nbytes
            self._found[id(defect.pixels)] = defect, changed  # the defect lives on with its pixels, so their id is its


def changed_by(
    defects: Sequence[SynthDefect],
    paths: Sequence[Path],
    patches: NDArray[np.float32],
    stages: Stages,
    known: Known,
) -> Iterator[Changed]:
    """What each defect changes, in their order.

    Args:
        patches: (n, R, D) of the good images `paths`.
        known: what was looked at before; it is added to.

    Raises:
        EngineError: a patch is NaN or Inf.
    """
    by = f"{stages.engine.name} {stages.engine.version} in {stages.engine.precision}"
    fresh = [defect for defect in defects if known.get(defect) is None]
    spoiled = (stages.crop(frame, from_file=True) for frame in frames_with(fresh, paths, stages.frame))
    answers = run_ahead(stages.engine, stages.engine.streams, spoiled)
    for defect in defects:
        if (changed := known.get(defect)) is None:
            seen, good = next(answers), patches[defect.image]
            of = f"{paths[defect.image]} with a synthetic defect"
            require_finite(seen, of=of, by=by, remedy="Check the weights of the backbone.")
            seen = seen if stages.masks.rows is None else seen[stages.masks.rows]
            rows = np.flatnonzero((seen != good).any(axis=1))
            known.keep(defect, changed := Changed(rows, seen[rows]))
        yield changed


def frames_with(defects: Sequence[SynthDefect], paths: Sequence[Path], frame: FrameSpec) -> Iterator[Frame]:
    """The frames with the defects, in their order, each an array of its own. An image with several is read once."""
    at = -1
    good: Frame = np.empty((0, 0), np.uint8)
    for defect in defects:
        if defect.image != at:
            at = defect.image
            good = open_frame(paths[at], frame)[0] if defect.good is None else defect.good
        spoiled = good.copy()
        y0, x0, y1, x1 = defect.box
        spoiled[y0:y1, x0:x1] = defect.pixels
        yield spoiled
