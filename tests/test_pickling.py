"""What crosses a process boundary: errors, verdicts, statistics, and a Runtime as its arguments."""

from __future__ import annotations

import copy
import importlib
import multiprocessing
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_ad
from edge_ad import BudgetError, EdgeADError, FrameError, Runtime, Verdict
from tests.edited import edited
from tests.tiny import bad_frame, good_frame

CROSSINGS: dict[str, Callable[[Any], Any]] = {
    **{f"pickle {p}": partial(lambda p, value: pickle.loads(pickle.dumps(value, p)), p) for p in (2, 5)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
crossings = pytest.mark.parametrize("cross", CROSSINGS.values(), ids=CROSSINGS)


def error_classes() -> list[type[EdgeADError]]:
    """Every class of the tree, wherever in edge_ad it is defined."""
    for module in pkgutil.walk_packages(edge_ad.__path__, "edge_ad."):
        if not module.name.startswith(("edge_ad.engines.", "edge_ad.native.", "edge_ad.evaluation.curves")):
            importlib.import_module(module.name)

    def below(kind: type[EdgeADError]) -> Iterator[type[EdgeADError]]:
        yield kind
        for sub in kind.__subclasses__():
            yield from below(sub)

    return sorted(
        {kind for kind in below(EdgeADError) if kind.__module__.startswith("edge_ad")}, key=lambda kind: kind.__name__
    )


def make(kind: type[EdgeADError]) -> EdgeADError:
    remedy = "Allow more time."
    if issubclass(kind, BudgetError):
        return kind("no point is fast enough", expected="a p99 of 5 ms", table="point  p99\nf32    7", remedy=remedy)
    return kind("it is wrong", expected=(3, 4), got=[1.5, "x"], remedy=remedy)


@crossings
@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.__name__)
def test_every_error_comes_through(kind: type[EdgeADError], cross: Callable[[Any], Any]) -> None:
    error = make(kind)
    found = cross(error)
    assert type(found) is kind
    assert (str(found), found.args) == (str(error), error.args)
    assert vars(found) == vars(error)


class OwnError(EdgeADError):
    """As a user may derive one: with arguments of its own."""

    def __init__(self, camera: int) -> None:
        super().__init__("no picture", got=camera)
        self.camera = camera


def test_an_error_with_arguments_of_its_own_comes_through() -> None:
    found = pickle.loads(pickle.dumps(OwnError(3)))
    assert (type(found), found.camera, str(found)) == (OwnError, 3, "no picture; got 3")


def test_what_cannot_be_pickled_goes_as_its_text() -> None:
    error = FrameError("it is wrong", expected=lambda: 0, got=(np.float32(2.5), {"a": good_frame}))
    found = pickle.loads(pickle.dumps(error))
    assert str(found) == str(error)
    assert found.expected == str(error.expected)
    assert found.got == ("2.5", {"a": str(good_frame)})


@crossings
@pytest.mark.parametrize("read_first", [False, True], ids=["map not read", "map read"])
def test_a_verdict_comes_through_with_its_map(
    golden_roi: Path, engine: str, cross: Callable[[Any], Any], read_first: bool
) -> None:
    frame = bad_frame(3, size=300)
    verdict = Runtime(golden_roi, engine=engine, threads=1).inspect(frame)
    if read_first:
        assert verdict.regions
    found = cross(verdict)
    assert isinstance(found, Verdict)
    np.testing.assert_array_equal(found.anomaly_map, verdict.anomaly_map)
    assert found.to_dict() == verdict.to_dict()
    np.testing.assert_array_equal(found.overlay(frame), verdict.overlay(frame))


def test_a_pickled_verdict_carries_distances_and_no_map(golden: Path) -> None:
    verdict = Runtime(golden, threads=1).inspect(good_frame(3, size=1000))
    assert verdict.anomaly_map.nbytes == 4_000_000
    assert len(pickle.dumps(verdict)) < 10_000


@crossings
def test_statistics_come_through(golden: Path, cross: Callable[[Any], Any]) -> None:
    runtime = Runtime(golden, threads=1)
    runtime.inspect(good_frame(3))
    assert cross(runtime.stats()) == runtime.stats()


@crossings
def test_a_runtime_comes_through_as_its_arguments(
    golden: Path, engine: str, cross: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(golden.parent)
    options: dict[str, Any] = {"engine": engine, "threads": 1, "search": "graph", "threshold": 0.5}
    runtime = Runtime(golden.name, **options)
    wanted = runtime.inspect(bad_frame(3))
    monkeypatch.chdir("/")  # as a worker may be somewhere else
    found = cross(runtime)
    assert (found.engine, found.threads, found.search, found.threshold) == (engine, 1, "graph", 0.5)
    assert found.inspect(bad_frame(3)).score == wanted.score
    assert found.stats().frames == 1


def inspect_one(runtime: Runtime, seed: int) -> Verdict:
    return runtime.inspect(bad_frame(seed))


def raise_error(kind: type[EdgeADError]) -> None:
    raise make(kind)


def test_a_pool_of_processes(golden: Path, engine: str) -> None:
    runtime = Runtime(golden, engine=engine, threads=1)
    wanted = [runtime.inspect(bad_frame(seed)) for seed in range(2)]
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1) as pool:
        found = pool.starmap_async(inspect_one, [(runtime, seed) for seed in range(2)]).get(120)
        with pytest.raises(BudgetError, match="f32    7"):
            pool.apply_async(raise_error, (BudgetError,)).get(120)
    for verdict, expected in zip(found, wanted, strict=True):
        assert verdict.score == expected.score
        np.testing.assert_array_equal(verdict.anomaly_map, expected.anomaly_map)
    with ProcessPoolExecutor(1, mp_context=spawn) as executor:
        assert executor.submit(inspect_one, runtime, 0).result(120).score == wanted[0].score
        with pytest.raises(BudgetError, match="f32    7"):
            executor.submit(raise_error, BudgetError).result(120)
        assert executor.submit(inspect_one, runtime, 1).result(120).score == wanted[1].score  # it is not broken


def test_a_runtime_whose_bundle_is_gone_says_so(golden: Path, tmp_path: Path) -> None:
    path = edited(golden, tmp_path / "a.bundle")
    text = pickle.dumps(Runtime(path, threads=1))
    path.unlink()
    with pytest.raises(EdgeADError, match=r"there is no bundle at .*a\.bundle"):
        pickle.loads(text)
