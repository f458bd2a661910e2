"""Fixtures of the benches: the bundle under test, frames of a camera's size, and the page of facts at the end.

pytest bench/ --benchmark-only                          on a bundle that it makes (needs the export extra)
pytest bench/ --benchmark-only --bundle cable.bundle    on yours: the base install and an engine do
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# What is installed is measured. pytest has put the checkout in front, whose edge_ad has no native core beside it.
ROOT = str(Path(__file__).parents[1])
sys.path[:] = [entry for entry in sys.path if entry not in ("", ROOT)] + [ROOT]

from bench import material  # noqa: E402
from edge_ad import Runtime  # noqa: E402
from edge_ad.engines import installed_engines  # noqa: E402
from edge_ad.errors import EngineUnavailableError  # noqa: E402
from edge_ad.system.percentiles import percentiles  # noqa: E402

FACTS = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("edge-ad")
    group.addoption("--bundle", type=Path, help="bundle to measure; by default one is made")
    group.addoption("--threads", type=int, default=2, help="of engine and search together (default: 2)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FACTS] = []


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.stash[FACTS]:
        terminalreporter.section("facts")
        for fact in config.stash[FACTS]:
            terminalreporter.line(fact)


@dataclass(frozen=True)
class Subject:
    """What is measured: a bundle, frames for it, and whether each shows a defect (None where that is not known)."""

    bundle: Path
    frames: list[np.ndarray]
    defects: list[bool | None]


@pytest.fixture(scope="session")
def threads(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--threads"))


@pytest.fixture(scope="session")
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Puts a line on the page of facts."""
    return request.config.stash[FACTS].append


@pytest.fixture(scope="session")
def category(tmp_path_factory: pytest.TempPathFactory) -> material.Category:
    """The category that bundles are made of."""
    for package in ("onnx", "hnswlib"):
        pytest.importorskip(package, reason="the export extra is needed to make a bundle")
    return material.find_category(tmp_path_factory.mktemp("category"))


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    given = request.config.getoption("--bundle")
    if given is not None:
        frames = material.probe_frames(given)
        return Subject(given, frames, [None] * len(frames))
    category = request.getfixturevalue("category")
    bundle = material.export(category, tmp_path_factory.mktemp("bundle") / "made.bundle", coreset=0.02)
    frames, defects = zip(*category.frames(), strict=True)
    return Subject(bundle, list(frames), list(defects))


@pytest.fixture(scope="session")
def runtimes(subject: Subject, threads: int) -> Callable[[str, str], Runtime]:
    """(engine, search) -> Runtime, opened once; skips what the bundle or the environment has not."""
    opened: dict[tuple[str, str], Runtime] = {}

    def runtime(engine: str, search: str) -> Runtime:
        if engine not in installed_engines():
            pytest.skip(f"{engine} is not installed")
        if (engine, search) not in opened:
            try:
                found = Runtime(subject.bundle, engine=engine, search="exact", threads=threads)  # type: ignore[arg-type]
            except EngineUnavailableError as error:
                pytest.skip(str(error))
            if search == "graph":
                if found.manifest.index.graph is None:
                    pytest.skip("the bundle has no graph")
                found = Runtime(subject.bundle, engine=engine, search="graph", threads=threads)  # type: ignore[arg-type]
            opened[engine, search] = found
        return opened[engine, search]

    return runtime


class Timer:
    """Times calls by the benchmark fixture; median and p99 go to the page of facts and to --benchmark-json."""

    def __init__(self, benchmark: Any, say: Callable[[str], None], name: str) -> None:
        self._benchmark, self._say, self._name = benchmark, say, name

    def __call__(self, call: Callable[[Any], Any], inputs: list[Any], rounds: int = 100) -> None:
        """Times `call` on each of the inputs in turn, after five calls that do not count."""
        turns = itertools.cycle(inputs)
        self._benchmark.pedantic(call, setup=lambda: ((next(turns),), {}), rounds=rounds, iterations=1, warmup_rounds=5)
        self.report(self._benchmark.stats.stats.data)

    def report(self, seconds: list[float], more: str = "") -> None:
        """Median and p99 of `seconds`."""
        median, p99 = 1e3 * np.median(seconds), 1e3 * percentiles(seconds, (99,))[0]
        self._benchmark.extra_info.update(median_ms=float(median), p99_ms=p99)
        self._say(f"{self._name:<58} median {median:8.2f} ms  p99 {p99:8.2f} ms  {more}".rstrip())


@pytest.fixture
def timer(benchmark: Any, say: Callable[[str], None], request: pytest.FixtureRequest) -> Timer:
    return Timer(benchmark, say, request.node.name)


@pytest.fixture
def stopwatch() -> Callable[[Callable[[], Any]], float]:
    """Seconds that a call takes."""

    def seconds(call: Callable[[], Any]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return seconds
