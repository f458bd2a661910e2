"""Detection power of two heads of one backbone, by the same synthetic defects: what a bundle saw, and what it sees.

Defects are put on good pictures that the bundle accepts, as on one that it rejects anyway every defect is "found". One
is found where the score reaches the threshold; on a picture that a head rejects without it (the picture that the bundle
itself holds was moved, and has a seam) where a patch does that did not before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_ad.bundle.file import Bundle
from edge_ad.bundle.probes import load_probes
from edge_ad.errors import EdgeADError
from edge_ad.frames.align import Aligner
from edge_ad.frames.capture import open_frame
from edge_ad.heads.base import Head, TileHead
from edge_ad.metrics.power import detection_power
from edge_ad.spec import Manifest, PowerSpec
from edge_ad.system.files import write_file
from edge_ad.system.progress import Progress
from export.features import stream
from export.held_out import joined, with_changed
from export.power import Known, SynthDefect, SynthDefects, changed_by, draw_defects
from export.stages import Stages

TURNS = 2  # defects of each kind, size and contrast
ENOUGH = 3  # good pictures
OWN = "the bundle's own good picture"


@dataclass(frozen=True)
class Drawn:
    """Synthetic defects, and the pictures that they are on.

    Attributes:
        pictures: files.
        own: how many of them, at the end, are the bundle's own.
    """

    pictures: tuple[Path, ...]
    own: int
    synthetic: SynthDefects


@dataclass(frozen=True)
class Compared:
    """The two powers.

    Attributes:
        power: before and after; None if no defect could be drawn.
        spec: for the new bundle: scores of the defects on pictures that no head has seen; None without any.
    """

    power: tuple[float, float] | None
    spec: PowerSpec | None
    synthetic: int
    pictures: int


@dataclass(frozen=True)
class Seeing:
    """An input size: its stages, and its head before and after, each with the threshold of its own scale."""

    stages: Stages
    heads: tuple[Head, Head]
    thresholds: tuple[float, float]


def write_own_picture(first: Bundle, folder: Path) -> list[Path]:
    """The good picture among the golden probes of the first bundle, as a file; none if the bundle holds none."""
    for probe in load_probes(first)[:1]:
        path = folder / f"{OWN}.png"
        done, data = cv2.imencode(".png", probe.frame)
        if done:
            write_file(path, [data.tobytes()])
            return [path]
    return []


def draw(goods: Sequence[Path], own: Sequence[Path], spec: Manifest, seed: int, aligner: Aligner | None) -> Drawn:
    """Synthetic defects on the good pictures.

    Args:
        goods: good images that the bundle accepts, and so takes no rows from.
        own: the bundle's own picture.
        spec: of the bundle that learns.
    """
    pictures = (*goods, *own)
    numbers = np.arange(len(pictures))
    found = SynthDefects((), seed)
    # the bundle's own picture is smaller, and one of those that it has learned: it stands in where there are few others
    turns = range(TURNS) if len(goods) < ENOUGH else range(0)
    for images, given in ((numbers[: len(goods)], range(TURNS)), (numbers[len(goods) :], turns)):
        with contextlib.suppress(EdgeADError):  # such as a part that is not found in the picture that was moved
            if len(images):
                region = _region(spec, open_frame(pictures[images[0]], spec.frame)[0].shape[:2])
                found = found.with_more(draw_defects(pictures, images, region, spec.frame, seed, given, aligner))
    return Drawn(pictures, len(own), found)


def _region(spec: Manifest, size: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """The box of the region of interest in a picture; None without one."""
    if spec.roi is None:
        return None
    whole = spec.frame.size or size
    y0, x0, y1, x1 = spec.roi.box
    scale_y, scale_x = size[0] / whole[0], size[1] / whole[1]
    region = np.zeros(size, np.bool_)
    region[round(y0 * scale_y) : round(y1 * scale_y), round(x0 * scale_x) : round(x1 * scale_x)] = True
    return region if region.any() else None


def compare(drawn: Drawn, sights: Sequence[Seeing], factor: float, label: str) -> Compared:
    """Both powers, and what a bundle keeps of the new one.

    Args:
        factor: of the second input size's scores.
    """
    defects = drawn.synthetic.defects
    if not defects:
        return Compared(None, None, 0, 0)
    flags, scores = np.zeros((2, len(defects)), np.bool_), list[list[float]]()
    for sight in sights:
        found, new = _looked_at(drawn, sight, label)
        flags |= found
        scores.append(new)
    together = scores[0] if len(scores) == 1 else joined(scores[0], scores[1], factor)
    hits = [drawn.synthetic.spec(own.astype(float).tolist(), defects) for own in flags]
    before, after = (detection_power(cast(PowerSpec, hit), 0.5) for hit in hits)
    kept = [at for at, defect in enumerate(defects) if defect.image < len(drawn.pictures) - drawn.own]
    spec = drawn.synthetic.spec([together[at] for at in kept], [defects[at] for at in kept])
    return Compared((before, after), spec, len(defects), len({defect.image for defect in defects}))


def _looked_at(drawn: Drawn, sight: Seeing, label: str) -> tuple[NDArray[np.bool_], list[float]]:
    """(2, n) bool: whether each head finds each defect at this input size; and the scores of the new head."""
    stages, defects = sight.stages, drawn.synthetic.defects
    patches = np.stack([*stream(drawn.pictures, stages.frame, stages.crop, stages.engine, stages.masks.rows)])
    found = np.zeros((2, len(defects)), np.bool_)
    scores: list[float] = []
    with Progress(f"power {label}", len(defects), unit="defects") as progress:
        judges = [_Judge(head, limit) for head, limit in zip(sight.heads, sight.thresholds, strict=True)]
        changes = changed_by(defects, drawn.pictures, patches, stages, Known())
        for at, (defect, changed) in enumerate(zip(defects, changes, strict=True)):
            for number, judge in enumerate(judges):
                found[number, at], score = judge.finds(defect, patches[defect.image], changed)
            scores.append(score)
            progress.update(1)
    return found, scores


class _Judge:
    """A head that looks at the synthetic defects of one picture after another."""

    def __init__(self, head: Head, threshold: float) -> None:
        self._head, self._threshold = cast(TileHead, head), threshold
        self._image = -1

    def finds(self, defect: SynthDefect, good: NDArray[np.float32], changed: object) -> tuple[bool, float]:
        """Whether it finds the defect, and the score."""
        head = self._head
        if defect.image != self._image:
            self._image, good = defect.image, np.ascontiguousarray(good)
            self._found = head.find(good, None)
            scored = head.judge((self._found[0].copy(), self._found[1].copy()), good.__getitem__)
            self._values, self._accepted = scored.distances, scored.score < self._threshold
        spoiled = changed.on(good)  # type: ignore[attr-defined]
        scored = head.judge(with_changed(self._found, changed, head), spoiled.__getitem__)  # type: ignore[arg-type]
        if self._accepted:
            return scored.score >= self._threshold, scored.score
        new = (scored.distances >= self._threshold) & (self._values < self._threshold)
        return bool(new.any()), scored.score
