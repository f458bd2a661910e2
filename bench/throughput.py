"""Frames a second of one PC, and what they cost in latency: one core and two, one camera and several, beside anomalib.

    python -m bench.throughput --peer-python PEER/bin/python [--rows 1600]

resnet18, 256 x 256, from a 1024 x 1024 u8 frame in memory to score and map, f32, the same coreset on both sides. Every
contestant is a process of its own on its cores; they take turns, a round each, and are idle out of turn. A table's line
has frames a second (frames of a round by its time; the median of the rounds) and the latency of a frame: median and
p99. `ahead` captures and crops the next frame while one is inspected (`inspect_many`), `streams` inspects two side by
side with one thread each (`Runtime(streams=2)`). Cameras are threads that share that Runtime; each gives its next frame
when it has the verdict on the last one.

anomalib's PatchCore takes batches in torch, its own way to many images: frames are resized by its pre-processor, in
the batch. A frame's latency is then that of the batch. By OpenVINO it takes one frame at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench.peer import peer_environment

INPUT = 256
Frames = list[np.ndarray]
Round = Callable[[Frames], list[float]]  # inspects all frames; the latency of each in ms


def one_by_one(call: Callable[[np.ndarray], object]) -> Round:
    def run(frames: Frames) -> list[float]:
        ms = []
        for frame in frames:
            start = time.perf_counter()
            call(frame)
            ms.append(1e3 * (time.perf_counter() - start))
        return ms

    return run


def own_round(options: argparse.Namespace) -> Round:
    """edge-ad: frames one by one, by `inspect_many`, or from cameras that share the Runtime."""
    from edge_ad import Runtime

    runtime = Runtime(options.bundle, threads=options.threads, streams=options.streams, profile=False)

    def inspect(frame: np.ndarray) -> None:
        assert runtime.inspect(frame).anomaly_map.shape == frame.shape[:2]

    def many(frames: Frames) -> list[float]:
        ms = []
        for verdict in runtime.inspect_many(frames):
            assert verdict.anomaly_map.size
            ms.append(verdict.latency_ms)
        return ms

    def cameras(frames: Frames) -> list[float]:
        ms: list[float] = []
        own = [frames[number :: options.cameras] for number in range(options.cameras)]
        threads = [threading.Thread(target=lambda part=part: ms.extend(one_by_one(inspect)(part))) for part in own]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ms) == len(frames)
        return ms

    return {"one": one_by_one(inspect), "many": many, "cameras": cameras}[options.way]


def peer_round(options: argparse.Namespace) -> Round:
    """anomalib: batches in torch, or frames one by one by OpenVINO."""
    import warnings

    import torch

    from bench.peer.models import openvino_call, patchcore

    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    weights = torch.load(options.weights, weights_only=True) if options.weights else None
    model = patchcore("resnet18", weights, INPUT, np.load(options.bank))
    if options.way == "one":
        config = {"INFERENCE_NUM_THREADS": options.threads, "INFERENCE_PRECISION_HINT": "f32"}
        return one_by_one(openvino_call(model, 1024, config))

    def batches(frames: Frames) -> list[float]:
        ms = []
        with torch.inference_mode():
            for at in range(0, len(frames), options.batch):
                start = time.perf_counter()
                pixels = torch.from_numpy(np.stack(frames[at : at + options.batch])).permute(0, 3, 1, 2)
                found = model(pixels.float() / 255)  # its pre-processor is a part of it
                assert len(found.pred_score) == len(pixels)
                ms += [1e3 * (time.perf_counter() - start)] * len(pixels)
        return ms

    return batches


def serve(options: argparse.Namespace) -> None:
    """A contestant's process: a number of frames on each line, answered with the seconds and each frame's ms."""
    os.sched_setaffinity(0, range(options.cores))
    run = peer_round(options) if options.worker == "peer" else own_round(options)
    given = list(np.load(options.frames_file))
    if options.worker == "peer":  # it wants RGB
        given = [np.ascontiguousarray(frame[:, :, ::-1]) for frame in given]
    print("{}", flush=True)
    for line in sys.stdin:
        frames = list(itertools.islice(itertools.cycle(given), int(line)))
        start = time.perf_counter()
        ms = run(frames)
        print(json.dumps({"s": time.perf_counter() - start, "ms": ms}), flush=True)


class Contestant:
    """A process that is measured, and the rounds that it has given: frames a second, and milliseconds of frames."""

    def __init__(self, name: str, command: list[str], env: dict[str, str] | None) -> None:
        pipe = subprocess.PIPE
        self.name, self._process = name, subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env)
        self.rates: list[float] = []
        self.ms: list[float] = []
        self._answer()

    def _answer(self) -> dict[str, object]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, object] = json.loads(line)
                return found
        raise SystemExit(f"{self.name} ended early, see above")

    def turn(self, frames: int, keep: bool) -> None:
        assert self._process.stdin is not None
        print(frames, file=self._process.stdin, flush=True)
        answer = self._answer()
        if keep:
            self.rates.append(frames / float(answer["s"]))  # type: ignore[arg-type]
            self.ms += answer["ms"]  # type: ignore[operator]

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def row(self) -> dict[str, object]:
        p50, p99 = np.percentile(self.ms, [50, 99])
        rate = float(np.median(self.rates))
        return {"target": self.name, "frames_per_s": rate, "p50_ms": float(p50), "p99_ms": float(p99)}


def commands(
    options: argparse.Namespace, bundle: Path, weights: object, files: Path
) -> Iterator[tuple[str, list[str]]]:
    """(name, command) of each contestant."""
    common = ["-m", "bench.throughput", "--frames-file", str(files / "frames.npy")]
    own = [sys.executable, *common, "--worker", "own", "--bundle", str(bundle.absolute())]
    for cores in (1, 2):
        named = f"{cores} core{'s' * (cores - 1)}"
        at = ["--cores", str(cores), "--threads", str(cores)]
        yield f"edge-ad, {named}, one by one", [*own, *at, "--way", "one"]
        yield f"edge-ad, {named}, ahead", [*own, *at, "--way", "many"]
        if cores > 1:
            streams = [*own, *at, "--streams", str(cores)]
            yield f"edge-ad, {named}, {cores} streams", [*streams, "--way", "many"]
            for cameras in (1, 2, 4):
                name = f"edge-ad, {named}, {cores} streams, {cameras} camera{'s' * (cameras > 1)}"
                yield name, [*streams, "--way", "cameras", "--cameras", str(cameras)]
        if options.peer_python:
            peer = [options.peer_python, *common, "--worker", "peer", "--bank", str(files / "bank.npy"), *at]
            peer += ["--weights", str(weights)] if weights else []
            yield f"anomalib, {named}, OpenVINO, one by one", [*peer, "--way", "one"]
            for batch in options.batches:
                yield f"anomalib, {named}, torch, batch of {batch}", [*peer, "--way", "many", "--batch", str(batch)]


def compete(options: argparse.Namespace) -> list[dict[str, object]]:
    from bench.peers import make_bundle
    from edge_ad import Runtime

    with tempfile.TemporaryDirectory(dir=options.folder) as scratch, contextlib.ExitStack() as running:
        files = Path(scratch)
        bundle, category = make_bundle(options, options.rows, files)
        coreset = Runtime(bundle, search="exact")._point.sights[0].head.index.coreset  # type: ignore[attr-defined]
        np.save(files / "bank.npy", np.asarray(coreset.vectors))
        np.save(files / "frames.npy", np.stack([frame for frame, _ in category.frames()]))
        contestants = []
        for name, command in commands(options, bundle, category.backbone.get("weights"), files):
            env = None if command[0] == sys.executable else peer_environment()
            contestants.append(Contestant(name, command, env))
            running.callback(contestants[-1].end)
        for number in range(options.rounds + 1):  # the first is not kept
            for contestant in contestants:
                contestant.turn(options.frames, keep=number > 0)
    return [contestant.row() for contestant in contestants]


def table(rows: list[dict[str, object]], size: int) -> str:
    first = next(float(row["frames_per_s"]) for row in rows)  # type: ignore[arg-type]
    lines = [
        f"resnet18, {INPUT} x {INPUT}, coreset of {size:,} rows, 1024 x 1024 u8 frames",
        f"{'':<48}{'frames/s':>9}{'to first':>9}{'median ms':>11}{'p99 ms':>8}",
    ]
    lines += [
        f"{row['target']:<48}{row['frames_per_s']:>9.1f}{float(row['frames_per_s']) / first:>9.2f}"  # type: ignore[arg-type]
        f"{row['p50_ms']:>11.1f}{row['p99_ms']:>8.1f}"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    add("--peer-python", help="interpreter of the environment with anomalib; without it edge-ad runs alone")
    add("--rows", type=int, default=1600, help="size of the coreset")
    add("--batches", type=int, nargs="+", default=[8, 32], help="of anomalib in torch")
    add("--rounds", type=int, default=5)
    add("--frames", type=int, default=64, help="frames in a round")
    add("--folder", type=Path, default=Path(tempfile.gettempdir()) / "edge-ad-peers", help="where bundles are kept")
    add("--json", type=Path, help="file for the figures")
    for name in ("worker", "way", "bundle", "bank", "weights", "frames-file"):
        add(f"--{name}", help=argparse.SUPPRESS)
    for name in ("cores", "threads", "streams", "cameras", "batch"):
        add(f"--{name}", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(options)
        return 0
    options.backbone, options.points = "resnet18", ["f32"]  # of `make_bundle`
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = compete(options)
    print(table(rows, options.rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
