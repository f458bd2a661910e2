"""Seconds of the greedy coreset: 160 good images' patches to a tenth, and the radius that it reaches.

    python -m bench.coreset ../shared/data/bottle --weights resnet18.pth [--fraction 0.1] [--images 160]

ResNet18 (--weights) gives 163,840 patches of 384; projection and selection are timed, features are not.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

from bench.search_crossover import features
from edge_ad import native
from edge_ad.dataset import load_category
from export.coreset import project, select_coreset
from export.options import Options


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("category", type=Path)
    parser.add_argument("--weights", type=Path, required=True, help="state dict of resnet18")
    parser.add_argument("--fraction", type=float, default=0.1)
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    paths = list(load_category(options.category).train_good[: options.images])
    grids, _ = features(Options(str(options.category), weights=options.weights), {"good": paths}, options.threads)
    patches = np.stack(grids["good"])
    pool = native.Pool(options.threads)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    rows = select_coreset(project(patches, 0), np.arange(len(patches)), options.fraction, 0, pool)
    seconds = time.perf_counter() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    count = patches.shape[0] * patches.shape[1]
    print(f"{count:,} x {patches.shape[2]} to {len(rows):,}: {seconds:.1f} s, {grown:.0f} MiB beside the patches")
    return 0


if __name__ == "__main__":
    sys.exit(main())
