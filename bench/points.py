"""Measures the backbone alone at each operating point, with each engine: one command, one table.

    python -m bench.points ../shared/data/bottle --weights-folder ../shared/weights

Makes the graphs as an export does (int8 calibrated on 32 good images), but no bundle. The points of a backbone take
turns, eight frames each; the first round warms up. wide_resnet50_2 has random weights, which cost what others cost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.material import FIXED
from edge_ad.data.layouts import load_category
from edge_ad.engines import Engine, Models, open_engine
from edge_ad.spec import FrameSpec
from export.features import tensors
from export.network import open_network
from export.options import Options
from export.plan import plan_points
from export.stages import at_point, open_stages

GOOD_IMAGES = 32


def options_of(name: str, weights: Path, scratch: Path, threads: int) -> Options:
    """Export options for all points of a backbone."""
    files = {"resnet18": "resnet18_to_layer3.pth", "mobilenet_v2": "mobilenet_v2_features.pth"}
    if name == "edge-s":
        return Options("", backbone=name, points=("f32", "bf16", "int8"), threads=threads, **FIXED)
    path = weights / files[name] if name in files else _random_weights(name, scratch)
    return Options("", backbone=name, weights=path, points=("f32", "bf16", "int8"), threads=threads, **FIXED)


def _random_weights(name: str, scratch: Path) -> Path:
    import torch
    import torchvision

    torch.manual_seed(0)
    path = scratch / f"{name}.pth"
    torch.save(torchvision.models.get_model(name, weights=None).state_dict(), path)
    return path


def engines(options: Options, good_images: list[Path]) -> tuple[list[NDArray[np.uint8]], dict[str, Engine]]:
    """Tensors of a few good images, and the engines of every point; f32 with each engine."""
    base = open_stages(options, open_network(options), FrameSpec(None), None, good_images, options.input_size)
    found: dict[str, Engine] = {}
    for plan in plan_points(options):
        if plan.precision == "f32":
            ir = (bytes(base.models["model.xml"]), bytes(base.models["model.bin"]))
            models, how = Models(bytes(base.models["model.onnx"]), ir), {"device": "CPU", "precision": "f32"}
            for name in ("openvino", "onnxruntime"):
                found[f"f32 {name}"] = open_engine(name, models, threads=options.threads or 1, **how)
        else:
            engine = at_point(base, plan, good_images, options.threads).engine
            found[f"{plan.precision} {engine.name}"] = engine
    return list(tensors(good_images[:8], base.frame, base.crop)), found


def times(given: list[NDArray[np.uint8]], found: dict[str, Engine], rounds: int) -> dict[str, float]:
    """Median milliseconds of each engine."""
    laps: dict[str, list[float]] = {name: [] for name in found}
    for number in range(rounds + 1):
        for name, engine in found.items():
            for tensor in given:
                start = time.perf_counter()
                engine(tensor)
                if number:
                    laps[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(values)) for name, values in laps.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("category", type=Path)
    parser.add_argument("--weights-folder", type=Path, required=True)
    parser.add_argument("--backbones", nargs="+", default=["edge-s", "mobilenet_v2", "resnet18", "wide_resnet50_2"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    good_images = list(load_category(options.category).train_good)[:GOOD_IMAGES]
    rows: list[tuple[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.backbones:
            asked = options_of(name, options.weights_folder, Path(folder), options.threads)
            rows.append((name, times(*engines(asked, good_images), options.rounds)))
    names = list(rows[0][1])
    print("| backbone | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
    for name, found in rows:
        print(f"| {name} | " + " | ".join(f"{found[column]:.1f}" for column in names) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
