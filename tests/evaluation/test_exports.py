"""Exports side by side: how many fit this machine."""

from __future__ import annotations

import pytest

from edge_ad.evaluation import exports


def test_jobs_fit_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "default_threads", lambda: 8)
    monkeypatch.setattr(exports, "_memory", lambda: 5 * 2**30)
    assert exports.default_jobs() == 2
    monkeypatch.setattr(exports, "_memory", lambda: 2**20)
    assert exports.default_jobs() == 1
    monkeypatch.setattr(exports, "_memory", lambda: 2**50)
    assert exports.default_jobs() == 8
    monkeypatch.undo()
    assert exports._memory() > 2**20
