"""Image and pixel AUROC of bundles on a labelled category, at each operating point, by each engine and each search.

A method without a map has no pixel AUROC.

    python -m bench.accuracy ../shared/data/bottle bottle.bundle [MORE.bundle ...] [--leave-out uneven]

Maps are compared with masks at the input size. A line a combination; --json for machines.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from bench.seen import masks_of, see
from edge_ad import Runtime
from edge_ad.bundle.file import Bundle
from edge_ad.data.layouts import TestImage, load_category
from edge_ad.engines import installed_engines
from edge_ad.errors import EngineUnavailableError, SpecError
from edge_ad.system.entry import run_command


def accuracy_of(runtime: Runtime, images: list[TestImage]) -> dict[str, float | None]:
    """Image AUROC, pixel AUROC (None without maps), and the median milliseconds of a frame."""
    seen = see(runtime, images)
    labels = [image.defect is not None for image in images]
    pixels = None if seen.maps is None else roc_auc_score(masks_of(images).ravel(), seen.maps.ravel())
    return {
        "image_auroc": float(roc_auc_score(labels, seen.scores)),
        "pixel_auroc": None if pixels is None else float(pixels),
        "median_ms": float(np.median(seen.ms)),
    }


def runtimes(bundle: Path, threads: int | None) -> Iterator[Runtime]:
    """A runtime for every operating point, every engine that can run it, and every search it has."""
    with Bundle.open(bundle) as opened:
        points = opened.manifest.point_names
    for point, engine, search in itertools.product(points, installed_engines(), ("exact", "graph")):
        try:
            yield Runtime(bundle, engine=engine, point=point, search=search, threads=threads)
        except (EngineUnavailableError, SpecError):  # no engine for its models; no graph to search
            continue


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("category", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--leave-out", nargs="*", default=[], help="kinds of defect")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    return run_command(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    images = [image for image in load_category(options.category).test if image.defect not in options.leave_out]
    for bundle in options.bundles:
        for runtime in runtimes(bundle, options.threads):
            manifest = runtime.manifest.at(runtime.point)
            index = manifest.index
            row = {
                "bundle": bundle.name,
                "backbone": manifest.backbone.name,
                "method": manifest.head.method,
                "coreset": index.size if index else 0,
                "point": runtime.point,
                "engine": runtime.engine,
                "search": runtime.search,
                **accuracy_of(runtime, images),
            }
            if options.json:
                print(json.dumps(row), flush=True)
            else:
                image, pixel = ("-" if row[k] is None else f"{row[k]:.4f}" for k in ("image_auroc", "pixel_auroc"))
                keys = ("bundle", "backbone", "method", "coreset", "point", "engine", "search")
                names = "  ".join(f"{row[k]!s:<12}" for k in keys)
                print(f"{names}  image {image}  pixel {pixel}  {row['median_ms']:.1f} ms", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
