"""Makes the choice of an export: draws defects, tries the sizes, and tells what was tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad import native
from edge_ad.errors import BackboneError
from edge_ad.registry import METHODS
from edge_ad.spec import FrameSpec, Size
from export.choose.choice import LOCAL, USUAL_LOCAL, Evidence, candidates, choose, table
from export.choose.cost import work_of
from export.choose.sizes import AREAS, candidate_sizes
from export.choose.trial import Seen, Trial
from export.coreset import kept_share
from export.network import Network
from export.options import Options
from export.power import draw_defects
from export.roi import DrawnRoi
from export.stages import Stages, open_stages
from export.summary import Summary

IMAGES = {"usual": 48, "thorough": 200}  # good images in a trial
DEFECTS = {"usual": 1, "thorough": 4}  # of each kind, size and contrast
MEMORY = 2**30  # bytes of patches that a trial may hold
LEAST_IMAGES = 16  # with fewer there is nothing to hold out
ROWS = 2000  # patches in the coreset of a fold of a trial: search must not cost more than the backbone
THOROUGH = (256**2, 320**2, 384**2, 448**2, 512**2, 640**2)


@dataclass(frozen=True)
class Chosen:
    """What an export goes on with.

    Attributes:
        sizes: one input size, or two that are joined.
        local_scale, smooth: of PatchCore.
        opened: stages at sizes that were tried; those of `sizes` may be used again.
    """

    sizes: tuple[Size, ...]
    local_scale: float
    smooth: float
    opened: Mapping[Size, Stages]

    def settle(self, options: Options) -> Options:
        """The options with nothing left open. Of two joined sizes, the smaller is also made a point of its own."""
        first, second = self.sizes[0], self.sizes[1] if len(self.sizes) == 2 else None
        more = (first,) if options.input_size is None and second is not None else options.more_sizes
        local: dict[str, Any] = {"local_scale": self.local_scale, "smooth": self.smooth}
        return replace(options, input_size=first, second_size=second, more_sizes=more, **local)


@dataclass(frozen=True)
class Subject:
    """What the choice is made for.

    Attributes:
        options, network, frame, region: of the export.
        good_images: files to learn from.
        frames: their (H, W).
        pool: threads.
    """

    options: Options
    network: Network
    frame: FrameSpec
    region: DrawnRoi | None
    good_images: Sequence[Path]
    frames: Iterable[Size]
    pool: native.Pool


def decide(subject: Subject, summary: Summary) -> Chosen:
    """What the options leave open, by evidence; what they fix stays."""
    options = subject.options
    sizes, local = _sizes(subject), _local(options)
    local = local if options.tiles is None else local[:1]  # a trial would look at every tile of many frames
    fixed = options.input_size is not None
    if all(option.name != "local_scale" for option in METHODS[options.method].options):  # nothing to try
        return Chosen(tuple(sizes if fixed else sizes[:1]), *USUAL_LOCAL, {})
    with summary.stage("trials"):
        opened = _open(sizes, subject, summary)
        seen = _seen(opened, local, subject, summary)
    cost = {size: _cost_ms(stages, subject) for size, stages in opened.items()}
    found = candidates(seen, cost, fixed=fixed)
    best = choose(found, options.budget_ms)
    open_left = not fixed or len(local) > 1
    if open_left:
        summary.say("choice", f"{best.name}, local scale {best.exponent:g}, smoothing {best.sigma:g}")
    if len(found) > 1 and any(candidate.power is not None for candidate in found):
        summary.say("tried", table(found, best, options.budget_ms))
    if best.ms > options.budget_ms:
        what = "this takes" if fixed else "nothing is within the budget; the cheapest takes"
        summary.say("note", f"{what} {best.ms:.0f} ms by the model, above --budget-ms {options.budget_ms:g}")
    return Chosen(best.sizes, best.exponent, best.sigma, opened)


def _seen(
    opened: Mapping[Size, Stages], local: Sequence[tuple[float, float]], subject: Subject, summary: Summary
) -> Evidence:
    """What each size saw in a trial; nothing where none is made: then the usual is taken."""
    nothing: Evidence = {size: {local[0]: None} for size in opened}
    if subject.options.effort == "quick" or (len(local) == 1 and len(opened) == 1):
        return nothing
    if subject.options.input_size is not None and len(local) == 1:
        return nothing
    if len(subject.good_images) < LEAST_IMAGES:
        summary.say("choice", f"nothing was tried, as that takes {LEAST_IMAGES} good images or more")
        return nothing
    found = _try(opened, local, subject)
    if found is None:
        summary.say("choice", "nothing was tried, as no synthetic defect can be drawn on these images")
    return found or nothing


def _sizes(subject: Subject) -> list[Size]:
    """The sizes to try, ascending; those that are fixed, if some are."""
    options = subject.options
    if options.input_size is not None:
        return [options.input_size, *([options.second_size] if options.second_size else [])]
    box = None if subject.region is None else subject.region.box
    return candidate_sizes(subject.frames, box, THOROUGH if options.effort == "thorough" else AREAS)


def _local(options: Options) -> list[tuple[float, float]]:
    """The (exponent, sigma) to try, the usual one first."""
    scale, smooth = options.local_scale, options.smooth
    found = [
        (exponent if scale is None else scale, sigma if smooth is None else smooth)
        for exponent, sigma in (USUAL_LOCAL, *LOCAL)
    ]
    return list(dict.fromkeys(found))


def _cost_ms(stages: Stages, subject: Subject) -> float:
    patches = stages.masks.count
    total = patches * len(subject.good_images)
    rows = round(kept_share(subject.options.coreset, total) * total)
    return work_of(stages.graph, patches, rows, max(1, len(stages.tiles))).ms()


def _open(sizes: Sequence[Size], subject: Subject, summary: Summary) -> dict[Size, Stages]:
    """Stages of each size that the network can have."""
    opened: dict[Size, Stages] = {}
    first = None
    for number, size in enumerate(sizes, 1):
        given = subject.options, subject.network, subject.frame, subject.region, subject.good_images, size
        try:
            opened[size] = open_stages(*given, first)
        except BackboneError as error:
            if subject.options.input_size is not None or (number == len(sizes) and not opened):
                raise
            summary.say("not tried", f"{size[0]} x {size[1]}: {error.what}")
            continue
        first = first or opened[size]
    return opened


def _try(opened: Mapping[Size, Stages], local: Sequence[tuple[float, float]], subject: Subject) -> Evidence | None:
    options, good_images = subject.options, subject.good_images
    generator = np.random.default_rng([options.seed, 3])
    each = 4 * max(
        stages.masks.count * stages.backbone.dim for stages in opened.values()
    )  # bytes of an image's patches
    most = max(LEAST_IMAGES, min(IMAGES[options.effort], MEMORY // each))
    numbers = np.sort(generator.permutation(len(good_images))[:most])
    paths = [good_images[number] for number in numbers]
    mask = None if subject.region is None else subject.region.mask
    count = DEFECTS[options.effort]
    drawn = draw_defects(paths, np.arange(len(paths)), mask, subject.frame, options.seed, count)
    if not drawn.defects:
        return None
    seen: dict[Size, dict[tuple[float, float], Seen | None]] = {}
    for size, stages in opened.items():
        trial = Trial(stages, paths, drawn, ROWS, options.seed, subject.pool)
        seen[size] = {own: trial.seen(*own) for own in local}
    return seen
