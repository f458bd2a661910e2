"""How far the synthetic evidence of a choice can be trusted: does it rank candidates as real defects do?

    python -m bench.trust ../shared/data [--sets bottle cable] [--seeds 0 1 2]

For each labelled set, the candidates of `export.choose` (input sizes, two of them joined, local scale and smoothing)
are tried as the export tries them, on good images alone. Each fold's coreset also scores the labelled test images, so
that each candidate has a real image AUROC besides (mean over folds). The table has, for each set: Spearman's rank
correlation of the two over the candidates; the AUROC of the candidate that the export takes, and of the usual one,
which it takes without evidence; and the best, the median and the worst of all.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.sight.sets import SETS, LabelledSet, find_sets
from edge_ad import native
from edge_ad.data.layouts import load_category
from edge_ad.metrics import binary_auroc
from edge_ad.spec import Size
from edge_ad.system.cpu import default_threads
from edge_ad.system.entry import run_command, say
from edge_ad.system.tables import aligned
from export.choose.choice import LOCAL, USUAL_LOCAL, Candidate, candidates, choose
from export.choose.evidence import LEAST_FOR_TRIAL, Subject, cost_ms, images_to_try
from export.choose.sizes import AREAS, candidate_sizes
from export.choose.trial import Seen, Setting, locals_of, seen
from export.features import stream
from export.fidelity import rank_correlation
from export.fit.coresets import Coresets
from export.network import open_network
from export.options import Options
from export.pipeline import read_images
from export.power import Known, draw_defects
from export.stages import Stages, open_stages
from export.summary import Summary

MORE_AREAS = (192**2, 320**2)  # beside those that an export tries
EACH_LOCAL = tuple(dict.fromkeys((USUAL_LOCAL, *LOCAL)))
TITLES = ("set", "seed", "candidates", "rank correlation", "AUROC taken", "usual", "best", "median", "worst")
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Tried:
    """A size with one local scale and smoothing.

    Attributes:
        seen: what the export goes by.
        real: (folds, n) scores of the test images, by the coreset of each fold.
    """

    seen: Seen
    real: Scores


@dataclass(frozen=True)
class Measured:
    """What there is to choose from.

    Attributes:
        found: every candidate.
        real: image AUROC of each, on real defects.
        default: the sizes that an export tries; it takes one of them, or two joined.
        has_trials: whether an export has the images to try anything.
    """

    found: Sequence[Candidate]
    real: Scores
    default: Sequence[Size]
    has_trials: bool

    def taken(self, *, by_evidence: bool) -> float:
        """The AUROC of the candidate that an export takes; without evidence all candidates look alike."""
        found = self.found if by_evidence else [replace(candidate, power=None) for candidate in self.found]
        able = [candidate for candidate in found if set(candidate.sizes) <= set(self.default)]
        return float(self.real[found.index(choose(able, Options.budget_ms))])

    def cells(self) -> tuple[str, ...]:
        """Those of the table after the seed."""
        correlation = rank_correlation([candidate.power or 0.0 for candidate in self.found], self.real)
        own = (self.taken(by_evidence=self.has_trials), self.taken(by_evidence=False))
        numbers = (*own, self.real.max(), np.median(self.real), self.real.min())
        return (f"{len(self.found)}", f"{correlation:.2f}", *(f"{number:.4f}" for number in numbers))


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    return run_command(lambda: _run(options), "interrupted")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.trust", description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    add("data", type=Path, help="folder of the sets")
    add("--sets", nargs="+", default=list(SETS), metavar="SET", help=f"default: {' '.join(SETS)}")
    add("--seeds", type=int, nargs="+", default=[0], help="of images, defects, folds and coresets (default: 0)")
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> int:
    rows: list[tuple[str, ...]] = [TITLES]
    with tempfile.TemporaryDirectory() as folder:
        for labelled in find_sets(options.sets, options.data, Path(folder)):
            for seed in options.seeds:
                rows.append((labelled.name, f"{seed}", *measure(labelled, seed).cells()))
                say("  ".join(rows[-1]))
    print(aligned(rows))
    return 0


def measure(labelled: LabelledSet, seed: int) -> Measured:
    """Tries every candidate on the good images of a set, and scores its test images."""
    options, pool = Options(str(labelled.folder), seed=seed), native.Pool(default_threads())
    good, frame, frames = read_images(load_category(labelled.folder), options, None, Summary(Path()))
    network = open_network(options)
    default, every = (candidate_sizes(frames, None, sorted(areas)) for areas in (AREAS, {*AREAS, *MORE_AREAS}))
    opened = {size: open_stages(options, network, frame, None, good, size) for size in every}
    subject = Subject(options, [network], frame, None, good, frames, pool)
    images = images_to_try({network.name: {size: opened[size] for size in default}}, subject)
    drawn = draw_defects(images.paths, images.shown, None, frame, seed)
    tests = [image.path for image in labelled.test]
    tried: dict[Size, dict[Setting, Tried]] = {}
    for size, stages in opened.items():
        coresets = images.coresets(stages, subject)
        evidence = seen(stages, images.paths, images.shown, drawn, coresets, EACH_LOCAL, Known())
        real = real_scores(coresets, stages, tests, pool)
        tried[size] = {local: Tried(evidence[local], real[local]) for local in EACH_LOCAL}
    scores = {size: {local: one.seen for local, one in own.items()} for size, own in tried.items()}
    found = candidates(network.name, scores, {size: cost_ms(stages, subject) for size, stages in opened.items()})
    aurocs = np.array([_auroc(candidate, tried, labelled.defects) for candidate in found])
    return Measured(found, aurocs, default, len(good) >= LEAST_FOR_TRIAL)


def real_scores(coresets: Coresets, stages: Stages, paths: Sequence[Path], pool: native.Pool) -> dict[Setting, Scores]:
    """(folds, n) scores of images with each local scale and smoothing."""
    heads = []
    for name, (train, _) in zip(coresets.splits.labels, coresets.splits.pairs, strict=True):
        coreset = coresets.fold(train, name)
        heads.append((coreset, locals_of(coresets.matched(coreset, train), stages.masks, EACH_LOCAL)))
    scores = {local: np.empty((len(heads), len(paths))) for local in EACH_LOCAL}
    images = stream(paths, stages.frame, stages.crop, stages.engine, stages.masks.rows)
    for number, patches in enumerate(images):
        for fold, (coreset, each) in enumerate(heads):
            answer = native.exact_search(coreset, patches, pool)
            for local, score in each.items():
                scores[local][fold, number] = score(*answer).max()
    return scores


def _auroc(candidate: Candidate, tried: Mapping[Size, Mapping[Setting, Tried]], defects: NDArray[np.bool_]) -> float:
    """Mean over the folds; of two joined sizes as `export.choose.trial.joined` joins them."""
    parts = [tried[size][candidate.exponent, candidate.sigma] for size in candidate.sizes]
    units = [float(np.median(part.seen.good)) if len(parts) == 2 else 1.0 for part in parts]
    scores = np.max([part.real / unit for part, unit in zip(parts, units, strict=True)], axis=0)
    return float(np.mean([binary_auroc(own[~defects], own[defects]) for own in scores]))


if __name__ == "__main__":
    sys.exit(main())
