"""A world in which engines take as long as a test says, by a clock of its own: no engine is needed, none is timed."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import edge_ad.serving.sight
from edge_ad import EngineUnavailableError
from edge_ad.bundle.file import Bundle
from edge_ad.serving import clock
from edge_ad.serving.settings import Settings
from edge_ad.system.cpu import detect_cpu
from tests.edited import edited, pointed

NAMES = ("f32", "middle", "fast")


class Clock(threading.local):
    """Stands still until an engine works, and is every thread's own: what one waits for no other does; seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class World:
    """What engines take: milliseconds by point, times `load`, times a factor of their settings, and hiccups."""

    def __init__(self) -> None:
        self.clock, self.load = Clock(), 1.0
        self.milliseconds = {"f32": 20.0, "middle": 10.0, "fast": 4.0}
        self.factor: Callable[[str, Settings], float] = lambda engine, settings: 1.0
        self.hiccups: Iterator[float] = itertools.repeat(0.0)
        self.missing: set[str] = set()
        self.opening_s = 0.0
        self.opened: list[tuple[str, str, Settings]] = []


class SlowEngine:
    """The engine of a point in that world; its patches are always the same."""

    version, precision = "0", "f32"

    def __init__(self, world: World, bundle: Bundle, name: str, settings: Settings) -> None:
        self.world, self.name, self.point = world, name, bundle.manifest.backbone.name
        if self.point in world.missing:
            raise EngineUnavailableError("this PC lacks it", got="nothing")
        self.factor = world.factor(name, settings)
        (height, width), dim = bundle.manifest.backbone.grid, bundle.manifest.backbone.dim
        self.patches = np.full((height * width, dim), 0.5, np.float32)
        world.opened.append((self.point, name, settings))
        world.clock.now += world.opening_s

    def __call__(self, tensor: np.ndarray) -> np.ndarray:
        world = self.world
        world.clock.now += (world.milliseconds[self.point] * world.load * self.factor + next(world.hiccups)) / 1e3
        return self.patches.copy()


def make_world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Puts it in place of the real one, with both engines installed."""
    world = World()
    monkeypatch.setattr(
        edge_ad.serving.sight,
        "_open_engine",
        lambda bundle, name, settings, models=None: SlowEngine(world, bundle, name, settings),
    )
    for module in ("point", "tuning", "profile"):
        monkeypatch.setattr(f"edge_ad.serving.{module}.installed_engines", lambda: ("openvino", "onnxruntime"))
    monkeypatch.setattr(clock, "now", world.clock)
    intel = detect_cpu("model name: Intel", "x86_64")  # so that "auto" is the same engine on every CPU
    monkeypatch.setattr("edge_ad.serving.point.detect_cpu", lambda: intel)
    return world


def slow_bundle(golden: Path, out: Path) -> Path:
    """A bundle with the points of `NAMES`, each with its name as its backbone's; twice the threshold."""
    path = pointed(golden, out, dict.fromkeys(NAMES[1:], "f32"), scale=2.0)
    with Bundle.open(path) as opened:
        points = opened.manifest.points
    named = tuple(dataclasses.replace(p, backbone=dataclasses.replace(p.backbone, name=p.name)) for p in points)
    return edited(path, path, points=named, backbone={"name": NAMES[0]})
