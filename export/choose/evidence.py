"""Makes the choice of an export: draws defects, tries the networks and sizes, and tells what was tried."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_ad import native
from edge_ad.errors import BackboneError
from edge_ad.frames.align import Aligner
from edge_ad.registry import METHODS
from edge_ad.spec import FrameSpec, Size
from export.choose.choice import LOCAL, USUAL_LOCAL, Candidate, Evidence, candidates, choose, table
from export.choose.cost import work_of
from export.choose.sizes import AREAS, candidate_sizes
from export.choose.trial import Seen, Setting, seen
from export.coreset import kept_share
from export.features import extract
from export.fit.coresets import Coresets, Picks, picks_of
from export.folds import FOLDS, Splits, folds
from export.network import Network
from export.options import Options
from export.power import NO_DEFECTS, Known, SynthDefects, draw_defects
from export.roi import DrawnRoi
from export.stages import GraphStages, open_stages
from export.summary import Summary

WHOLE = {"usual": 64, "thorough": 200}  # with so many good images or fewer, trials are those of the calibration
WHOLE_MEMORY = 2**29  # bytes of patches and coresets at all sizes that are kept for it
IMAGES = {"usual": 48, "thorough": 200}  # good images in a trial of more
DEFECTS = {"usual": range(1), "thorough": range(4)}  # of each kind, size and contrast
MEMORY = 2**30  # bytes of patches that a trial may hold
REMEMBERED = 2**29  # bytes of patches that all trials may keep for the calibration
LEAST_FOR_TRIAL = 16  # with fewer there is nothing to hold out
ROWS = 2000  # patches in the coreset of a fold of such a trial: search must not cost more than the backbone
THOROUGH = (256**2, 320**2, 384**2, 448**2, 512**2, 640**2)


@dataclass(frozen=True)
class Trials:
    """What trials looked at, so that the calibration need not look again.

    Attributes:
        paths: files of the good images.
        drawn: synthetic defects on them, by their numbers among `paths`.
        turns: of `draw_defects`.
        known: network and input size -> what the defects change.
        coresets: network and input size -> what the folds of the calibration found, where they are the trial's.
    """

    paths: Sequence[Path] = ()
    drawn: SynthDefects = NO_DEFECTS
    turns: int = 0
    known: dict[tuple[str, Size], Known] = field(default_factory=dict)
    coresets: dict[tuple[str, Size], Coresets] = field(default_factory=dict)

    def known_of(self, network: Network) -> dict[Size, Known]:
        """Input size -> what the defects change for this network."""
        return {size: known for (name, size), known in self.known.items() if name == network.name}

    def coresets_of(self, network: Network) -> dict[Size, Coresets]:
        """Input size -> what the folds of the calibration found in the patches of this network."""
        return {size: own for (name, size), own in self.coresets.items() if name == network.name}

    def at(self, network: str, sizes: Collection[Size]) -> Trials:
        """Without what was found for other networks and at other sizes."""
        taken = {(network, size) for size in sizes}
        known = {key: self.known[key] for key in taken & self.known.keys()}
        coresets = {key: self.coresets[key] for key in taken & self.coresets.keys()}
        return replace(self, known=known, coresets=coresets)


@dataclass(frozen=True)
class Chosen:
    """What an export goes on with.

    Attributes:
        network: the backbone.
        sizes: one input size, or two that are joined.
        local_scale, smooth: of PatchCore.
        opened: stages of the network at sizes that were tried; those of `sizes` may be used again.
        trials: what the trials looked at.
    """

    network: Network
    sizes: tuple[Size, ...]
    local_scale: float
    smooth: float
    opened: Mapping[Size, GraphStages]
    trials: Trials = field(default_factory=Trials)

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
        options, frame, region: of the export.
        networks: those to choose from, the preferred one first.
        good_images: files to learn from.
        frames: their (H, W).
        pool: threads.
        aligner: finds the part in each image; None if images are taken as they are.
    """

    options: Options
    networks: Sequence[Network]
    frame: FrameSpec
    region: DrawnRoi | None
    good_images: Sequence[Path]
    frames: Iterable[Size]
    pool: native.Pool
    aligner: Aligner | None = None


Opened = Mapping[str, Mapping[Size, GraphStages]]  # network -> size -> stages


