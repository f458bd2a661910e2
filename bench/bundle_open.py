"""Measures what it costs to open bundles of different sizes: seconds, CPU seconds, memory; each in a fresh process.

    python -m bench.bundle_open [--rows 200000] [--rounds 5]

The small bundle is that of a drawn category by a network of resnet18's size with random filters; the large one is the
same with a coreset of so many random rows and no graph; "points" is the small one with a second operating point that
has a coreset as large, and is opened at "f32".
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench.material import drawn_category, export
from edge_ad.bundle.file import Bundle, write_bundle
from edge_ad.engines import installed_engines
from edge_ad.spec import FidelitySpec, PointSpec

_START = """
import json, sys, time
def memory():  # MiB resident now, of it anonymous, and at its highest
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return [int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon", "VmHWM")]
import numpy
from edge_ad import Runtime
from edge_ad.engines import installed_engines
import importlib
importlib.import_module(sys.argv[2])
frame = numpy.load(sys.argv[3])
wall, cpu = time.perf_counter(), time.process_time()
runtime = Runtime(sys.argv[1], engine=sys.argv[2], threads=2, search="exact", profile=False)
opened, worked = time.perf_counter() - wall, time.process_time() - cpu
score = runtime.inspect(frame).score
print(json.dumps([opened, worked, *memory(), score]))
"""


def enlarge(source: Path, out: Path, rows: int, *, as_point: bool) -> Path:
    """A copy of the bundle with a coreset of `rows` random rows, in place of its own or as the point "large"."""
    with Bundle.open(source) as bundle:
        manifest = bundle.manifest
        members = {n: bundle.array(n) if m.dtype else bundle.blob(n) for n, m in manifest.members.items()}
    assert manifest.index is not None
    index = dataclasses.replace(manifest.index, size=rows, patches=rows, graph=None, projection=None)
    coreset = np.random.default_rng(0).random((rows, manifest.backbone.dim), np.float32)
    if as_point:
        fidelity = FidelitySpec(frames=2, rank_correlation=1.0, score_error=0.0)
        parts = (manifest.backbone, manifest.head, index, manifest.calibration, manifest.probes, fidelity)
        own = ("graph/", "projection/", "model.", "roi/")
        copied = {f"points/large/{n}": v for n, v in members.items() if not n.startswith(own)}
        manifest = dataclasses.replace(manifest, points=(PointSpec("large", "any", *parts),))
        members |= copied | {"points/large/coreset": coreset}
        members |= {f"points/large/{n}": v for n, v in members.items() if n.startswith("model.")}
    else:
        manifest = dataclasses.replace(manifest, index=index)
        members = {n: v for n, v in members.items() if not n.startswith(("graph/", "projection/"))}
        members["coreset"] = coreset
    write_bundle(out, manifest, members)
    return out


def main() -> None:
    """Makes the bundles, opens each in turn, and prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="of the large coreset, 384 floats each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="keep the bundles in this folder, and take them from there next time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.out or Path(name)
        bundles = {kind: folder / f"{kind}.bundle" for kind in ("small", "large", "points")}
        if not all(path.exists() for path in bundles.values()):
            folder.mkdir(exist_ok=True)
            category = drawn_category(folder)
            np.save(folder / "frame.npy", category.frames()[0][0])
            export(category, bundles["small"], to="both")
            enlarge(bundles["small"], bundles["large"], options.rows, as_point=False)
            enlarge(bundles["small"], bundles["points"], options.rows, as_point=True)
        print("| bundle | MB | engine | open s | CPU s | resident MiB | anonymous | peak |")
        print("|---|---|---|---|---|---|---|---|")
        for kind, path in bundles.items():
            for engine in installed_engines():
                command = [sys.executable, "-c", _START, str(path), engine, str(folder / "frame.npy")]
                runs = [
                    json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ).stdout)
                    for _ in range(options.rounds + 1)
                ][1:]
                seconds, worked, resident, anonymous, peak, _ = np.median(np.array(runs), axis=0)
                size = path.stat().st_size / 1e6
                assert len({run[-1] for run in runs}) == 1, "the verdict changes from run to run"
                print(
                    f"| {kind} | {size:.0f} | {engine} | {seconds:.2f} | {worked:.2f} "
                    f"| {resident:.0f} | {anonymous:.0f} | {peak:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
