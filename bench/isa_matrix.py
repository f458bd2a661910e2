"""Measures the time of a frame on older CPUs, as far as this CPU can imitate them.

    python -m bench.isa_matrix cable.bundle

ONEDNN_MAX_CPU_ISA limits what OpenVINO uses and EDGE_AD_FORCE_ISA what the native core does; each class is a process of
its own, a round each in turn. ONNX Runtime's kernels (MLAS) choose by the CPU itself and know no such variable: of its
frame only the search changes from class to class, and its engine part is always that of this very CPU. Neither one
changes caches, clocks or memory: the classes say how much an instruction set is worth, not how fast an old PC is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_ad import native
from edge_ad.bundle.file import Bundle
from edge_ad.engines import installed_engines
from edge_ad.errors import EngineUnavailableError
from edge_ad.system.cpu import detect_cpu
from edge_ad.system.percentiles import percentiles
from edge_ad.system.tables import aligned

WARM_UP = 5


@dataclass(frozen=True)
class CpuClass:
    """A kind of CPU.

    Attributes:
        onednn: value of ONEDNN_MAX_CPU_ISA.
        native: instruction sets of the native core that such a CPU has, best first.
        flag: the CPU flag that this CPU needs to imitate it.
    """

    name: str
    onednn: str
    native: tuple[str, ...]
    flag: str


CLASSES = (
    CpuClass("AVX2", "AVX2", ("avx2",), "avx2"),
    CpuClass("AVX2-VNNI", "AVX2_VNNI", ("avxvnni", "avx2"), "avx_vnni"),
    CpuClass("AVX-512 VNNI", "AVX512_CORE_VNNI", ("avx512vnni", "avx512"), "avx512_vnni"),
    CpuClass("AMX", "AVX512_CORE_AMX", ("amx", "avx512vnni", "avx512"), "amx_tile"),
)


def serve(bundle: Path, threads: int) -> None:
    """Answers each line, a number of frames, with the milliseconds of every engine and operating point."""
    from bench.material import probe_frames
    from edge_ad import Runtime

    frames, runtimes = probe_frames(bundle), {}
    with Bundle.open(bundle) as opened:
        spec = opened.manifest
    for engine in installed_engines():
        for point in spec.point_names:
            made_with = spec.find_point(point)
            if made_with is not None and made_with.engine not in ("any", engine):
                continue
            try:
                runtime = Runtime(bundle, engine=engine, point=point, threads=threads, profile=False)  # type: ignore[arg-type]
            except EngineUnavailableError as error:
                runtimes[engine, point] = error.what
                continue
            for i in range(WARM_UP):
                runtime.inspect(frames[i % len(frames)])
            runtimes[engine, point] = runtime
    print("{}", flush=True)
    for line in sys.stdin:
        answer: list[tuple[str, str, Any]] = []
        for (engine, point), runtime in runtimes.items():
            if isinstance(runtime, str):
                answer.append((engine, point, runtime))
                continue
            timings = [runtime.inspect(frames[i % len(frames)]).timings for i in range(int(line))]
            answer.append((engine, point, [(t["total"], t["engine"], t["head"]) for t in timings]))
        print(json.dumps(answer), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.isa_matrix", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=20, help="of each engine and point in a round")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.bundle, options.threads)
        return 0
    cpu = detect_cpu()
    chosen = {
        c: next((n for n in c.native if n in native.supported_isas()), None) for c in CLASSES if c.flag in cpu.flags
    }
    command = [sys.executable, "-m", "bench.isa_matrix", str(options.bundle), "--serve", f"--threads={options.threads}"]
    processes = {}
    for kind, isa in chosen.items():
        if isa is None:
            continue
        env = {**os.environ, "ONEDNN_MAX_CPU_ISA": kind.onednn, "EDGE_AD_FORCE_ISA": isa}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes[kind] = subprocess.Popen(command, env=env, **pipes)  # type: ignore[call-overload]
        processes[kind].stdout.readline()
    found: dict[tuple[str, str, str], Any] = {}
    for _ in range(options.rounds):
        for kind, process in processes.items():
            process.stdin.write(f"{options.frames}\n")
            process.stdin.flush()
            for engine, point, times in json.loads(process.stdout.readline()):
                key = (kind.name, engine, point)
                found[key] = times if isinstance(times, str) else found.get(key, []) + times
    for process in processes.values():
        process.stdin.close()
        process.wait(30)
    report(found, {kind.name: isa for kind, isa in chosen.items()}, [c.name for c in CLASSES if c not in processes])
    return 0


def report(found: dict[tuple[str, str, str], Any], chosen: dict[str, str | None], missing: list[str]) -> None:
    """Prints the table."""
    rows = [["class", "native core", "engine", "point", "frame ms", "p95", "engine ms", "search ms"]]
    for (kind, engine, point), times in found.items():
        if isinstance(times, str):
            rows.append([kind, str(chosen[kind]), engine, point, "-", "-", "-", f"not run: {times}"])
            continue
        total, backbone, head = np.array(times).T
        figures = (np.median(total), percentiles(total, (95,))[0], np.median(backbone), np.median(head))
        rows.append([kind, str(chosen[kind]), engine, point, *(f"{ms:.2f}" for ms in figures)])
    print(aligned(rows))
    print("onnxruntime: MLAS has no such variable; its engine part is that of this CPU in every class")
    for name in missing:
        print(f"{name}: this CPU lacks it")


if __name__ == "__main__":
    sys.exit(main())