def decide(subject: Subject, summary: Summary) -> Chosen:
    """What the options leave open, by evidence; what they fix stays."""
    options, networks = subject.options, {network.name: network for network in subject.networks}
    preferred, local = subject.networks[0], _local(options)
    fixed = options.input_size is not None
    if all(option.name != "local_scale" for option in METHODS[options.method].options):  # nothing to try
        if len(networks) > 1:
            summary.say("note", f"{preferred.name} is taken: networks are not compared for {options.method}")
        sizes = _sizes(subject, preferred)
        return Chosen(preferred, tuple(sizes if fixed else sizes[:1]), *USUAL_LOCAL, {})
    with summary.stage("trials"):
        opened = _open_all(subject, summary)
        seen, trials = _seen(opened, local, subject, summary)
    found: list[Candidate] = []
    for name, own in opened.items():
        cost = {size: cost_ms(stages, subject) for size, stages in own.items()}
        found += candidates(name, seen[name], cost, fixed=fixed)
    best = choose(found, options.budget_ms)
    if not fixed or len(local) > 1 or len(networks) > 1:
        named = f"{best.network}, " if len(networks) > 1 else ""
        summary.say("choice", f"{named}{best.name}, local scale {best.exponent:g}, smoothing {best.sigma:g}")
    if len(found) > 1 and any(candidate.power is not None for candidate in found):
        summary.say("tried", table(found, best, options.budget_ms))
    if best.ms > options.budget_ms:
        what = "this takes" if fixed else "nothing is within the budget; the cheapest takes"
        summary.say("note", f"{what} {best.ms:.0f} ms by the model, above --budget-ms {options.budget_ms:g}")
    trials = trials.at(best.network, best.sizes)
    return Chosen(networks[best.network], best.sizes, best.exponent, best.sigma, opened[best.network], trials)


def _seen(
    opened: Opened, local: Sequence[Setting], subject: Subject, summary: Summary
) -> tuple[Mapping[str, Evidence], Trials]:
    """What each size of each network saw in a trial; nothing where none is made: then the usual is taken."""
    usual: dict[str, Evidence] = {name: {size: {local[0]: None} for size in own} for name, own in opened.items()}
    nothing = usual, Trials()
    open_sizes = subject.options.input_size is None and any(len(own) > 1 for own in opened.values())
    if subject.options.effort == "quick" or not (open_sizes or len(local) > 1 or len(opened) > 1):
        return nothing
    if len(subject.good_images) < LEAST_FOR_TRIAL:
        summary.say("choice", f"nothing was tried, as that takes {LEAST_FOR_TRIAL} good images or more")
        return nothing
    if any(stages.tiles for own in opened.values() for stages in own.values()):
        summary.say("choice", "nothing was tried, as trials look at whole frames and not at tiles")
        return nothing
    found = _try(opened, local, subject)
    if found is None:
        summary.say("choice", "nothing was tried, as no synthetic defect can be drawn on these images")
    return found or nothing


def _sizes(subject: Subject, network: Network) -> list[Size]:
    """The sizes to try, ascending; those that are fixed, if some are."""
    options = subject.options
    if options.input_size is not None:
        return [options.input_size, *([options.second_size] if options.second_size else [])]
    if network.size is not None:
        return [network.size]
    box = None if subject.region is None else subject.region.box
    tried = THOROUGH if options.effort == "thorough" else AREAS
    areas = tried if network.area is None else (network.area,)
    return candidate_sizes(subject.frames, box, areas, network.stride)


def _local(options: Options) -> list[Setting]:
    """The (exponent, sigma) to try, the usual one first."""
    scale, smooth = options.local_scale, options.smooth
    found = [
        (exponent if scale is None else scale, sigma if smooth is None else smooth)
        for exponent, sigma in (USUAL_LOCAL, *LOCAL)
    ]
    return list(dict.fromkeys(found))


def cost_ms(stages: GraphStages, subject: Subject) -> float:
    """Milliseconds of a frame, by the model."""
    patches = stages.masks.count
    total = patches * len(subject.good_images)
    rows = round(kept_share(subject.options.coreset, total) * total)
    return work_of(stages.graph, patches, rows, max(1, len(stages.tiles))).ms()


def _open_all(subject: Subject, summary: Summary) -> dict[str, dict[Size, GraphStages]]:
    """Stages of each network at each size. A network other than the preferred one may fail."""
    opened: dict[str, dict[Size, GraphStages]] = {}
    for network in subject.networks:
        try:
            opened[network.name] = _open(network, subject, summary)
        except BackboneError as error:
            if network is subject.networks[0]:
                raise
            summary.say("not tried", f"{network.name}: {error.what}")
    return opened


