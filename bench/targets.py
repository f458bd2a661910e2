"""Every target of speed, measured: one table of target, wanted and measured.

    python -m bench.targets ../shared/data/bottle --weights-folder ../shared/weights --peer-python PEER/bin/python

Runs the benches that measure, each in a process of its own, and reads their figures; without `--peer-python` (an
environment with anomalib) the comparison with the peer is left out; without faiss the comparison with faiss. A target
that was not measured is shown as such, and never counts as met. `--only GROUP ...` runs some groups, `--json FILE`
saves the figures. Bundles are kept in `--folder` for the next run. Exit code 0: all measured targets were met; 1: some
were not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench import peers
from bench.peers import PLAIN
from bench.test_cold_start import START
from edge_ad import Runtime, build_info
from edge_ad.serving.clock import Stopwatch
from export.choose.choice import USUAL_LOCAL
from export.choose.trial import Setting

CASES = (
    ("resnet18", 16000, PLAIN),
    ("resnet18", 1600, PLAIN),
    ("wide_resnet50_2", 16000, PLAIN),
    ("wide_resnet50_2", 1600, PLAIN),
    ("resnet18", 16000, USUAL_LOCAL),
)
FRAMES, ROUNDS = 20, 5
Document = Any  # JSON


@dataclass(frozen=True)
class Row:
    """A target, and what was measured: None where it could not be.

    `wanted` is the lowest allowed value if `at_least`, else the highest. `detail` shows where the figure comes from.
    """

    group: str
    target: str
    wanted: float
    at_least: bool
    measured: float | None
    detail: str = ""

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "not measured"
        return "met" if (self.measured >= self.wanted) == self.at_least or self.measured == self.wanted else "NOT MET"


def search(options: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    """Exact and graph search beside NumPy, faiss and hnswlib."""
    out = scratch / "search.json"
    run("bench.search_targets", options.category, "--weights-folder", options.weights_folder, "--json", out)
    for case in json.loads(out.read_text()):
        size, shape = f"{case['rows']:,} x {case['dim']:,}", (case["rows"], case["dim"])
        for state, ms in case["ms"].items():
            if shape != (16000, 384):
                for peer in ("numpy", "faiss flat"):
                    name = f"exact {size}, {state}: times faster than {peer}"
                    yield _search_row(name, 8 if case["dim"] == 1536 else 3, ms["exact, bounds"], ms.get(peer))
            else:
                name = f"graph {size}, {state}: times faster than hnswlib"
                yield _search_row(name, 4, ms["graph"], ms["hnswlib"])
        if shape == (16000, 384):
            recalls = case["recall"]
            name = f"graph {size}: recall"
            yield Row("search", name, 0.97, True, recalls["graph"], f"hnswlib {recalls['hnswlib']:.3f}")
            name = f"graph {size}: mean relative error of the distances, %"
            yield Row("search", name, 0.5, False, 100 * case["error"])


def _search_row(name: str, wanted: float, own: float, peer: float | None) -> Row:
    detail = f"{own:.2f} ms" + ("" if peer is None else f" against {peer:.2f}")
    return Row("search", name, wanted, True, None if peer is None else peer / own, detail)


def frame(options: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    """The whole frame over the backbone alone: the same compiled model, in turn, f32."""
    found = {case: whole_over_backbone(options, *case, scratch) for case in CASES}
    for (backbone, rows, local), (whole, alone, ratio) in found.items():
        wanted = 1.35 if (backbone, rows) == ("resnet18", 16000) else 1.15
        scaled = ", local scale and smoothing" if local != PLAIN else ""
        name = f"{backbone}, {rows:,} patches{scaled}: whole frame over backbone alone"
        yield Row("frame", name, wanted, False, ratio, f"{whole:.2f} ms over {alone:.2f}")
    large, small = (found["resnet18", rows, PLAIN][0] for rows in (16000, 1600))
    detail = f"{small:.2f} to {large:.2f} ms"
    yield Row("frame", "resnet18: whole frame, 16,000 over 1,600 patches", 1.5, False, large / small, detail)


def whole_over_backbone(
    options: argparse.Namespace, backbone: str, rows: int, local: Setting, scratch: Path
) -> tuple[float, float, float]:
    """Median milliseconds of the frame, of the backbone alone, and the median of their ratios, frame by frame."""
    bundle, category = peers.make_bundle(bundle_options(options, backbone), rows, scratch, local)
    runtime = Runtime(bundle, threads=options.threads, point="f32", profile=False)
    point, pairs = runtime._point, []
    frames = [pixels for pixels, _ in category.frames()]
    for turn in range(-3, FRAMES * ROUNDS):
        pixels = frames[turn % len(frames)]
        tensor = point.prepare(pixels, Stopwatch()).tensors[0]
        start = time.perf_counter()
        point.engine(tensor)
        middle = time.perf_counter()
        runtime.inspect(pixels)
        if turn >= 0:
            pairs.append((1e3 * (time.perf_counter() - middle), 1e3 * (middle - start)))
    whole, alone = np.array(pairs).T
    return float(np.median(whole)), float(np.median(alone)), float(np.median(whole / alone))


def stages(options: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    """Crop, Python's share, steady state."""
    out = scratch / "stages.json"
    bundle, _ = peers.make_bundle(bundle_options(options, "resnet18"), 16000, scratch)
    names = "test_crop or test_overhead or test_steady_state"
    run(
        "pytest",
        "bench/test_frame.py",
        "-q",
        "--benchmark-only",
        "-k",
        names,
        "--bundle",
        bundle,
        f"--benchmark-json={out}",
    )
    for test in json.loads(out.read_text())["benchmarks"]:
        extra, name = test["extra_info"], test["name"]
        if name == "test_crop":
            yield Row("stages", "crop and resize of 1024 x 1024, ms", 1, False, extra["median_ms"])
        elif name == "test_overhead":
            yield Row("stages", "Python beside crop, engine and head, ms", 0.3, False, extra["median_ms"])
        else:
            ratio, detail = extra["p99_ms"] / extra["p50_ms"], f"{extra['p99_ms']:.2f} over {extra['p50_ms']:.2f} ms"
            detail += f"; the engine's part {extra['engine_p99_over_p50']:.2f}"
            detail += f", NumPy products at that pace {extra['bare_p99_over_p50']:.2f}"
            yield Row("stages", f"{name}: p99 over p50 of 1,000 frames", 1.5, False, ratio, detail)


