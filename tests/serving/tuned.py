"""A bundle tuned in the world of slow engines (tests/slow.py), and its profile."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from edge_ad import native
from edge_ad.bundle.file import Bundle
from edge_ad.serving import tuning
from edge_ad.serving.profile import Profile, save_profile, this_machine
from edge_ad.serving.settings import Fixed
from edge_ad.serving.timing import sample_frames
from edge_ad.serving.tuning import ROUNDS, Tuned, tune
from tests.slow import World, make_world

ANYTHING = Fixed()


class _OneThread(native.Pool):
    """Of the cores that the tests name this PC may have none."""

    def __init__(self, threads: int, cores: object = None, streams: int = 1) -> None:
        super().__init__(1)


def tuning_world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Of eight cores; OpenVINO is slower, and pinned threads gain a little."""
    world = make_world(monkeypatch)
    world.factor = lambda engine, s: (1.5 if engine == "openvino" else 1.0) * (0.97 if s.cores else 1.0) / s.threads
    for module in ("tuning", "profile", "chooser"):
        monkeypatch.setattr(
            f"edge_ad.serving.{module}.default_threads", lambda cores=None: 8 if cores is None else len(cores)
        )
    monkeypatch.setattr(tuning, "fastest_cores", lambda count: tuple(range(count)))
    monkeypatch.setattr("edge_ad.serving.profile.allowed_cores", lambda: tuple(range(8)))
    monkeypatch.setattr("edge_ad.serving.point.pinned", lambda cores: contextlib.nullcontext())
    monkeypatch.setattr(native, "Pool", _OneThread)
    monkeypatch.setattr(tuning, "ROUNDS", tuple((4, share) for _, share in ROUNDS))  # for the tests' own sake
    monkeypatch.setattr(tuning, "FINAL_FRAMES", 9)
    return world


def tuned(path: Path, world: World, seconds: float = 120.0, **options: Any) -> Tuned:
    def sleep(seconds: float) -> None:
        world.clock.now += seconds

    with Bundle.open(path) as opened:
        return tune(opened, sample_frames(opened), seconds, sleep=sleep, **options)


def saved(path: Path, world: World) -> Profile:
    """Tunes and saves."""
    found = tuned(path, world)
    with Bundle.open(path) as opened:
        profile = Profile(this_machine(opened.id), "2026-01-01T00:00:00+00:00", tuple(found.entries), found.refused)
    save_profile(profile)
    return profile