def _open(network: Network, subject: Subject, summary: Summary) -> dict[Size, GraphStages]:
    """Stages of each size that the network can have."""
    opened: dict[Size, GraphStages] = {}
    first, sizes = None, _sizes(subject, network)
    for number, size in enumerate(sizes, 1):
        given = subject.options, network, subject.frame, subject.region, subject.good_images, size
        try:
            opened[size] = open_stages(*given, first, subject.aligner)
        except BackboneError as error:
            if subject.options.input_size is not None or (number == len(sizes) and not opened):
                raise
            summary.say("not tried", f"{size[0]} x {size[1]}: {error.what}")
            continue
        first = first or opened[size]
    return opened


def _try(opened: Opened, local: Sequence[Setting], subject: Subject) -> tuple[Mapping[str, Evidence], Trials] | None:
    """What each size of each network sees, with each local scale and smoothing."""
    images, turns = images_to_try(opened, subject), DEFECTS[subject.options.effort]
    mask = None if subject.region is None else subject.region.mask
    drawn = draw_defects(images.paths, images.shown, mask, subject.frame, subject.options.seed, turns, subject.aligner)
    if not drawn.defects:
        return None
    trials = Trials(images.paths, drawn, len(turns))
    found: dict[str, Evidence] = {}
    for name, own in opened.items():
        sizes: dict[Size, dict[Setting, Seen | None]] = {}
        for size, stages in own.items():
            known = trials.known[name, size] = Known(REMEMBERED // sum(map(len, opened.values())))
            coresets = images.coresets(stages, subject)
            if images.whole:
                trials.coresets[name, size] = coresets
            sizes[size] = {**seen(stages, images.paths, images.shown, drawn, coresets, local, known)}
        found[name] = sizes
    return found, trials


@dataclass(frozen=True)
class TrialImages:
    """The good images that trials look at.

    Attributes:
        paths: their files.
        shown: numbers of those whose scores count.
        splits: how they are held out.
        whole: these are all good images, held out as for the calibration.
    """

    paths: Sequence[Path]
    shown: NDArray[np.int64]
    splits: Splits
    whole: bool

    def coresets(self, stages: GraphStages, subject: Subject) -> Coresets:
        """Of the images' patches at one input size of a network."""
        label = "features of {} x {}".format(*stages.backbone.input_size)
        patches = np.empty((len(self.paths), stages.masks.count, stages.backbone.dim), np.float32)
        extract(patches, self.paths, stages.frame, stages.crop, stages.engine, stages.masks.rows, label)
        options = subject.options
        picks = picks_of(options) if self.whole else Picks(lambda count: min(1.0, ROWS / count), True, options.seed)
        return Coresets(patches, self.splits, picks, subject.pool)


def images_to_try(opened: Opened, subject: Subject) -> TrialImages:
    """Of few good images all are in the trials, with the folds and coresets that the calibration will have. So it goes
    on from there, and the evidence is about the very coresets that the bundle's threshold comes from.
    """
    splits, some = _whole(opened, subject), _some(opened, subject)
    if splits is not None:
        return TrialImages(list(subject.good_images), some, splits, True)
    paths = [subject.good_images[number] for number in some]
    return TrialImages(paths, np.arange(len(paths)), folds(len(paths), "crossfit", subject.options.seed), False)


def _whole(opened: Opened, subject: Subject) -> Splits | None:
    """The folds of the calibration, if the trials can be made with them: all images are held out, and there are few."""
    options, count = subject.options, len(subject.good_images)
    every = [stages for own in opened.values() for stages in own.values()]
    size = 0.0
    for stages in every:
        patches = count * stages.masks.count
        kept = FOLDS * kept_share(options.coreset, patches) * patches
        size += 4 * (patches + kept) * stages.backbone.dim
    if count > WHOLE[options.effort] or size > WHOLE_MEMORY:
        return None
    if any(stages.network.learned for stages in every):
        return None
    splits = folds(count, options.calibration, options.seed)
    return splits if len(splits.held_out) == count else None


def _some(opened: Opened, subject: Subject) -> NDArray[np.int64]:
    """Numbers of some of the good images, by chance, ascending."""
    each = 4 * max(s.masks.count * s.backbone.dim for own in opened.values() for s in own.values())  # bytes of an image
    most = max(LEAST_FOR_TRIAL, min(IMAGES[subject.options.effort], MEMORY // each))
    generator = np.random.default_rng([subject.options.seed, 3])
    return np.sort(generator.permutation(len(subject.good_images))[:most]).astype(np.int64)
