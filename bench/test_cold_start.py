"""Measures a start: import, load, first verdict, memory; each in a fresh process. The verdict is asserted.

pytest bench/test_cold_start.py --benchmark-only [--bundle cable.bundle]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.conftest import Subject
from edge_ad import Runtime

ROUNDS = 7
IMPORT = """
import sys, time
start = time.perf_counter()
import {modules}
print(time.perf_counter() - start, "torch" in sys.modules)
"""
START = """
import json, sys, time
def memory():  # MiB resident now, and at its highest
    lines = dict(line.split(":") for line in open("/proc/self/status") if line.startswith(("VmRSS", "VmHWM")))
    return [int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")]
clock = [time.perf_counter()]
import numpy
from edge_ad import Runtime
frame = numpy.load(sys.argv[1])
clock.append(time.perf_counter())
runtime = Runtime(sys.argv[2], engine=sys.argv[3], threads=int(sys.argv[4]))
clock.append(time.perf_counter())
score = runtime.inspect(frame).score
clock.append(time.perf_counter())
for _ in range(20):
    runtime.inspect(frame)
rss, peak = memory()
seconds = dict(zip(("import", "load", "first"), (b - a for a, b in zip(clock, clock[1:]))))
print(json.dumps({"score": score, "rss": rss, "peak": peak, "torch": "torch" in sys.modules, **seconds}))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs a script in a fresh interpreter, outside the checkout, with compiled modules in a cache of its own."""
    folder = tmp_path_factory.mktemp("cold")
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "cache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def script(text: str, *arguments: object) -> str:
        command = [sys.executable, "-c", text, *map(str, arguments)]
        return subprocess.run(
            command, env=environment, cwd=folder, check=True, stdout=subprocess.PIPE, text=True, timeout=120
        ).stdout

    return script


def test_import(benchmark: Any, run: Callable[..., str], say: Callable[[str], None]) -> None:
    """`import edge_ad` against `import numpy, cv2`, process by process in turn."""
    times: dict[str, list[float]] = {"numpy, cv2": [], "edge_ad": []}

    def one(modules: str) -> None:
        seconds, torch = run(IMPORT.format(modules=modules)).split()
        times[modules].append(float(seconds))
        assert torch == "False"

    benchmark.pedantic(
        one, args=("edge_ad",), setup=lambda: one("numpy, cv2"), rounds=ROUNDS, iterations=1, warmup_rounds=1
    )
    ours, theirs = (1e3 * float(np.median(times[name][1:])) for name in ("edge_ad", "numpy, cv2"))
    benchmark.extra_info.update(edge_ad_ms=ours, numpy_cv2_ms=theirs, ratio=ours / theirs)
    say(f"import edge_ad {ours:.0f} ms, import numpy, cv2 {theirs:.0f} ms: ratio {ours / theirs:.2f} (wanted: < 3)")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_first_verdict(
    benchmark: Any,
    run: Callable[..., str],
    runtimes: Callable[[str, str], Runtime],
    subject: Subject,
    threads: int,
    say: Callable[[str], None],
    tmp_path: Path,
    engine: str,
) -> None:
    """Import, load and first verdict of a process with one engine, and its memory after 20 more."""
    wanted = runtimes(engine, "exact").inspect(subject.frames[0]).score
    np.save(tmp_path / "frame.npy", subject.frames[0])
    found: list[dict[str, float]] = []

    def start() -> None:
        out = run(START, tmp_path / "frame.npy", subject.bundle.absolute(), engine, threads)
        found.append(json.loads(out))

    benchmark.pedantic(start, rounds=ROUNDS, iterations=1, warmup_rounds=1)
    del found[0]
    middle = {name: float(np.median([run[name] for run in found])) for name in found[0]}
    assert all(run["score"] == pytest.approx(wanted, rel=1e-4) for run in found)
    assert not middle.pop("torch")
    benchmark.extra_info.update(middle)
    stages = ", ".join(f"{stage} {1e3 * middle[stage]:.0f} ms" for stage in ("import", "load", "first"))
    say(f"cold start [{engine}]: {stages}; resident {middle['rss']:.0f} MiB, peak {middle['peak']:.0f} MiB")
