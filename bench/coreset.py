"""Seconds of the greedy coreset: 160 good images' patches to a tenth, and the radius that it reaches.

    python -m bench.coreset ../shared/data/bottle --weights resnet18.pth [--peer-python PEER/bin/python]

ResNet18 (--weights) gives 163,840 patches of 384; projection and selection are timed, features are not. anomalib's own
(`--peer-python`, an environment that has it) would take an hour: the difference between two short runs gives the time
of a pick, and that times the number of picks is its time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.search_crossover import features
from edge_ad import native
from edge_ad.dataset import load_category
from export.coreset import project, select_coreset
from export.options import Options

PEER = """
import sys, time, warnings
warnings.filterwarnings("ignore")
import numpy, torch
from anomalib.models.components import KCenterGreedy
torch.manual_seed(0)
torch.set_num_threads(int(sys.argv[2]))
points = torch.from_numpy(numpy.load(sys.argv[1]))
def seconds(picks):
    start = time.perf_counter()
    KCenterGreedy(embedding=points, sampling_ratio=(picks + 0.5) / len(points)).select_coreset_idxs()
    return time.perf_counter() - start
few, many = 4, 24
seconds(1)
print((seconds(many) - seconds(few)) / (many - few))
"""


def seconds_of_peer(python: Path, patches: np.ndarray, picks: int, threads: int) -> float:
    """What anomalib's selection of `picks` among the (N, D) patches would take."""
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, patches)
        file.flush()
        command = [python, "-c", PEER, file.name, str(threads)]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(out.split()[-1]) * picks


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
    peer = None
    if options.peer_python:
        flat = patches.reshape(-1, patches.shape[2])
        peer = seconds_of_peer(options.peer_python, flat, len(rows), options.threads)
        print(f"anomalib, from its time for a pick: {peer:.0f} s, {peer / seconds:.0f} times as long")
    if options.json:
        options.json.write_text(json.dumps({"patches": count, "rows": len(rows), "s": seconds, "peer_s": peer}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
