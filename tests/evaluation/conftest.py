"""A category, and the folder of its finished evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.evaluating import evaluate
from tests.tiny import write_category


@pytest.fixture(scope="module")
def category(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 4 good and 4 bad images to test with; `part` is a copy of it."""
    return write_category(tmp_path_factory.mktemp("evaluation") / "part", goods=2)


@pytest.fixture(scope="module")
def done(category: Path, tmp_path_factory: pytest.TempPathFactory, golden: Path) -> Path:
    """The folder of a finished evaluation."""
    out = tmp_path_factory.mktemp("outputs")
    assert evaluate(golden, category, out, "--no-report", "--pictures", "all") == 0
    return out
