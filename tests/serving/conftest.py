"""A bundle of several operating points in a world of slow engines, and a cache for the profile of each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slow import World, make_world, slow_bundle


@pytest.fixture(scope="module")
def bundle(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_bundle(golden, tmp_path_factory.mktemp("slow") / "points.bundle")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_AD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"
