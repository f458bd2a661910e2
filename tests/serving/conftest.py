"""Fixtures of tuning, and of the profile that it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.tuned import tuning_world
from tests.slow import World, slow_bundle


@pytest.fixture(scope="module")
def bundle(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_bundle(golden, tmp_path_factory.mktemp("tune") / "points.bundle")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return tuning_world(monkeypatch)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_AD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"
