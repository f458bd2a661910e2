"""The backbones side by side: accuracy on labelled categories, milliseconds, size. One command, one table.

    python -m bench.backbones ../shared/data/bottle ../shared/data/magnetic_tile --weights-folder ../shared/weights

Exports every backbone for every category with the same coreset fraction and input size, evaluates all test images
(kinds of --leave-out apart), and times backbone and whole frame (1024x1024 u8 to verdict, map not read) on the first
category: all backbones and both engines in turn, frame by frame, in one process. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from bench.accuracy import accuracy_of
from bench.material import FIXED
from edge_ad import Runtime
from edge_ad.data.layouts import TestImage, load_category
from export.options import Options
from export.pipeline import export_bundle

ENGINES = ("openvino", "onnxruntime")
FRAMES = 16


def backbones(weights: Path) -> dict[str, dict[str, object]]:
    """Export options of each backbone whose weights are there."""
    found: dict[str, dict[str, object]] = {"edge-s": {"backbone": "edge-s"}}
    for name, file in (("mobilenet_v2", "mobilenet_v2_features.pth"), ("resnet18", "resnet18_to_layer3.pth")):
        found[name] = {"backbone": name, "weights": weights / file}
    onnx = weights / "resnet50v2_to_stage3.onnx"
    found["resnet50v2"] = {"backbone": str(onnx), "layers": ("stage2", "stage3")}
    return found


def times(bundles: dict[str, Path], images: list[TestImage], threads: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of backbone and frame by each engine, for each backbone."""
    frames = [cv2.resize(cv2.imread(str(image.path)), (1024, 1024)) for image in images[:FRAMES]]
    runtimes = {(n, e): Runtime(path, engine=e, threads=threads) for n, path in bundles.items() for e in ENGINES}
    laps: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in runtimes}
    for number in range(rounds + 1):
        for frame in frames:
            for key, runtime in runtimes.items():
                timings = runtime.inspect(frame).timings
                if number:  # the first round warms up
                    laps[key].append((timings["engine"], timings["total"]))
    found: dict[str, dict[str, float]] = {name: {} for name in bundles}
    for (name, engine), values in laps.items():
        backbone, frame_ms = np.median(values, axis=0)
        found[name] |= {f"{engine} backbone": float(backbone), f"{engine} frame": float(frame_ms)}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("categories", type=Path, nargs="+")
    parser.add_argument("--weights-folder", type=Path, required=True)
    parser.add_argument("--coreset", type=float, default=0.01)
    parser.add_argument("--leave-out", nargs="*", default=["uneven"], help="kinds of defect")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="BACKBONE", help="these; by default all")
    options = parser.parse_args()
    cases = backbones(options.weights_folder)
    if options.only is not None:
        if unknown := sorted(set(options.only) - set(cases)):
            parser.error(f"--only: there is no {', '.join(unknown)}; there are {', '.join(cases)}")
        cases = {name: cases[name] for name in options.only}
    tests = {path: load_category(path).test for path in options.categories}
    rows: dict[str, list[str]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as folder:
        bundles: dict[Path, dict[str, Path]] = {path: {} for path in options.categories}
        for name, backbone in cases.items():
            for path in options.categories:
                out = Path(folder) / f"{name}-{path.name}.bundle"
                values = {"category": str(path), "out": out, **FIXED, "coreset": options.coreset, **backbone}
                bundles[path][name] = export_bundle(Options(**values)).bundle  # type: ignore[arg-type]
                images = [image for image in tests[path] if image.defect not in options.leave_out]
                row = accuracy_of(Runtime(out, threads=options.threads, self_check=True), images)
                rows[name].append(f"{row['image_auroc']:.3f} / {row['pixel_auroc']:.3f}")
        first = options.categories[0]
        measured = times(bundles[first], list(tests[first]), options.threads, options.rounds)
        sizes = {name: path.stat().st_size / 1e6 for name, path in bundles[first].items()}
    names = [path.name for path in options.categories]
    both = "OpenVINO, ONNX Runtime"
    columns = ["backbone", *names, f"backbone ms: {both}", f"frame ms: {both}", "bundle MB"]
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for name, cells in rows.items():
        t = measured[name]
        ms = [", ".join(f"{t[f'{engine} {what}']:.1f}" for engine in ENGINES) for what in ("backbone", "frame")]
        print("| " + " | ".join([name, *cells, *ms, f"{sizes[name]:.1f}"]) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
