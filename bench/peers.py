"""edge-ad against anomalib through OpenVINO, in one run: from a 1024 x 1024 u8 frame in memory to a prediction.

    python -m bench.peers --peer-python PEER/bin/python [--backbone wide_resnet50_2] [--points f32 bf16 int8]

anomalib needs a separate environment (pip install anomalib openvino); `--peer-python` is its interpreter. Both
sides run the backbone (layer2, layer3, 256 x 256) with the same number of threads over the same coreset: the peer's
memory bank is set to the coreset of the bundle, so nothing is fitted. Every contestant is a process of its own that
stays up; they take turns, a round each (A B C A B C ...), and are idle out of turn. A round's ratio compares medians
of the same round. wide_resnet50_2 has seeded random weights: its figures are of speed alone.

The peer three times: in f32, as its OpenVINOInferencer takes a camera frame (float conversion in NumPy, resize inside
the graph); "resized", where OpenCV has already brought the frame to 256 x 256 and its graph does no resize; and "own
choice", in the precision that OpenVINO takes for it. Ratios are to the first and to the last. The peer computes
the anomaly map with every prediction, therefore edge-ad reads its map, too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from bench.peer import peer_environment

if TYPE_CHECKING:  # a peer's environment has none of ours
    from bench import material

PLAIN = (0.0, 0.0)  # exponent of the local scale, sigma of the smoothing: the peer has neither
INPUT = 256
PEER, RESIZED, CHOICE = (f"anomalib openvino {way}" for way in ("f32", "f32, resized", "own choice"))
Call = Callable[[np.ndarray], float]


# A contestant's process: reads a number of frames per line, answers with milliseconds and scores.


def serve(call: Call, frames: list[np.ndarray], about: dict[str, object]) -> None:
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        ms, scores = [], []
        for i in range(int(line)):
            start = time.perf_counter()
            scores.append(call(frames[i % len(frames)]))
            ms.append(1e3 * (time.perf_counter() - start))
        print(json.dumps({"ms": ms, "scores": scores[: len(frames)]}), flush=True)


def own_call(options: argparse.Namespace) -> tuple[Call, dict[str, object]]:
    """edge-ad."""
    from edge_ad import Runtime, build_info

    choice = {"engine": options.engine, "search": options.search, "point": options.point}
    runtime = Runtime(options.bundle, threads=options.threads, **choice)

    def inspect(frame: np.ndarray) -> float:
        verdict = runtime.inspect(frame)
        assert verdict.anomaly_map.shape == frame.shape[:2]
        return verdict.score

    about = {"engine": runtime.engine, "search": runtime.search, "versions": build_info()}
    return inspect, {**about, "expected": [runtime.probe(frame).score for frame in np.load(options.frames_file)]}


def peer_call(options: argparse.Namespace) -> tuple[Call, dict[str, object]]:
    """anomalib's PatchCore by its OpenVINOInferencer."""
    import importlib.metadata
    import warnings

    import torch

    from bench.peer.models import openvino_call, patchcore

    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    weights = torch.load(options.weights, weights_only=True) if options.weights else None
    model = patchcore(options.backbone, weights, INPUT, np.load(options.bank))
    config = {"INFERENCE_NUM_THREADS": options.threads}
    if not options.own_choice:
        config["INFERENCE_PRECISION_HINT"] = "f32"
    predict = openvino_call(model, INPUT if options.resized else 1024, config)

    def resized(frame: np.ndarray) -> float:
        return predict(cv2.resize(frame, (INPUT, INPUT), interpolation=cv2.INTER_AREA))

    packages = ("anomalib", "openvino", "torch", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return resized if options.resized else predict, {"versions": versions}


# The run.


@dataclass
class Contestant:
    """A process that is measured, and what it has given: for each round the milliseconds of its frames."""

    name: str
    process: subprocess.Popen[str]
    rounds: list[list[float]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    about: dict[str, object] = field(default_factory=dict)

    def answer(self) -> dict[str, object]:
        line = self.process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise SystemExit(f"{self.name} ended early, see above")
        return json.loads(line) if line.startswith("{") else self.answer()

    def turn(self, frames: int, keep: bool) -> None:
        self.process.stdin.write(f"{frames}\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        answer = self.answer()
        self.scores = answer["scores"]  # type: ignore[assignment]
        if keep:
            self.rounds.append(answer["ms"])  # type: ignore[arg-type]

    def median(self) -> float:
        return float(np.median(np.concatenate(self.rounds)))

    def p99(self) -> float:
        from edge_ad.system.percentiles import percentiles

        return percentiles(np.concatenate(self.rounds), (99,))[0]


def make_bundle(
    options: argparse.Namespace, rows: int, scratch: Path, local: tuple[float, float] = PLAIN
) -> tuple[Path, material.Category]:
    """A bundle whose coreset has `rows` rows, kept in `--folder` for the next run, and its category.

    `local` is the exponent of its local scale and the sigma of its smoothing.
    Without torch or the development data the network is of random filters, on both sides (`bench.material`).
    """
    from bench import material
    from edge_ad.data.layouts import load_category

    category = material.find_category(scratch)
    if options.backbone != "resnet18":
        weights = material.write_random_weights(options.backbone, category, options.folder)
        category = replace(category, backbone={"backbone": options.backbone, "weights": weights})
    elif "resnet50" in str(category.backbone["backbone"]):
        category = material.drawn_category(scratch)
    good_images = len(load_category(category.folder).train_good)
    points = tuple(options.points)
    name = [category.folder.name, options.backbone, str(rows), *points, *(["scaled"] if any(local) else [])]
    out = options.folder / f"{'-'.join(name)}.bundle"
    if not out.exists():  # speed is measured: no point is left out for its accuracy
        fraction = min(1.0, rows / (good_images * (INPUT // 8) ** 2))
        settings = {"coreset": fraction, "points": points, "local_scale": local[0], "smooth": local[1]}
        material.export(category, out, calibration="crossfit", max_drop=1.0, **settings)
    return out, category


def runnable(bundle: Path) -> list[tuple[str, str]]:
    """(operating point, engine) of all that this machine can run."""
    from edge_ad import EngineUnavailableError, Runtime
    from edge_ad.bundle.file import Bundle

    with Bundle.open(bundle) as opened:
        names = opened.manifest.point_names
    found = []
    for point in names:
        for engine in ("openvino", "onnxruntime"):
            with contextlib.suppress(EngineUnavailableError):
                Runtime(bundle, engine=engine, point=point)  # type: ignore[arg-type]
                found.append((point, engine))
    return found


@contextlib.contextmanager
def contestants(options: argparse.Namespace, bundle: Path, weights: object, files: Path) -> Iterator[list[Contestant]]:
    """Starts the processes, one after the other; ends them in the end."""
    own = [sys.executable, "-m", "bench.peers", "--worker", "own", "--bundle", str(bundle.absolute())]
    peer = [options.peer_python, "-m", "bench.peers", "--worker", "peer", "--bank", str(files / "bank.npy")]
    peer += ["--weights", str(weights)] if weights else []
    commands = {PEER: peer, RESIZED: [*peer, "--resized"], CHOICE: [*peer, "--own-choice"]}
    commands = commands if options.peer_python else {}
    for point, engine in runnable(bundle):
        for search in ("exact", "graph") if point == "f32" else ("auto",):
            name = f"edge-ad {engine} {point} {search}"
            commands[name] = [*own, "--engine", engine, "--point", point, "--search", search]
    common = ["--frames-file", str(files / "frames.npy"), "--threads", str(options.threads)]
    common += ["--backbone", options.backbone]
    running: list[Contestant] = []
    try:
        for name, command in commands.items():
            pipe = subprocess.PIPE
            env = None if command[0] == sys.executable else peer_environment()
            process = subprocess.Popen([*command, *common], stdin=pipe, stdout=pipe, text=True, env=env)
            running.append(Contestant(name, process))
            running[-1].about = running[-1].answer()
        yield running
    finally:
        for contestant in running:
            contestant.process.stdin.close()  # type: ignore[union-attr]
            contestant.process.wait(30)


def compete(options: argparse.Namespace, rows: int) -> list[dict[str, object]]:
    """All rounds over one coreset size; a dict a contestant."""
    from edge_ad import Runtime

    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        files = Path(scratch)
        bundle, category = make_bundle(options, rows, files)
        exact = Runtime(bundle, search="exact")
        spec = exact.manifest
        frames = [frame for frame, _ in category.frames()]
        weights = category.backbone.get("weights")
        np.save(files / "bank.npy", np.asarray(exact._point.sights[0].head.index.coreset.vectors))
        np.save(files / "frames.npy", np.stack(frames))
        with contestants(options, bundle, weights, files) as running:
            for number in range(options.rounds + 1):  # the first is not kept
                for contestant in running:
                    contestant.turn(options.frames if number else 6, keep=number > 0)
    first, choice = (next((c for c in running if c.name == name), running[0]) for name in (PEER, CHOICE))
    found = []
    for contestant in running:
        if contestant.name.startswith("edge-ad"):
            scores = contestant.scores  # the right answer, that of exact search by this point?
            np.testing.assert_array_equal(scores, contestant.about["expected"][: len(scores)])  # type: ignore[index]
        ratios = _ratios(first, contestant)
        found.append(
            {
                "rows": spec.index.size,
                "dim": spec.backbone.dim,
                "backbone": options.backbone,
                "target": contestant.name,
                "search": contestant.about.get("search"),
                "median_ms": round(contestant.median(), 2),
                "p99_ms": round(contestant.p99(), 2),
                "ratio": round(float(np.median(ratios)), 2),
                "ratio_own_choice": round(float(np.median(_ratios(choice, contestant))), 2),
                "ratio_per_round": [round(ratio, 2) for ratio in ratios],
                "scores": [round(score, 4) for score in contestant.scores],
                "versions": contestant.about["versions"],
            }
        )
    return found


def _ratios(peer: Contestant, contestant: Contestant) -> list[float]:
    """Of medians, round by round."""
    pairs = zip(peer.rounds, contestant.rounds, strict=True)
    return [float(np.median(theirs) / np.median(ours)) for theirs, ours in pairs]


def table(found: list[dict[str, object]], threads: int) -> str:
    """A line a contestant; "ratio" is how many times as long the first one takes."""
    first = found[0]
    head = f"{first['backbone']}, coreset {first['rows']} x {first['dim']}, 1024x1024 u8, {threads} threads"
    lines = [head, f"{'target':<44}{'median ms':>10}{'p99 ms':>9}{'ratio':>7}{'to choice':>11}  per round"]
    for row in found:
        name = str(row["target"]).replace("auto", f"auto ({row['search']})")
        lines.append(
            f"{name:<44}{row['median_ms']:>10}{row['p99_ms']:>9}{row['ratio']:>7}{row['ratio_own_choice']:>11}"
            f"  {min(row['ratio_per_round'])}..{max(row['ratio_per_round'])}"  # type: ignore[call-overload]
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    add("--peer-python", help="interpreter of the environment with anomalib; without it edge-ad runs alone")
    add("--rows", type=int, nargs="+", default=[16000, 1600], help="coreset sizes")
    add("--backbone", choices=("resnet18", "wide_resnet50_2"), default="resnet18")
    add("--points", nargs="+", default=["f32"], metavar="POINT", help="f32, bf16, int8: precisions of ours")
    add("--rounds", type=int, default=6)
    add("--frames", type=int, default=24, help="frames in a round")
    add("--threads", type=int, default=2)
    add("--folder", type=Path, default=Path(tempfile.gettempdir()) / "edge-ad-peers", help="where bundles are kept")
    add("--json", type=Path, help="file for the figures, with every round's ratio")
    for name in ("worker", "bundle", "engine", "point", "search", "bank", "weights", "frames-file"):
        add(f"--{name}", help=argparse.SUPPRESS)
    for name in ("resized", "own-choice"):
        add(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        call, about = peer_call(options) if options.worker == "peer" else own_call(options)
        frames = list(np.load(options.frames_file))
        if options.worker == "peer":  # it wants RGB
            frames = [np.ascontiguousarray(frame[:, :, ::-1]) for frame in frames]
        serve(call, frames, about)
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    everything = []
    for rows in options.rows:
        found = compete(options, rows)
        print(table(found, options.threads), end="\n\n", flush=True)
        everything += found
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