def start(options: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    """A fresh process to its first verdict, and its memory."""
    bundle, category = peers.make_bundle(bundle_options(options, "resnet18"), 16000, scratch)
    file = scratch / "frame.npy"
    np.save(file, category.frames()[0][0])
    for engine in ("openvino", "onnxruntime"):
        found = []
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", "pass"], check=True)
            bare = time.perf_counter() - began
            command = [sys.executable, "-c", START, str(file), str(bundle.absolute()), engine, str(options.threads)]
            out = subprocess.run(command, cwd=scratch, check=True, stdout=subprocess.PIPE, text=True).stdout
            answer = json.loads(out)
            found.append((bare + answer["import"] + answer["load"] + answer["first"], answer["rss"]))
        seconds, memory = np.median(np.array(found[1:]), axis=0)
        yield Row("start", f"{engine}: start of the process to first verdict, s", 1, False, float(seconds))
        yield Row("start", f"{engine}: resident memory, MiB", 286, False, float(memory), "300 MB")


def against_peer(options: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    """From a 1024 x 1024 frame to score and map, beside anomalib through OpenVINO."""
    wanted = {("resnet18", 16000): 5.0, ("resnet18", 1600): 2.5, ("wide_resnet50_2", 16000): 2.5}
    for backbone in ("resnet18", "wide_resnet50_2"):
        sizes = [rows for name, rows in wanted if name == backbone]
        found: dict[int, list[Document]] = {}
        if options.peer_python:
            out = scratch / f"{backbone}.json"
            arguments = ["--peer-python", options.peer_python, "--backbone", backbone, "--rows", *sizes]
            arguments += ["--points", "f32", "bf16", "int8", "--folder", options.folder, "--json", out]
            run("bench.peers", *arguments, "--rounds", ROUNDS, "--frames", FRAMES)
            for row in json.loads(out.read_text()):
                found.setdefault(_nearest(sizes, row["rows"]), []).append(row)
        for rows in sizes:
            own = [row for row in found.get(rows, ()) if row["target"].startswith("edge-ad")]
            name = f"{backbone}, {rows:,} patches: times faster than anomalib"
            f32 = max((r for r in own if " f32 " in r["target"]), key=lambda r: r["ratio"], default=None)
            yield _peer_row(f"{name}, f32", wanted[backbone, rows], f32, "ratio")
            if rows == 16000:
                best = max(own, key=lambda r: r["ratio_own_choice"], default=None)
                yield _peer_row(f"{name}, best precision of each", 4, best, "ratio_own_choice")


def coreset(options: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    """Greedy k-centre of 163,840 x 384 to a tenth; the peer's time is that of some picks, times their number."""
    out, weights = scratch / "coreset.json", options.weights_folder / "resnet18_to_layer3.pth"
    peer = ["--peer-python", options.peer_python] if options.peer_python else []
    run("bench.coreset", options.category, "--weights", weights, "--threads", options.threads, "--json", out, *peer)
    found = json.loads(out.read_text())
    theirs = found["peer_s"]
    detail = f"{found['s']:.1f} s" + ("" if theirs is None else f" against {theirs:.0f}")
    ratio = None if theirs is None else theirs / found["s"]
    yield Row(
        "coreset", f"greedy coreset of {found['patches']:,} patches: times faster than anomalib", 5, True, ratio, detail
    )
    ours, its = found["radius"] or (None, None)
    detail = "" if its is None else f"{ours:.4f} over {its:.4f}, on a tenth of the images"
    name = "greedy coreset: radius over that of anomalib's"
    yield Row("coreset", name, 1.02, False, None if its is None else ours / its, detail)


def _nearest(sizes: list[int], rows: int) -> int:
    return min(sizes, key=lambda size: abs(size - rows))


def _peer_row(name: str, wanted: float, row: Document, ratio: str) -> Row:
    if row is None:
        return Row("peer", name, wanted, True, None)
    return Row(
        "peer", name, wanted, True, row[ratio], f"{row['median_ms']} ms, {row['target'].removeprefix('edge-ad ')}"
    )


GROUPS: dict[str, Callable[[argparse.Namespace, Path], Iterator[Row]]] = {
    "search": search,
    "frame": frame,
    "stages": stages,
    "start": start,
    "peer": against_peer,
    "coreset": coreset,
}


def bundle_options(options: argparse.Namespace, backbone: str) -> argparse.Namespace:
    """What `bench.peers.make_bundle` wants to know, so that both make the same bundles."""
    return argparse.Namespace(backbone=backbone, points=["f32", "bf16", "int8"], folder=options.folder)


def run(module: str, *arguments: object) -> None:
    """Runs a bench; its output goes to ours."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "EDGE_AD_NO_PROFILE": "1"})


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| target | wanted | measured | | |", "|---|---|---|---|---|"]
    for row in rows:
        sign, value = ("≥" if row.at_least else "≤"), "-" if row.measured is None else f"{row.measured:.3g}"
        lines.append(f"| {row.target} | {sign} {row.wanted:g} | {value} | {row.verdict} | {row.detail} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("category", type=Path, help="the bottle of the development data")
    parser.add_argument("--weights-folder", type=Path, required=True)
    parser.add_argument("--peer-python", type=Path, help="interpreter of an environment with anomalib")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "edge-ad-peers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(options.threads)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        for name in options.only:
            for row in GROUPS[name](options, Path(scratch)):
                print(f"{row.verdict}: {row.target}: {row.measured} {row.detail}", file=sys.stderr, flush=True)
                rows.append(row)
    print(", ".join(f"{name} {value}" for name, value in build_info().items()), end="\n\n")
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return int(any(row.verdict == "NOT MET" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
