"""Compares thread settings of the engines. Each setting has its own process; they take turns, one round each.

    python -m bench.engine_settings cable.bundle

The engine is timed alone, and with the search between two of its runs, as in `inspect`. A setting that leaves the
engine's threads spinning is fast alone, but takes the cores from the search. "idle CPU" is the CPU time of the process
between frames that come every 100 ms, in per cent of a core, without the work itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_ad.engines import quietly
from edge_ad.system.percentiles import percentiles

STAGES = ("alone", "engine", "head alone", "head", "total", "idle")
SETTINGS: dict[str, dict[str, str]] = {
    "openvino: as edge-ad has it": {"engine": "openvino"},
    "openvino: ENABLE_CPU_PINNING=YES": {"engine": "openvino", "ENABLE_CPU_PINNING": "YES"},
    "openvino: THROUGHPUT hint": {"engine": "openvino", "PERFORMANCE_HINT": "THROUGHPUT"},
    "openvino: 1 thread": {"engine": "openvino", "INFERENCE_NUM_THREADS": "1"},
    "onnxruntime: as edge-ad has it": {"engine": "onnxruntime"},
    "onnxruntime: spinning": {"engine": "onnxruntime", "session.intra_op.allow_spinning": "1"},
    "onnxruntime: 1 thread": {"engine": "onnxruntime", "threads": "1"},
    "openvino: cores=0,1": {"engine": "openvino", "cores": "0,1"},
    "onnxruntime: cores=0,1": {"engine": "onnxruntime", "cores": "0,1"},
}


def patch_engines(setting: dict[str, str]) -> None:
    """Puts the setting between the runtime and its engine."""
    if setting["engine"] == "openvino":
        with quietly():
            import openvino as ov

        compile_model = ov.Core.compile_model
        own = {key: value for key, value in setting.items() if key.isupper()}
        ov.Core.compile_model = lambda core, model, device, config: compile_model(  # type: ignore[assignment]
            core, model, device, {**config, **own}
        )
        return
    with quietly():
        import onnxruntime as ort

    session = ort.InferenceSession

    def open_session(data: bytes, options: ort.SessionOptions, providers: list[str]) -> ort.InferenceSession:
        for key, value in setting.items():
            if key.startswith("session."):
                options.add_session_config_entry(key, value)
        if "threads" in setting:
            options.intra_op_num_threads = int(setting["threads"])
        return session(data, options, providers=providers)

    ort.InferenceSession = open_session  # type: ignore[assignment, misc]


def milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def serve(bundle: Path, setting: dict[str, str], threads: int) -> None:
    from bench.material import probe_frames
    from edge_ad import Runtime

    patch_engines(setting)
    cores = [int(core) for core in setting["cores"].split(",")] if "cores" in setting else None
    runtime = Runtime(bundle, engine=setting["engine"], threads=threads, cores=cores, search="auto")  # type: ignore[arg-type]
    frames = probe_frames(bundle)
    tensor = runtime._point.sights[0].crop(frames[0])
    print("{}", flush=True)
    for line in sys.stdin:
        found: dict[str, object] = {"engine": [], "head": [], "total": []}
        for i in range(int(line)):
            timings = runtime.inspect(frames[i % len(frames)]).timings
            for name in ("engine", "head", "total"):
                found[name].append(timings[name])  # type: ignore[attr-defined]
        patches = runtime._point.engine(tensor)
        found["alone"] = [milliseconds(lambda: runtime._point.engine(tensor)) for _ in range(int(line))]
        found["head alone"] = [milliseconds(lambda: runtime._point.sights[0].head(patches)) for _ in range(int(line))]  # noqa: B023
        busy, spent = 0.0, time.process_time()
        for _ in range(5):
            start = time.process_time()
            runtime.inspect(frames[0])
            busy += time.process_time() - start
            time.sleep(0.1)
        found["idle"] = [100 * (time.process_time() - spent - busy) / 0.5]
        print(json.dumps(found), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--setting", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.setting:
        serve(options.bundle, SETTINGS[options.setting], options.threads)
        return 0
    running, found = {}, {}
    for name in SETTINGS:
        if "cores" in SETTINGS[name] and not {0, 1} <= os.sched_getaffinity(0):
            continue
        command = [sys.executable, "-m", "bench.engine_settings", str(options.bundle), "--setting", name]
        command += ["--threads", str(options.threads)]
        running[name] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        running[name].stdout.readline()  # type: ignore[union-attr]
        found[name] = {stage: [] for stage in STAGES}  # type: ignore[var-annotated]
    for number in range(options.rounds + 1):  # the first is not kept
        for name, process in running.items():
            process.stdin.write(f"{options.frames if number else 5}\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            answer = json.loads(process.stdout.readline())  # type: ignore[union-attr]
            for stage, values in found[name].items():
                values += answer[stage] if number else []
    for process in running.values():
        process.stdin.close()  # type: ignore[union-attr]
        process.wait(30)
    head = ("engine alone", "in a frame", "search alone", "in a frame", "frame", "p99", "idle CPU %")
    print(f"{'setting':<36}" + "".join(f"{column:>13}" for column in head))
    for name, stages in found.items():
        medians = [float(np.median(stages[stage])) for stage in STAGES[:-1]]
        row = [*medians, percentiles(stages["total"], (99,))[0], float(np.median(stages["idle"]))]
        print(f"{name:<36}" + "".join(f"{value:>13.2f}" for value in row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
