"""From how many coreset rows on graph search is faster than exact search, on real features.

    python -m bench.search_crossover ../shared/data/bottle --weights-folder ../shared/weights

Patches of good training images by mobilenet_v2 (D = 128), resnet18 (384) and resnet50v2 (1536); a coreset of each
size chosen from them and its HNSW graph, as the export does; queries are the test images, defects included. Graph
search includes the exact re-check of the largest distances. Exact and graph take turns, frame by frame.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.material import FIXED
from edge_ad import native
from edge_ad.data.layouts import load_category
from edge_ad.engines import Models, open_engine
from edge_ad.frames.crop import Crop
from edge_ad.heads.index import Index
from edge_ad.spec import BackboneSpec, FrameSpec
from edge_ad.system.percentiles import percentiles
from export.coreset import project, select_coreset
from export.features import tensors
from export.fidelity import choose_ef
from export.hnsw import build_hnsw
from export.network import open_network
from export.options import Options
from export.projection import choose_basis, near_together

SIZES = (125, 250, 500, 1000, 1600, 2000, 4000, 8000, 16000)
Grids = list[NDArray[np.float32]]


def features(options: Options, paths: dict[str, list[Path]], threads: int) -> tuple[dict[str, Grids], int]:
    """Patches of the images in each group, and the width of the grid."""
    network = open_network(options)
    graph = network.graph(options.input_size)
    digest = "0" * 64
    backbone = BackboneSpec(
        name=network.name,
        layers=network.layers,
        mean=network.mean,
        std=network.std,
        weights=network.weights,
        weights_sha256=digest,
        input_size=options.input_size,
        crop=(0, 0, *options.input_size),
        grid=graph.grid,
        dim=graph.dim,
    )
    models = Models(onnx=graph.model.SerializeToString())
    engine = open_engine("onnxruntime", models, device="CPU", threads=threads, precision="f32")
    frame = FrameSpec(size=None)
    crop = Crop(frame, backbone, None, None)
    found = {name: [engine(tensor) for tensor in tensors(group, frame, crop)] for name, group in paths.items()}
    return found, graph.grid[1]


def compare(grids: dict[str, Grids], coreset: NDArray[np.float32], width: int, threads: int, repeat: int) -> str:
    """A line of the table: milliseconds of both searches of a frame, and what the graph misses."""
    basis = choose_basis(coreset, 0)
    coreset = coreset if basis is None else coreset[near_together(coreset, basis)]
    arrays = build_hnsw(coreset, 0)
    pool = native.Pool(threads)
    rows = native.Coreset(coreset, basis, pool=pool)
    graph = native.Graph(rows, arrays.levels, arrays.links0, arrays.upper, entry=arrays.entry)
    ef = choose_ef(graph, grids["fidelity"], width, None, pool).ef
    searches = [Index(rows, which, ef=ef, grid_width=width, rows=None, pool=pool).nearest for which in (None, graph)]
    # kind of image -> the times of both searches of its frames
    times = {kind: ([], []) for kind in ("good", "defect")}  # type: ignore[var-annotated]
    found = {kind: [] for kind in times}  # type: ignore[var-annotated]
    for turn in range(repeat + 1):
        for kind, kept in times.items():
            for patches in grids[kind]:
                answers = []
                for search, seconds in zip(searches, kept, strict=True):
                    start = time.perf_counter()
                    answers.append(search(patches)[0])
                    if turn:
                        seconds.append(1e3 * (time.perf_counter() - start))
                if turn == 0:
                    exact, approximate = answers
                    assert exact.max() == approximate.max()
                    assert (approximate >= exact).all()
                    found[kind].append(float((approximate == exact).mean()))
    parts = [f"{coreset.shape[1]:>6}{len(coreset):>7}{ef:>5}"]
    for kind, (exact_ms, graph_ms) in times.items():
        ratio = np.median(np.array(exact_ms) / np.array(graph_ms))
        parts.append(
            f"{np.median(exact_ms):>10.2f}{np.median(graph_ms):>8.2f}{percentiles(graph_ms, (99,))[0]:>8.2f}"
            f"{ratio:>7.2f}{np.mean(found[kind]):>8.3f}"
        )
    return " |".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("category", type=Path)
    parser.add_argument("--weights-folder", type=Path, required=True)
    parser.add_argument("--good-images", type=int, default=40, help="training images that coresets are chosen from")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    category, weights = load_category(options.category), options.weights_folder
    good_images = list(category.train_good)
    test = {
        "good": [image.path for image in category.test if image.defect is None][:8],
        "defect": [image.path for image in category.test if image.defect is not None][::8],
    }
    paths = {
        "train": good_images[: options.good_images],
        "fidelity": good_images[options.good_images : options.good_images + 8],
        **test,
    }
    import onnx  # here: the workstation has it, and --help needs none

    resnet50 = weights / "resnet50v2_to_stage3.onnx"
    outputs = tuple(output.name for output in onnx.load(str(resnet50)).graph.output)
    name = str(category.name)
    backbones = (
        Options(name, backbone="mobilenet_v2", weights=weights / "mobilenet_v2_features.pth", **FIXED),
        Options(name, backbone="resnet18", weights=weights / "resnet18_to_layer3.pth", **FIXED),
        Options(name, backbone=str(resnet50), layers=outputs, **FIXED),
    )
    print(f"{'':>18} | good test images: exact, graph, p99, ratio, recall | images with defects: the same")
    print(f"{'D':>6}{'N':>7}{'ef':>5}", flush=True)
    for backbone in backbones:
        grids, width = features(backbone, paths, options.threads)
        pool = native.Pool(2)
        patches = np.stack(grids.pop("train"))
        flat = patches.reshape(-1, patches.shape[2])
        fraction = min(1.0, max(options.sizes) / len(flat))
        chosen = select_coreset(project(patches, 0), np.arange(len(patches)), fraction, 0, pool)
        for size in options.sizes:  # greedy selection: a smaller coreset is the beginning of a larger one
            if size <= len(chosen):
                coreset = np.ascontiguousarray(flat[chosen[:size]])
                print(compare(grids, coreset, width, options.threads, options.repeat), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
