"""Makes the choice of an export: draws defects, tries the sizes, and tells what was tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad import native
from edge_ad.errors import BackboneError
from edge_ad.spec import FrameSpec, Size
from edge_ad.system.tables import aligned
from export.choose.choice import LOCAL, USUAL_LOCAL, Candidate, Evidence, candidates, choose
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
        first, second = self.sizes[0], self.sizes[1] if len(self.sizes) > 1 else None
        was_open = options.input_size is None
        more = (first,) if was_open and second is not None else options.more_sizes
        values: dict[str, Any] = {"input_size": first, "second_size": second, "more_sizes": more}
        values |= {"local_scale": self.local_scale, "smooth": self.smooth}
        return replace(options, **values)


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
    fixed = options.input_size is not None
    if options.method != "patchcore":
        return Chosen(tuple(sizes if fixed else sizes[:1]), *USUAL_LOCAL, {})
    few = len(subject.good_images) < LEAST_IMAGES
    if options.effort == "quick" or few or (fixed and len(local) == 1):
        if few and not (options.effort == "quick" or fixed):
            summary.say("choice", f"nothing was tried, as that takes {LEAST_IMAGES} good images or more")
        return Chosen(tuple(sizes if fixed else sizes[:2]), *local[0], {})
    with summary.stage("trials"):
        opened = _open(sizes, subject, summary)
        seen = _try(opened, local, subject)
    cost = {size: _cost_ms(stages, subject) for size, stages in opened.items()}
    found = candidates(seen, cost, fixed=fixed)
    best = choose(found, options.budget_ms)
    summary.say("choice", f"{best.name}, local scale {best.exponent:g}, smoothing {best.sigma:g}")
    summary.say("tried", _table(found, best, options.budget_ms))
    return Chosen(best.sizes, best.exponent, best.sigma, opened)


def _sizes(subject: Subject) -> list[Size]:
    """The sizes to try, ascending; those that are fixed, if some are."""
    options = subject.options
    if options.input_size is not None:
        return [options.input_size, *([options.second_size] if options.second_size else [])]
    box = None if subject.region is None else subject.region.box
    return candidate_sizes(subject.frames, box, THOROUGH if options.effort == "thorough" else AREAS)


def _local(options: Options) -> list[tuple[float, float]]:
    """The (exponent, sigma) to try, the usual one first."""
    every = [USUAL_LOCAL, *LOCAL]
    own = [(options.local_scale, options.smooth)] * len(every)
    return list(
        dict.fromkeys(
            (exponent if given[0] is None else given[0], sigma if given[1] is None else given[1])
            for (exponent, sigma), given in zip(every, own, strict=True)
        )
    )


def _cost_ms(stages: Stages, subject: Subject) -> float:
    patches = stages.masks.count
    total = patches * len(subject.good_images)
    rows = round(kept_share(subject.options.coreset, total) * total)
    return work_of(stages.graph, patches, rows).ms()


def _open(sizes: Sequence[Size], subject: Subject, summary: Summary) -> dict[Size, Stages]:
    """Stages of each size that the network can have."""
    opened: dict[Size, Stages] = {}
    first, refused = None, None
    for size in sizes:
        given = subject.options, subject.network, subject.frame, subject.region, subject.good_images, size
        try:
            opened[size] = open_stages(*given, first)
        except BackboneError as error:
            summary.say("not tried", f"{size[0]} x {size[1]}: {error.what}")
            refused = error
            continue
        first = first or opened[size]
    if not opened:
        assert refused is not None
        raise refused
    return opened


def _try(opened: Mapping[Size, Stages], local: Sequence[tuple[float, float]], subject: Subject) -> Evidence:
    options, good_images = subject.options, subject.good_images
    generator = np.random.default_rng([options.seed, 3])
    numbers = np.sort(generator.permutation(len(good_images))[: IMAGES[options.effort]])
    paths = [good_images[number] for number in numbers]
    mask = None if subject.region is None else subject.region.mask
    count = DEFECTS[options.effort]
    drawn = draw_defects(paths, np.arange(len(paths)), mask, subject.frame, options.seed, count)
    seen: dict[Size, dict[tuple[float, float], Seen]] = {}
    for size, stages in opened.items():
        trial = Trial(stages, paths, drawn, ROWS, options.seed, subject.pool)
        seen[size] = {own: trial.seen(*own) for own in local}
    return seen


def _table(found: Sequence[Candidate], best: Candidate, budget_ms: float) -> str:
    """For each size or pair the candidate with the most power; the one that was taken is marked."""
    shown: dict[str, Candidate] = {}
    for candidate in sorted(found, key=lambda c: (c == best, c.power)):
        shown[candidate.name] = candidate
    rows = [("", "size", "scale", "smooth", "ms (model)", "power (synthetic)")]
    for name, c in sorted(shown.items(), key=lambda item: item[1].ms):
        mark = "*" if c == best else "over the budget" if c.ms > budget_ms else ""
        rows.append((mark, name, f"{c.exponent:g}", f"{c.sigma:g}", f"{c.ms:.0f}", f"{c.power:.3f}"))
    return "\n".join(["", aligned(rows)])
