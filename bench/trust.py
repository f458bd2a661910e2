"""How far the synthetic evidence of a choice can be trusted: does it rank candidates as real defects do?

    python -m bench.trust ../shared/data [--sets bottle cable] [--seeds 0 1 2]

For each labelled set, the candidates of `export.choose` (input sizes, two of them joined, local scale and smoothing)
are tried as the export tries them, on good images alone. Each fold's coreset also scores the labelled test images, so
that each candidate has a real image AUROC besides (mean over folds). The table has, for each set: Spearman's rank
correlation of the two over the candidates, the AUROC of the candidate that the export takes, and the best, the median
and the worst of all.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.sight.sets import SETS, LabelledSet, find_sets
from edge_ad import native
from edge_ad.data.layouts import check_images
from edge_ad.metrics import binary_auroc
from edge_ad.spec import FrameSpec, Size
from edge_ad.system.cpu import default_threads
from edge_ad.system.entry import run_command, say
from edge_ad.system.tables import aligned
from export.choose.choice import LOCAL, USUAL_LOCAL, Candidate, candidates, choose
from export.choose.cost import work_of
from export.choose.evidence import IMAGES, ROWS
from export.choose.sizes import candidate_sizes
from export.choose.trial import Seen, Trial
from export.coreset import MOST_ROWS
from export.features import extract
from export.fidelity import rank_correlation
from export.network import open_network
from export.options import Options
from export.power import draw_defects
from export.stages import Stages, open_stages

AREAS = (192**2, 256**2, 320**2, 384**2)
BUDGET_MS = 50.0  # of the export, by default
EACH_LOCAL = tuple(dict.fromkeys((USUAL_LOCAL, *LOCAL)))
TITLES = ("set", "seed", "candidates", "rank correlation", "AUROC taken", "best", "median", "worst")
_BLOCK = 32  # test images whose patches are in memory at a time


@dataclass(frozen=True)
class Tried:
    """A size with one local scale and smoothing.

    Attributes:
        seen: what the export goes by.
        real: (folds, n) scores of the test images, by the coreset of each fold.
    """

    seen: Seen
    real: NDArray[np.float64]


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
    rows: list[tuple[str, ...]] = [
        ("set", "seed", "candidates", "rank correlation", "AUROC taken", "best", "median", "worst")
    ]
    with tempfile.TemporaryDirectory() as folder:
        for subject in find_sets(options.sets, options.data, Path(folder)):
            for seed in options.seeds:
                rows.append((subject.name, f"{seed}", *judge(*measure(subject, seed))))
                say("  ".join(rows[-1]))
    print(aligned(rows))
    return 0


def measure(subject: LabelledSet, seed: int) -> tuple[list[Candidate], NDArray[np.float64], list[Size]]:
    """Every candidate, its image AUROC on real defects, and the sizes that an export tries."""
    good, facts = check_images(subject.train)
    generator = np.random.default_rng([seed, 3])
    paths = [good[number] for number in np.sort(generator.permutation(len(good))[: IMAGES["usual"]])]
    frame = FrameSpec(next(iter(facts.sizes)) if len(facts.sizes) == 1 else None)
    drawn = draw_defects(paths, np.arange(len(paths)), None, frame, seed)
    options, pool = Options(str(subject.folder), seed=seed), native.Pool(default_threads())
    network = open_network(options)
    tried: dict[Size, dict[tuple[float, float], Tried]] = {}
    cost: dict[Size, float] = {}
    for size in candidate_sizes(facts.frames, None, AREAS):
        stages = open_stages(options, network, frame, None, paths, size)
        trial = Trial(stages, paths, drawn, ROWS, seed, pool)
        scores = _real(trial, stages, [image.path for image in subject.test])
        tried[size] = {local: Tried(trial.seen(*local), scores[local]) for local in EACH_LOCAL}
        cost[size] = work_of(stages.graph, stages.masks.count, MOST_ROWS).ms()
    found = candidates(
        network.name, {size: {local: one.seen for local, one in own.items()} for size, own in tried.items()}, cost
    )
    real = np.array([_auroc(candidate, tried, subject.defects) for candidate in found])
    return found, real, candidate_sizes(facts.frames)


def _real(trial: Trial, stages: Stages, paths: Sequence[Path]) -> dict[tuple[float, float], NDArray[np.float64]]:
    """(folds, n) scores of images by each local scale and smoothing."""
    found = {local: np.empty((len(trial.folds), len(paths))) for local in EACH_LOCAL}
    for start in range(0, len(paths), _BLOCK):
        block = paths[start : start + _BLOCK]
        patches = np.empty((len(block), stages.masks.count, stages.backbone.dim), np.float32)
        extract(patches, block, stages.frame, stages.crop, stages.engine, stages.masks.rows, "test images")
        for number, fold in enumerate(trial.folds):
            answer = trial.search(fold.coreset, patches)
            for local, scores in found.items():
                scores[number, start : start + len(block)] = trial.scores(fold, answer, *local)
    return found


def _auroc(
    candidate: Candidate, tried: Mapping[Size, Mapping[tuple[float, float], Tried]], defects: NDArray[np.bool_]
) -> float:
    """Mean over the folds; of two joined sizes as `export.choose.trial.joined` joins them."""
    parts = [tried[size][candidate.exponent, candidate.sigma] for size in candidate.sizes]
    scores = np.max([part.real / np.median(part.seen.good) for part in parts], axis=0)
    return float(np.mean([binary_auroc(own[~defects], own[defects]) for own in scores]))


def judge(found: Sequence[Candidate], real: NDArray[np.float64], default: Sequence[Size]) -> tuple[str, ...]:
    """The cells of the table after the seed.

    Args:
        found: every candidate.
        real: image AUROC of each.
        default: sizes that an export tries; it takes one of them, or two joined.
    """
    taken = choose([candidate for candidate in found if set(candidate.sizes) <= set(default)], BUDGET_MS)
    correlation = rank_correlation([candidate.power or 0.0 for candidate in found], real)
    numbers = (real[list(found).index(taken)], real.max(), np.median(real), real.min())
    return (f"{len(found)}", f"{correlation:.2f}", *(f"{number:.4f}" for number in numbers))


if __name__ == "__main__":
    sys.exit(main())
