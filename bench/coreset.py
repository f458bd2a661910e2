"""Seconds of the greedy coreset: 160 good images' patches to a tenth, and the radius that it reaches.

    python -m bench.coreset ../shared/data/bottle --weights resnet18.pth [--peer-python PEER/bin/python]

ResNet18 (--weights) gives 163,840 patches of 384; projection and selection are timed, features are not. anomalib's own
(`--peer-python`, an environment that has it) would take an hour: the difference between two short runs gives the time
of a pick, and that times the number of picks is its time. Both select from the first 16 images in full, and the radii
(the largest distance of a patch from its nearest selected one) are compared, over some seeds.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.material import FIXED
from bench.search_crossover import features
from edge_ad import native
from edge_ad.data.layouts import load_category
from export.coreset import project, select_coreset
from export.options import Options

QUALITY_IMAGES, SEEDS = 16, 8
PEER = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy, torch
from anomalib.models.components import KCenterGreedy
threads, part, fraction, seeds = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
torch.set_num_threads(threads)
points = torch.from_numpy(numpy.load(sys.argv[1]))
def select(points, ratio, seed=0):
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    return [int(row) for row in KCenterGreedy(embedding=points, sampling_ratio=ratio).select_coreset_idxs()]
def seconds(picks):
    start = time.perf_counter()
    select(points, (picks + 0.5) / len(points))
    return time.perf_counter() - start
few, many = 4, 24
seconds(1)
pick = (seconds(many) - seconds(few)) / (many - few)
print(json.dumps({"pick_s": pick, "rows": [select(points[:part], fraction, seed) for seed in range(seeds)]}))
"""


def ask_peer(python: Path, patches: np.ndarray, part: int, fraction: float, threads: int) -> Any:
    """Seconds of a pick among the (N, D) patches by anomalib, and what it selects of the first `part`, by seed."""
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, patches)
        file.flush()
        command = [str(python), "-c", PEER, file.name, str(threads), str(part), str(fraction), str(SEEDS)]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out.splitlines()[-1])


def radius(patches: np.ndarray, rows: Sequence[int] | np.ndarray, pool: native.Pool) -> float:
    """The largest distance of a patch from its nearest selected one."""
    selected = native.Coreset(np.ascontiguousarray(patches[rows]), pool=pool)
    return float(native.exact_search(selected, patches, pool)[0].max())


def beside_peer(options: argparse.Namespace, patches: np.ndarray, picks: int, pool: native.Pool) -> dict[str, Any]:
    """Seconds that anomalib would take, and both radii, each the mean over the seeds."""
    some, images = patches[:QUALITY_IMAGES], np.arange(QUALITY_IMAGES)
    part = QUALITY_IMAGES * patches.shape[1]
    flat = patches.reshape(-1, patches.shape[2])
    peer = ask_peer(options.peer_python, flat, part, options.fraction, options.threads)
    ours = [select_coreset(project(some, seed), images, options.fraction, seed, pool) for seed in range(SEEDS)]
    means = [float(np.mean([radius(flat[:part], rows, pool) for rows in chosen])) for chosen in (ours, peer["rows"])]
    return {"peer_s": peer["pick_s"] * picks, "radius": means}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("category", type=Path)
    parser.add_argument("--weights", type=Path, required=True, help="state dict of resnet18")
    parser.add_argument("--fraction", type=float, default=0.1)
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer-python", type=Path, help="interpreter of an environment with anomalib")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    paths = list(load_category(options.category).train_good[: options.images])
    grids, _ = features(
        Options(str(options.category), weights=options.weights, **FIXED), {"good": paths}, options.threads
    )
    patches = np.stack(grids["good"])
    pool = native.Pool(options.threads)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    rows = select_coreset(project(patches, 0), np.arange(len(patches)), options.fraction, 0, pool)
    seconds = time.perf_counter() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    count = patches.shape[0] * patches.shape[1]
    print(f"{count:,} x {patches.shape[2]} to {len(rows):,}: {seconds:.1f} s, {grown:.0f} MiB beside the patches")
    found: dict[str, Any] = {"patches": count, "rows": len(rows), "s": seconds, "peer_s": None, "radius": None}
    if options.peer_python:
        found |= beside_peer(options, patches, len(rows), pool)
        print(f"anomalib, from its time for a pick: {found['peer_s']:.0f} s, {found['peer_s'] / seconds:.0f} as long")
        print("radius of a tenth of the images: {:.4f}, anomalib {:.4f}".format(*found["radius"]))
    if options.json:
        options.json.write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
