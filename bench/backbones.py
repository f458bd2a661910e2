"""The backbones side by side: what each sees of labelled sets at equal input, its milliseconds, its size. One table.

    python -m bench.backbones ../shared/data --weights-folder ../shared/weights [--sets bottle cable] [--seeds 0 1 2]

Every backbone is exported for every set with some 2,000 rows, about the same number of pixels (the aspect ratio of the
frames kept), local scale and smoothing, and inspects all test images; nothing is chosen by trials. Backbone and whole
frame (1024 x 1024 u8 to verdict, map not read) are timed on the first set: all backbones and both engines in turn,
frame by frame, in one process. What each sees is kept in `--folder`, as `bench.sight` does it. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.sight.ours import Ours
from bench.sight.record import Figures, figures
from bench.sight.sets import SETS, LabelledSet, find_sets
from bench.sight.table import mean, pixel_mean, spread
from edge_ad import Runtime
from edge_ad.data.layouts import TestImage
from edge_ad.frames.check import read_frame
from edge_ad.spec import Size
from edge_ad.system.cpu import detect_cpu
from edge_ad.system.entry import run_command, say
from export.choose.sizes import candidate_sizes

ENGINES = ("openvino", "onnxruntime")
FRAMES = 16
ROWS = 2000  # of the coreset, before rounding, whatever the number of good images: search costs every backbone alike
SETTINGS: dict[str, object] = {"local_scale": 0.5, "smooth": 0.7, "effort": "quick"}


def backbones(weights: Path) -> dict[str, dict[str, object]]:
    """Export options of each backbone whose weights are there."""
    found: dict[str, dict[str, object]] = {"edge-s": {"backbone": "edge-s"}}
    for name, file in (("mobilenet_v2", "mobilenet_v2_features.pth"), ("resnet18", "resnet18_to_layer3.pth")):
        found[name] = {"backbone": name, "weights": weights / file}
    onnx = weights / "resnet50v2_to_stage3.onnx"
    found["resnet50v2"] = {"backbone": str(onnx), "layers": ("stage2", "stage3")}
    return found


@dataclass
class Line:
    """A line of the table: a backbone at a size.

    Attributes:
        seen: of each set, the figures of each seed.
        ms: of each engine, the median milliseconds of backbone and frame on the first set.
    """

    backbone: str
    area: int
    seen: list[list[Figures]] = field(default_factory=list)
    ms: dict[str, tuple[float, float]] = field(default_factory=dict)
    bundle: Path | None = None

    @property
    def means(self) -> list[float]:
        """Mean image AUROC of the seeds, of each set."""
        return [mean([each.image_auroc for each in seeds]) for seeds in self.seen]


def options_of(found: LabelledSet, side: int, backbone: dict[str, object]) -> dict[str, Any]:
    """The options of an export with about `side` times `side` pixels."""
    sizes = [read_frame(path).shape[:2] for path in found.good_images()]
    (size,) = candidate_sizes(sizes, areas=(side**2,))
    patches = len(sizes) * (size[0] // 8) * (size[1] // 8)
    return {"input_size": size, "coreset": round(min(1.0, ROWS / patches), 4), **SETTINGS, **backbone}


def look(found: LabelledSet, line: Line, backbone: dict[str, object], seeds: list[int], folder: Path) -> None:
    """Fills in what a line sees of a set."""
    start = time.perf_counter()
    ours = Ours(found, f"{line.backbone}-{line.area}", options_of(found, line.area, backbone), folder)
    line.seen.append([figures(ours.record(seed), found) for seed in seeds])
    line.bundle = line.bundle or ours.bundle(seeds[0])
    auroc = spread([each.image_auroc for each in line.seen[-1]])
    say(f"{found.name}, {line.backbone}, {line.area}: {auroc}; {time.perf_counter() - start:.0f} s")


def time_all(lines: list[Line], images: tuple[TestImage, ...], threads: int, rounds: int) -> None:
    """Fills in the milliseconds of backbone and frame by each engine."""
    frames: list[np.ndarray[Size, np.dtype[np.uint8]]] = [
        cv2.resize(cv2.imread(str(image.path)), (1024, 1024))  # type: ignore[misc]
        for image in images[:FRAMES]
    ]
    runtimes = {
        (number, name): Runtime(line.bundle, engine=name, threads=threads)
        for number, line in enumerate(lines)
        for name in ENGINES
        if line.bundle is not None
    }
    laps: dict[tuple[int, str], list[tuple[float, float]]] = {key: [] for key in runtimes}
    for number in range(rounds + 1):
        for frame in frames:
            for key, runtime in runtimes.items():
                timings = runtime.inspect(frame).timings
                if number:  # the first round warms up
                    laps[key].append((timings["engine"], timings["total"]))
    for (number, name), values in laps.items():
        backbone, frame_ms = np.median(values, axis=0)
        lines[number].ms[name] = (float(backbone), float(frame_ms))


def print_table(lines: list[Line], sets: list[LabelledSet], with_times: bool) -> None:
    names = ", ".join(("OpenVINO", "ONNX Runtime"))
    times = [f"backbone ms: {names}", f"frame ms: {names}"] if with_times else []
    columns = ["pixels", "backbone", *(found.name for found in sets), "mean", *times, "bundle MB"]
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for line in lines:
        cells = []
        for seeds in line.seen:
            pixel = pixel_mean(seeds)
            cells.append(spread([each.image_auroc for each in seeds]) + ("" if pixel is None else f" / {pixel:.3f}"))
        cells.append(f"{mean(line.means):.3f}")
        if with_times:
            cells += [", ".join(f"{line.ms[name][part]:.1f}" for name in ENGINES) for part in (0, 1)]
        assert line.bundle is not None
        cells.append(f"{line.bundle.stat().st_size / 1e6:.1f}")
        print("| " + " | ".join([f"{line.area} x {line.area}", line.backbone, *cells]) + " |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("data", type=Path, help="folder of the sets")
    add("--weights-folder", type=Path, required=True)
    add("--sets", nargs="+", default=list(SETS), metavar="SET", help=f"default: {' '.join(SETS)}")
    add("--sizes", type=int, nargs="+", default=[256, 384], metavar="SIDE", help="of a square with as many pixels")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the coreset (default: 0 1 2)")
    add("--no-times", action="store_true", help="leave the milliseconds out")
    add("--threads", type=int, default=2)
    add("--rounds", type=int, default=5)
    add("--only", nargs="+", metavar="BACKBONE", help="these; by default all")
    add("--folder", type=Path, default=Path(tempfile.gettempdir()) / "edge-ad-sight", help="where all is kept")
    options = parser.parse_args()
    cases = backbones(options.weights_folder)
    if options.only is not None:
        if unknown := sorted(set(options.only) - set(cases)):
            parser.error(f"--only: there is no {', '.join(unknown)}; there are {', '.join(cases)}")
        cases = {name: cases[name] for name in options.only}
    return run_command(lambda: _run(cases, options))


def _run(cases: dict[str, dict[str, object]], options: argparse.Namespace) -> int:
    sets = find_sets(options.sets, options.data, options.folder / "sample")
    lines = [Line(name, side) for side in options.sizes for name in cases]
    for found in sets:
        for line in lines:
            look(found, line, cases[line.backbone], options.seeds, options.folder)
    if not options.no_times:
        time_all(lines, sets[0].test, options.threads, options.rounds)
    print(f"{detect_cpu().model}; image AUROC of {len(options.seeds)} seeds (lowest..highest) / pixel AUROC\n")
    print_table(lines, sets, not options.no_times)
    return 0


if __name__ == "__main__":
    sys.exit(main())
